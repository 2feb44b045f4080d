"""Wishes that compare with what lies on the table: smaller, larger, fewer or cheaper than that."""

import re

from bundlewise.agents.conversation import Action, Desk
from bundlewise.agents.limits import Limits

CENT = 0.01
ASKED = (
    r"(?:(?:make|show|find|give|get|i want|i need|i'd like|do you have|is there|are there|have you got) ?)*"
    r"(?:(?:me|it|them|the bundles?|these|anything|something|some|any) ?)*"
)
KINDS = (r"(smaller)(?: bundles?| sets?)?", r"(larger|bigger)(?: bundles?| sets?)?", r"(fewer|less) (?:bundles|sets)")
CHEAPER = r"(cheaper|less expensive)(?: (?:bundles?|sets?|ones?|products?|items?|options?|things?|alternatives?))?"


def compared(said: str, desk: Desk) -> list[Action]:
    """Return what a comparison asks for; nothing where it is none, or nothing lies there to compare with."""
    if re.fullmatch(ASKED + CHEAPER, said):
        return _cheaper(desk)
    smaller, larger, fewer = (re.fullmatch(ASKED + kind, said) for kind in KINDS)
    sizes = [len(offer.items) for offer in desk.bundles]
    if smaller and max(sizes, default=0) > 2:
        return _limit(Limits(most=max(sizes) - 1))
    if larger and sizes:
        return _limit(Limits(least=min(sizes) + 1))
    return _limit(Limits(bundles=len(sizes) - 1)) if fewer and len(sizes) > 1 else []


def _cheaper(desk: Desk) -> list[Action]:
    """Return what is cheaper than the dearest bundle, or where there is none than the cheapest product shown."""
    totals = [offer.total for offer in desk.bundles if offer.total and offer.total > CENT]
    if totals:
        return _limit(Limits(total=round(max(totals) - CENT, 2)))
    prices = [item.price for item in desk.found if item.price and item.price > CENT]
    below = round(min(prices) - CENT, 2) if prices else None
    return [Action(name="search", text=desk.query, max_price=below)] if prices and desk.query else []


def _limit(limits: Limits) -> list[Action]:
    return [Action(name="limit", limits=limits)]
