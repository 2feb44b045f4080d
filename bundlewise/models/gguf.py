"""GGUF files as models: each is checked, and converted once into a folder that transformers can load and tune."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import IO

from bundlewise.errors import ModelError, UsageError
from bundlewise.files import sha256_file
from bundlewise.models.cache import is_complete, models_folder
from bundlewise.models.gguf_header import AGAIN, MAGIC, GgufHeader
from bundlewise.models.memory import PROGRAM, free_bytes
from bundlewise.progress import progress

ENDING = ".gguf"
LLAMA = "llama:"
"""The prefix of names of GGUF files whose own weights llama.cpp runs, without a conversion of these."""
FOLDER = "gguf-"
"""The beginning of a conversion's name in the cache; the SHA-256 of the file follows."""
PART = re.compile(r"-\d{5}-of-(?P<count>\d{5})$")
STEPS = 4
"""The steps of a conversion: the configuration, the weights, writing them, the tokenizer."""
OTHER = "give another file of this model, or the folder that it was made from"
UNKNOWN = "which cannot be undone here; give the model in another one, such as Q8_0, Q4_K_M or BF16"
BESIDE_WEIGHTS = 50_000_000
"""More bytes on the disk than the weights take: a tokenizer of 300,000 tokens."""
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from bundlewise.models.gguf_worker import main; main(*sys.argv[2:])"
)


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file with its SHA-256."""

    path: Path
    sha256: str

    @classmethod
    def open(cls, path: Path) -> "GgufFile":
        """Hash a file.

        Raises:
            UsageError: there is no file.
            ModelError: it cannot be read, or does not begin as a GGUF file does.
        """
        if not path.is_file():
            raise UsageError(f"there is no file {path}; give the path of a GGUF file")
        try:
            with path.open("rb") as stream:
                is_gguf = stream.read(len(MAGIC)) == MAGIC
            # What is no GGUF file is not hashed, it may be large. Reading the header tells what is wrong.
            found = path.stat()
            seal = _sha256(path, found.st_ino, found.st_size, found.st_mtime_ns) if is_gguf else ""
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}; check path and rights") from error
        if not is_gguf:
            GgufHeader.read(path)
        return cls(path, seal)

    @property
    def folder(self) -> Path:
        """The folder in the cache, which exists only when the file has been converted."""
        return models_folder() / f"{FOLDER}{self.sha256}"

    @cached_property
    def header(self) -> GgufHeader:
        """The header; see `GgufHeader.read` for the errors."""
        return GgufHeader.read(self.path)

    @property
    def disk_bytes(self) -> int:
        """The bytes that the converted model takes."""
        return 2 * self.header.weights + BESIDE_WEIGHTS

    @property
    def memory_bytes(self) -> float:
        """The memory in bytes that the conversion takes: all weights twice, and the largest tensor in float32 twice."""
        return PROGRAM + 4 * self.header.weights + 8 * max(tensor.weights for tensor in self.header.tensors)

    def check(self) -> None:
        """Check what can be checked without transformers.

        Raises:
            ModelError: the file is a part of a model, is cut short, has no weights or a quantisation that cannot be
                undone, or needs more memory than is free.
        """
        self._check_parts()
        self._check_tensors()
        if (needed := self.memory_bytes) > (free := free_bytes()):
            raise ModelError(
                f"converting {self.path} takes {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; "
                "close other programs or choose a smaller model"
            )

    def make(self, work: Path, ready: Path) -> dict[str, str]:
        """Convert the file to a folder; return the facts for the manifest."""
        # transformers also reads other files that lie beside the GGUF file; beside the link there are none.
        link = work / "alone" / f"model{ENDING}"
        link.parent.mkdir()
        link.symlink_to(self.path.resolve())
        convert(link, ready, self.path)
        if GgufFile.open(self.path) != self:
            raise ModelError(f"{self.path} has changed while it was converted; run again")
        licence = str(self.header.facts.get("general.license", ""))
        return {"name": self.path.name, "licence": licence, "gguf_sha256": self.sha256}

    def _check_parts(self) -> None:
        named = PART.search(self.path.stem)
        parts = int(named["count"]) if named else 1
        if (said := self.header.facts.get("split.count")) and isinstance(said, int):
            parts = max(parts, said)
        if parts > 1:
            raise ModelError(
                f"{self.path} is one of {parts} parts of a model; join them with llama.cpp "
                "(llama-gguf-split --merge FIRST-PART WHOLE.gguf), and give the result"
            )

    def _check_tensors(self) -> None:
        tensors, size = self.header.tensors, self.path.stat().st_size
        if not tensors:
            raise ModelError(f"{self.path} holds no weights; give the GGUF file of a whole model")
        ends = [self.header.data + each.offset + _bytes(self.path, each.weights, each.kind) for each in tensors]
        if (needed := max(ends)) > size:
            raise ModelError(f"{self.path} is cut short: it has {size:,} of {needed:,} bytes; {AGAIN}")


def conversions() -> list[Path]:
    """Return the folders of all converted GGUF files."""
    return sorted(filter(is_complete, models_folder().glob(f"{FOLDER}*")))


def convert(source: Path, folder: Path, named: Path | None = None) -> None:
    """Write a GGUF model as bfloat16 safetensors with its tokenizer, which loads fast and can be trained and saved.

    A process of its own does it, so that the memory is free again afterwards.

    Args:
        source: a GGUF file without other models' files beside it.
        folder: the folder to write.
        named: the path that errors name; by default the source.

    Raises:
        ModelError: transformers cannot read the file as a language model, or memory or disk space ran out.
    """
    named = named or source
    command = [sys.executable, "-W", "ignore", "-c", _BOOT, json.dumps(sys.path), str(source), str(folder)]
    environment, pipe = os.environ | {"HF_HUB_OFFLINE": "1"}, subprocess.PIPE
    with ExitStack() as open_things:
        advance = open_things.enter_context(progress(f"convert {named.name}", STEPS))
        told = open_things.enter_context(tempfile.TemporaryFile())
        # The worker ends when its standard input is closed, thus also when this process is killed.
        worker = open_things.enter_context(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=told, env=environment, text=True)
        )
        open_things.callback(worker.kill)
        for line in worker.stdout or ():
            if fault := json.loads(line):
                raise ModelError(f"{named} {fault}")
            advance()
        if status := worker.wait():
            raise _failure(named, status, told)


def _failure(path: Path, status: int, told: IO[bytes]) -> ModelError:
    """Return the error for a worker that ended without a message; `told` is what it wrote on stderr."""
    if status == -signal.SIGKILL:
        return ModelError(f"the conversion of {path} was killed, perhaps for lack of memory; close other programs")
    told.seek(0)
    last = (told.read().decode("utf-8", "replace").strip().splitlines() or [f"status {status}"])[-1]
    return ModelError(f"transformers cannot convert {path}: {last}; {OTHER}")


def _bytes(path: Path, weights: int, kind: int) -> int:
    """Return the size of a tensor in the file.

    Raises:
        ModelError: the quantisation is unknown, or cannot be undone.
    """
    import numpy as np
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        quantisation = GGMLQuantizationType(kind)
        block, size = GGML_QUANT_SIZES[quantisation]
        dequantize(np.zeros((1, size), np.uint8), quantisation)
    except (ValueError, KeyError, NotImplementedError) as error:
        names = {each.value: each.name for each in GGMLQuantizationType}
        raise ModelError(f"{path} has the quantisation {names.get(kind, kind)}, {UNKNOWN}") from error
    return -(-weights // int(block)) * int(size)


@cache
def _sha256(path: Path, *_: int) -> str:
    """Hash a file once for each state of it: the other arguments are its inode, size and time of change."""
    return sha256_file(path)
