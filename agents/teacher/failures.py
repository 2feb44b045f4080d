"""What became of a teacher's questions: how many of each stage gave nothing, why, and whether that is too many."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from bundlewise.errors import BundlewiseError

MAX_FAILED = 0.5
"""The share of a stage that may fail by default: knowledge of less than half of the sessions is no replacement."""
SHOWN = 3
REMEDIES = (
    (("max_completion_tokens", "temperature", "unsupported parameter"), "give --effort low for a model that reasons"),
    (("refused (4",), "correct the model, its address or the options that it was asked with"),
    (("cut off",), "raise --max-output"),
    (("empty", "no JSON"), "ask another model, or raise --max-output"),
)
OTHERWISE = "raise --repairs, or ask another model"
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"")
"""What differs between reasons that are one: numbers, and what is quoted."""
CALLED = ("call", "cached", "failed")


class StageError(BundlewiseError):
    """Too much of a stage failed for its knowledge to replace what is there."""


@dataclass
class Failures:
    """The failures of one stage among the subjects that were asked about."""

    asked: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The reasons by how often they occur, with an example and the remedy."""
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
    """Hears what a tally hears, from any thread, and says when too much of a stage has failed."""

    max_failed: float = MAX_FAILED
    stages: dict[str, Failures] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take in an event of a tally."""
        if event["event"] not in CALLED:
            return
        with self._lock:
            stage = self.stages.setdefault(event["stage"], Failures())
            stage.asked.add(event["subject"])
            if event["event"] == "failed":
                stage.reasons[event["subject"]] = " ".join(str(event["reason"]).split())

    def require(self, *names: str) -> None:
        """Raise where too much of one of these stages failed, or all of it.

        Raises:
            StageError: it says how much, the most frequent reasons with an example each, and what to do.
        """
        for name in names:
            stage = self.stages.get(name)
            if stage is not None and self._is_too_much(len(stage.reasons), len(stage.asked)):
                raise StageError(*self._told(name, stage))

    def require_grounded(self, refused: Sequence[str]) -> None:
        """Raise where too many thoughts failed or are refused for these reasons.

        Raises:
            StageError: as for `require`.
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
    """Return the most frequent reasons of a stage, a line each."""
    told = [f"{r['count']:,} x {r['reason']} (such as {r['example']}); {r['remedy']}" for r in rows[:SHOWN]]
    rest = sum(row["count"] for row in rows[SHOWN:])
    return [*told, *([f"{rest:,} for other reasons"] if rest else [])]


def remedy_for(reason: str) -> str:
    """Return what to do about a failure."""
    return next((remedy for words, remedy in REMEDIES if any(word in reason for word in words)), OTHERWISE)
