"""The checkpoint of a training: all it takes to go on as if it had never stopped."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundlewise.errors import AdapterError
from bundlewise.files import write_bytes

CHECKPOINT = "training.pt"


@dataclass
class State:
    """How far a training is: loss a step, validation scores as (step, GJS), tokens read, seconds spent.

    `best` holds the weights of the best validation so far, `found` what it has found; without one they are empty.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    best: list[Any] = field(default_factory=list)
    found: str = ""

    def scored(self, step: int) -> bool:
        """Say whether the weights after a step are the last that were scored."""
        return bool(self.scores) and self.scores[-1][0] == step

    def is_new_best(self, score: float) -> bool:
        """Say whether a score beats all before it; of equals the earlier stays."""
        return all(score > before for _, before in self.scores)

    def without_progress(self) -> int:
        """Return how many evaluations have passed since the best one."""
        scores = [score for _, score in self.scores]
        return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def save(folder: Path, key: str, state: State, parameters: list[Any], optimizer: Any) -> None:
    """Write the checkpoint in one step; `key` stands for all that determines the training."""
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
    """Put a stopped training's weights and optimizer back and return its state; a new one where there is none.

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
            "give the same ones to go on, or choose another folder"
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
