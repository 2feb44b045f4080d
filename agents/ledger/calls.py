"""The ledger of paid calls: stores every answer of a large model by its question, so that none is paid for twice.

The ledger is one SQLite file. A call is *claimed* before it is sent, and *kept* with a verdict when its answer arrives;
a failure gives the claim back. A thread that finds a call claimed by a living process waits for that answer.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from bundlewise.agents.ledger import books
from bundlewise.agents.ledger.books import Which
from bundlewise.agents.ledger.claims import HELD, is_held, new_claim
from bundlewise.agents.ledger.file import LedgerFile
from bundlewise.agents.ledger.rows import PLACES, rescued, whole_text
from bundlewise.errors import KnowledgeError
from bundlewise.files import fingerprint

Verdict = Literal["good", "empty", "refused", "tools", "unreadable", "faulty"]
"""The verdict on an answer: usable (good); without text (empty); a refusal; a tool call instead of text (tools);
billed but not a completion (unreadable); text that breaks its contract (faulty)."""
POLL = 0.05
KEPT = "WHERE key = ? AND (verdict = 'good' OR rowid > ?)"
"""The SQL condition of a kept answer; an unusable answer up to a given row number counts as missing."""


@dataclass(frozen=True)
class Reply:
    """A model's answer with its tokens and seconds; `finish` is `length` if the answer was cut off.

    `estimated` says that the server gave no plausible count of tokens; the ledger does not store this field.
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
    """The request that determines an answer (model, parameters, messages, schema), and its purpose.

    `attempt` counts the earlier answers to the same request that could not be used.
    """

    stage: str
    subject: str
    template: str
    model: str
    request: dict[str, Any]
    attempt: int = 0

    @cached_property
    def key(self) -> str:
        """A hash of the request and the attempt; the same question for another purpose is the same call."""
        asked = {"request": self.request, "attempt": self.attempt} if self.attempt else self.request
        return fingerprint(asked) + fingerprint([asked])


