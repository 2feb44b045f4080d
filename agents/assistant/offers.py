"""The student's offers for the desk: bundles, products that go with the cart, and the reasons for bundles."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Protocol

import numpy as np

from bundlewise.agents.assistant.cart import Deed, Finder
from bundlewise.agents.assistant.conversation import (
    Action,
    BundlesEvent,
    Companion,
    Desk,
    Offer,
    ProductsEvent,
    WhyEvent,
)
from bundlewise.agents.assistant.mentions import called
from bundlewise.agents.assistant.wording import in_words, no_bundle
from bundlewise.agents.student.limits import Limits
from bundlewise.bundles import Reason
from bundlewise.domain import Grouping, Item, PredictedBundle, Prediction, Session
from bundlewise.text import head_noun, kind, line, tokens

SESSION = "cart"
POOL = 32
"""The most products of the catalogue to judge as companions of a cart."""
BASE = 10
"""The most products of a cart that candidates are judged with."""
BESIDE = 24
"""The most products to look at for one title; the first ones are mostly others of its kind."""
TOLD = 3
LIKELY = 0.5


class Bundler(Protocol):
    """The functions of a student that the assistant needs."""

    def answer(self, sessions: Sequence[Session], limits: Mapping[str, Limits] = ...) -> list[Prediction]:
        """Return the bundles of sessions with their confidence."""

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return the reasons for each bundle."""

    def companions(self, session: Session, limit: int = ...) -> list[str]:
        """Return kinds of products that are often bundled with the kinds of a session."""

    def beside(self, session: Session, candidates: Sequence[Item]) -> list[tuple[Item, list[float]]]:
        """Return the likeliest candidates with the probability that they go with each product of a session."""


def offered(desk: Desk, student: Bundler) -> Deed:
    """Let the student bundle the cart within its limits."""
    session = _session(desk)
    if len(session.items) < 2:
        return Deed(desk, "A bundle needs at least two products; add some first.", refused=True)
    limits = {} if desk.limits.is_none else {SESSION: desk.limits}
    (found,) = student.answer([session], limits)
    if not found.bundles:
        fits = f"No bundle fits the limits ({in_words(desk.limits, desk.currency)}); say no limits to drop them."
        why = (fits if limits else _why_none(found)) + _unpriced(desk, session)
        return Deed(desk.model_copy(update={"bundles": ()}), why, (BundlesEvent(bundles=()),))
    offers = tuple(_offer(session, bundle, found) for bundle in found.bundles)
    after = desk.model_copy(update={"bundles": offers})
    count = "one bundle" if len(offers) == 1 else f"{len(offers)} bundles"
    left = len(session.items) - len({key for offer in offers for key in offer.ids})
    alone = f", {left} left on {'its' if left == 1 else 'their'} own" if left else ""
    within = f", keeping to {in_words(desk.limits, desk.currency)}" if limits else ""
    said = f"I see {count} among {len(session.items)} products{alone}{within}.{_unpriced(desk, session)}"
    return Deed(after, said, (BundlesEvent(bundles=offers, currency=desk.currency),))


def goes_with(desk: Desk, action: Action, student: Bundler, finder: Finder) -> Deed:
    """Find products of the catalogue that, by the student, go with the cart or with the named products."""
    base, fault = _base(desk, action, finder)
    if fault:
        return Deed(desk, fault, refused=True)
    session = Session(session_id=SESSION, items=tuple(base[:BASE]))
    pool = _pool(session, desk, action, student, finder)
    if not pool:
        return Deed(desk, "I found nothing in the catalogue that could go with it.")
    judged = [(item, max(beside), int(np.argmax(beside))) for item, beside in student.beside(session, pool)]
    best = sorted(judged, key=lambda row: -row[1])[:5]
    likely = [row for row in best if row[1] >= LIKELY] or best[:TOLD]
    companions = tuple(
        Companion(item=item, score=round(score, 4), goes_with=base[place].id) for item, score, place in likely
    )
    products = tuple(companion.item for companion in companions)
    after = desk.model_copy(update={"found": products, "query": ""})
    named = line(base[0].title) if len(base) == 1 else "your cart" if not action.text else f"{len(base)} products"
    if best[0][1] < LIKELY:
        said = f"Nothing in the catalogue clearly goes with {named}; the likeliest:"
    else:
        said = f"These go with {named}, the likeliest first. Say add and a number."
    return Deed(after, said, (ProductsEvent(products=products, companions=companions, currency=desk.currency),))


def explained(desk: Desk, action: Action, student: Bundler) -> Deed:
    """Name the knowledge that supports each bundle, by the confidence that the bundle loses without it."""
    if not desk.bundles:
        if len(desk.cart) < 2:
            return Deed(desk, "There is no bundle yet; add products and say bundle.", refused=True)
        return Deed(desk, "I make the bundles first.", then=(Action(name="bundle"), action))
    chosen, fault = _chosen(desk, action)
    if fault:
        return Deed(desk, fault, refused=True)
    session = _session(desk)
    place = {item.id: number for number, item in enumerate(session.items)}
    groups = tuple(tuple(place[key] for key in desk.bundles[number - 1].ids) for number in chosen)
    reasons = student.explain(session, groups)
    cards = tuple(WhyEvent(bundle=n, reasons=tuple(found)) for n, found in zip(chosen, reasons, strict=True))
    return Deed(desk, " ".join(_because(desk.bundles[card.bundle - 1], card) for card in cards), cards)


