"""Maintain a knowledge base: import packs, retire records, merge near-duplicates, and verify it."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from bundlewise.domain import Knowledge, KnowledgeKind
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.checks import faults_of
from bundlewise.knowledge_base.conflicts import Conflict, conflicts
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.duplicates import THRESHOLD, Cluster, duplicates, merged
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.index import retrieval_key
from bundlewise.knowledge_base.packs import Pack
from bundlewise.knowledge_base.store import MERGED, KnowledgeStore
from bundlewise.progress import Advance

PROBES = 100
NEAR = 1e-3
LOST = 0.1
"""The share of records that Chroma's approximate search may miss; a damaged graph misses far more."""


def take_in(store: KnowledgeStore, pack: Pack, name: str, advance: Advance | None = None) -> int | None:
    """Put a pack's records into a knowledge base; retired records stay retired.

    Returns:
        The number of the operation; None if the pack changes nothing.
    """
    held = store.records.get([record.id for record in pack.records])
    retired = {key for key, record in held.items() if record.status == "retired"}
    put = [record for record in pack.records if record.id not in retired]
    return store.change(Change(f"import {name}", put, sessions=pack.sessions), advance)


def retire(store: KnowledgeStore, keys: Sequence[str], reason: str) -> list[Knowledge]:
    """Exclude records from retrieval, and keep them; return those that were not retired before.

    Raises:
        UsageError: an id is unknown.
    """
    held = store.records.get(keys)
    if missing := [key for key in keys if key not in held]:
        raise UsageError(f"no record {missing[0]} in {store.place}; see bundlewise kb list {store.place}")
    changed = [record for record in held.values() if record.status != "retired"]
    put = [record.model_copy(update={"status": "retired", "reason": reason}) for record in changed]
    store.change(Change(f"retire: {reason}", put))
    return changed


def near_duplicates(store: KnowledgeStore, threshold: float = THRESHOLD) -> list[Cluster]:
    """Return the near-duplicates among all active records."""
    records, vectors = _with_vectors(store)
    return duplicates(records, vectors, threshold)


def contradictions(store: KnowledgeStore, threshold: float) -> list[Conflict]:
    """Return the active rules that contradict each other or their measured gain."""
    records, vectors = _with_vectors(store, "rule")
    return conflicts(records, vectors, threshold)


def _with_vectors(store: KnowledgeStore, kind: KnowledgeKind | None = None) -> tuple[list[Knowledge], Vectors]:
    # While another process writes, Chroma may fail to read all vectors.
    with store.writing():
        records = list(store.records.select(kind))
        held = store.index.vectors(records)
    found = [record for record in records if record.id in held]
    return found, np.stack([held[record.id] for record in found]) if found else np.zeros((0, 1), np.float32)


def merge(store: KnowledgeStore, clusters: Sequence[Cluster]) -> int | None:
    """Replace each cluster by one record and retire its members; `undo` restores them exactly."""
    put: list[Knowledge] = []
    for cluster in clusters:
        one = merged(cluster)
        parts = [member for member in cluster.members if member.id != one.id]
        put += [m.model_copy(update={"status": "retired", "reason": f"merged into {one.id}"}) for m in parts]
        put.append(one.model_copy(update={"reason": MERGED + " ".join(member.id for member in cluster.members)}))
    return store.change(Change(f"merge {len(clusters)} groups of near-duplicates", put)) if put else None


def verify(store: KnowledgeStore) -> list[str]:
    """Return all faults of a knowledge base with their remedies; empty if it is sound."""
    found = store.database.faults()
    for faults in (_record_faults, _vector_faults, _leftovers):
        try:
            found += faults(store)
        except KnowledgeError as error:
            found.append(str(error))
    return found


def _record_faults(store: KnowledgeStore) -> Iterator[str]:
    sessions = {session.id: session for session in store.records.sessions()}
    for record in store.records.select(status=None):
        yield from (f"{record.id}: {fault}" for fault in faults_of(record, sessions))


def _vector_faults(store: KnowledgeStore) -> Iterator[str]:
    """Yield the differences between Chroma and the database: missing, extra and changed records, and wrong vectors."""
    remedy = f"bundlewise kb reindex {store.place}"
    if not store.is_settled:
        yield f"a change has not reached the vectors: open it for writing, or {remedy}"
    held = store.index.bodies()
    for record in store.records.select(status=None):
        body = held.pop(record.id, None)
        if body != record.model_dump_json():
            yield f"{record.id} {'has no vector' if body is None else 'changed after its vector was made'}; {remedy}"
    yield from (f"there is a vector of {key}, but there is no such record; {remedy}" for key in held)
    probes = list(islice(store.records.select(), PROBES))
    vectors = store.index.vectors(probes)
    wanted = store.embedder.embed([retrieval_key(record) for record in probes])
    lost = 0
    for record, vector in zip(probes, wanted, strict=True):
        there = vectors.get(record.id)
        if there is None or there.shape != vector.shape or float(np.abs(there - vector).max()) > NEAR:
            yield f"{record.id} has a vector that does not fit its text; {remedy}"
        lost += record.id not in dict(store.index.nearest(vector[None], record.kind, record.domain, 1)[0])
    if lost > len(probes) * LOST:
        yield f"{lost} of {len(probes)} records are not found by their own vectors; {remedy}"


def _leftovers(store: KnowledgeStore) -> Iterator[str]:
    """Yield the unused folders of vectors; the folder of an interrupted reindexing counts as used."""
    meta = store.meta
    known = [{"generation": 1} | meta, *(meta[key] for key in ("previous", "reindexing") if meta.get(key))]
    used = {store.place.generation_folder(int(each["generation"])) for each in known}
    there = set(store.folder.glob("index-*"))
    yield from (f"{path} is unused; delete it" for path in sorted(there - used))
