"""A GGUF file in llama.cpp, in this process: it reads tokens of several texts at once and keeps what it has read."""

import ctypes
import os
import weakref
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bundlewise.errors import ModelError
from bundlewise.extras import require
from bundlewise.progress import go_on

TEXTS = 65
"""The most texts that are held at once; text 0 is the last prompt."""
CHUNK = 128
"""The most tokens in one pass, about a second of work; between two passes the work can be stopped."""
THREADS = "OMP_NUM_THREADS"
ERROR = 4
"""The level of llama.cpp's log at which it says why something failed."""

Logits = npt.NDArray[np.float32]


class Token(NamedTuple):
    """A token to read: its place in the texts that it belongs to, and whether the logits after it are wanted."""

    token: int
    place: int
    texts: tuple[int, ...]
    wanted: bool


class LlamaContext:
    """A loaded model with room for the keys and values of `cells` tokens; not for several threads at once."""

    def __init__(self, path: Path, cells: int) -> None:
        """Load the weights as they are in the file.

        Raises:
            UsageError: llama-cpp-python is not installed.
            ModelError: llama.cpp cannot be loaded, or cannot load the file.
        """
        self._library, self._faults = _library()
        self.path, self.cells = path, cells
        self._kept: list[int] = []
        self._faults.clear()
        self._model = self._loaded()
        self._context = self._opened()
        self._memory = self._library.llama_get_memory(self._context)
        self._batch = self._library.llama_batch_init(CHUNK, 0, TEXTS)
        weakref.finalize(self, _free, self._library, self._model, self._context, self._batch)
        self.vocabulary = int(self._library.llama_vocab_n_tokens(self._library.llama_model_get_vocab(self._model)))

    def read(self, ids: Sequence[int], places: Sequence[int], text: int = 0) -> Iterator[tuple[int, Logits]]:
        """Read a text; yield the logits after each of the ascending places with its number, to be used at once.

        What the text begins with and text 0 has already read is not computed again. A text read as number 0 stays
        until the next one.
        """
        shared = _shared(self._kept, ids[: places[0]])
        if text:
            self.copy(0, [text], shared)
        else:
            if shared < len(self._kept) and not self._library.llama_memory_seq_rm(self._memory, 0, shared, -1):
                self.forget()  # Some families cannot forget a part.
                shared = 0
            self._kept = list(ids)
        wanted = set(places)
        rows = [Token(ids[place], place, (text,), place in wanted) for place in range(shared, len(ids))]
        yield from self.decode(rows)

    def copy(self, text: int, others: Sequence[int], length: int) -> None:
        """Let other texts begin with the first tokens of a text; no memory is copied."""
        for other in others:
            self._library.llama_memory_seq_cp(self._memory, text, other, 0, length)

    def drop(self, texts: Sequence[int]) -> None:
        """Forget texts."""
        for text in texts:
            self._library.llama_memory_seq_rm(self._memory, text, -1, -1)

    def forget(self) -> None:
        """Forget all texts."""
        self._kept = []
        self._library.llama_memory_clear(self._memory, True)

    def decode(self, rows: Sequence[Token]) -> Iterator[tuple[int, Logits]]:
        """Read tokens, each after those before it in its texts; yield each wanted one's number with its logits.

        The logits are overwritten when the next ones are asked for.

        Raises:
            ModelError: llama.cpp fails.
        """
        for start in range(0, len(rows), CHUNK):
            go_on()
            part = rows[start : start + CHUNK]
            self._fill(part)
            self._faults.clear()
            if status := self._library.llama_decode(self._context, self._batch):
                raise ModelError(
                    f"llama.cpp cannot read {len(part)} more tokens (status {status}{_said(self._faults)}); "
                    "ask for fewer samples, or close other programs"
                )
            wanted = [number for number, row in enumerate(part) if row.wanted]
            if not wanted:
                continue
            found = self._library.llama_get_logits(self._context)
            logits = np.ctypeslib.as_array(found, (len(wanted), self.vocabulary))
            yield from zip([start + number for number in wanted], logits, strict=True)

    def _fill(self, rows: Sequence[Token]) -> None:
        batch = self._batch
        batch.n_tokens = len(rows)
        for number, row in enumerate(rows):
            batch.token[number], batch.pos[number], batch.logits[number] = row.token, row.place, row.wanted
            batch.n_seq_id[number] = len(row.texts)
            for place, text in enumerate(row.texts):
                batch.seq_id[number][place] = text

    def _loaded(self) -> Any:
        settings = self._library.llama_model_default_params()
        found = self._library.llama_model_load_from_file(os.fsencode(self.path), settings)
        if not found:
            raise ModelError(
                f"llama.cpp cannot load {self.path}{_said(self._faults)}; give another file of this model, "
                "or leave out llama:"
            )
        return found

    def _opened(self) -> Any:
        settings = self._library.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = self.cells, CHUNK, CHUNK, TEXTS
        settings.n_threads = settings.n_threads_batch = threads()
        settings.kv_unified, settings.no_perf = True, True
        found = self._library.llama_init_from_model(self._model, settings)
        if not found:
            self._library.llama_model_free(self._model)
            raise ModelError(
                f"llama.cpp has no memory to read {self.cells:,} tokens with {self.path}{_said(self._faults)}; "
                "close other programs or choose a smaller model"
            )
        return found


def threads() -> int:
    """Return the number of threads to compute with: OMP_NUM_THREADS, or the cores of this process."""
    said = os.environ.get(THREADS, "").partition(",")[0]
    if said.isdecimal() and int(said):
        return int(said)
    cores = getattr(os, "sched_getaffinity", None)
    return len(cores(0)) if cores else os.cpu_count() or 1


def _shared(known: Sequence[int], ids: Sequence[int]) -> int:
    """Return the number of first tokens that two texts share."""
    ends = (place for place, (a, b) in enumerate(zip(known, ids, strict=False)) if a != b)
    return next(ends, min(len(known), len(ids)))


@cache
def _library() -> tuple[Any, list[str]]:
    """Return llama.cpp and the list to which it says what fails."""
    require("llama", "a student named llama:...")
    try:
        import llama_cpp
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"llama.cpp cannot be loaded: {reason}; install llama-cpp-python again") from error
    faults: list[str] = []

    def note(level: int, text: bytes, _: Any) -> None:
        if level == ERROR:
            faults.append(text.decode("utf-8", "replace").strip())

    listener = llama_cpp.llama_log_callback(note)
    llama_cpp.llama_log_set(listener, ctypes.c_void_p(0))
    llama_cpp.listener = listener  # llama.cpp calls it as long as the process lives.
    llama_cpp.llama_backend_init()
    return llama_cpp, faults


def _said(faults: Sequence[str]) -> str:
    """Return what llama.cpp said first, for the middle of a sentence."""
    return f": {faults[0].rstrip('.')}" if faults else ""


def _free(library: Any, model: Any, context: Any, batch: Any) -> None:
    library.llama_batch_free(batch)
    library.llama_free(context)
    library.llama_model_free(model)
