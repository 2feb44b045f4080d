"""The caps on what a teacher may take: the room that is left under them, for all threads of a run.

What a call takes at most is far more than what it usually takes. So a call that does not fit waits for those that are
on their way, whose room comes free. Near a cap it is sent with a shorter greatest length, as answers so far need.
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
"""Answers after which their size says what the next one takes."""
AMPLE, TIGHT = 3.0, 1.2
"""Times the longest answer so far that a next one may have: while others are on their way, and where none is."""
ELSEWHERE = 2.0
"""Times the longest answer of other stages that the first answers of a stage may have."""
READ = 1.1
"""Times the tokens of a question, by the largest share of its estimate so far, that a next one is taken to have."""
POLL = 0.2
EXACT = 1e-9
"""The share of a cap by which sums of dollars are not exact."""


class CapError(BundlewiseError):
    """A cap on money or tokens would have been passed by the next call."""


@dataclass(frozen=True)
class Caps:
    """The most that a run may pay, in US dollars and in tokens, and the most calls it may make; None is no cap."""

    cost: float | None = None
    tokens: int | None = None
    calls: int | None = None


@dataclass
class Sizes:
    """What the answers of a stage took: how many, the largest share of the estimate that was read, the longest."""

    answers: int = 0
    share: float = 0.0
    written: int = 0

    def add(self, read: int, estimate: int, written: int) -> None:
        """Note an answer."""
        self.answers += 1
        self.share, self.written = max(self.share, read / max(1, estimate)), max(self.written, written)


@dataclass(frozen=True)
class Reservation:
    """What is put aside for one call, in tokens; `limit` is the greatest length of its answer, None the usual one."""

    read: int
    written: int
    limit: int | None = None


@dataclass
class Room:
    """The room under the caps, for all threads of a run; `wait` raises where the run was stopped."""

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
        """Put aside what a call may take while the block runs; yield the greatest length of its answer, None the usual.

        Args:
            stage: the stage, whose answers are alike in size.
            estimate: the tokens of the question at most.

        Raises:
            CapError: there is no room, and no call on its way whose room could come free.
        """
        part = self._take(stage, estimate)
        try:
            yield part.limit
        finally:
            with self._changed:
                self._taken.remove(part)
                self._changed.notify_all()

    def learn(self, stage: str, estimate: int, reply: Reply, limit: int | None = None) -> None:
        """Note what an answer took that was given a greatest length; an estimate says nothing of the next one."""
        self.heed(reply, limit)
        if reply.estimated:
            return
        with self._changed:
            # A probe is so short that what a server adds to a question is most of it.
            for name in (stage, "") if stage != "probe" else (stage,):
                sizes = self._sizes.setdefault(name, Sizes())
                sizes.add(reply.tokens_in, estimate, reply.tokens_out)

    def heed(self, reply: Reply, limit: int | None = None) -> None:
        """Note an answer that is longer than its greatest length: the model does not keep to one, as some that think.

        From then on every call is taken to need as much.
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
                    # From here on no smaller call is let through either, so what is said to be spent stays true.
                    self._over = self._told(cap)
                    self._changed.notify_all()
                else:
                    self._changed.wait(POLL)

    def _fitting(self, stage: str, estimate: int) -> tuple[Reservation | None, str]:
        """Return the part that fits, a whole one or one as the answers so far need it, or the cap in the way."""
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
        """Return the tokens a question has by what was learnt, and the longest answer; 0 where nothing was learnt."""
        here, anywhere = self._sizes.get(stage, Sizes()), self._sizes.get("", Sizes())
        if here.answers >= LEARNT:
            return ceil(READ * here.share * estimate), here.written
        if anywhere.answers >= LEARNT:
            return ceil(READ * anywhere.share * estimate), ceil(ELSEWHERE * anywhere.written)
        return estimate, 0

    def _reached(self, part: Reservation) -> str:
        """Return the option of the cap that a part more could pass; nothing where it fits."""
        caps, parts = self.caps, [*self._taken, part]
        if caps.cost is not None:
            paid = (self.tally.cost() or 0.0) + sum(self._price.cost(each.read, each.written) for each in parts)
            if paid > caps.cost * (1 + EXACT):
                return "--max-cost"
        if caps.tokens is not None and self.tally.tokens + sum(p.read + p.written for p in parts) > caps.tokens:
            return "--max-tokens"
        return "--max-calls" if caps.calls is not None and self.tally.calls + len(parts) > caps.calls else ""

    def _left(self, read: int) -> int:
        """Return the tokens that the answer to a question may have where no call is on its way."""
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
        """Return which cap is reached and what was spent, exactly: no call is on its way."""
        caps, tally = self.caps, self.tally
        if option == "--max-cost":
            cap, spent = f"${caps.cost:g}", f"${tally.cost() or 0.0:.4f}"
        elif option == "--max-tokens":
            cap, spent = f"{caps.tokens:,}", f"{tally.tokens:,} tokens"
        else:
            cap, spent = f"{caps.calls:,}", f"{tally.calls:,} calls"
        return (
            f"stopped before {option} {cap} could be passed: {spent} spent; the same command with a higher cap goes on"
        )
