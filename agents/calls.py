"""The ledger of paid calls: every answer of a large model by what determined it, so that none is paid for twice.

One SQLite file. A call is *claimed* before it is sent and *kept* once its answer is here; failures are given back,
never kept. Whoever finds a call claimed by a living process waits for that answer instead of paying for a second.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import psutil

from bundlewise.errors import DataError, KnowledgeError, UsageError
from bundlewise.files import fingerprint, numbered_rows, write_jsonl

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, subject TEXT NOT NULL, template TEXT NOT NULL, model TEXT NOT NULL,
    text TEXT NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    seconds REAL NOT NULL);
CREATE INDEX IF NOT EXISTS calls_by_subject ON calls (stage, subject);
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, process TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS kept AFTER INSERT ON calls BEGIN DELETE FROM claims WHERE key = NEW.key; END;
"""
POLL = 0.05
BUSY = 60.0
CLOCK = 2.0
"""Seconds by which the start of a process may seem to move while the clock is set."""
_HELD: set[str] = set()
"""Claims that threads of this process hold; another one of this process could not be given back, and is free."""


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what it took; `finish` is `length` where the answer was cut."""

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Call:
    """What determines an answer (model, parameters, messages, schema), and what it was asked for."""

    stage: str
    subject: str
    template: str
    model: str
    request: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """A hash of the request alone: the same question asked for another purpose is the same call."""
        return fingerprint(self.request) + fingerprint([self.request])


class CallLedger:
    """The calls in one file, for the threads of several processes at once."""

    def __init__(self, path: Path) -> None:
        """Open the file, made where it is missing.

        Raises:
            KnowledgeError: it cannot be opened or is no ledger.
        """
        self.path = path
        self._lock = Lock()
        with self._guarded():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            tables = {row[0] for row in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables - {"calls", "claims"}:
                raise KnowledgeError(f"{path} is no ledger of calls but another database; give another file")
            self._open_for_many()
            # Safe against kill -9; `keep` makes answers safe against a power cut, outside of the lock.
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(SCHEMA)

    def _open_for_many(self) -> None:
        """Switch to write-ahead logging; SQLite does not wait by itself while another process does so."""
        until = time.monotonic() + BUSY
        while True:
            try:
                self._base.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(POLL)

    def find(self, key: str) -> Reply | None:
        """Return the answer kept for a call."""
        columns = "text, finish, tokens_in, tokens_out, seconds"
        with self._guarded():
            row = self._base.execute(f"SELECT {columns} FROM calls WHERE key = ?", (key,)).fetchone()
        return Reply(*row) if row else None

    def answer(self, call: Call, send: Callable[[], Reply], wait: Callable[[float], None] = time.sleep) -> Reply:
        """Return the answer kept for a call, or send it and keep what comes; `wait` may raise to stop waiting."""
        while True:
            with self._claimed(call.key) as free:
                if free:
                    reply = _storable(send())
                    self.keep(call, reply)
                    return reply
            if (kept := self.find(call.key)) is not None:
                return kept
            wait(POLL)

    def keep(self, call: Call, reply: Reply) -> None:
        """Write an answer down, and give the claim back, in one statement: threads wait for each other at each."""
        row = (call.key, call.stage, call.subject, call.template, call.model, *asdict(reply).values())
        with self._guarded():
            self._base.execute(f"INSERT OR IGNORE INTO calls VALUES ({', '.join('?' * len(row))})", row)
        self._sync()

    def _sync(self) -> None:
        """Make what was written last safe on the disk."""
        with suppress(OSError):  # A checkpoint may just have taken the file away, and has then done so itself.
            handle = os.open(f"{self.path}-wal", os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextmanager
    def _claimed(self, key: str) -> Iterator[bool]:
        """Hold a call while the block runs, and say whether it could be had; given back where the block fails."""
        claim = f"{_this_process(os.getpid())}:{uuid4().hex}"
        _HELD.add(claim)
        try:
            yield self._claim(key, claim)
        except BaseException:
            with suppress(KnowledgeError), self._changing():
                self._base.execute("DELETE FROM claims WHERE key = ? AND process = ?", (key, claim))
            raise
        finally:
            _HELD.discard(claim)

    def _claim(self, key: str, claim: str) -> bool:
        """Take a call that is neither kept nor held; one that was left behind is taken over."""
        unclaimed = "INSERT INTO claims SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM calls WHERE key = ?)"
        with self._guarded():
            if self._base.execute(f"{unclaimed} ON CONFLICT DO NOTHING", (key, claim, key)).rowcount == 1:
                return True
        with self._changing():
            row = self._base.execute("SELECT process FROM claims WHERE key = ?", (key,)).fetchone()
            kept = self._base.execute("SELECT 1 FROM calls WHERE key = ?", (key,)).fetchone()
            free = not kept and (row is None or not _is_held(row[0]))
            if free:
                self._base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, claim))
        return free

    def templates(self, stage: str, subject: str) -> set[str]:
        """Return the fingerprints of the templates by which a subject has been asked about in a stage."""
        with self._guarded():
            sql = "SELECT DISTINCT template FROM calls WHERE stage = ? AND subject = ?"
            return {row[0] for row in self._base.execute(sql, (stage, subject))}

    def totals(self) -> list[dict[str, Any]]:
        """Return calls, tokens and seconds by stage and model."""
        sql = """SELECT stage, model, COUNT(*) AS calls, SUM(tokens_in) AS tokens_in, SUM(tokens_out) AS tokens_out,
                 SUM(seconds) AS seconds FROM calls GROUP BY stage, model ORDER BY MIN(rowid)"""
        names = ("stage", "model", "calls", "tokens_in", "tokens_out", "seconds")
        with self._guarded():
            return [dict(zip(names, row, strict=True)) for row in self._base.execute(sql)]

    def export(self, path: Path) -> int:
        """Write all calls as JSON lines, in the order of their keys; return how many.

        Raises:
            UsageError: it would be written over the ledger.
        """
        if path.resolve() == self.path.resolve():
            raise UsageError(f"{path} is the ledger itself; give another file to write its calls to")
        with self._guarded():
            cursor = self._base.execute("SELECT * FROM calls ORDER BY key")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        write_jsonl(path, rows)
        return len(rows)

    def take_in(self, path: Path) -> tuple[int, int]:
        """Read exported calls; those that are here already stay as they are. Return how many were new, of how many.

        Raises:
            DataError: a line is no exported call; nothing is taken in then.
        """
        rows = [_row_of(row, f"{path}:{number}") for number, row in numbered_rows(path)]
        with self._changing():
            before = self._base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
            self._base.executemany(f"INSERT OR IGNORE INTO calls VALUES ({', '.join('?' * 10)})", rows)
            after = self._base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
        return after - before, len(rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Make the changes of the block whole or not at all, whatever ends it."""
        with self._guarded():
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let one thread at a time at the file, and say what to do about its faults."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                remedy = (
                    "free space, or give another file with --ledger; what it holds is safe, the same command goes on"
                )
                raise KnowledgeError(f"cannot use the ledger of calls {self.path}: {error}; {remedy}") from error


