"""The knowledge store: records in a persistent Chroma collection, one writer, many readers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bundlewise.domain import Knowledge, KnowledgeKind
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import write_json
from bundlewise.knowledge_base.embedding import Embedder, Vectors

SCHEMA = 1
BATCH = 1000
VECTORS = "vectors.npz"
COMPLETE = "complete.json"
PATIENCE = 10.0
"""Seconds to wait for another writer."""


def retrieval_key(record: Knowledge) -> str:
    """Return the text a record is found by: its kinds where it has them, else its wording."""
    return ", ".join(record.kinds) or record.text


class KnowledgeStore:
    """Knowledge records with vectors of one embedder in a folder."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.folder = folder
        self.embedder = embedder
        self._collection = self._connect()

    @classmethod
    def open(cls, folder: Path, embedder: Embedder) -> "KnowledgeStore":
        """Open an existing store.

        Raises:
            UsageError: there is no store in the folder.
            KnowledgeError: it was made with another embedder or a newer version, or is damaged.
        """
        if not (folder / COMPLETE).is_file() and (folder / "chroma.sqlite3").is_file():
            raise KnowledgeError(f"the knowledge base in {folder} is not finished; run the same distil command again")
        if not (folder / "chroma.sqlite3").is_file():
            raise UsageError(f"no knowledge base in {folder}; make one: bundlewise distil --data D --kb {folder}")
        embedder.load(folder / VECTORS)
        return cls(folder, embedder)

    def _connect(self) -> Any:
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError

        wanted = {"schema": SCHEMA, "embedder": self.embedder.fingerprint}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            client = chromadb.PersistentClient(str(self.folder), Settings(anonymized_telemetry=False))
            collection = client.get_or_create_collection(
                "knowledge",
                metadata=wanted,
                embedding_function=None,
                configuration={"hnsw": {"space": "cosine"}},
            )
        except (ChromaError, OSError, ValueError) as error:
            raise KnowledgeError(f"cannot open the knowledge base in {self.folder}: {error}; distil it anew") from error
        self._refuse_other(dict(collection.metadata or {}), wanted)
        return collection

    def _refuse_other(self, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        for key, remedy in (("schema", "update bundlewise"), ("embedder", "open it with that embedder or distil anew")):
            if found.get(key) != wanted[key]:
                raise KnowledgeError(
                    f"the knowledge base in {self.folder} has {key} {found.get(key)}, not {wanted[key]}; {remedy}"
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's only pen.

        Raises:
            KnowledgeError: another process is writing.
        """
        lock = FileLock(self.folder / ".writer.lock", timeout=PATIENCE)
        try:
            with lock:
                yield
        except Timeout as error:
            raise KnowledgeError(f"another process writes to {self.folder}; wait for it and run again") from error

    @contextmanager
    def _plainly(self, doing: str) -> Iterator[None]:
        """Turn what Chroma raises into an error that names the folder and the remedy."""
        from chromadb.errors import ChromaError

        try:
            yield
        except ChromaError as error:
            raise KnowledgeError(
                f"cannot {doing} the knowledge base in {self.folder}: {error}; "
                "free space and run again, or distil it into another folder"
            ) from error

    def replace(self, records: Sequence[Knowledge]) -> None:
        """Make the store hold exactly these records of their domains; equal ones stay as they are.

        Raises:
            KnowledgeError: another process is writing, or the disk is full.
        """
        domains = sorted({record.domain for record in records})
        with self.writing(), self._plainly("write"):
            (self.folder / COMPLETE).unlink(missing_ok=True)
            present = self._texts(domains)
            wanted = {record.id: record for record in records}
            self._upsert([r for key, r in wanted.items() if present.get(key) != r.model_dump_json()])
            stale = sorted(present.keys() - wanted.keys())
            for start in range(0, len(stale), BATCH):
                self._collection.delete(ids=stale[start : start + BATCH])
            if stale or wanted.keys() - present or not (self.folder / VECTORS).is_file():
                self._keep_vectors()
            write_json(self.folder / COMPLETE, {"schema": SCHEMA, "records": self.count()})

    def _texts(self, domains: Sequence[str]) -> dict[str, str]:
        if not domains:
            return {}
        held = self._collection.get(where={"domain": {"$in": list(domains)}}, include=["metadatas"])
        return {key: row["record"] for key, row in zip(held["ids"], held["metadatas"], strict=True)}

    def _upsert(self, records: Sequence[Knowledge]) -> None:
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            self._collection.upsert(
                ids=[record.id for record in batch],
                embeddings=self.embedder.embed([retrieval_key(record) for record in batch]),
                documents=[record.text for record in batch],
                metadatas=[
                    {
                        "kind": record.kind,
                        "domain": record.domain,
                        "status": record.status,
                        "record": record.model_dump_json(),
                    }
                    for record in batch
                ],
            )

    def _keep_vectors(self) -> None:
        """Save the vectors that pair evidence is made of; they can always be made again from the records."""
        thoughts = self.records("thought")
        texts = [text for thought in thoughts for text in (*thought.titles, *thought.kinds)]
        self.embedder.save(self.folder / VECTORS, texts)

    def records(self, kind: KnowledgeKind | None = None) -> list[Knowledge]:
        """Return all active records of a kind, in the order of their ids."""
        where = {"$and": [{"kind": kind}, {"status": "active"}]} if kind else {"status": "active"}
        with self._plainly("read"):
            found = self._collection.get(where=where, include=["metadatas"])["metadatas"]
        return sorted((Knowledge.model_validate_json(row["record"]) for row in found), key=lambda r: r.id)

    def count(self) -> int:
        """Return the number of records of any status."""
        return int(self._collection.count())

    def nearest(self, vectors: Vectors, kind: KnowledgeKind, count: int) -> list[list[tuple[Knowledge, float]]]:
        """Return for each vector the nearest active records of a kind with their cosine, best first."""
        if count < 1 or self.count() == 0 or len(vectors) == 0:
            return [[] for _ in vectors]
        with self._plainly("search"):
            found = self._collection.query(
                query_embeddings=vectors,
                n_results=min(count, self.count()),
                where={"$and": [{"kind": kind}, {"status": "active"}]},
                include=["metadatas", "distances"],
            )
        return [
            [(Knowledge.model_validate_json(m["record"]), 1.0 - d) for m, d in zip(metas, distances, strict=True)]
            for metas, distances in zip(found["metadatas"], found["distances"], strict=True)
        ]
