"""Tuning a knowledge base's kind readers: each half of its thoughts is read by a reader tuned on the other half."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bundlewise.domain import Knowledge
from bundlewise.errors import UsageError
from bundlewise.files import only_process
from bundlewise.progress import progress

if TYPE_CHECKING:
    from bundlewise.finetune.kind_tuning import KindConfig
    from bundlewise.knowledge_base.embedding import LocalEmbedder
    from bundlewise.knowledge_base.store import KnowledgeStore

Pairs = list[tuple[str, str]]
"""Titles with the teacher's kinds, without duplicates."""


def tune_readers(store: "KnowledgeStore", config: "KindConfig") -> int:
    """Tune the missing kind readers, with a progress bar; return their number.

    After a stop, the same call continues with the missing half.

    Raises:
        UsageError: the embedder is on a server, or there is nothing to learn from.
        BundlewiseError: another process is tuning the readers.
        AdapterError: the loss is not a number.
    """
    from bundlewise.knowledge_base.embedding import LocalEmbedder, parts_of
    from bundlewise.knowledge_base.kind_reader import reader_folders, readers_of

    embedder = parts_of(store.embedder)[0]
    if not isinstance(embedder, LocalEmbedder):
        remedy = f"use a local one: bundlewise kb reindex {store.place} --embedder minilm"
        raise UsageError(f"{embedder.name} is on a server and cannot be tuned; {remedy}")
    within, thoughts = store.vectors_folder, store.thoughts()
    halves = _halves(store, thoughts)
    with only_process(within / "kinds", remedy="wait for it"):
        tuned = _tune(embedder, reader_folders(within, thoughts, embedder), halves, config)
        for reader, pairs in zip(readers_of(within, thoughts, embedder), halves, strict=True):
            reader.keep([title for title, _ in pairs])
    return tuned


def _halves(store: "KnowledgeStore", thoughts: Sequence[Knowledge]) -> list[Pairs]:
    """Return the titles and the teacher's kinds of each half of the thoughts."""
    from bundlewise.knowledge_base.kind_reader import HALVES, halves, observed

    known = observed(thoughts)
    if not known:
        raise UsageError(f"nothing to learn from: {store.place} has no thoughts; distil some: bundlewise distil")
    found = [set[tuple[str, str]]() for _ in range(HALVES)]
    for thought, half in zip(known, halves(known).tolist(), strict=True):
        found[half].update(zip(thought.titles, map(str.lower, thought.kinds), strict=True))
    return [sorted(pairs) for pairs in found]


def _tune(embedder: "LocalEmbedder", folders: Sequence[Path], halves: Sequence[Pairs], config: "KindConfig") -> int:
    from bundlewise.finetune.kind_tuning import tune_kind_reader
    from bundlewise.knowledge_base.kind_reader import is_whole, title_model

    missing = [(folder, pairs) for folder, pairs in zip(folders, reversed(halves), strict=True) if not is_whole(folder)]
    kinds = sorted({kind for pairs in halves for _, kind in pairs})
    vectors = dict(zip(kinds, embedder.embed(kinds), strict=True))
    with progress("tune", sum(config.steps(len(pairs)) for _, pairs in missing)) as advance:
        for folder, pairs in missing:
            if folder.exists():
                shutil.rmtree(folder)
            tune_kind_reader(title_model(embedder), pairs, vectors, config, folder, advance)
    return len(missing)


def read_rightly(store: "KnowledgeStore") -> tuple[float, float]:
    """Return the share of titles new to their reader whose nearest kind is the teacher's: untuned, and tuned."""
    import numpy as np

    from bundlewise.knowledge_base.kind_reader import readers_of

    thoughts = store.thoughts()
    halves = _halves(store, thoughts)
    kinds = sorted({kind for pairs in halves for _, kind in pairs})
    goal = store.embedder.embed(kinds)
    right: list[tuple[bool, bool]] = []
    for number, reader in enumerate(readers_of(store.vectors_folder, thoughts, store.embedder)):
        seen = {title for title, _ in halves[1 - number]}
        asked = [(title, kind) for title, kind in halves[number] if title not in seen]
        titles = [title for title, _ in asked]
        named = [np.argmax(by.embed(titles) @ goal.T, axis=1) for by in (store.embedder, reader)] if asked else []
        right += [(kinds[a] == kind, kinds[b] == kind) for (_, kind), a, b in zip(asked, *named, strict=False)]
    before, now = np.mean(right, axis=0).tolist() if right else (0.0, 0.0)
    return before, now
