"""Kind readers: the embedder with small LoRA weights that map a title to the kind that a teacher would give it.

The plain embedder places a title by its words. A reader is tuned on the titles and kinds of the thoughts, so that the
vector of a title comes close to the vector of the teacher's kind. Each half of the thoughts has a reader that was
tuned on the other half, so that a known session never uses what was learnt from itself.
`finetune/kind_tuning.py` tunes the readers.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundlewise.domain import Knowledge, item_set_of
from bundlewise.errors import ModelError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.embedding import Embedder, LocalEmbedder, Vectors, parts_of, unit
from bundlewise.models.fingerprints import content_of

HALVES = 2
TITLE_TOKENS = 64
"""The most tokens of a title that are read, in tuning too; the rest of a title does not help to tell its kind."""
WEIGHTS = "adapter_model.safetensors"
READ = "read.npz"
"""The file with the vectors of the titles of a reader's half; every tuning of a student needs them."""


def observed(thoughts: Sequence[Knowledge]) -> list[Knowledge]:
    """Return the thoughts that have a kind for each of two or more titles."""
    return [thought for thought in thoughts if len(thought.titles) == len(thought.kinds) > 1]


def halves(thoughts: Sequence[Knowledge]) -> npt.NDArray[np.intp]:
    """Return the half (0 or 1) of each thought; sessions with equal titles are in the same half."""
    sets = np.array([item_set_of(thought.titles) for thought in thoughts])
    found: npt.NDArray[np.intp] = np.unique(sets, return_inverse=True)[1] % HALVES
    return found


def reader_folders(within: Path, thoughts: Sequence[Knowledge], embedder: Embedder) -> list[Path]:
    """Return the folders for the readers of these thoughts, one for each half; they may not exist yet.

    Args:
        within: the folder of the store's vectors.
        thoughts: the thoughts that evidence is read from.
        embedder: the store's embedder; of several side by side the first is tuned.
    """
    known = observed(thoughts)
    key = fingerprint([parts_of(embedder)[0].fingerprint, [(thought.titles, thought.kinds) for thought in known]])
    return [within / f"kinds-{key}" / f"half-{number}" for number in range(HALVES)]


def is_whole(folder: Path) -> bool:
    """Say whether a reader's folder has its weights."""
    return (folder / WEIGHTS).is_file()


def readers_of(within: Path, thoughts: Sequence[Knowledge], embedder: Embedder) -> tuple["KindReader", ...]:
    """Return the tuned readers of these thoughts, one for each half; empty if they were not tuned."""
    first = parts_of(embedder)[0]
    if not isinstance(first, LocalEmbedder) or not any(within.glob("kinds-*")):
        return ()
    folders = reader_folders(within, thoughts, first)
    if not all(map(is_whole, folders)):
        return ()
    readers = tuple(KindReader(first, folder) for folder in folders)
    for reader in readers:
        reader.load(reader.folder / READ)
    return readers


def tuned_state(within: Path, thoughts: Sequence[Knowledge], embedder: Embedder) -> str:
    """Return the state of the readers: `tuned`, `untuned`, `unfinished`, or `outdated` because thoughts changed."""
    if not any(within.glob("kinds-*/half-*")):
        return "untuned"
    folders = reader_folders(within, thoughts, embedder)
    if all(map(is_whole, folders)):
        return "tuned"
    return "unfinished" if any(folder.is_dir() for folder in folders) else "outdated"


def title_model(base: LocalEmbedder) -> Any:
    """Return a copy of an embedder's model that LoRA weights can be added to; it shares the embedder's weights."""
    model = base.twin()
    model.max_seq_length = min(TITLE_TOKENS, model.max_seq_length or TITLE_TOKENS)
    return model


class KindReader(Embedder):
    """A local embedder with LoRA weights for titles; it shares the base weights with the embedder."""

    def __init__(self, base: LocalEmbedder, folder: Path) -> None:
        super().__init__(f"{base.name} tuned in {folder}")
        self.base, self.folder = base, folder

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with the embedder and with the learnt weights."""
        return fingerprint([self.base.fingerprint, content_of(self.folder / WEIGHTS)])

    def keep(self, titles: Sequence[str]) -> None:
        """Save the vectors of the titles of its half for later processes, unless they are saved."""
        if not (self.folder / READ).is_file():
            self.save(self.folder / READ, titles)

    def _forward(self, texts: list[str]) -> Vectors:
        return unit(self._model.encode(texts, batch_size=len(texts), show_progress_bar=False), self.name)

    @cached_property
    def _model(self) -> Any:
        from safetensors import SafetensorError

        model = title_model(self.base)
        try:
            model.load_adapter(str(self.folder))
        except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
            remedy = "run `bundlewise kb tune` with --forget, then tune again"
            raise ModelError(f"cannot load the kind reader in {self.folder}; {remedy}") from error
        return model
