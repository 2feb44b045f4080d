"""The caps on a teacher's cost, tokens and calls, and the room that is left under them for all threads of a run.

The maximum use of a call is far more than its usual use. So a call that does not fit waits until running calls end and
free their room. Near a cap, a call is sent with a shorter maximum length, estimated from the answers so far.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, floor
from threading import Condition

from bundlewise.agents.ledger.calls import Reply
from bundlewise.agents.teacher.tally import Tally
from bundlewise.errors import BundlewiseError
from bundlewise.models.prices import Price

LEARNT = 5
"""The number of answers after which their sizes predict the next one."""
AMPLE, TIGHT = 3.0, 1.2
"""Multiples of the longest answer so far that the next answer may have, with and without other calls running."""
ELSEWHERE = 2.0
"""The multiple of the longest answer of other stages that the first answers of a stage may have."""
READ = 1.1
"""A safety factor for the tokens of a question, which the largest share of an estimate so far predicts."""
POLL = 0.2
EXACT = 1e-9
"""The tolerance for sums of dollars, as a share of the cap."""


class CapError(BundlewiseError):
    """The next call could exceed a cap on cost, tokens or calls."""


@dataclass(frozen=True)
class Caps:
    """The caps of a run on its cost in US dollars, its tokens and its calls; None means no cap."""

    cost: float | None = None
    tokens: int | None = None
    calls: int | None = None


@dataclass
class Sizes:
    """The sizes of a stage's answers: their number, the largest share of an estimate that was read, the longest."""

    answers: int = 0
    share: float = 0.0
    written: int = 0

    def add(self, read: int, estimate: int, written: int) -> None:
        """Add the size of an answer."""
        self.answers += 1
        self.share, self.written = max(self.share, read / max(1, estimate)), max(self.written, written)


@dataclass(frozen=True)
class Reservation:
    """The tokens reserved for one call; `limit` is the maximum length of its answer, None for the usual one."""

    read: int
    written: int
    limit: int | None = None


@dataclass
class Room:
    """The room under the caps, shared by all threads of a run; `wait` raises an error if the run was stopped."""

    caps: Caps
    tally: Tally
    most: int
    wait: Callable[[float], None]
    _changed: Condition = field(default_factory=Condition)
    _taken: list[Reservation] = field(default_factory=list)
    _sizes: dict[str, Sizes] = field(default_factory=dict)
    _over: str = ""
    _beyond: int = 0

    @contextmanager
    def taken(self, stage: str, estimate: int) -> Iterator[int | None]:
        """Reserve the room of a call while the block runs; yield the maximum length of its answer, None for the usual.

        Args:
            stage: the stage; its answers are of similar size.
            estimate: the most tokens that the question may have.

        Raises:
            CapError: there is no room, and no running call that could free some.
        """
        part = self._take(stage, estimate)
        try:
            yield part.limit
        finally:
            with self._changed:
                self._taken.remove(part)
                self._changed.notify_all()

    def learn(self, stage: str, estimate: int, reply: Reply, limit: int | None = None) -> None:
        """Record the size of an answer with a maximum length; an estimated size is not used for predictions."""
        self.heed(reply, limit)
        if reply.estimated:
            return
        with self._changed:
            # A probe is so short that the tokens which a server adds to it are most of it.
            for name in (stage, "") if stage != "probe" else (stage,):
                sizes = self._sizes.setdefault(name, Sizes())
                sizes.add(reply.tokens_in, estimate, reply.tokens_out)

    def heed(self, reply: Reply, limit: int | None = None) -> None:
        """Record an answer above its maximum length; some reasoning models exceed it.

        After that, every call reserves as much as this answer took.
        """
        if reply.tokens_out > (limit or self.most):
            with self._changed:
                self._beyond = max(self._beyond, reply.tokens_out)

    def _take(self, stage: str, estimate: int) -> Reservation:
        with self._changed:
            while True:
                self.wait(0.0)
                if self._over:
                    raise CapError(self._over)
                part, cap = self._fitting(stage, estimate)
                if part:
                    self._taken.append(part)
                    return part
                if not self._taken:
                    # From now on even smaller calls are refused, so that the reported sum stays true.
                    self._over = self._told(cap)
                    self._changed.notify_all()
                else:
                    self._changed.wait(POLL)

    def _fitting(self, stage: str, estimate: int) -> tuple[Reservation | None, str]:
        """Return a reservation that fits, full or predicted from earlier answers, or None; and the cap in the way."""
        read, longest = self._usual(stage, estimate)
        whole = Reservation(max(estimate, read), max(self.most, longest, ceil(TIGHT * self._beyond)))
        cap = self._reached(whole)
        if not cap or self._beyond:
            return (None if cap else whole), cap
        limit = min(self.most, ceil(AMPLE * longest))
        if not self._taken:
            limit = min(limit, self._left(read))
        part = Reservation(read, limit, limit)
        is_enough = longest and limit >= min(self.most, ceil(TIGHT * longest))
        return (part if is_enough and not self._reached(part) else None), cap

    def _usual(self, stage: str, estimate: int) -> tuple[int, int]:
        """Return the predicted tokens of a question and of its longest answer, which is 0 without enough answers."""
        here, anywhere = self._sizes.get(stage, Sizes()), self._sizes.get("", Sizes())
        if here.answers >= LEARNT:
            return ceil(READ * here.share * estimate), here.written
        if anywhere.answers >= LEARNT:
            return ceil(READ * anywhere.share * estimate), ceil(ELSEWHERE * anywhere.written)
        return estimate, 0

    def _reached(self, part: Reservation) -> str:
        """Return the option of the cap that another reservation could exceed; empty if it fits."""
        caps, parts = self.caps, [*self._taken, part]
        if caps.cost is not None:
            paid = (self.tally.cost() or 0.0) + sum(self._price.cost(each.read, each.written) for each in parts)
            if paid > caps.cost * (1 + EXACT):
                return "--max-cost"
        if caps.tokens is not None and self.tally.tokens + sum(p.read + p.written for p in parts) > caps.tokens:
            return "--max-tokens"
        return "--max-calls" if caps.calls is not None and self.tally.calls + len(parts) > caps.calls else ""

    def _left(self, read: int) -> int:
        """Return the most tokens that an answer may have when no other call is running."""
        left = float(self.most)
        if self.caps.tokens is not None:
            left = min(left, self.caps.tokens - self.tally.tokens - read)
        if self.caps.cost is not None and self._price.output:
            money = self.caps.cost * (1 + EXACT) - (self.tally.cost() or 0.0) - self._price.cost(read, 0)
            left = min(left, money / self._price.cost(0, 1))
        return floor(left)

    @property
    def _price(self) -> Price:
        return self.tally.price or Price(input=0.0, output=0.0)

    def _told(self, option: str) -> str:
        """Return the message about the reached cap, with the exact sum spent, because no call is running."""
        caps, tally = self.caps, self.tally
        if option == "--max-cost":
            cap, spent = f"${caps.cost:g}", f"${tally.cost() or 0.0:.4f}"
        elif option == "--max-tokens":
            cap, spent = f"{caps.tokens:,}", f"{tally.tokens:,} tokens"
        else:
            cap, spent = f"{caps.calls:,}", f"{tally.calls:,} calls"
        remedy = "run the same command with a higher cap to continue"
        return f"stopped before exceeding {option} {cap}: {spent} spent; {remedy}"
