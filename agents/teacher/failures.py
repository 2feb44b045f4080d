"""The failures of a teacher's questions: their number and reasons by stage, and the limit on them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from bundlewise.errors import BundlewiseError

MAX_FAILED = 0.5
"""The default limit on failures as a share of a stage: knowledge of fewer than half of the sessions is not enough."""
SHOWN = 3
REMEDIES = (
    (("max_completion_tokens", "temperature", "unsupported parameter"), "give --effort low for a model that reasons"),
    (("refused (4",), "correct the model, its address or the options"),
    (("cut off",), "raise --max-output"),
    (("empty", "no JSON"), "ask another model, or raise --max-output"),
)
OTHERWISE = "raise --repairs, or ask another model"
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")
"""The parts in which equal reasons may differ: numbers and quoted texts."""
CALLED = ("call", "cached", "failed")


class StageError(BundlewiseError):
    """Too much of a stage failed, so its knowledge must not replace the present knowledge."""


@dataclass
class Failures:
    """The subjects of one stage, and the reasons of those that failed."""

    asked: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The reasons, the most frequent first, each with an example and a remedy."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for subject, reason in sorted(self.reasons.items()):
            groups.setdefault(_VARYING.sub("_", reason), []).append((subject, reason))
        ranked = sorted(groups.items(), key=lambda row: (-len(row[1]), row[0]))
        return [
            {"reason": reason, "count": len(alike), "example": subject, "remedy": remedy_for(reason)}
            for _, alike in ranked
            for subject, reason in alike[:1]
        ]


@dataclass
class Outcomes:
    """A listener to a tally that raises an error when too much of a stage has failed."""

    max_failed: float = MAX_FAILED
    stages: dict[str, Failures] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Record an event of a tally."""
        if event["event"] not in CALLED:
            return
        with self._lock:
            stage = self.stages.setdefault(event["stage"], Failures())
            stage.asked.add(event["subject"])
            if event["event"] == "failed":
                stage.reasons[event["subject"]] = " ".join(str(event["reason"]).split())

    def require(self, *names: str) -> None:
        """Check that only an acceptable share of each of these stages failed.

        Raises:
            StageError: too much failed; the message has the most frequent reasons with examples and remedies.
        """
        for name in names:
            stage = self.stages.get(name)
            if stage is not None and self._is_too_much(len(stage.reasons), len(stage.asked)):
                raise StageError(*self._told(name, stage))

    def require_grounded(self, refused: Sequence[str]) -> None:
        """Check that only an acceptable share of the thoughts failed or was refused for these reasons.

        Raises:
            StageError: too many failed, as in `require`.
        """
        said = self.stages["think"]
        reasons = said.reasons | {f"thought {n}": reason for n, reason in enumerate(refused, 1)}
        if refused and self._is_too_much(len(reasons), len(said.asked)):
            raise StageError(*self._told("think", Failures(said.asked, reasons)))

    def _is_too_much(self, failed: int, asked: int) -> bool:
        return bool(failed) and (failed == asked or failed > self.max_failed * asked)

    def _told(self, name: str, stage: Failures) -> list[str]:
        share = "all of it" if len(stage.reasons) == len(stage.asked) else f"more than --max-failed {self.max_failed:g}"
        head = f"stage {name} failed for {len(stage.reasons):,} of {len(stage.asked):,}, {share}; nothing was replaced"
        return [head, *(f"  {line}" for line in lines_of(stage.rows))]


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the most frequent reasons of a stage, one per line."""
    told = [f"{r['count']:,} x {r['reason']} (such as {r['example']}); {r['remedy']}" for r in rows[:SHOWN]]
    rest = sum(row["count"] for row in rows[SHOWN:])
    return [*told, *([f"{rest:,} for other reasons"] if rest else [])]


def remedy_for(reason: str) -> str:
    """Return the remedy for a failure."""
    return next((remedy for words, remedy in REMEDIES if any(word in reason for word in words)), OTHERWISE)
