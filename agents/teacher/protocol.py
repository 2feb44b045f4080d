"""What a teacher does, whoever it is: the seam between the teacher graph and its teachers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from bundlewise.agents.teacher.conditions import Testable
from bundlewise.agents.teacher.contracts import Lesson
from bundlewise.domain import Grouping, KnowledgeKind, Session

Seen = Callable[[str], None]


@dataclass(frozen=True)
class Pattern:
    """Kinds that are frequently bundled, with the sessions that hold them and those that bundle them."""

    kinds: tuple[str, ...]
    holders: tuple[str, ...]
    supporters: tuple[str, ...]
    lift: float

    @property
    def support(self) -> int:
        """The number of sessions that bundle the kinds."""
        return len(self.supporters)

    @property
    def confidence(self) -> float:
        """The share of the sessions holding the kinds that bundle them."""
        return len(self.supporters) / len(self.holders)


@dataclass(frozen=True)
class Reflection:
    """A proposal for a training session beside its annotation.

    `missed` are the pairs of positions bundled by the annotators alone, `wrong` those bundled by the
    proposal alone; `lessons` say why, where the teacher can.
    """

    session: Session
    proposal: Grouping
    missed: frozenset[tuple[int, int]]
    wrong: frozenset[tuple[int, int]]
    lessons: tuple[Lesson, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A worded rule with its evidence.

    `gain` is the mean held-out GJS it brought and `harm` what it cost the sessions it made worse, both None
    where it is untested; `condition` says for which products it speaks, and `joins` what it says of them.
    """

    text: str
    sources: tuple[str, ...]
    support: int | None = None
    confidence: float | None = None
    gain: float | None = None
    harm: float | None = None
    joins: bool = True
    condition: Testable | None = None
    domain: str = ""


@dataclass(frozen=True)
class Thought:
    """A chain of thought about one session, with the kind of every product in order."""

    text: str
    kinds: tuple[str, ...]


class Teacher(Protocol):
    """Whoever distils: the embedded grounded teacher, a recorded one, or a large language model.

    `worded_by` names the templates that word its rules and thoughts, or ask for them, where it has any;
    `repeats_itself` says whether it may word one rule several times.
    """

    name: str
    worded_by: Mapping[KnowledgeKind, str]
    repeats_itself: bool

    def begin(self, sessions: Sequence[Session]) -> None:
        """Look at all sessions before the first is proposed for."""

    def kinds(self, session: Session) -> tuple[str, ...] | None:
        """Return the kind of every product of a training session, bundled or not; None where it could not."""

    def propose(self, session: Session, patterns: Sequence[Pattern]) -> Grouping | None:
        """Return the bundles the teacher would make before it knows the annotation; None where it could not."""

    def reflect(self, reflection: Reflection) -> tuple[Lesson, ...]:
        """Return what caused the discrepancies, and what they teach."""

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Return rules drawn from the discrepancies and the patterns of one domain.

        `seen` hears of each lesson that is dealt with, by its session's id.
        """

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return a chain of thought about one session, or None where the teacher has none."""


def compare(session: Session, proposal: Grouping) -> Reflection:
    """Compare a proposal with the annotation, pair by pair."""
    truth, proposed = bundled_pairs(session.groups), bundled_pairs(proposal)
    return Reflection(session, proposal, missed=truth - proposed, wrong=proposed - truth)


def bundled_pairs(groups: Grouping) -> frozenset[tuple[int, int]]:
    """Return all pairs of positions that stand in one bundle, smaller first."""
    return frozenset(pair for group in groups for pair in combinations(sorted(group), 2))
