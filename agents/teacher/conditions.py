"""The testable condition of a rule on two products of a session, and the trial of a rule on sessions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bundlewise.domain import Session
from bundlewise.evaluation import baselines
from bundlewise.evaluation.metrics import gjs
from bundlewise.text import head_noun, kind, shared_words, words

STRENGTH = 0.5
Holds = Callable[[Session, int, int], bool]
Relation = Literal[
    "any", "same kind", "different kinds", "share a word", "share no word", "share a number", "same brand"
]


class Testable(Protocol):
    """A condition on two products of a session."""

    def holds(self, session: Session, a: int, b: int) -> bool:
        """Say whether the condition holds for the products at two positions."""


class Condition(BaseModel):
    """A condition on two products of a session, which holds if all of its fields hold.

    A teacher reads the field descriptions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: tuple[str, ...] = Field(
        max_length=12, description="words, one of which the title of one product holds; empty: any product"
    )
    second: tuple[str, ...] = Field(
        max_length=12, description="words, one of which the title of the other product holds; empty: any product"
    )
    relation: Relation = Field(description="what the two titles have to do with each other")
    least: int = Field(ge=2, description="smallest number of products in the session; 2 for any")
    most: int = Field(ge=2, description="largest number of products in the session; 99 for any")

    def holds(self, session: Session, a: int, b: int) -> bool:
        """Say whether the condition holds for the products at two positions."""
        if not self.least <= len(session.items) <= self.most:
            return False
        one, other = session.items[a].title, session.items[b].title
        named = (_holds_any(one, self.first) and _holds_any(other, self.second)) or (
            _holds_any(other, self.first) and _holds_any(one, self.second)
        )
        return named and RELATIONS[self.relation](one, other)

    @property
    def is_empty(self) -> bool:
        """Say whether the condition holds for every pair of every session, so that a rule with it is useless."""
        named = any(words(phrase) for phrase in (*self.first, *self.second))
        return not named and self.relation == "any" and self.least <= 2 and self.most >= 50


def _holds_any(title: str, wanted: Sequence[str]) -> bool:
    asked = [nouns for phrase in wanted if (nouns := _nouns(phrase))]
    return not asked or any(nouns <= _nouns(title) for nouns in asked)


def _nouns(text: str) -> set[str]:
    return {head_noun(word) for word in words(text)}


def noun(title: str) -> str:
    """Return the coarse kind of a product for mining patterns: the head noun of its kind."""
    return head_noun(kind(title))


RELATIONS: dict[Relation, Callable[[str, str], bool]] = {
    "any": lambda one, other: True,
    "same kind": lambda one, other: noun(one) == noun(other),
    "different kinds": lambda one, other: noun(one) != noun(other),
    "share a word": lambda one, other: bool(shared_words(one, other)),
    "share no word": lambda one, other: not shared_words(one, other),
    "share a number": lambda one, other: any(c.isdigit() for word in shared_words(one, other, 9) for c in word),
    "same brand": lambda one, other: words(one)[:1] == words(other)[:1] != [],
}


@dataclass(frozen=True)
class Trial:
    """The effect of a rule on held-out sessions: mean change in GJS, mean loss of GJS, and sessions that it changed."""

    gain: float
    harm: float
    touched: int
    sessions: int


def trial(holds: Holds, joins: bool, sessions: Sequence[Session], threshold: float) -> Trial:
    """Apply a rule to the word-overlap similarities of annotated sessions, and compare the clusters.

    The rule moves the similarity of each matching pair up or down by half of the scale. A session without a change
    counts with a difference of 0.
    """
    won = lost = 0.0
    touched = 0
    for session in sessions:
        plain = baselines.overlap(session.titles)
        moved = plain.copy()
        for a, b in combinations(range(len(session.items)), 2):
            if holds(session, a, b):
                value = float(np.clip(plain[a, b] + (STRENGTH if joins else -STRENGTH), 0.0, 1.0))
                moved[a, b] = moved[b, a] = value
        if np.array_equal(plain, moved):
            continue
        touched += 1
        before, after = (baselines.clusters(matrix, threshold) for matrix in (plain, moved))
        difference = gjs(after, session.groups) - gjs(before, session.groups)
        won, lost = won + max(difference, 0.0), lost + max(-difference, 0.0)
    count = max(1, len(sessions))
    return Trial(round((won - lost) / count, 4), round(lost / count, 4), touched, len(sessions))


def is_met(condition: Testable, sessions: Iterable[Session]) -> bool:
    """Say whether the condition holds for two products of some session."""
    return any(condition.holds(s, a, b) for s in sessions for a, b in combinations(range(len(s.items)), 2))
