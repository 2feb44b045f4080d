"""The tally of a teacher's run: the progress and cost of each stage, for the live view, the log and the caps."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from bundlewise.agents.ledger.calls import Reply
from bundlewise.errors import BundlewiseError, describe
from bundlewise.models.prices import Price

Listener = Callable[[dict[str, Any]], None]


@dataclass
class Stage:
    """The work of one stage in units (sessions, or else calls), and the calls and tokens paid in this run."""

    total: int = 0
    done: int = 0
    failed: int = 0
    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0


@dataclass
class Tally:
    """All stages in the order of their start, and listeners for every event, which are called one event at a time.

    A listener that fails is removed and its failure becomes a note, because the run must keep the paid answers.
    Readers use copies of `stages`, because other threads add stages at the same time.
    """

    price: Price | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    waiting: str = ""
    notes: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def expect(self, stage: str, total: int) -> None:
        """Record the total work of a stage."""
        self._note("stage", stage, total=total)

    def done(self, stage: str, subject: str) -> None:
        """Record a finished unit of work, successful or not."""
        self._note("done", stage, subject=subject, done=1)

    def failed(self, stage: str, subject: str, reason: str) -> None:
        """Record a unit without a result, and the reason."""
        self._note("failed", stage, subject=subject, reason=reason, failed=1)

    def call(self, stage: str, subject: str, reply: Reply, *, cached: bool) -> None:
        """Record an answer from the ledger (`cached`), or a paid one."""
        if cached:
            self._note("cached", stage, subject=subject, cached=1, held=(reply.tokens_in, reply.tokens_out))
        else:
            tokens = {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
            marks: dict[str, Any] = {"estimated": 1} if reply.estimated else {}
            marks |= {} if reply.verdict == "good" else {"verdict": reply.verdict}
            self._note("call", stage, subject=subject, seconds=round(reply.seconds, 3), calls=1, **tokens, **marks)

    def waits(self, reason: str) -> None:
        """Record the reason for a wait for the endpoint; an empty reason says that it answers again."""
        with self._lock:
            self.waiting = reason
            self._tell({"event": "waiting" if reason else "answering", "reason": reason})

    def stopping(self, reason: str) -> None:
        """Record that the run was stopped, and what it still waits for."""
        with self._lock:
            self.waiting = reason
            self._tell({"event": "stopping", "reason": reason})

    def note(self, reason: str) -> None:
        """Record a note for the user."""
        with self._lock:
            self.notes.append(reason)
            self._tell({"event": "note", "reason": reason})

    def sum_up(self) -> None:
        """Record a note with the number of answers whose tokens were estimated, if there are any."""
        if count := sum(stage.estimated for stage in list(self.stages.values())):
            answers = f"{count:,} answer{'s' if count > 1 else ''}"
            self.note(f"the tokens and the cost of {answers} are estimated: the server gave no plausible counts")

    def cost(self, *names: str) -> float | None:
        """Return the cost of this run in US dollars, for all stages or the named ones; None for an unknown price."""
        stages = [self.stages[name] for name in names or list(self.stages)]
        paid = [stage for stage in stages if stage.calls]
        if not paid:
            return 0.0
        return None if self.price is None else sum(self.price.cost(s.tokens_in, s.tokens_out) for s in paid)

    @property
    def tokens(self) -> int:
        """Tokens read and written in this run."""
        return sum(stage.tokens_in + stage.tokens_out for stage in list(self.stages.values()))

    @property
    def calls(self) -> int:
        """Calls paid for in this run."""
        return sum(stage.calls for stage in list(self.stages.values()))

    def rows(self) -> list[dict[str, Any]]:
        """Return the stages as rows of numbers with the cost of each stage."""
        return [{"stage": name, **asdict(stage), "cost": self.cost(name)} for name, stage in list(self.stages.items())]

    def _note(self, event: str, name: str, **values: Any) -> None:
        with self._lock:
            stage = self.stages.setdefault(name, Stage())
            for key, value in values.items():
                if key == "total":
                    stage.total = value
                elif hasattr(stage, key):
                    setattr(stage, key, getattr(stage, key) + value)
            self._tell({"event": event, "stage": name, **values})

    def _tell(self, event: dict[str, Any]) -> None:
        """Call every listener; remove those that fail, and tell the others the reason."""
        failures: list[str] = []
        for listener in list(self.listeners):
            try:
                listener(event)
            except Exception as error:  # A failed listener, which can be any code, must not lose a paid answer.
                self.listeners.remove(listener)
                failures.append(_told(error))
        for reason in failures:
            self.notes.append(reason)
            self._tell({"event": "note", "reason": reason})


def _told(error: Exception) -> str:
    """Return the message about a listener that failed; an error for the user keeps its text."""
    if isinstance(error, BundlewiseError):
        return str(error)
    return f"a listener to the run failed and was removed: {describe(error)}"
