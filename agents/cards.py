"""Cards of a reply as lines of text: for a terminal, and for clients that know text alone."""

from collections.abc import Iterator, Sequence

from bundlewise.agents.conversation import (
    BundlesEvent,
    CartEvent,
    DoneEvent,
    Event,
    ProductsEvent,
    TextEvent,
    WhyEvent,
)
from bundlewise.domain import Item
from bundlewise.text import line

REASONS = 5
WORDS = 240


def lines_of(event: Event) -> Iterator[str]:
    """Yield a card's lines; a text has none, it speaks for itself."""
    match event:
        case ProductsEvent():
            yield from _products(event)
        case CartEvent():
            yield from _numbered(event.items, dict.fromkeys(event.excluded, "left out of bundles"))
        case BundlesEvent():
            yield from _bundles(event)
        case WhyEvent():
            yield from _reasons(event)
        case TextEvent() | DoneEvent():
            return


def money(price: float | None) -> str:
    """Return a price, or that it is not known."""
    return "no price" if price is None else f"{price:,.2f}"


def _numbered(items: Sequence[Item], notes: dict[str, str]) -> Iterator[str]:
    for number, item in enumerate(items, 1):
        note = f" ({notes[item.id]})" if item.id in notes else ""
        yield f"{number}. {line(item.title)} · {money(item.price)}{note}"


def _products(event: ProductsEvent) -> Iterator[str]:
    notes = {companion.item.id: f"{companion.score:.0%}" for companion in event.companions}
    yield from _numbered(event.products, notes)


def _bundles(event: BundlesEvent) -> Iterator[str]:
    for number, offer in enumerate(event.bundles, 1):
        total = f"{money(offer.total)} together" if offer.total is not None else "total not known"
        yield f"Bundle {number}: {line(offer.intent)} · {total} · {offer.confidence:.0%} sure"
        for item in offer.items:
            yield f"  - {line(item.title)} · {money(item.price)}"


def _reasons(event: WhyEvent) -> Iterator[str]:
    for reason in event.reasons[:REASONS]:
        text = line(reason.text)
        shown = text if len(text) <= WORDS else f"{text[:WORDS]}..."
        yield f"{reason.effect:+.1%} {reason.kind}: {shown} [{reason.id}]"
