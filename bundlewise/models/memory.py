"""Estimate the memory that a model needs before it is loaded, and measure the memory that is free or used."""

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
"""Bytes per weight; four-bit weights have scales too, and embeddings keep their format."""
PROGRAM = 0.7e9
"""Bytes of Python, torch and the libraries, without a model."""
TRAINED_WEIGHT = 16
"""Bytes per trained weight: the weight, its gradient and two moments of AdamW, in float32 at most."""
ACTIVATIONS = 30
"""Stored values per token and tuned layer, in units of the hidden size: projections, feed-forward, norms, LoRA."""


@dataclass(frozen=True)
class ModelShape:
    """The dimensions of a Llama-like model, which determine its number of weights."""

    hidden: int
    layers: int
    feed_forward: int
    vocabulary: int
    heads: int
    key_heads: int
    tied: bool
    head: int = 0
    """The size of a head; 0 means the hidden size divided by the number of heads."""

    @classmethod
    def of(cls, folder: Path) -> "ModelShape | None":
        """Read the shape from a model's config.json; None if it lacks these sizes."""
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
        """The number of weights of one layer, without the few norms and biases that some families add."""
        return self.hidden * (2 * self._queries + 2 * self._keys + 3 * self.feed_forward + 2)

    @property
    def parameters(self) -> int:
        """The number of all weights of the model."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    def cache_bytes(self, tokens: int) -> int:
        """Return the bytes of the keys and values of so many tokens in 16 bits."""
        return 4 * tokens * self.layers * self._keys

    def lora_parameters(self, rank: int, layers: int) -> int:
        """Return the number of LoRA weights on all seven projections of the top layers; 0 means all layers."""
        ends = 7 * self.hidden + 2 * self._queries + 2 * self._keys + 3 * self.feed_forward
        return rank * ends * (layers or self.layers)


def serving_bytes(shape: ModelShape, weights: Format, batch_tokens: int = 2048) -> float:
    """Estimate the memory in bytes of answering: the program, the weights, and one batch."""
    batch = batch_tokens * (shape.hidden * ACTIVATIONS + shape.layers * shape.hidden) * 4
    return PROGRAM + shape.parameters * BYTES[weights] + batch


def tuning_bytes(
    shape: ModelShape, weights: Format, *, rank: int, layers: int, batch_tokens: int, checkpointing: bool = False
) -> float:
    """Estimate the memory in bytes of LoRA training: serving, trained weights with moments, stored activations."""
    tuned = 1 if checkpointing else layers or shape.layers
    kept = batch_tokens * shape.hidden * ACTIVATIONS * 4 * tuned
    trained = shape.lora_parameters(rank, layers) * TRAINED_WEIGHT
    return serving_bytes(shape, weights, batch_tokens) + trained + kept


def free_bytes(device: str = "cpu") -> float:
    """Return the free memory of a device in bytes."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    import psutil

    return float(psutil.virtual_memory().available)


def require_memory(folder: Path, weights: Format, device: str = "cpu") -> None:
    """Check that a model's weights fit into the free memory; a model of unknown shape is accepted.

    Raises:
        ModelError: the weights need more memory than is free.
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


def require_reading(weights: Path, folder: Path, tokens: int) -> None:
    """Check that the weights in a GGUF file and what is kept of `tokens` tokens fit into the free memory.

    `folder` has the configuration; a model of unknown shape is accepted.

    Raises:
        ModelError: more memory is needed than is free.
    """
    shape = ModelShape.of(folder)
    kept = shape.cache_bytes(tokens) if shape else 0
    needed, free = weights.stat().st_size + kept, free_bytes()
    if needed > free:
        raise ModelError(
            f"{weights.name} takes {needed / 1e9:.1f} GB to read {tokens:,} tokens, {free / 1e9:.1f} GB are free; "
            "choose a smaller student, or close other programs"
        )


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps some hundred megabytes after tensors of changing sizes."""
    import ctypes

    # Other C libraries lack this function, and mostly return memory by themselves.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


PEAK = "VmHWM:"


def release_memory() -> None:
    """Free the memory of unused models and return it to the system, because glibc would keep it."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    """Restart the measurement of the peak on Linux; on other systems the peak is that of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> float:
    """Return the peak of the resident memory in GB since `forget_peak`, or since the process began."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(PEAK)).split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
