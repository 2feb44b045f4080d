"""The vector index: the active records of a knowledge base as vectors in Chroma, in a folder or on a server.

There is one collection per kind and domain, because Chroma reads the identifiers of all matching rows
before it searches with a filter, which costs more than the search itself (docs/knowledge-base.md). Records
that are not active lie in a separate collection, the shelf, which is never searched.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundlewise.domain import Knowledge, KnowledgeKind
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.database import Pending
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.place import Place

BATCH = 1000
HNSW = {"space": "cosine", "ef_construction": 200, "ef_search": 200}
DIGITS = 6
"""Scores are rounded to so many digits; equal scores are a tie."""
SPARE = 8
SYNC, SHARE = 1000, 100
"""Chroma writes the search graph of a collection after SYNC changes, or after 1 / SHARE of a large filling."""

Found = list[tuple[str, float]]
Placed = Knowledge | Pending


def retrieval_key(record: Knowledge) -> str:
    """Return the text that is embedded for a record: a pattern's kinds, a rule's text, a thought's kinds and text.

    This was chosen on validation with `query_of` (docs/knowledge-base.md): a search finds a thought less often if
    only its kinds are embedded.
    """
    kinds = ", ".join(record.kinds)
    return (kinds if record.kind == "pattern" else f"{kinds}. {record.text}") if kinds else record.text


class VectorIndex:
    """One generation of the vectors of a knowledge base, all from one embedder."""

    def __init__(self, place: Place, client: Any, generation: int) -> None:
        self.client = client
        self.place = place
        self.generation = generation
        self._sync = SYNC
        self._prefix = f"{place.name}.g{generation}"
        with self.place.plainly("open"):
            known = [c.name for c in client.list_collections() if c.name.startswith(f"{self._prefix}.")]
            self._collections = {name: client.get_collection(name, embedding_function=None) for name in known}

    def _name(self, kind: KnowledgeKind, domain: str) -> str:
        return f"{self._prefix}.{kind}.{fingerprint(domain)}"

    @property
    def _shelf(self) -> str:
        return f"{self._prefix}.shelf"

    def expect(self, count: int) -> None:
        """Prepare for so many changes, so that Chroma writes new collections to disk less often."""
        self._sync = max(SYNC, count // SHARE)

    def _collection(self, name: str, **about: str) -> Any:
        if name not in self._collections:
            settings = {"hnsw": HNSW | {"sync_threshold": self._sync}}
            self._collections[name] = self.client.get_or_create_collection(
                name, metadata=about or None, embedding_function=None, configuration=settings
            )
        return self._collections[name]

    def put(self, records: Sequence[Knowledge], vectors: Vectors) -> None:
        """Put records with their vectors into the collections of their status, and remove them from the others."""
        places: dict[tuple[str, str, str], list[int]] = {}
        for row, record in enumerate(records):
            home, active = self._name(record.kind, record.domain), record.status == "active"
            place = (home, self._shelf) if active else (self._shelf, home)
            places.setdefault((*place, record.kind if active else ""), []).append(row)
        with self.place.plainly("write"):
            for (there, elsewhere, kind), rows in places.items():
                chosen = [records[row] for row in rows]
                about = {"kind": kind, "domain": chosen[0].domain} if kind else {}
                self._upsert(self._collection(there, **about), chosen, vectors[rows])
                self._delete(elsewhere, [record.id for record in chosen])

    def _upsert(self, collection: Any, records: Sequence[Knowledge], vectors: Vectors) -> None:
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            collection.upsert(
                ids=[record.id for record in batch],
                embeddings=vectors[start : start + BATCH],
                documents=[record.text for record in batch],
                metadatas=[{"status": record.status, "record": record.model_dump_json()} for record in batch],
            )

    def _delete(self, name: str, keys: Sequence[str]) -> None:
        if name in self._collections:
            for start in range(0, len(keys), BATCH):
                self._collections[name].delete(ids=list(keys[start : start + BATCH]))

    def flush(self) -> None:
        """Make Chroma write its search graphs to disk, because every opening repeats the changes not yet written."""
        for name, collection in self._collections.items():
            every = collection.configuration_json["hnsw"]["sync_threshold"]
            # Chroma counts the deletion of an unknown id as a change.
            with self.place.plainly("write"):
                self._delete(name, [f"none-{number}" for number in range(every)])

    def drop(self, rows: Sequence[Placed]) -> None:
        """Remove these records from the index; unknown records are ignored."""
        places: dict[str, list[str]] = {}
        for row in rows:
            places.setdefault(self._name(row.kind, row.domain), []).append(row.id)
            places.setdefault(self._shelf, []).append(row.id)
        with self.place.plainly("write"):
            for name, keys in places.items():
                self._delete(name, keys)

    def _searched(self, kind: KnowledgeKind, domain: str | None) -> list[Any]:
        if domain is not None:
            names = [self._name(kind, domain)]
        else:
            names = sorted(name for name in self._collections if name.startswith(f"{self._prefix}.{kind}."))
        return [self._collections[name] for name in names if name in self._collections]

    def nearest(self, vectors: Vectors, kind: KnowledgeKind, domain: str | None, count: int) -> list[Found]:
        """Return for each vector the nearest active records with their cosine, best first; ties go by id.

        These are `count` records, if there are so many, and every record that ties with the last of them.
        """
        found: list[Found] = [[] for _ in vectors]
        if count < 1 or not len(vectors):
            return found
        for collection in self._searched(kind, domain):
            for row, hits in enumerate(self._with_ties(collection, vectors, count)):
                found[row] += hits
        return [_to_the_last_tie(hits, count) for hits in found]

    def _with_ties(self, collection: Any, vectors: Vectors, count: int) -> list[Found]:
        asked = count + SPARE
        while True:
            with self.place.plainly("search"):
                answer = collection.query(query_embeddings=vectors, n_results=asked, include=["distances"])
            pairs = zip(answer["ids"], answer["distances"], strict=True)
            found = [[(k, round(1 - d, DIGITS)) for k, d in zip(*pair, strict=True)] for pair in pairs]
            short = [hits for hits in found if len(hits) < asked]
            if short and min(map(len, short)) < self._size(collection):
                return self._exactly(collection, vectors)
            if all(len(hits) < asked or hits[-1][1] < hits[count - 1][1] for hits in found):
                return found
            asked *= 2

    def _size(self, collection: Any) -> int:
        with self.place.plainly("read"):
            return int(collection.count())

    def _exactly(self, collection: Any, vectors: Vectors) -> list[Found]:
        """Compare the vectors with every record: the fallback if the search graph has lost records."""
        with self.place.plainly("search"):
            held = collection.get(include=["embeddings"])
        scores = vectors @ np.asarray(held["embeddings"], np.float32).T
        return [[(k, round(float(s), DIGITS)) for k, s in zip(held["ids"], row, strict=True)] for row in scores]

    def vectors(self, records: Sequence[Knowledge]) -> dict[str, Vectors]:
        """Return the vectors of records by their ids; records without a vector are left out."""
        places: dict[str, list[str]] = {}
        for record in records:
            name = self._name(record.kind, record.domain) if record.status == "active" else self._shelf
            places.setdefault(name, []).append(record.id)
        found: dict[str, Vectors] = {}
        for name, keys in places.items():
            if name in self._collections:
                with self.place.plainly("read"):
                    held = self._collections[name].get(ids=keys, include=["embeddings"])
                found |= dict(zip(held["ids"], np.asarray(held["embeddings"], np.float32), strict=True))
        return found

    def everything(self) -> Iterator[Knowledge]:
        """Yield all records of this generation from Chroma."""
        for name in sorted(self._collections):
            for start in range(0, self._size(self._collections[name]), BATCH):
                with self.place.plainly("read"):
                    page = self._collections[name].get(limit=BATCH, offset=start, include=["metadatas"])
                yield from (Knowledge.model_validate_json(row["record"]) for row in page["metadatas"])

    def bodies(self) -> dict[str, str]:
        """Return all records of this generation as JSON, by their ids."""
        return {record.id: record.model_dump_json() for record in self.everything()}

    def forget(self) -> None:
        """Delete this generation."""
        with self.place.plainly("write"):
            for name in self._collections:
                self.client.delete_collection(name)
        self._collections.clear()


def _to_the_last_tie(hits: Found, count: int) -> Found:
    ranked = sorted(hits, key=lambda hit: (-hit[1], hit[0]))
    return [hit for hit in ranked if len(ranked) <= count or hit[1] >= ranked[count - 1][1]]


HEADER = struct.Struct("<iQQQQ")
"""The start of hnswlib's header: version, offset of the first level, row capacity, number of rows, bytes per row."""
LENGTH = 4


def scrub(folder: Path) -> None:
    """Zero the unused bytes after the last element of every search graph directly below a folder."""
    for header in folder.glob("*/header.bin"):
        found = header.read_bytes()
        if len(found) < HEADER.size:
            continue
        *_, count, row = HEADER.unpack_from(found)
        for name, size in (("length.bin", LENGTH), ("data_level0.bin", row)):
            _zero(header.with_name(name), count * size)


def _zero(path: Path, start: int) -> None:
    """Zero a file from an offset to its end; a missing or shorter file stays as it is."""
    if not path.is_file() or path.stat().st_size <= start:
        return
    with path.open("r+b") as stream:
        stream.seek(start)
        rest = stream.read()
        if rest.strip(b"\0"):
            stream.seek(start)
            stream.write(bytes(len(rest)))
