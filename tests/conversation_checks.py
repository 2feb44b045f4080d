"""Conversations as data, with what must come of them: each line has `name`, `say` and `expect`.

Expectations are about the answer to the last message, and about the cart after it.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant_samples import cards, said

from bundlewise.domain import Item
from bundlewise.pipeline.assistant import Assistant

OWN = Path(__file__).with_name("conversations.jsonl")


def conversations(path: Path = OWN) -> list[dict[str, Any]]:
    """Return the conversations of a file."""
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def is_kept(row: Mapping[str, Any]) -> bool:
    """Say whether a conversation is of the half that is not looked at while the assistant is built."""
    return bool(zlib.crc32(row["name"].encode()) % 2)


@dataclass(frozen=True)
class Outcome:
    """What came of a conversation: the last answer, the list before it, the cart, and the carts on the way."""

    text: str
    products: list[Item]
    before: list[Item]
    cart: list[Item]
    carts: list[list[Item]]
    bundles: list[Any]
    size: int

    @property
    def prices(self) -> list[float]:
        """The known prices of the last list."""
        return _prices(self.products)

    @property
    def earlier(self) -> list[float]:
        """The known prices of the list before."""
        return _prices(self.before)


CHECKS: Mapping[str, Callable[[Any, Outcome], bool]] = {
    "k": lambda want, o: True,
    "text": lambda want, o: bool(re.search(want, o.text)),
    "not_text": lambda want, o: not re.search(want, o.text),
    "shown": lambda want, o: bool(o.products) and all(_is(want, item) for item in o.products[: o.size]),
    "shown_min": lambda want, o: len(o.products) >= want,
    "shown_none": lambda want, o: not any(_is(want, item) for item in o.products),
    "shown_or_cart": lambda want, o: any(_is(want, item) for item in (*o.products, *o.cart)),
    "max_price": lambda want, o: bool(o.prices) and max(o.prices) <= want,
    "min_price": lambda want, o: bool(o.prices) and min(o.prices) >= want,
    "cheapest_first": lambda want, o: bool(o.prices) and o.prices[0] == min(o.prices),
    "new_products": lambda want, o: bool(o.products) and not {i.id for i in o.products} & {i.id for i in o.before},
    "cheaper_than_before": lambda want, o: (
        bool(o.prices) and (min(o.prices) < min(o.earlier) or max(o.prices) < max(o.earlier))
    ),
    "cart_n": lambda want, o: len(o.cart) == want,
    "cart": lambda want, o: all(any(_is(each, item) for item in o.cart) for each in want),
    "cart_cheapest_shown": lambda want, o: bool(o.cart) and o.cart[0].price == min(o.earlier),
    "cart_dearest_shown": lambda want, o: bool(o.cart) and o.cart[0].price == max(o.earlier),
    "cheaper_cart": lambda want, o: bool(o.cart and o.carts) and min(_prices(o.cart)) < min(_prices(o.carts[0])),
    "bundles_min": lambda want, o: len(o.bundles) >= want,
    "bundle_has": lambda want, o: any(
        all(any(_is(each, item) for item in offer.items) for each in want) for offer in o.bundles
    ),
    "understood_or_says_language": lambda want, o: bool(o.products or re.search("(?i)english|language", o.text)),
}


def faults(assistant: Assistant, row: Mapping[str, Any]) -> list[str]:
    """Hold a conversation, and return the expectations that are not met."""
    messages = [message.replace("\n", "; ") for message in row["say"]]
    answers = [list(assistant.send(row["name"], message)) for message in messages]
    lists = [[list(card.products) for card in cards(events, "products")] for events in answers]
    outcome = Outcome(
        text=said(answers[-1]),
        products=lists[-1][-1] if lists[-1] else [],
        before=next((found[-1] for found in reversed(lists[:-1]) if found), []),
        cart=list(assistant.view(row["name"]).cart.items),
        carts=[list(card.items) for events in answers[:-1] for card in cards(events, "cart") if card.items],
        bundles=[offer for card in cards(answers[-1], "bundles") for offer in card.bundles],
        size=row["expect"].get("k", 1),
    )
    return [f"{key}: {want!r}" for key, want in row["expect"].items() if not CHECKS[key](want, outcome)]


def _is(want: str, item: Item) -> bool:
    return bool(re.search(want, f"{item.title} | {' > '.join(item.category)}"))


def _prices(items: list[Item]) -> list[float]:
    return [item.price for item in items if item.price is not None]
