"""A small shop and a student that is quick, for tests of the assistant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bundlewise.agents.assistant.conversation import Event
from bundlewise.agents.student.decoder import Matrix, best_grouping
from bundlewise.agents.student.limits import NO_LIMITS, Limits
from bundlewise.agents.student.reading import cohesion
from bundlewise.bundles import Reason
from bundlewise.domain import (
    Grouping,
    Item,
    KnowledgeUse,
    PredictedBundle,
    Prediction,
    Session,
)
from bundlewise.text import kind, words

SHOP = [
    Item(id="t1", title="Padmoor Glide 11 Tablet, Slate Grey", price=219.99),
    Item(id="c1", title="Red Folio Case for Glide 11", price=27.99),
    Item(id="c2", title="Blue Folio Case for Glide 11", price=24.99),
    Item(id="g1", title="Tempered Glass for Glide 11", price=11.95),
    Item(id="p1", title="Active Stylus Pen for Glide 11, White", price=32.5),
    Item(id="b1", title="AA Alkaline Batteries, 48 Count", price=15.49),
    Item(id="m1", title="Wireless Mouse with USB Receiver", price=19.99),
    Item(id="k1", title="Mechanical Keyboard, Black", price=None),
    Item(id="r1", title="Green Wool Rug", price=60.0),
]


class WordStudent:
    """Bundles products that share a word, by the decoder of the real student; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Session, Limits | None]] = []

    def answer(self, sessions: Sequence[Session], limits: Mapping[str, Limits] = NO_LIMITS) -> list[Prediction]:
        return [self._answer(session, limits.get(session.session_id)) for session in sessions]

    def _answer(self, session: Session, limit: Limits | None) -> Prediction:
        self.asked.append((session, limit))
        odds, (likely,) = _odds(session), self.pairs([session])
        groups = best_grouping(odds, bounds=limit.on(session.items) if limit else None) if (odds > 0).any() else ()
        bundles = tuple(
            PredictedBundle(
                items=tuple(p + 1 for p in group),
                item_ids=tuple(session.items[p].id for p in group),
                intent=f"get {kind(session.items[group[0]].title)}",
                confidence=round(cohesion(likely, group), 4),
            )
            for group in groups
        )
        return Prediction(
            session_id=session.session_id,
            bundles=bundles,
            knowledge=(KnowledgeUse(id="rule-1", score=0.5),),
            outcome="ok" if bundles else "failed",
            reason="" if bundles else "no two products share a letter",
        )

    def pairs(self, sessions: Sequence[Session]) -> list[Matrix]:
        return [1 / (1 + np.exp(-_odds(session))) * (1 - np.eye(len(session.items))) for session in sessions]

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        reason = Reason(id="rule-1", kind="rule", domain="", text="Same device, one bundle.", score=0.5, effect=0.25)
        return [[reason] for _ in groups]

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        return ["tempered glass", "stylus pen"]

    def beside(self, session: Session, candidates: Sequence[Item], limit: int = 12) -> list[tuple[Item, list[float]]]:
        sessions = [session.model_copy(update={"items": (*session.items, item)}) for item in candidates]
        rows = zip(candidates, self.pairs(sessions), strict=True)
        return [(item, likely[-1, :-1].tolist()) for item, likely in rows][:limit]


def _odds(session: Session) -> Matrix:
    told = [set(words(title)) for title in session.titles]
    return np.array([[0.0 if a is b else 3.0 if a & b else -3.0 for b in told] for a in told])


def said(events: Iterable[Event]) -> str:
    """Return the text of a reply."""
    return "".join(event.text for event in events if event.type == "text")


def cards(events: Iterable[Event], kind: str) -> list[Any]:
    """Return the cards of a type."""
    return [event for event in events if event.type == kind]
