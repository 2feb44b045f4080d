"""Embed a knowledge base again: make the next generation of vectors beside the one in use, then switch to it.

Until the switch the old vectors stay in use, even if the process is killed. The old generation is
kept, so that the switch can be undone.
"""

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from bundlewise.domain import Knowledge
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.index import BATCH, VectorIndex, retrieval_key, scrub
from bundlewise.knowledge_base.kind_reader import is_whole, reader_folders
from bundlewise.knowledge_base.place import Place
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.progress import Advance

PER_GENERATION = ("embedder", "fingerprint", "generation")


def reindex(place: Place | str, embedder: Embedder, advance: Advance | None = None) -> int:
    """Embed all records of a knowledge base with an embedder, and switch to the new vectors.

    After a stop, the same call continues with the remaining records. The old vectors may be damaged. The readers that
    `kb tune` made stay if the embedder that they were tuned from is still the first one.

    Returns:
        The number of records.
    """
    store = KnowledgeStore(str(place))
    with store.writing():
        meta = store.meta
        now = int(meta.get("generation", 1))
        kept = (meta.get("previous") or {}).get("generation")
        free = max(now, kept or 0) + 1
        begun = meta.get("reindexing") or {"generation": free, "fingerprint": embedder.fingerprint}
        if not embedder.fits(begun["fingerprint"]) or not _is_sound(store, begun["generation"]):
            _forget(store, begun["generation"])
            begun = {"generation": begun["generation"] + 1, "fingerprint": embedder.fingerprint}
        store.database.set_meta(reindexing=begun)
        number = _embed(store, begun["generation"], embedder, advance)
        _carry_readers(store, embedder, store.place.generation_folder(begun["generation"]))
        _forget(store, kept)
        previous = {key: meta[key] for key in PER_GENERATION if key in meta}
        _step(store, embedder.name, embedder.fingerprint, begun["generation"], previous)
    KnowledgeStore.open(str(place), embedder)
    return number


def _carry_readers(store: KnowledgeStore, embedder: Embedder, folder: Path) -> None:
    """Copy the tuned readers of titles to the folder of new vectors, if they belong to the first embedder."""
    for new in reader_folders(folder, store.thoughts(), embedder):
        old = store.vectors_folder / new.parent.name / new.name
        if is_whole(old) and not is_whole(new):
            shutil.copytree(old, new, dirs_exist_ok=True)


def _is_sound(store: KnowledgeStore, generation: int) -> bool:
    try:
        return bool(VectorIndex(store.place, store.place.client(generation), generation).generation)
    except KnowledgeError:
        return False


def _embed(store: KnowledgeStore, generation: int, embedder: Embedder, advance: Advance | None) -> int:
    index = VectorIndex(store.place, store.place.client(generation), generation)
    index.expect(store.records.counts().total())
    done, seen = index.bodies(), 0
    for batch in batched(store.records.select(status=None), BATCH):
        todo = [record for record in batch if done.pop(record.id, None) != record.model_dump_json()]
        index.put(todo, embedder.embed([retrieval_key(record) for record in todo]))
        seen += len(batch)
        if advance:
            advance(len(batch))
    index.drop([Knowledge.model_validate_json(body) for body in done.values()])
    if not store.place.is_server:
        index.flush()
        scrub(store.place.generation_folder(generation))
    return seen


def batched(records: Iterable[Knowledge], size: int) -> Iterator[list[Knowledge]]:
    """Yield records in lists of a size."""
    rest = iter(records)
    while batch := list(islice(rest, size)):
        yield batch


def _step(store: KnowledgeStore, name: str, fingerprint: str, generation: int, previous: object) -> None:
    """Switch to another generation in one transaction."""
    store.database.set_meta(
        embedder=name,
        fingerprint=fingerprint,
        generation=generation,
        previous=previous,
        reindexing=None,
        files=None,
        published=None,
        told=None,
    )


def roll_back(place: Place | str) -> str:
    """Return to the vectors from before the last reindexing, and embed the records that changed since.

    Returns:
        The name of the embedder of these vectors.

    Raises:
        UsageError: the knowledge base was not reindexed.
    """
    store = KnowledgeStore(str(place))
    with store.writing():
        meta = store.meta
        before = meta.get("previous")
        if not before:
            raise UsageError(f"nothing to roll back in {place}: it was not reindexed")
        index = VectorIndex(store.place, store.place.client(before["generation"]), before["generation"])
        held = index.bodies()
        records = store.records.select(status=None)
        store.database.unsettle([r.id for r in records if held.pop(r.id, None) != r.model_dump_json()])
        index.drop([Knowledge.model_validate_json(body) for body in held.values()])
        now = {key: meta[key] for key in PER_GENERATION}
        _step(store, before["embedder"], before["fingerprint"], before["generation"], now)
    KnowledgeStore.open(str(place))
    return str(before["embedder"])


def _forget(store: KnowledgeStore, generation: int | None) -> None:
    """Delete a generation, whose vectors can be made again from the records."""
    if generation is None:
        return
    if store.place.is_server:
        VectorIndex(store.place, store.place.client(generation), generation).forget()
    else:
        shutil.rmtree(store.place.generation_folder(generation), ignore_errors=True)
