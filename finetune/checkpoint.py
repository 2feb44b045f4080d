"""The checkpoint of a training: all that is needed to continue it exactly."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundlewise.errors import AdapterError
from bundlewise.files import write_bytes

CHECKPOINT = "training.pt"


@dataclass
class State:
    """The state of a training: loss per step, validation scores as (step, GJS), tokens read, seconds spent.

    `best` holds the weights with the best validation so far, and `found` the result of that validation as text;
    both are empty before the first validation.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    best: list[Any] = field(default_factory=list)
    found: str = ""

    def scored(self, step: int) -> bool:
        """Say whether the last score belongs to this step."""
        return bool(self.scores) and self.scores[-1][0] == step

    def is_new_best(self, score: float) -> bool:
        """Say whether a score is higher than all earlier ones."""
        return all(score > before for _, before in self.scores)

    def without_progress(self) -> int:
        """Return the number of evaluations since the best one."""
        scores = [score for _, score in self.scores]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def save(folder: Path, key: str, state: State, parameters: list[Any], optimizer: Any) -> None:
    """Write the checkpoint in one step; `key` is a fingerprint of all that determines the training."""
    import torch

    content = {
        "key": key,
        "state": asdict(state),
        "parameters": [p.detach().cpu() for p in parameters],
        "optimizer": optimizer.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(folder / CHECKPOINT, buffer.getvalue())


def resume(folder: Path, key: str, parameters: list[Any], optimizer: Any) -> State:
    """Restore the weights and the optimizer of a stopped training; return its state, or a new one without checkpoint.

    Raises:
        AdapterError: the folder holds the checkpoint of another training.
    """
    import torch

    if not (folder / CHECKPOINT).is_file():
        return State()
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    if content["key"] != key:
        raise AdapterError(
            f"{folder} holds a stopped training with other settings or data; "
            "give the same ones to continue, or choose another folder"
        )
    put(parameters, content["parameters"])
    optimizer.load_state_dict(content["optimizer"])
    return State(**content["state"])


def put(parameters: list[Any], saved: list[Any]) -> None:
    """Copy saved weights into the parameters, in order."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(parameters, saved, strict=True):
            parameter.copy_(value)
