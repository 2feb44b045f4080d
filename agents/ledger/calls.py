"""The ledger of paid calls: every answer of a large model by what determined it, so that none is paid for twice.

One SQLite file. A call is *claimed* before it is sent and *kept*, with a verdict, once its answer is here; failures are
given back, never kept. Whoever finds a call claimed by a living process waits for that answer instead of paying again.
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
"""The verdict on an answer: used; without text; a refusal; a call of a tool instead of text; no completion although it
was billed; text that does not keep its contract."""
POLL = 0.05
KEPT = "WHERE key = ? AND (verdict = 'good' OR rowid > ?)"
"""The condition of a kept answer; one that could not be used counts as missing in the rows up to a number."""


@dataclass(frozen=True)
class Reply:
    """A model's answer and its cost in tokens and seconds; `finish` is `length` where the answer was cut.

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
        self._renewed = set[str]()  # A row may get the number of an older one that another process forgot.
        with self._file.guarded():
            self._before = self._base.execute("SELECT COALESCE(MAX(rowid), 0) FROM calls").fetchone()[0]

    @classmethod
    def open_for_reading(cls, path: Path) -> "CallLedger":
        """Open the file without a change to it; one that is missing is an empty ledger."""
        return cls(path, writable=False)

    def find(self, key: str) -> Reply | None:
        """Return the answer kept for a call."""
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
        """Write an answer down, `anew` in place of an older one, and give the claim back, in one statement.

        Threads wait for each other at each.
        """
        kept = "REPLACE" if anew else "INSERT OR IGNORE"
        with self._file.guarded():
            self._base.execute(f"{kept} INTO calls VALUES ({PLACES})", _row(call, reply))
        self._sync()

    def judge(self, key: str, verdict: Verdict) -> None:
        """Write down the verdict on an answer that is kept; a ledger that is open for reading stays as it is."""
        if self._file.writable:
            with self._file.guarded():
                self._base.execute("UPDATE calls SET verdict = ? WHERE key = ?", (verdict, key))

    def is_of_before(self, key: str) -> bool:
        """Say whether a kept answer is older than this ledger's opening."""
        if key in self._renewed:
            return False
        with self._file.guarded():
            sql = "SELECT 1 FROM calls WHERE key = ? AND rowid <= ?"
            return self._base.execute(sql, (key, self._before)).fetchone() is not None

    def _keep_or_rescue(self, call: Call, reply: Reply, anew: bool) -> None:
        """Keep an answer; one that cannot be kept is paid, and saved elsewhere."""
        try:
            self.keep(call, reply, anew=anew)
        except KnowledgeError as error:
            raise KnowledgeError(f"{error}; {rescued(self.path, _row(call, reply))}") from error
        except BaseException:
            rescued(self.path, _row(call, reply))
            raise

    def _sync(self) -> None:
        """Make what was written last safe on the disk."""
        if not self._file.is_there:
            raise KnowledgeError(books.saved(self._file, self._before))
        with suppress(OSError):  # Where the disk knows no log of changes, SQLite has done so itself.
            handle = os.open(f"{self._file.real}-wal", os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextmanager
    def _claimed(self, key: str, failed_up_to: int) -> Iterator[bool]:
        """Hold a call while the block runs, and say whether it could be had; given back where the block fails."""
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
        """Take a call that is neither kept nor held; one that was left behind is taken over."""
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
        """Return the key under which a call is sent; see `calls_books.idempotency`."""
        return books.idempotency(self._file, key)

    def templates(self, stage: str, subject: str) -> set[str]:
        """Return the fingerprints of the templates by which a subject has been asked about in a stage."""
        with self._file.guarded():
            sql = "SELECT DISTINCT template FROM calls WHERE stage = ? AND subject = ?"
            return {row[0] for row in self._base.execute(sql, (stage, subject))}

    def totals(self) -> list[dict[str, Any]]:
        """Return calls, tokens and seconds by stage and model."""
        return books.sums(self._file, ("stage", "model"))

    def verdicts(self, which: Which | None = None) -> list[dict[str, Any]]:
        """Return calls, tokens and seconds by stage, model and verdict, of all calls or of some."""
        return books.sums(self._file, ("stage", "model", "verdict"), which)

    def forgotten(self) -> list[dict[str, Any]]:
        """Return calls, tokens and seconds by model of answers that were paid and are not kept any more."""
        return books.sums(self._file, ("model",), table="forgotten")

    def forget(
        self,
        stages: Sequence[str] = (),
        verdicts: Sequence[str] = (),
        before: float | None = None,
        after: float | None = None,
    ) -> int:
        """Forget answers: see `Which`. Return how many; a run that needs one asks again."""
        return books.forget(self._file, Which(stages, verdicts, before, after))

    def damaged(self) -> int:
        """Return how many calls hold values that no call has; nothing uses them."""
        return books.damaged(self._file)

    def export(self, path: Path) -> tuple[int, int]:
        """Write all sound calls as JSON lines, in the order of their keys; return how many, and how many are damaged.

        Raises:
            UsageError: it would be written over a file of the ledger.
        """
        return books.export(self._file, path)

    def take_in(self, path: Path) -> tuple[int, int]:
        """Read exported calls: see `calls_books.take_in`. Return how many were new, of how many.

        Raises:
            DataError: a line is no exported call; nothing is taken in then.
        """
        return books.take_in(self._file, path)

    def close(self) -> None:
        """Close the file, once the answers on their way are kept."""
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