class CallLedger:
    """The calls in one file, which threads of several processes can use at the same time."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open the file; create a missing file if `writable`, else leave the file unchanged.

        Raises:
            KnowledgeError: the file cannot be used, or is not a ledger.
        """
        self.path = path
        self._file = LedgerFile(path, writable=writable)
        self._base = self._file.base
        self._gate = Lock()
        self._on_their_way, self._closing = 0, False
        self._renewed = set[str]()  # A new row may get the number of an older row that another process deleted.
        with self._file.guarded():
            self._before = self._base.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()[0]

    @classmethod
    def open_for_reading(cls, path: Path) -> "CallLedger":
        """Open the file without changes; a missing file is an empty ledger."""
        return cls(path, writable=False)

    def find(self, key: str) -> Reply | None:
        """Return the kept answer to a call, or None."""
        return self._find(key, 0)

    def _find(self, key: str, failed_up_to: int) -> Reply | None:
        row = books.answer(self._file, KEPT, (key, failed_up_to))
        return Reply(*row) if row else None

    def answer(
        self,
        call: Call,
        send: Callable[[], Reply],
        wait: Callable[[float], None] = time.sleep,
        retry: bool = False,
    ) -> Reply:
        """Return the kept answer to a call, or send the call and keep its answer.

        Args:
            call: the call.
            send: a function that sends the call and returns the answer.
            wait: a function that waits some seconds for another process; it may raise an error to stop the wait.
            retry: ask again if the kept answer is not good and is older than the opening of this ledger.

        Raises:
            KnowledgeError: the ledger cannot be used; the message names the file with an answer that arrived.
        """
        while True:
            failed_up_to = self._before if retry and call.key not in self._renewed else 0
            with self._claimed(call.key, failed_up_to) as free:
                if free:
                    reply = _storable(send())
                    self._keep_or_rescue(call, reply, retry)
                    if retry:
                        self._renewed.add(call.key)
                    return reply
            if (kept := self._find(call.key, failed_up_to)) is not None:
                return kept
            wait(POLL)

    def keep(self, call: Call, reply: Reply, *, anew: bool = False) -> None:
        """Store an answer, or replace an older one if `anew`, and give the claim back, in one statement.

        One statement is faster than two, because threads wait for each other at each statement.
        """
        kept = "REPLACE" if anew else "INSERT OR IGNORE"
        with self._file.guarded():
            self._base.execute(f"{kept} INTO calls VALUES ({PLACES})", _row(call, reply))
        self._sync()

    def judge(self, key: str, verdict: Verdict) -> None:
        """Store the verdict on a kept answer; a ledger that is open for reading stays unchanged."""
        if self._file.writable:
            with self._file.guarded():
                self._base.execute("UPDATE calls SET verdict = ? WHERE key = ?", (verdict, key))

    def is_of_before(self, key: str) -> bool:
        """Say whether a kept answer is older than the opening of this ledger."""
        if key in self._renewed:
            return False
        with self._file.guarded():
            sql = "SELECT 1 FROM calls WHERE key = ? AND rowid <= ?"
            return self._base.execute(sql, (key, self._before)).fetchone() is not None

    def _keep_or_rescue(self, call: Call, reply: Reply, anew: bool) -> None:
        """Keep an answer; save it in another file if the ledger cannot, because the answer is paid for."""
        try:
            self.keep(call, reply, anew=anew)
        except KnowledgeError as error:
            raise KnowledgeError(f"{error}; {rescued(self.path, _row(call, reply))}") from error
        except BaseException:
            rescued(self.path, _row(call, reply))
            raise

    def _sync(self) -> None:
        """Make the last written answer safe on the disk."""
        if not self._file.is_there:
            raise KnowledgeError(books.saved(self._file, self._before))
        with suppress(OSError):  # On a disk without a log of changes, SQLite has synchronised the file itself.
            handle = os.open(f"{self._file.real}-wal", os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextmanager
    def _claimed(self, key: str, failed_up_to: int) -> Iterator[bool]:
        """Claim a call while the block runs, and yield whether the claim succeeded; give it back if the block fails."""
        claim = new_claim()
        with self._under_way():
            HELD.add(claim)
            try:
                yield self._claim(key, claim, failed_up_to)
            except BaseException:
                with suppress(KnowledgeError), self._file.changing():
                    self._base.execute("DELETE FROM claims WHERE key = ? AND process = ?", (key, claim))
                raise
            finally:
                HELD.discard(claim)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Keep the file open while the block runs, even if another thread closes the ledger."""
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
        """Claim a call that is neither kept nor claimed by a running thread; return whether this succeeded."""
        kept = f"SELECT 1 FROM calls {KEPT}"
        unclaimed = f"INSERT INTO claims SELECT ?, ? WHERE NOT EXISTS ({kept}) ON CONFLICT DO NOTHING"
        with self._file.guarded():
            if self._base.execute(unclaimed, (key, claim, key, failed_up_to)).rowcount == 1:
                return True
        with self._file.changing():
            row = self._base.execute("SELECT process FROM claims WHERE key = ?", (key,)).fetchone()
            is_kept = self._base.execute(kept, (key, failed_up_to)).fetchone()
            free = not is_kept and (row is None or not is_held(row[0]))
            if free:
                self._base.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (key, claim))
        return free

    def idempotency(self, key: str) -> str:
        """Return the idempotency key of a call; see `books.idempotency`."""
        return books.idempotency(self._file, key)

    def templates(self, stage: str, subject: str) -> set[str]:
        """Return the fingerprints of the templates of a subject's calls in a stage."""
        with self._file.guarded():
            sql = "SELECT DISTINCT template FROM calls WHERE stage = ? AND subject = ?"
            return {row[0] for row in self._base.execute(sql, (stage, subject))}

    def totals(self) -> list[dict[str, Any]]:
        """Return the sums of calls, tokens and seconds by stage and model."""
        return books.sums(self._file, ("stage", "model"))

    def verdicts(self, which: Which | None = None) -> list[dict[str, Any]]:
        """Return the sums of calls, tokens and seconds by stage, model and verdict, for all or some calls."""
        return books.sums(self._file, ("stage", "model", "verdict"), which)

    def forgotten(self) -> list[dict[str, Any]]:
        """Return the sums of calls, tokens and seconds by model for paid answers that are no longer kept."""
        return books.sums(self._file, ("model",), table="forgotten")

    def forget(
        self,
        stages: Sequence[str] = (),
        verdicts: Sequence[str] = (),
        before: float | None = None,
        after: float | None = None,
    ) -> int:
        """Delete the answers that match, see `Which`; return their number. A run that needs one asks again."""
        return books.forget(self._file, Which(stages, verdicts, before, after))

    def damaged(self) -> int:
        """Return the number of calls with invalid values, which are never used."""
        return books.damaged(self._file)

    def export(self, path: Path) -> tuple[int, int]:
        """Write all sound calls as JSON lines in the order of their keys; return their number and that of damaged ones.

        Raises:
            UsageError: the path is a file of the ledger.
        """
        return books.export(self._file, path)

    def take_in(self, path: Path) -> tuple[int, int]:
        """Import exported calls, see `books.take_in`; return the number of new ones and the number of all.

        Raises:
            DataError: a line is not an exported call; nothing is imported then.
        """
        return books.take_in(self._file, path)

    def close(self) -> None:
        """Close the file when the running calls are kept."""
        with self._gate:
            is_last = not self._closing and not self._on_their_way
            self._closing = True
        if is_last:
            self._file.close()


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
