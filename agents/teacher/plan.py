"""The plan of a teacher's run before anything is paid: calls, tokens and money by stage, and why there are any."""

from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from bundlewise.agents.chat.completions import CHARACTERS, tokens_of
from bundlewise.agents.ledger.calls import Call, Reply, Verdict
from bundlewise.agents.teacher.ask import Asks
from bundlewise.agents.teacher.contracts import Contract, Typed
from bundlewise.models.prices import Price
from bundlewise.prompts.render import Messages


@dataclass
class PlannedStage:
    """What a stage would take: calls kept already, calls to make, tokens low and high, and why there are any.

    `failed` counts kept answers that could not be used, apart from `cached`.
    """

    cached: int = 0
    failed: int = 0
    calls: int = 0
    most_calls: int = 0
    tokens_in: tuple[int, int] = (0, 0)
    tokens_out: tuple[int, int] = (0, 0)
    why: dict[str, int] = field(default_factory=dict)


@dataclass
class Planner(Asks):
    """Asks nobody: answers from the ledger, stands in for what is not there, and counts what asking would take.

    What stands in is of the usual size, so that the prompts that build on it are of the usual size too.
    """

    retry_failed: bool = False
    stages: dict[str, PlannedStage] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _counted: set[str] = field(default_factory=set)
    _unjudged: set[str] = field(default_factory=set)

    def rows(self, price: Price | None) -> list[dict[str, Any]]:
        """Return the stages as rows, with the least and the most that they cost; None where the price is unknown."""
        rows = []
        for name, stage in self.stages.items():
            low, high = (price.cost(stage.tokens_in[end], stage.tokens_out[end]) if price else None for end in (0, 1))
            low, high = (low, high) if stage.calls else (0.0, 0.0)
            rows.append({"stage": name, **asdict(stage), "cost": [low, high]})
        return rows

    def _answer(self, call: Call, messages: Messages, schema: dict[str, Any]) -> Reply | None:
        reply = self.ledger.find(call.key)
        if reply is None or (self.retry_failed and (reply.verdict != "good" or call.key in self._unjudged)):
            return None
        with self._lock:
            stage = self.stages.setdefault(call.stage, PlannedStage())
            if reply.verdict == "good":
                stage.cached += 1
            else:
                stage.failed += 1
        return reply

    def _missing(self, call: Call, messages: Messages, usual: Typed) -> Typed:
        self._count(call, messages, usual)
        return usual

    def _judge(self, call: Call, reply: Reply, verdict: Verdict) -> bool:
        """Count an answer as the next run will judge it, where the last one judged otherwise or did not judge yet."""
        more = (verdict != "good") - (reply.verdict != "good")
        with self._lock:
            stage = self.stages[call.stage]
            if more > 0 and self.retry_failed:
                self._unjudged.add(call.key)
                stage.cached -= 1
                return True
            stage.cached, stage.failed = stage.cached - more, stage.failed + more
        return False

    def _failed(self, stage: str, subject: str, reason: str) -> None:
        """Keep no account of failures: a plan counts what is to be asked."""

    def _count(self, call: Call, messages: Messages, usual: Contract) -> None:
        low_in, high_in = tokens_of(messages)
        size = len(usual.model_dump_json().encode())
        low_out, high_out = round(size / CHARACTERS[1]), min(self.endpoint.max_output, round(2 * size / CHARACTERS[0]))
        known = self.ledger.templates(call.stage, call.subject)
        if self.ledger.find(call.key) is not None:
            why = "failed before"
        elif not known:
            why = "new"
        else:
            why = "template changed" if call.template not in known else "what it builds on changed"
        with self._lock:
            stage = self.stages.setdefault(call.stage, PlannedStage())
            if call.key in self._counted:
                # Sessions of equal titles are one question: the ledger will have its answer by then.
                stage.cached += 1
                return
            self._counted.add(call.key)
            stage.calls += 1
            stage.most_calls += 1 + self.repairs
            stage.tokens_in = (stage.tokens_in[0] + low_in, stage.tokens_in[1] + (1 + self.repairs) * high_in)
            stage.tokens_out = (stage.tokens_out[0] + low_out, stage.tokens_out[1] + (1 + self.repairs) * high_out)
            stage.why[why] = stage.why.get(why, 0) + 1