@cache
def _this_process(number: int) -> str:
    """Name this process so that no later one of the same number is taken for it."""
    return f"{os.uname().nodename}:{number}:{psutil.Process(number).create_time():.2f}"


def _storable(reply: Reply) -> Reply:
    return replace(reply, text=_whole(reply.text), finish=_whole(reply.finish))


def _whole(text: str) -> str:
    """Return a text without halves of characters, which JSON can say and no file can hold."""
    return text.encode(errors="replace").decode()


def _row_of(row: dict[str, Any], where: str) -> tuple[Any, ...]:
    texts = ("key", "stage", "subject", "template", "model", "text", "finish")
    numbers = ("tokens_in", "tokens_out", "seconds")
    if set(row) != {*texts, *numbers}:
        raise DataError(f"{where}: no exported call; give a file that `bundlewise ledger export` wrote")
    for name, value in row.items():
        if not (_is_text(value) if name in texts else _is_number(value, name == "seconds")):
            raise DataError(f"{where}: {name} must not be {json.dumps(value)[:80]}; export the ledger again")
    return tuple(row[name] for name in (*texts, *numbers))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == _whole(value)


def _is_number(value: Any, fractional: bool) -> bool:
    return type(value) in ((int, float) if fractional else (int,)) and 0 <= value < 2**63


def _is_held(claim: str) -> bool:
    """Say whether a claim's thread still runs; on another machine none does, since no ledger is shared by two."""
    node, number, started, _ = claim.rsplit(":", 3)
    if (node, int(number)) == (os.uname().nodename, os.getpid()):
        return claim in _HELD
    try:
        process = psutil.Process(int(number))
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(started)) < CLOCK
    except psutil.NoSuchProcess:
        return False
    return node == os.uname().nodename and alive
