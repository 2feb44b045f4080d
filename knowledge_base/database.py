"""The database of a knowledge base: a SQLite file with its records, and a journal of changes for undo.

The records in this file are authoritative; the vectors are made from them. A change is one transaction. Its
updates of the vector index wait in the table `pending` until they are done, so that a process that dies
in between loses nothing.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.domain import Knowledge, KnowledgeKind, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.text import spaced

FILE = "catalogue.sqlite"
SCHEMA = 2
PATIENCE = 10.0
"""Seconds to wait for another writer."""
DIGEST_BITS = 96
COLUMNS = "id, kind, domain, status, text, kinds, body"


@dataclass(frozen=True)
class Change:
    """A change to make: its description, records to put or remove, and sessions to know of."""

    what: str
    put: Sequence[Knowledge] = ()
    remove: Sequence[str] = ()
    sessions: Sequence[KnownSession] = ()


@dataclass(frozen=True)
class Operation:
    """A past change: its number, its description, its time (UTC), and the number of records that it touched."""

    number: int
    what: str
    at: str
    records: int


@dataclass(frozen=True)
class Pending:
    """A record whose vector does not yet follow the database."""

    id: str
    kind: KnowledgeKind
    domain: str


class Database:
    """Records and known sessions, changed by operations that can be undone."""

    def __init__(self, folder: Path) -> None:
        """Open or create the file in a folder.

        Raises:
            KnowledgeError: the file is damaged, of another version, or cannot be read.
        """
        self.path = folder / FILE
        with self.plainly("open"):
            self.db = self._connect()
            self._create()
        self._refuse_other_version()

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error) and "unable to open" not in str(error):
                raise
            # In a read-only folder SQLite cannot make its side files; `immutable` is safe, since nobody can write.
            address = f"{self.path.absolute().as_uri()}?immutable=1"
            db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        return db

    def _create(self) -> None:
        if self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        with self._transaction():
            if not self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in Path(__file__).with_name("database.sql").read_text("utf-8").split("\n\n"):
                    self.db.execute(statement)
                self._set({"schema": SCHEMA, "revision": 0, "digest": "0"})

    def _refuse_other_version(self) -> None:
        with self.plainly("open"):
            found = self.meta().get("schema")
        if found != SCHEMA:
            newer = isinstance(found, int) and found > SCHEMA
            remedy = "update bundlewise" if newer else "export it with the bundlewise that wrote it"
            raise KnowledgeError(f"the knowledge base in {self.path.parent} has schema {found}, not {SCHEMA}; {remedy}")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @contextmanager
    def plainly(self, doing: str) -> Iterator[None]:
        """Turn errors of SQLite into an error that names the file and the remedy."""
        try:
            yield
        except (sqlite3.Error, ValidationError) as error:
            remedies = {
                "locked": "another process writes; wait for it and run again",
                "readonly": "make the folder writable, or copy the knowledge base to one that is",
                "unable to open": "make the folder readable and writable, or choose another",
                "full": "free space and run again; nothing was changed",
                "disk I/O": "free space or check the disk, and run again",
            }
            text = str(error) if isinstance(error, sqlite3.Error) else f"a {error.title} in it is damaged"
            default = f"rebuild it from the vector index: bundlewise kb recover {self.path.parent}"
            remedy = next((r for word, r in remedies.items() if word in text), default)
            raise KnowledgeError(f"cannot {doing} {self.path}: {text}; {remedy}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def meta(self) -> dict[str, Any]:
        """Return the metadata of the knowledge base: schema, revision, embedder, generation, digest."""
        return {key: json.loads(value) for key, value in self.db.execute("SELECT key, value FROM meta")}

    def set_meta(self, **values: Any) -> None:
        """Change the metadata of the knowledge base, all keys in one transaction; None removes a key."""
        with self.plainly("write"), self._transaction():
            self._set(values)

    def _set(self, values: dict[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in values.items() if value is not None]
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
        self.db.executemany("DELETE FROM meta WHERE key = ?", [(k,) for k, value in values.items() if value is None])

    def change(self, change: Change) -> int | None:
        """Carry out a change in one transaction; return its number, or None if it changes nothing.

        A record that is already there, equal in every field, changes nothing.
        """
        with self.plainly("write"), self._transaction():
            number = self._log(change.what)
            deltas = [self._put(record.id, record.model_dump_json(), number) for record in change.put]
            deltas += [self._put(key, None, number) for key in change.remove]
            learnt = [self._know(session.id, session.model_dump_json(), number) for session in change.sessions]
            if all(delta is None for delta in deltas) and not any(learnt):
                self.db.execute("DELETE FROM operations WHERE number = ?", (number,))
                return None
            self._revise(deltas, any(learnt))
        return number

    def adopt(self, records: Sequence[Knowledge], sessions: Sequence[KnownSession], meta: dict[str, Any]) -> None:
        """Fill an empty database with records from Chroma; the journal stays empty, and no vector is pending."""
        self.change(Change("adopt", records, sessions=sessions))
        with self.plainly("write"), self._transaction():
            for table in ("pending", "operations", "records_before", "sessions_before"):
                self.db.execute(f"DELETE FROM {table}")
            self._set({key: value for key, value in meta.items() if key not in ("schema", "digest")})

    def unsettle(self, keys: Sequence[str]) -> None:
        """Mark the vectors of these records as pending."""
        with self.plainly("write"), self._transaction():
            statement = "INSERT OR REPLACE INTO pending SELECT id, kind, domain FROM records WHERE id = ?"
            self.db.executemany(statement, [(key,) for key in keys])

    def undo(self) -> Operation:
        """Undo the last operation: every record and session that it touched returns to its earlier bytes.

        Raises:
            UsageError: there is nothing to undo.
        """
        with self.plainly("write"), self._transaction():
            last = self.history(1)
            if not last:
                raise UsageError(f"nothing to undo in {self.path.parent}; its journal is empty")
            number = (last[0].number,)
            before = self.db.execute(
                "SELECT id, body FROM records_before WHERE operation = ? ORDER BY rowid DESC", number
            )
            deltas = [self._put(key, body, None) for key, body in before.fetchall()]
            known = self.db.execute(
                "SELECT id, body FROM sessions_before WHERE operation = ? ORDER BY rowid DESC", number
            )
            learnt = [self._know(key, body, None) for key, body in known.fetchall()]
            self._revise(deltas, any(learnt))
            for table, column in (
                ("records_before", "operation"),
                ("sessions_before", "operation"),
                ("operations", "number"),
            ):
                self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", number)
        return last[0]

    def history(self, count: int = 20) -> list[Operation]:
        """Return the last operations that can be undone, the latest first."""
        rows = self.db.execute(
            "SELECT number, what, at, (SELECT count(*) FROM records_before WHERE operation = number)"
            " FROM operations ORDER BY number DESC LIMIT ?",
            (count,),
        )
        return [Operation(*row) for row in rows]

    def _log(self, what: str) -> int:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return int(self.db.execute("INSERT INTO operations (what, at) VALUES (?, ?)", (what, at)).lastrowid or 0)

    def _revise(self, deltas: Iterable[int | None], learnt: bool) -> None:
        """Increase the revision, and update the digest, which is the sum of the hashes of all active records."""
        meta = self.meta()
        digest = (int(meta["digest"], 16) + sum(delta or 0 for delta in deltas)) % 2**DIGEST_BITS
        revision = meta["revision"] + 1
        self._set({"revision": revision, "digest": f"{digest:x}"} | ({"learnt": revision} if learnt else {}))

    def _put(self, key: str, body: str | None, operation: int | None) -> int | None:
        """Put a record or, without a body, remove it; keep its earlier body for an undo of the operation.

        Returns:
            The change of the digest; None if the record is already there.
        """
        found = self.db.execute("SELECT body FROM records WHERE id = ?", (key,)).fetchone()
        before = found[0] if found else None
        if before == body:
            return None
        if operation is not None:
            self.db.execute("INSERT INTO records_before VALUES (?, ?, ?)", (operation, key, before))
        if before is not None:
            self.db.execute("DELETE FROM records WHERE id = ?", (key,))
        record = Knowledge.model_validate_json(body or before or "")
        if body is not None:
            found_by = (spaced(record.text), spaced(", ".join(record.kinds)))
            row = (key, record.kind, record.domain, record.status, *found_by, body)
            self.db.execute(f"INSERT INTO records ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self.db.execute("INSERT OR REPLACE INTO pending VALUES (?, ?, ?)", (key, record.kind, record.domain))
        return _share(body) - _share(before)

    def _know(self, key: str, body: str | None, operation: int | None) -> bool:
        """Store a known session or, without a body, remove it; say whether anything changed."""
        found = self.db.execute("SELECT body FROM sessions WHERE id = ?", (key,)).fetchone()
        before = found[0] if found else None
        if before == body:
            return False
        if operation is not None:
            self.db.execute("INSERT INTO sessions_before VALUES (?, ?, ?)", (operation, key, before))
        self.db.execute("DELETE FROM sessions WHERE id = ?", (key,))
        if body is not None:
            session = KnownSession.model_validate_json(body)
            self.db.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", (key, session.split, session.items, body))
        return True

    def pending(self, count: int) -> list[Pending]:
        """Return up to `count` records whose vectors are pending, in the order of their ids."""
        with self.plainly("read"):
            rows = self.db.execute("SELECT id, kind, domain FROM pending ORDER BY id LIMIT ?", (count,)).fetchall()
        return [Pending(*row) for row in rows]

    def pending_count(self) -> int:
        """Return how many records have pending vectors."""
        with self.plainly("read"):
            return int(self.db.execute("SELECT count(*) FROM pending").fetchone()[0])

    def settled(self, keys: Sequence[str]) -> None:
        """Mark the vectors of these records as done."""
        with self.plainly("write"), self._transaction():
            self.db.executemany("DELETE FROM pending WHERE id = ?", [(key,) for key in keys])

    def faults(self) -> list[str]:
        """Return the faults of the file itself: its pages, its full-text index, its digest."""
        found = []
        try:
            found += [row[0] for row in self.db.execute("PRAGMA integrity_check") if row[0] != "ok"]
            self.db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
            total = sum(_share(body) for (body,) in self.db.execute("SELECT body FROM records WHERE status = 'active'"))
        except sqlite3.Error as error:
            return [*found, f"{self.path.name}: {error}"]
        if f"{total % 2**DIGEST_BITS:x}" != self.meta()["digest"]:
            found.append("the digest is not that of the records")
        return found


def _share(body: str | None) -> int:
    """Return the share of a record in the digest: its hash if it is active, else 0."""
    if body is None or '"status":"active"' not in body:
        return 0
    return int.from_bytes(hashlib.sha256(body.encode()).digest()[: DIGEST_BITS // 8], "big")
