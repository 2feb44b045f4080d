"""What a teacher does, whoever it is: the seam between the teacher graph and its teachers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from bundlewise.domain import Grouping, Session


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
    proposal alone.
    """

    session: Session
    proposal: Grouping
    missed: frozenset[tuple[int, int]]
    wrong: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Rule:
    """A worded rule with its evidence; `gain` is the held-out GJS it brought, None where untested."""

    text: str
    sources: tuple[str, ...]
    support: int | None = None
    confidence: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class Thought:
    """A chain of thought about one session, with the kind of every product in order."""

    text: str
    kinds: tuple[str, ...]


class Teacher(Protocol):
    """Whoever distils: the embedded grounded teacher, a recorded one, or a large language model."""

    name: str
    words_by_template: bool

    def kinds(self, session: Session) -> tuple[str, ...]:
        """Return the kind of every product of a training session, bundled or not."""

    def propose(self, sessions: Sequence[Session]) -> list[Grouping]:
        """Return the bundles the teacher would make before it has learnt anything."""

    def formalise(self, reflections: Sequence[Reflection], patterns: Sequence[Pattern]) -> list[Rule]:
        """Return rules drawn from the discrepancies and the patterns."""

    def think(self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern]) -> Thought | None:
        """Return a chain of thought about one session, or None where the teacher has none."""


def reflect(session: Session, proposal: Grouping) -> Reflection:
    """Compare a proposal with the annotation, pair by pair."""
    truth, proposed = bundled_pairs(session.groups), bundled_pairs(proposal)
    return Reflection(session, proposal, missed=truth - proposed, wrong=proposed - truth)


def bundled_pairs(groups: Grouping) -> frozenset[tuple[int, int]]:
    """Return all pairs of positions that stand in one bundle, smaller first."""
    return frozenset(pair for group in groups for pair in combinations(sorted(group), 2))
