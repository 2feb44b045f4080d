"""The protocol of teachers: the interface between the teacher graph and every kind of teacher."""

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
    """A set of frequently bundled kinds, with the sessions that contain them and the sessions that bundle them."""

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
        """The number of sessions that bundle the kinds, as a share of the sessions that contain them."""
        return len(self.supporters) / len(self.holders)


@dataclass(frozen=True)
class Reflection:
    """A proposal for a training session, compared with its annotation.

    `missed` has the pairs of positions that only the annotators bundled, and `wrong` the pairs that only the
    proposal bundled; `lessons` explain these differences if the teacher can.
    """

    session: Session
    proposal: Grouping
    missed: frozenset[tuple[int, int]]
    wrong: frozenset[tuple[int, int]]
    lessons: tuple[Lesson, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule in words, with its evidence.

    `gain` is the mean change in held-out GJS, the grouping score, and `harm` the mean loss on the sessions that the
    rule makes worse; both are None for an untested rule. `condition` selects pairs of products, and `joins` says
    whether the rule puts them together or apart.
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
    """A chain of thought about one session, with the kind of every product in order, and the lesson alone."""

    text: str
    kinds: tuple[str, ...]
    lesson: str = ""


class Teacher(Protocol):
    """A source of knowledge: the built-in grounded teacher, a recorded one, or a large language model.

    `worded_by` names the templates for its rules and thoughts, if it uses any; `repeats_itself` says whether it
    may express one rule several times in different words.
    """

    name: str
    worded_by: Mapping[KnowledgeKind, str]
    repeats_itself: bool

    def begin(self, sessions: Sequence[Session]) -> None:
        """Read all sessions before the first proposal."""

    def kinds(self, session: Session) -> tuple[str, ...] | None:
        """Return the kind of every product of a training session, bundled or not; None after a failure."""

    def propose(self, session: Session, patterns: Sequence[Pattern]) -> Grouping | None:
        """Return the bundles that the teacher makes before it sees the annotation; None after a failure."""

    def reflect(self, reflection: Reflection) -> tuple[Lesson, ...]:
        """Return the causes of the differences, and their lessons."""

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Return rules from the differences and the patterns of one domain.

        `seen` is called with the session id of each lesson that is done.
        """

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return a chain of thought about one session, or None if the teacher has none."""


def compare(session: Session, proposal: Grouping) -> Reflection:
    """Compare a proposal with the annotation, pair by pair."""
    truth, proposed = bundled_pairs(session.groups), bundled_pairs(proposal)
    return Reflection(session, proposal, missed=truth - proposed, wrong=proposed - truth)


def bundled_pairs(groups: Grouping) -> frozenset[tuple[int, int]]:
    """Return all pairs of positions that share a bundle, the smaller position first."""
    return frozenset(pair for group in groups for pair in combinations(sorted(group), 2))
