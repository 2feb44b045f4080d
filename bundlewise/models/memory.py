"""How much memory a model takes, estimated before anything is loaded, and how much there is."""

import contextlib
import ctypes
import gc
import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bundlewise.errors import ModelError

Format = Literal["float32", "bfloat16", "four_bit"]
BYTES: dict[Format, float] = {"float32": 4, "bfloat16": 2, "four_bit": 0.6}
"""Bytes a weight; four bits come with their scales, and the embeddings stay as they are."""
PROGRAM = 0.7e9
"""Bytes of Python, torch and the libraries, before any model."""
TRAINED_WEIGHT = 16
"""Bytes a trained weight: itself, its gradient and two moments of AdamW, in float32 at most."""
ACTIVATIONS = 30
"""Kept values a token and tuned layer, in units of the hidden size: projections, feed-forward, norms, LoRA."""


@dataclass(frozen=True)
class ModelShape:
    """What the size of a Llama-like model follows from."""

    hidden: int
    layers: int
    feed_forward: int
    vocabulary: int
    heads: int
    key_heads: int
    tied: bool
    head: int = 0
    """Size of a head; 0 is the hidden size dealt out over the heads."""

    @classmethod
    def of(cls, folder: Path) -> "ModelShape | None":
        """Read the shape from a model's config.json; None when it names no such sizes."""
        try:
            config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                feed_forward=config["intermediate_size"],
                vocabulary=config["vocab_size"],
                heads=config["num_attention_heads"],
                key_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
                tied=bool(config.get("tie_word_embeddings")),
                head=config.get("head_dim") or 0,
            )
        except (OSError, ValueError, KeyError):
            return None

    @property
    def _queries(self) -> int:
        return self.heads * (self.head or self.hidden // self.heads)

    @property
    def _keys(self) -> int:
        return self.key_heads * (self.head or self.hidden // self.heads)

    @property
    def layer_parameters(self) -> int:
        """The weights of one layer, but for a few norms and biases that some families add."""
        return self.hidden * (2 * self._queries + 2 * self._keys + 3 * self.feed_forward + 2)

    @property
    def parameters(self) -> int:
        """All weights of the model."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    def lora_parameters(self, rank: int, layers: int) -> int:
        """Return the weights of LoRA on all seven projections of the top layers; 0 layers are all."""
        ends = 7 * self.hidden + 2 * self._queries + 2 * self._keys + 3 * self.feed_forward
        return rank * ends * (layers or self.layers)


def serving_bytes(shape: ModelShape, weights: Format, batch_tokens: int = 2048) -> float:
    """Estimate the memory of answering: the program, the weights, and one batch on its way."""
    batch = batch_tokens * (shape.hidden * ACTIVATIONS + shape.layers * shape.hidden) * 4
    return PROGRAM + shape.parameters * BYTES[weights] + batch


def tuning_bytes(
    shape: ModelShape, weights: Format, *, rank: int, layers: int, batch_tokens: int, checkpointing: bool = False
) -> float:
    """Estimate the memory of LoRA training: the model, the trained weights with their moments, what backward needs."""
    tuned = 1 if checkpointing else layers or shape.layers
    kept = batch_tokens * shape.hidden * ACTIVATIONS * 4 * tuned
    trained = shape.lora_parameters(rank, layers) * TRAINED_WEIGHT
    return serving_bytes(shape, weights, batch_tokens) + trained + kept


def free_bytes(device: str = "cpu") -> float:
    """Return the memory that is free on a device."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return float(psutil.virtual_memory().available)


def require_memory(folder: Path, weights: Format, device: str = "cpu") -> None:
    """Refuse a model whose weights alone do not fit; one of an unknown shape is let through.

    Raises:
        ModelError: it needs more than is free.
    """
    shape = ModelShape.of(folder)
    if shape is None:
        return
    needed, free = shape.parameters * BYTES[weights], free_bytes(device)
    if needed > free:
        raise ModelError(
            f"{folder.name} takes {needed / 1e9:.1f} GB in {weights}, {free / 1e9:.1f} GB are free; "
            "choose a smaller student (`bundlewise doctor` says which preset fits), or close other programs"
        )


def give_back_memory() -> None:
    """Give the system back what is freed: glibc keeps what tensors of changing sizes leave, some hundred megabytes."""
    import ctypes

    # Other C libraries do not have it, and mostly give back by themselves.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


PEAK = "VmHWM:"


def release_memory() -> None:
    """Give the memory of models that are done with back to the system; glibc keeps it otherwise."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Start to measure the peak anew, where the system can (Linux); elsewhere it stays that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> float:
    """Return the largest resident memory in GB since `forget_peak`, or since the process began."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(PEAK)).split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