def _session(desk: Desk) -> Session:
    items = tuple(item for item in desk.cart if item.id not in desk.excluded)
    return Session(session_id=SESSION, items=items)


def _unpriced(desk: Desk, session: Session) -> str:
    """Return a sentence about the products without a price, which cannot be in a bundle under a price limit."""
    number = [item.price for item in session.items].count(None)
    if desk.limits.total is None or not number:
        return ""
    have = "One product has" if number == 1 else f"{number} products have"
    return f" {have} no known price and cannot be counted."


def _why_none(found: Prediction) -> str:
    return f"The student found no bundle among these ({found.reason})."


def _offer(session: Session, bundle: PredictedBundle, found: Prediction) -> Offer:
    assert bundle.confidence is not None, "a student that judges pairs is needed"
    items = tuple(session.items[number - 1] for number in bundle.items)
    prices = [item.price for item in items if item.price is not None]
    return Offer(
        items=items,
        intent=bundle.intent,
        confidence=bundle.confidence,
        total=round(sum(prices), 2) if len(prices) == len(items) else None,
        knowledge=tuple(use.id for use in found.knowledge),
    )


def _base(desk: Desk, action: Action, finder: Finder) -> tuple[list[Item], str]:
    """Return the products that the companions must go with, or a message about missing ones."""
    if action.ids:
        known = {item.id: item for item in desk.cart} | {k: finder.by_id[k] for k in action.ids if k in finder.by_id}
        missing = [key for key in action.ids if key not in known]
        fault = f"There is no product {missing[0][:80]!r} in the cart or the catalogue." if missing else ""
        return [known[key] for key in action.ids if key in known], fault
    if action.text:
        fitting = called(action.text, desk.cart) or called(action.text, desk.found)
        found = fitting or [item for item, _ in finder.search(action.text, 1)]
        return found, "" if found else f"I found nothing for {line(action.text)!r} in the cart or the catalogue."
    items = [item for item in desk.cart if item.id not in desk.excluded]
    return items, "" if items else "The cart is empty; add a product first, or say what goes with a tablet."


def _pool(session: Session, desk: Desk, action: Action, student: Bundler, finder: Finder) -> list[Item]:
    """Return the products found for the companions of the session's kinds and for the session's own titles.

    A product of a kind that the session has is an alternative to it, so it is a candidate only if there are no others.
    """
    asked = [*((text, 6) for text in student.companions(session)), *((text, BESIDE) for text in session.titles)]
    prices = (action.least_price, action.max_price)
    listed = [[item for item, _ in finder.search(line(text), most, *prices)] for text, most in asked]
    taken = {item.id for item in (*session.items, *desk.cart)}
    named = {item.title.casefold() for item in session.items}
    found: dict[str, Item] = {}
    for row in zip_longest(*listed):
        for item in row:
            if item is not None and item.id not in taken and item.title.casefold() not in named:
                found[item.id] = item
    held = {_sort(item) for item in session.items}
    beside = [item for item in found.values() if _sort(item) not in held]
    named_so = [item for item in beside if any(_names(item, other) for other in session.items)]
    return ((named_so if len(named_so) >= TOLD else beside) or list(found.values()))[:POOL]


def _names(item: Item, other: Item) -> bool:
    """Say whether a title names another product by its brand and model: `Case for Padmoor Glide 11`."""
    name = [word for word in tokens(other.title.split(",")[0]) if head_noun(word) != _sort(other)]
    return len(name) > 1 and len(set(name) & set(tokens(item.title))) > 1


def _sort(item: Item) -> str:
    return head_noun(kind(item.title))


def _chosen(desk: Desk, action: Action) -> tuple[list[int], str]:
    """Return the numbers of the bundles that an action names, directly or by a product, or of all bundles."""
    size = len(desk.bundles)
    numbers = [size + 1 + number if number < 0 else number for number in action.numbers]
    numbers = numbers or [int(word) for word in action.text.split() if word.isdecimal()]
    if numbers:
        absent = [no_bundle(number, size) for number in numbers if not 1 <= number <= size]
        return numbers, absent[0] if absent else ""
    held = {key for offer in desk.bundles for key in offer.ids}
    meant = {item.id for item in called(action.text, [i for i in desk.cart if i.id in held])} if action.text else set()
    named = [n for n, offer in enumerate(desk.bundles, 1) if meant & set(offer.ids)]
    return named or list(range(1, size + 1)), ""


def _because(offer: Offer, card: WhyEvent) -> str:
    """Return a bundle's reasons in a sentence; the card has the full texts of the knowledge."""
    sure = f"Bundle {card.bundle} ({offer.intent}): its pairs have a mean probability of {offer.confidence:.0%}."
    carrying = [reason for reason in card.reasons if reason.effect > 0]
    if not card.reasons:
        return f"{sure} The student used no knowledge for it."
    if not carrying:
        return f"{sure} No single knowledge record supports it; {len(card.reasons)} were used."
    first = carrying[0]
    carry = "One knowledge record supports" if len(carrying) == 1 else f"{len(carrying)} knowledge records support"
    return f"{sure} {carry} it; without the strongest record it loses {first.effect:.1%}."
