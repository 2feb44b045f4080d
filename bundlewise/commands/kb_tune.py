"""bundlewise kb tune: teach the embedder of a knowledge base to read titles as the teacher does."""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import folded, kb_argument, opened
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.finetune.kinds import KindConfig
    from bundlewise.knowledge_base.embedding import LocalEmbedder
    from bundlewise.knowledge_base.kind_reader import KindReader
    from bundlewise.knowledge_base.store import KnowledgeStore

Pairs = list[tuple[str, str]]


@click.command()
@kb_argument
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True, help="Times each title is seen.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first weights and the order.")
@click.option("--forget", is_flag=True, help="Remove what was tuned; the embedder alone reads titles again.")
def tune(kb: str, epochs: int, seed: int, forget: bool) -> None:
    """Teach the embedder of KB the teacher's kinds.

    Titles of new products are then read more as the teacher would, and their pairs judged better. Takes some
    minutes on a CPU and asks no teacher. There are two halves, each tuned on the thoughts of the other, so that no
    training session meets what was learnt from itself. Stopped, the same command goes on with the half that is
    missing. Tune students after it, not before; and once thoughts were added or retired, tune KB again.
    """
    store = opened(kb)
    from bundlewise.files import only_process
    from bundlewise.finetune.kinds import KindConfig
    from bundlewise.knowledge_base.embedding import LocalEmbedder

    if forget:
        _forget(store, kb)
        return
    if not isinstance(store.embedder, LocalEmbedder):
        remedy = f"a local one can: bundlewise kb reindex {kb} --embedder minilm"
        raise UsageError(f"{store.embedder.name} is on a server and cannot be tuned; {remedy}")
    halves = _halves(store)
    with only_process(store.vectors_folder / "kinds"):
        tuned = _tune(store, store.embedder, halves, KindConfig(epochs=epochs, seed=seed))
        readers = _readers(store, halves)
    before, now = _read_rightly(store, readers, halves)
    done = "tuned" if tuned else "was tuned before (--forget, to do it anew)"
    click.echo(folded(f"{kb}: {done}; {now:.0%} of unseen titles are read as the teacher's kind, {before:.0%} untuned"))


def _forget(store: "KnowledgeStore", kb: str) -> None:
    found = [path for path in store.vectors_folder.glob("kinds-*") if path.is_dir()]
    if not found:
        raise UsageError(f"nothing is tuned in {kb}; leave out --forget")
    for path in found:
        shutil.rmtree(path)
    click.echo(f"{kb}: the embedder alone reads titles")


def _halves(store: "KnowledgeStore") -> list[Pairs]:
    """Return the titles with the teacher's kinds of each half of the thoughts, each pair once."""
    from bundlewise.knowledge_base.kind_reader import HALVES, halves, observed

    known = observed(store.thoughts())
    if not known:
        raise UsageError(f"nothing to learn from: {store.place} has no thoughts; distil some: bundlewise distil")
    found = [set[tuple[str, str]]() for _ in range(HALVES)]
    for thought, half in zip(known, halves(known).tolist(), strict=True):
        found[half].update(zip(thought.titles, map(str.lower, thought.kinds), strict=True))
    return [sorted(pairs) for pairs in found]


def _tune(store: "KnowledgeStore", embedder: "LocalEmbedder", halves: Sequence[Pairs], config: "KindConfig") -> int:
    """Tune the readers that are missing, each on the other half; return how many that were."""
    from bundlewise.finetune.kinds import tune_kind_reader
    from bundlewise.knowledge_base.kind_reader import reader_folders, title_model
    from bundlewise.progress import progress

    folders = reader_folders(store.vectors_folder, store.thoughts(), embedder)
    missing = [(folder, pairs) for folder, pairs in zip(folders, reversed(halves), strict=True) if not folder.is_dir()]
    kinds = sorted({kind for pairs in halves for _, kind in pairs})
    vectors = dict(zip(kinds, embedder.embed(kinds), strict=True))
    with progress("tune", sum(config.steps(len(pairs)) for _, pairs in missing)) as advance:
        for folder, pairs in missing:
            tune_kind_reader(title_model(embedder), pairs, vectors, config, folder, advance)
    return len(missing)


def _readers(store: "KnowledgeStore", halves: Sequence[Pairs]) -> Sequence["KindReader"]:
    """Return the reader of each half, the titles of this half read and kept."""
    from bundlewise.knowledge_base.kind_reader import readers_of

    readers = readers_of(store.vectors_folder, store.thoughts(), store.embedder)
    for reader, pairs in zip(readers, halves, strict=True):
        reader.keep([title for title, _ in pairs])
    return readers


def _read_rightly(
    store: "KnowledgeStore", readers: Sequence["KindReader"], halves: Sequence[Pairs]
) -> tuple[float, float]:
    """Return the share of titles, unseen by their reader, whose nearest kind is the teacher's: untuned, and tuned."""
    import numpy as np

    kinds = sorted({kind for pairs in halves for _, kind in pairs})
    goal = store.embedder.embed(kinds)
    right: list[tuple[bool, bool]] = []
    for number, reader in enumerate(readers):
        seen = {title for title, _ in halves[1 - number]}
        asked = [(title, kind) for title, kind in halves[number] if title not in seen]
        titles = [title for title, _ in asked]
        named = [np.argmax(by.embed(titles) @ goal.T, axis=1) for by in (store.embedder, reader)] if asked else []
        right += [(kinds[a] == kind, kinds[b] == kind) for (_, kind), a, b in zip(asked, *named, strict=False)]
    before, now = np.mean(right, axis=0).tolist() if right else (0.0, 0.0)
    return before, now
