"""The knowledge store: a database of records, and vectors in Chroma that are made from the records.

In a folder the database and Chroma lie side by side. On a server Chroma holds the records too, and every
machine keeps its own database of them. One process writes at a time, many can read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.database import FILE, PATIENCE, Change, Database, Operation
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.index import BATCH, VectorIndex, retrieval_key, scrub
from bundlewise.knowledge_base.mirror import Mirror, follow, is_served
from bundlewise.knowledge_base.place import Busy, Place, pen
from bundlewise.knowledge_base.records import Records
from bundlewise.progress import Advance

KEPT = "vectors.npz"
OBSERVED = 4000
"""The most thoughts used for pair evidence: the first by id, which is a random choice since ids are hashes."""
UNWRITTEN = 500
"""The most changes that the search graphs on disk may lack; each costs about a millisecond at every opening."""
MERGED = "merged from "
GROWING = (".bin", ".sqlite3")
"""Suffixes of Chroma's files that never shrink."""


class KnowledgeStore:
    """Knowledge records with vectors from one embedder, in a folder or on a Chroma server."""

    def __init__(self, place: Path | str, embedder: Embedder | None = None) -> None:
        """Open or create a knowledge base; without `embedder` it uses the one that it was made with.

        Raises:
            KnowledgeError: it was made with another embedder or another version, or is damaged.
        """
        self.place = Place(place)
        self.folder = self.place.folder
        self._given = embedder
        self._index: VectorIndex | None = None
        self._seen: tuple[object, ...] = ()
        self._has_pen = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KnowledgeError(f"cannot make {self.folder}: {error.strerror}; choose another folder") from error
        self.database = Database(self.folder)
        self.records = Records(self.database)
        if embedder is not None:
            self._refuse_other(embedder)

    @classmethod
    def create(cls, place: Path | str, embedder: Embedder | None = None) -> "KnowledgeStore":
        """Open a knowledge base, or make a new one if there is none.

        Raises:
            KnowledgeError: it was made with another embedder or another version, or is damaged.
        """
        where = Place(place)
        exists = is_served(where) if where.is_server else (where.folder / FILE).is_file()
        return cls.open(place, embedder) if exists else cls(place, embedder)

    @classmethod
    def open(cls, place: Path | str, embedder: Embedder | None = None) -> "KnowledgeStore":
        """Open an existing knowledge base, and finish a change that a killed process has begun.

        Raises:
            UsageError: there is no knowledge base.
            KnowledgeError: it was made with another embedder or another version, or is damaged.
        """
        where = Place(place)
        if where.is_server:
            follow(where)
        elif not (where.folder / FILE).is_file():
            if (where.folder / "chroma.sqlite3").is_file():
                raise KnowledgeError(f"the knowledge base in {place} is of an older version; distil it again")
            raise UsageError(f"no knowledge base in {place}; make one: bundlewise distil --data D --kb {place}")
        store = cls(place, embedder)
        store.settle_if_free()
        return store

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata: embedder, fingerprint, generation, revision, digest of the active records."""
        return self.database.meta()

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder of the vectors; a model that has changed is refused."""
        embedder = self._given or Embedder.of_store(self.meta.get("embedder", "minilm"))
        self._refuse_other(embedder)
        embedder.load(self.vectors_folder / KEPT)
        return embedder

    def _refuse_other(self, embedder: Embedder) -> None:
        meta = self.meta
        found = meta.get("fingerprint")
        if found is not None and not embedder.fits(found):
            raise KnowledgeError(
                f"the knowledge base in {self.place} has vectors of {meta['embedder']} ({found}), not of "
                f"{embedder.name} ({embedder.fingerprint}); open it with that embedder, or embed it anew: "
                f"bundlewise kb reindex {self.place} --embedder {embedder.name}"
            )

    @property
    def generation(self) -> int:
        """The number of the generation of vectors in use, from 1."""
        return int(self.meta.get("generation", 1))

    @property
    def vectors_folder(self) -> Path:
        """The folder of the vectors in use, and of the data that was fitted to them."""
        return self.place.generation_folder(self.generation)

    @property
    def index(self) -> VectorIndex:
        """The vectors in use; they are opened again if another process has changed them."""
        if not self._has_pen:
            self._catch_up()
        if self._index is None:
            self._refuse_missing_files()
            self._index = VectorIndex(self.place, self.place.client(self.generation), self.generation)
        return self._index

    @property
    def _state(self) -> tuple[object, ...]:
        meta = self.meta
        return tuple(meta.get(key) for key in ("generation", "revision", "published"))

    def _catch_up(self) -> None:
        if self._seen != (state := self._state):
            self._index, self._seen = None, state

    def _refuse_missing_files(self) -> None:
        # With a missing or cut file Chroma answers wrongly or crashes, without a message.
        for name, size in self.meta.get("files", {}).items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size < size:
                what = "cut off" if path.is_file() else "missing"
                raise KnowledgeError(f"{path} is {what}; rebuild the vectors: bundlewise kb reindex {self.place}")

    @contextmanager
    def writing(self, patience: float | None = None) -> Iterator[None]:
        """Hold the write lock while the block runs.

        Raises:
            KnowledgeError: another process is writing, or the folder cannot be written to.
        """
        with pen(self.place, PATIENCE if patience is None else patience):
            # An old Chroma client would overwrite newer changes of another process with its old data.
            self._catch_up()
            self._has_pen, self._seen = True, ()
            try:
                yield
                self._seen = self._state
            finally:
                self._has_pen = False

    def change(self, change: Change, advance: Advance | None = None) -> int | None:
        """Carry out a change; return its number, or None if it changes nothing.

        Raises:
            KnowledgeError: another process is writing, a source is outside the training split, or the disk is full.
        """
        with self.writing():
            self._begin()
            self._refuse_other_writer()
            self._refuse_other_splits(change)
            number = self.database.change(change)
            self.settle(advance)
        return number

    def undo(self, advance: Advance | None = None) -> Operation:
        """Undo the last operation, and return it.

        Raises:
            UsageError: there is no operation to undo.
        """
        with self.writing():
            self._begin()
            self._refuse_other_writer()
            operation = self.database.undo()
            self.settle(advance)
        return operation

    def replace(
        self, records: Sequence[Knowledge], sessions: Sequence[KnownSession] = (), what: str = "distil"
    ) -> None:
        """Replace all records of the domains of these records; equal records stay as they are.

        Retired records stay retired, and a merged record stays if all its parts are given.
        """
        given = {record.id: record for record in records}
        present = {r.id: r for domain in {r.domain for r in records} for r in self.records.select(None, domain, None)}
        retired = {key for key, record in present.items() if record.status == "retired"}
        put = [record for key, record in given.items() if key not in retired]
        stale = [key for key, record in present.items() if key not in given and not _stays(record, given.keys())]
        self.change(Change(what, put, stale, sessions))

    def _begin(self) -> None:
        embedder = self.embedder
        self._refuse_other(embedder)
        if "fingerprint" not in self.meta:
            self.database.set_meta(embedder=embedder.name, fingerprint=embedder.fingerprint, generation=1)

    def _refuse_other_writer(self) -> None:
        """Compare the revision with the server's, because the write lock works only on this machine."""
        if self.place.is_server and self._mirror.meta().get("revision") != self.meta.get("published"):
            raise KnowledgeError(f"another machine has changed the knowledge base at {self.place}; run again")

    def _refuse_other_splits(self, change: Change) -> None:
        sources = {key for record in change.put for key in (*record.source_session_ids, *record.supporters)}
        here = self.records.known({*sources, *(session.id for session in change.sessions)})
        for session in change.sessions:
            if session.id in here and here[session.id] != session:
                there = f"{here[session.id].split} with item set {here[session.id].items}"
                raise KnowledgeError(
                    f"session {session.id} is {session.split} with item set {session.items} in the new data, "
                    f"and {there} in {self.place}; use another knowledge base for other data"
                )
        known = here | {session.id: session for session in change.sessions}
        for key in sorted(sources & known.keys()):
            if known[key].split != "train":
                raise KnowledgeError(f"the source {key} is a {known[key].split} session; only train may teach")

    @property
    def is_settled(self) -> bool:
        """Say whether the vectors follow all changes of the records."""
        return not self.database.pending(1) and self.meta.get("published") == self.meta["revision"]

    def settle_if_free(self) -> None:
        """Finish a change that a killed process has begun, unless another process is writing."""
        if self.is_settled:
            return
        with suppress(Busy), self.writing(patience=0):
            self.settle()

    def settle(self, advance: Advance | None = None) -> None:
        """Update the vectors from the records, batch by batch; call it within `writing`."""
        if self.is_settled:
            return
        count = self.database.pending_count()
        unwritten = self.meta.get("unwritten", 0) + count
        self.database.set_meta(unwritten=unwritten)
        self.index.expect(count)
        while waiting := self.database.pending(BATCH):
            held = self.records.get([row.id for row in waiting])
            records = list(held.values())
            self.index.put(records, self.embedder.embed([retrieval_key(record) for record in records]))
            self.index.drop([row for row in waiting if row.id not in held])
            self.database.settled([row.id for row in waiting])
            if advance:
                advance(len(waiting))
        if unwritten > UNWRITTEN and not self.place.is_server:
            self.index.flush()
            self.database.set_meta(unwritten=0)
        self._seal()

    def _seal(self) -> None:
        """Save the vectors for pair evidence, record the sizes of the files, and publish the metadata."""
        texts = [text for thought in self.thoughts() for text in (*thought.titles, *thought.kinds)]
        self.embedder.save(self.vectors_folder / KEPT, texts)
        within = self.vectors_folder
        files = [path for path in sorted(within.rglob("*")) if path.suffix in GROWING or path.suffix == ".pickle"]
        sizes = {str(f.relative_to(self.folder)): f.stat().st_size if f.suffix in GROWING else 0 for f in files}
        self.database.set_meta(files=sizes)
        meta = self.meta
        learnt = meta.get("learnt")
        self._mirror.publish(meta, self.records.sessions() if learnt != meta.get("told") else None)
        self.database.set_meta(published=meta["revision"], told=learnt)
        scrub(within)

    @property
    def _mirror(self) -> Mirror:
        return Mirror(self.place, self.index.client)

    def thoughts(self, domain: str | None = None) -> list[Knowledge]:
        """Return the active thoughts that pair evidence is read from."""
        return list(self.records.select("thought", domain, limit=OBSERVED))


def _stays(record: Knowledge, given: object) -> bool:
    parts = record.reason.removeprefix(MERGED).split() if record.reason.startswith(MERGED) else []
    return bool(parts) and all(part in given for part in parts)  # type: ignore[operator]
