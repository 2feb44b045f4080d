"""What clients that know text alone are told: the reply, and its cards in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundlewise.agents.conversation import (
    BundlesEvent,
    CartEvent,
    Event,
    Offer,
    ProductsEvent,
    TextEvent,
    WhyEvent,
)
from bundlewise.assistant import Assistant
from bundlewise.domain import Item
from bundlewise.text import line

AND_BUNDLE = {"role": "user", "content": "bundle this"}
REASONS = 5


def spoken(assistant: Assistant, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the reply to a conversation in pieces of text.

    A list of products is bundled at once: who sends nothing else to a program wants no cart.
    """
    held, bundled = 0, False
    for event in assistant.complete(messages):
        held = len(event.items) if isinstance(event, CartEvent) else held
        bundled = bundled or isinstance(event, BundlesEvent)
        yield words_of(event)
    if is_list(str(messages[-1]["content"])) and held > 1 and not bundled:
        yield "\n"
        for event in assistant.complete([*messages, AND_BUNDLE]):
            yield words_of(event)


def is_list(text: str) -> bool:
    """Say whether a message has several products in it: lines, or parts between semicolons."""
    return sum(bool(part.strip()) for part in text.replace(";", "\n").splitlines()) > 1


def words_of(event: Event) -> str:
    """Return an event in words; nothing for what the reply's text says itself."""
    if isinstance(event, TextEvent):
        return event.text
    if isinstance(event, ProductsEvent):
        rows = [f"{number}. {_product(item)}" for number, item in enumerate(event.products, 1)]
    elif isinstance(event, BundlesEvent):
        rows = [row for number, offer in enumerate(event.bundles, 1) for row in _offer(number, offer)]
    elif isinstance(event, WhyEvent):
        rows = [f"- {line(reason.text)} ({reason.effect:+.1%})" for reason in event.reasons[:REASONS]]
    else:
        rows = []
    return "\n" + "\n".join(rows) + "\n" if rows else ""


def _offer(number: int, offer: Offer) -> list[str]:
    total = "" if offer.total is None else f", {offer.total:.2f}"
    return [
        f"{number}. {line(offer.intent)} ({offer.confidence:.0%} sure{total})",
        *(f"   - {_product(item)}" for item in offer.items),
    ]


def _product(item: Item) -> str:
    return line(item.title) if item.price is None else f"{line(item.title)} ({item.price:.2f})"
