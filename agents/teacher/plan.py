"""The plan of a teacher's run before any payment: calls, tokens and cost by stage, and the reasons for the calls."""

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
    """The plan of a stage: kept calls, calls to make with their reasons, and a low and a high estimate of tokens.

    `failed` counts kept answers that could not be used; `cached` counts the other kept answers.
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
    """A dry run: answers from the ledger, uses a stand-in for each missing answer, and counts the calls to make.

    A stand-in has the usual size, so that later prompts with it also have the usual size.
    """

    retry_failed: bool = False
    stages: dict[str, PlannedStage] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _counted: set[str] = field(default_factory=set)
    _unjudged: set[str] = field(default_factory=set)

    def rows(self, price: Price | None) -> list[dict[str, Any]]:
        """Return the stages as rows with their lowest and highest cost, None if the price is unknown."""
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
        """Count an answer by the verdict of the next run, which may differ from the stored verdict."""
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
        """Do nothing, because a plan only counts the calls to make."""

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
                # Sessions with equal titles share one question, so the ledger will have its answer by then.
                stage.cached += 1
                return
            self._counted.add(call.key)
            stage.calls += 1
            stage.most_calls += 1 + self.repairs
            stage.tokens_in = (stage.tokens_in[0] + low_in, stage.tokens_in[1] + (1 + self.repairs) * high_in)
            stage.tokens_out = (stage.tokens_out[0] + low_out, stage.tokens_out[1] + (1 + self.repairs) * high_out)
            stage.why[why] = stage.why.get(why, 0) + 1
