"""The header of a GGUF file: what the file says about itself, read strictly and without its weights."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from bundlewise.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""The versions that transformers reads; version 1 has been out of use since 2023."""
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of numbers by their code in the file, as `struct` names them."""
TEXT, ARRAY = 8, 9
MOST_DIMENSIONS = 8
AGAIN = "fetch it again"


@dataclass(frozen=True)
class GgufTensor:
    """A tensor of the file: its shape, the code of its quantisation, and its offset in the data."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def weights(self) -> int:
        """The number of its weights."""
        return prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """The facts of a GGUF file by their keys, its tensors, and the position at which their data begins."""

    facts: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    data: int

    @classmethod
    def read(cls, path: Path) -> "GgufHeader":
        """Read the header of a file.

        Raises:
            ModelError: the file cannot be read, is no GGUF file, is cut short within the header, or is damaged.
        """
        try:
            with path.open("rb") as stream:
                return _Reading(stream, path).header()
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}; check path and rights") from error

    def said(self, key: str) -> Any:
        """Return a fact about the architecture by the end of its key, such as `rope.freq_base`, or None."""
        return self.facts.get(f"{self.architecture}.{key}")

    @property
    def architecture(self) -> str:
        """The family of the model, such as `llama`; empty if the file does not say."""
        return str(self.facts.get("general.architecture", ""))

    @property
    def weights(self) -> int:
        """The number of weights of all tensors."""
        return sum(tensor.weights for tensor in self.tensors)


class _Reading:
    """One pass over the header of an open file."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.size, self.place = stream, path, path.stat().st_size, 0

    def header(self) -> GgufHeader:
        if self._take(4) != MAGIC:
            raise ModelError(f"{self.path} is no GGUF file: it does not begin with GGUF; give a model in this format")
        (version,) = self._numbers("I", 1)
        if version not in VERSIONS:
            raise ModelError(
                f"{self.path} has GGUF version {version}, readable are 2 and 3 in little-endian order; "
                "convert the model again with llama.cpp's convert_hf_to_gguf.py"
            )
        tensors, facts = self._numbers("Q", 2)
        known = self._facts(facts)
        listed = self._tensors(tensors)
        step = known.get("general.alignment", 32)
        if not isinstance(step, int) or step < 1:
            raise self._damaged(f"its alignment is {step!r}")
        return GgufHeader(known, listed, -(-self.place // step) * step)

    def _facts(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            key, (kind,) = self._text(), self._numbers("I", 1)
            # Without this check a file of zeros would be read to its end.
            if key in found:
                raise self._damaged(f"it says {key!r} twice")
            found[key] = self._value(kind)
        return found

    def _tensors(self, count: int) -> tuple[GgufTensor, ...]:
        found: dict[str, GgufTensor] = {}
        for _ in range(count):
            name, (dimensions,) = self._text(), self._numbers("I", 1)
            if name in found or dimensions > MOST_DIMENSIONS:
                raise self._damaged(f"its tensor {name!r} comes twice or has {dimensions} dimensions")
            # The dimension that changes fastest comes first in the file, and last in a shape.
            shape = self._numbers("Q", dimensions)[::-1]
            (kind,), (offset,) = self._numbers("I", 1), self._numbers("Q", 1)
            found[name] = GgufTensor(name, shape, kind, offset)
        return tuple(found.values())

    def _value(self, kind: int) -> Any:
        if kind == TEXT:
            return self._text()
        if kind == ARRAY:
            (inner,), (count,) = self._numbers("I", 1), self._numbers("Q", 1)
            if inner == TEXT:
                return [self._text() for _ in range(count)]
            return list(self._numbers(self._format(inner), count))
        return self._numbers(self._format(kind), 1)[0]

    def _format(self, kind: int) -> str:
        if kind not in NUMBERS:
            raise self._damaged(f"it has a value of the unknown type {kind}")
        return NUMBERS[kind]

    def _numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        raw = self._take(count * struct.calcsize(f"<{kind}"))
        return struct.unpack(f"<{count}{kind}", raw)

    def _text(self) -> str:
        (length,) = self._numbers("Q", 1)
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged("a text in it is not UTF-8") from error

    def _take(self, count: int) -> bytes:
        if count > self.size - self.place:
            # Only the first bytes tell what the file is meant to be.
            if self.place == 0:
                raise ModelError(f"{self.path} is no GGUF file: it has {self.size} bytes; give a model in this format")
            raise ModelError(f"{self.path} is cut short or damaged: its header ends after {self.size:,} bytes; {AGAIN}")
        self.place += count
        return self.stream.read(count)

    def _damaged(self, what: str) -> ModelError:
        return ModelError(f"{self.path} is damaged: {what}; {AGAIN}")
