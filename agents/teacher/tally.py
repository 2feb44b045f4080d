"""What a teacher's run has done so far, stage by stage: the numbers behind the live view, the log and the caps."""

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
    """One stage: its work in units (sessions, or calls where there are none) and what was paid in this run."""

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
    """All stages in the order met; listeners hear of every event, from any thread, one at a time.

    A listener that fails hears no more, and its failure is a note: the calls that it hears of are paid.
    It is read while other threads add stages, hence from copies.
    """

    price: Price | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    waiting: str = ""
    notes: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def expect(self, stage: str, total: int) -> None:
        """Note how much work a stage has."""
        self._note("stage", stage, total=total)

    def done(self, stage: str, subject: str) -> None:
        """Note a unit of work that is done, well or not."""
        self._note("done", stage, subject=subject, done=1)

    def failed(self, stage: str, subject: str, reason: str) -> None:
        """Note a unit that gave nothing, and why."""
        self._note("failed", stage, subject=subject, reason=reason, failed=1)

    def call(self, stage: str, subject: str, reply: Reply, *, cached: bool) -> None:
        """Note an answer: from the ledger, or paid for."""
        if cached:
            self._note("cached", stage, subject=subject, cached=1, held=(reply.tokens_in, reply.tokens_out))
        else:
            tokens = {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
            marks: dict[str, Any] = {"estimated": 1} if reply.estimated else {}
            marks |= {} if reply.verdict == "good" else {"verdict": reply.verdict}
            self._note("call", stage, subject=subject, seconds=round(reply.seconds, 3), calls=1, **tokens, **marks)

    def waits(self, reason: str) -> None:
        """Note why the endpoint is waited for; with an empty reason, that it answers again."""
        with self._lock:
            self.waiting = reason
            self._tell({"event": "waiting" if reason else "answering", "reason": reason})

    def stopping(self, reason: str) -> None:
        """Note that the run was stopped, and what it still waits for."""
        with self._lock:
            self.waiting = reason
            self._tell({"event": "stopping", "reason": reason})

    def note(self, reason: str) -> None:
        """Note something that whoever watches should know."""
        with self._lock:
            self.notes.append(reason)
            self._tell({"event": "note", "reason": reason})

    def sum_up(self) -> None:
        """Note how many answers had tokens that had to be estimated, if there were any."""
        if count := sum(stage.estimated for stage in list(self.stages.values())):
            answers = f"{count:,} answer{'s' if count > 1 else ''}"
            self.note(f"the tokens of {answers}, and their cost, are estimated: the server gave no count that can be")

    def cost(self, *names: str) -> float | None:
        """Return what was paid in this run, for all stages or those named, in US dollars; None where unknown."""
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
        """Return the stages as rows of numbers, with what each cost."""
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
        """Tell every listener; those that fail are left out from then on, and the others hear why."""
        failures: list[str] = []
        for listener in list(self.listeners):
            try:
                listener(event)
            except Exception as error:  # A listener is anybody's, and an answer that is paid for is not lost for it.
                self.listeners.remove(listener)
                failures.append(_told(error))
        for reason in failures:
            self.notes.append(reason)
            self._tell({"event": "note", "reason": reason})


def _told(error: Exception) -> str:
    """Return what to say of a listener that failed; what is meant for the user is said as it is."""
    if isinstance(error, BundlewiseError):
        return str(error)
    return f"one that listens to the run failed and hears no more: {describe(error)}"
