"""The ledger of paid calls: every answer of a large model by what determined it, so that none is paid for twice.

One SQLite file. A call is *claimed* before it is sent and *kept*, with a verdict, once its answer is here; failures are
given back, never kept. Whoever finds a call claimed by a living process waits for that answer instead of paying again.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal
from uuid import uuid4

import psutil

from bundlewise.agents.calls_file import LedgerFile
from bundlewise.agents.calls_rows import NAMES, rescue, row_of, whole_text
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import fingerprint, read_rows, write_jsonl

Verdict = Literal["good", "empty", "refused", "tools", "unreadable", "faulty"]
"""What became of an answer: used; without text; a refusal; a call of a tool instead of text; no completion although it
was billed; text that does not keep its contract."""
POLL = 0.05
CLOCK = 2.0
"""Seconds by which the start of a process may seem to move while the clock is set."""
_HELD: set[str] = set()
"""Claims that threads of this process hold; another one of this process could not be given back, and is free."""
_PLACES = ", ".join("?" * len(NAMES))


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what it took; `finish` is `length` where the answer was cut.

    `estimated` says that the server did not count the tokens in a way that can be; the ledger does not keep that.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    verdict: Verdict = "good"
    estimated: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Call:
    """What determines an answer (model, parameters, messages, schema), and what it was asked for.

    `attempt` counts the answers to the same request that could not be used before.
    """

    stage: str
    subject: str
    template: str
    model: str
    request: dict[str, Any]
    attempt: int = 0

    @cached_property
    def key(self) -> str:
        """A hash of the request and the attempt: the same question asked for another purpose is the same call."""
        asked = {"request": self.request, "attempt": self.attempt} if self.attempt else self.request
        return fingerprint(asked) + fingerprint([asked])


class CallLedger:
    """The calls in one file, for the threads of several processes at once."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file: made where it is missing, or, unless it is to be `writable`, read as it is.

        Raises:
            KnowledgeError: it cannot be used, or is no ledger.
        """
        self.path = path
        self._file = LedgerFile(path, writable=writable)
        self._base = self._file.base
        self._gate = Lock()
        self._on_their_way, self._closing = 0, False
        with self._file.guarded():
            self._before = self._base.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()[0]

    @classmethod
    def open_for_reading(cls, path: Path) -> "CallLedger":
        """Open the file without a change to it; one that is missing is an empty ledger."""
        return cls(path, writable=False)

    def find(self, key: str) -> Reply | None:
        """Return the answer kept for a call."""
        columns = "text, finish, tokens_in, tokens_out, seconds, verdict"
        with self._file.guarded():
            row = self._base.execute(f"SELECT {columns} FROM calls WHERE key = ?", (key,)).fetchone()
        return Reply(*row) if row else None

    def answer(
        self,
        call: Call,
        send: Callable[[], Reply],
        wait: Callable[[float], None] = time.sleep,
        retry: bool = False,
    ) -> Reply:
        """Return the answer kept for a call, or send it and keep what comes.

        Args:
            call: what is asked.
            send: asks it.
            wait: waits for so many seconds for another process; it may raise to stop waiting.
            retry: whether an answer that is not good, and was kept before this ledger was opened, is asked for again.

        Raises:
            KnowledgeError: the ledger cannot be used; an answer that arrived is in the file that the message names.
        """
        while True:
            with self._claimed(call.key, self._before if retry else 0) as free:
                if free:
                    reply = _storable(send())
                    self._keep_or_rescue(call, reply, retry)
                    return reply
            if (kept := self.find(call.key)) is not None:
                return kept
            wait(POLL)

    def keep(self, call: Call, reply: Reply) -> None:
        """Write an answer down, and give the claim back, in one statement: threads wait for each other at each."""
        with self._file.guarded():
            self._base.execute(f"INSERT OR IGNORE INTO calls VALUES ({_PLACES})", _row(call, reply))
        self._sync()

    def judge(self, key: str, verdict: Verdict) -> None:
        """Write down the verdict on an answer that is kept; a ledger that is open for reading stays as it is."""
        if self._file.writable:
            with self._file.guarded():
                self._base.execute("UPDATE calls SET verdict = ? WHERE key = ?", (verdict, key))

    def _keep_or_rescue(self, call: Call, reply: Reply, retry: bool) -> None:
        """Keep an answer, in place of an older one on a retry; one that cannot be kept is paid, and saved elsewhere."""
        try:
            if retry:
                with self._file.changing():
                    self._base.execute("DELETE FROM calls WHERE key = ?", (call.key,))
                    self._base.execute(f"INSERT INTO calls VALUES ({_PLACES})", _row(call, reply))
                self._sync()
            else:
                self.keep(call, reply)
        except KnowledgeError as error:
            raise KnowledgeError(f"{error}; {self._rescued(call, reply)}") from error
        except BaseException:
            self._rescued(call, reply)
            raise

    def _rescued(self, call: Call, reply: Reply) -> str:
        """Save an answer outside of the ledger; return where it is, for the user."""
        place = rescue(self.path, _row(call, reply))
        if place is None:
            return (
                "the answer that arrived is in the line above: put it into a file and `bundlewise ledger import` that"
            )
        return f"the answer that arrived is in {place}: `bundlewise ledger import {place} --ledger {self.path}`"

    def _sync(self) -> None:
        """Make what was written last safe on the disk."""
        with suppress(OSError):  # A checkpoint may just have taken the file away, and has then done so itself.
            handle = os.open(f"{self._file.real}-wal", os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextmanager
    def _claimed(self, key: str, failed_up_to: int) -> Iterator[bool]:
        """Hold a call while the block runs, and say whether it could be had; given back where the block fails."""
        claim = f"{_this_process(os.getpid())}:{uuid4().hex}"
        with self._under_way():
            _HELD.add(claim)
            try:
                yield self._claim(key, claim, failed_up_to)
            except BaseException:
                with suppress(KnowledgeError), self._file.changing():
                    self._base.execute("DELETE FROM claims WHERE key = ? AND process = ?", (key, claim))
                raise
            finally:
                _HELD.discard(claim)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Keep the file open while the block runs, whoever closes the ledger meanwhile."""
        with self._gate:
            if self._closing:
                raise KnowledgeError(f"the ledger of calls {self.path} was closed; the same command goes on")
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._gate:
                self._on_their_way -= 1
                is_last = self._closing and not self._on_their_way
            if is_last:
                self._file.close()

    def _claim(self, key: str, claim: str, failed_up_to: int) -> bool:
        """Take a call that is neither kept nor held; one that was left behind is taken over.

        Answers that are not good count as not kept in the rows up to `failed_up_to`.
        """
        kept = "SELECT 1 FROM calls WHERE key = ? AND (verdict = 'good' OR rowid > ?)"
        unclaimed = f"INSERT INTO claims SELECT ?, ? WHERE NOT EXISTS ({kept}) ON CONFLICT DO NOTHING"
        with self._file.guarded():
            if self._base.execute(unclaimed, (key, claim, key, failed_up_to)).rowcount == 1:
                return True
        with self._file.changing():
            row = self._base.execute("SELECT process FROM claims WHERE key = ?", (key,)).fetchone()
            is_kept = self._base.execute(kept, (key, failed_up_to)).fetchone()
            free = not is_kept and (row is None or not _is_held(row[0]))
            if free:
                self._base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, claim))
        return free

    def templates(self, stage: str, subject: str) -> set[str]:
        """Return the fingerprints of the templates by which a subject has been asked about in a stage."""
        with self._file.guarded():
            sql = "SELECT DISTINCT template FROM calls WHERE stage = ? AND subject = ?"
            return {row[0] for row in self._base.execute(sql, (stage, subject))}

    def totals(self) -> list[dict[str, Any]]:
        """Return calls, tokens and seconds by stage and model."""
        sql = """SELECT stage, model, COUNT(*) AS calls, SUM(tokens_in) AS tokens_in, SUM(tokens_out) AS tokens_out,
                 SUM(seconds) AS seconds FROM calls GROUP BY stage, model ORDER BY MIN(rowid)"""
        names = ("stage", "model", "calls", "tokens_in", "tokens_out", "seconds")
        with self._file.guarded():
            return [dict(zip(names, row, strict=True)) for row in self._base.execute(sql)]

    def export(self, path: Path) -> int:
        """Write all calls as JSON lines, in the order of their keys; return how many.

        Raises:
            UsageError: it would be written over the ledger.
        """
        if path.resolve() == self.path.resolve():
            raise UsageError(f"{path} is the ledger itself; give another file to write its calls to")
        with self._file.guarded():
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
        rows = [row_of(row, f"{path}:{number}") for number, row in enumerate(read_rows(path), 1)]
        with self._file.changing():
            before = self._base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
            self._base.executemany(f"INSERT OR IGNORE INTO calls VALUES ({_PLACES})", rows)
            after = self._base.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
        return after - before, len(rows)

    def close(self) -> None:
        """Close the file, once the answers on their way are kept."""
        with self._gate:
            is_last = not self._closing and not self._on_their_way
            self._closing = True
        if is_last:
            self._file.close()


@cache
def _this_process(number: int) -> str:
    """Name this process so that no later one of the same number is taken for it."""
    return f"{os.uname().nodename}:{number}:{psutil.Process(number).create_time():.2f}"


def _storable(reply: Reply) -> Reply:
    return replace(reply, text=whole_text(reply.text), finish=whole_text(reply.finish))


def _row(call: Call, reply: Reply) -> tuple[Any, ...]:
    asked = (call.key, call.stage, call.subject, call.template, call.model)
    return (
        *asked,
        reply.text,
        reply.finish,
        reply.tokens_in,
        reply.tokens_out,
        reply.seconds,
        reply.verdict,
        time.time(),
    )


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
