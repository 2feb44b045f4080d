"""The assistant's words for a desk: limits, prices, products and counts, and the replies for help and the unknown."""

from collections.abc import Iterator, Sequence

from bundlewise.agents.assistant.conversation import (
    Action,
    BundlesEvent,
    CartEvent,
    ChipsEvent,
    Desk,
    DoneEvent,
    Event,
    ProductsEvent,
    TextEvent,
    WhyEvent,
)
from bundlewise.agents.student.limits import Limits
from bundlewise.domain import Item
from bundlewise.text import line

HELP = (
    "I find products in the catalogue, keep your cart, and bundle it. For example: find wireless mouse under 30 · "
    "add 1 and 3 · paste a list of products, one per line · bundle this · why bundle 1? · only two items · "
    "bundles under 50 · without the red one · what goes with this? · show cart · undo · clear"
)
UNKNOWN = (
    "I did not understand that. I find products, keep your cart and bundle it, for example: "
    "find wireless mouse under 30 · add 1 · bundle this · without the red one · why? · help"
)


def chips_of(desk: Desk) -> tuple[str, ...]:
    """Return what a shopper may want to say next, from what is on the table."""
    if desk.question is not None:
        return ("yes", "no") if len(desk.question.among) == 1 else ("1", "2")
    found = ("add 1", "tell me more about 1", "show more", "anything cheaper?") if desk.found else ()
    cart: tuple[str, ...] = ("bundle this",) if len(desk.cart) > 1 else ()
    cart += ("what goes with this?", "show cart") if desk.cart else ()
    why = ("why?", "smaller bundles") if desk.bundles else ()
    return (*why, *cart, *found)[:5] or ("help",)


def in_words(limits: Limits, currency: str = "") -> str:
    """Return limits in a shopper's words."""
    parts = []
    if limits.most == limits.least:
        parts.append(f"exactly {limits.most} products")
    else:
        parts += [f"at least {limits.least} products"] * (limits.least > 2)
        parts += [f"at most {limits.most} products"] * (limits.most is not None)
    if limits.total is not None:
        parts.append(f"a total of at most {limits.total:.2f} {currency}".rstrip())
    if limits.bundles is not None:
        parts.append("at most one bundle" if limits.bundles == 1 else f"at most {limits.bundles} bundles")
    return " and ".join(parts) or "no limits"


def within_prices(action: Action, currency: str) -> str:
    """Return the range of prices of a search in words."""
    low = "" if action.least_price is None else f" from {money(action.least_price, currency)}"
    return low if action.max_price is None else f"{low} up to {money(action.max_price, currency)}"


def described(item: Item, currency: str) -> str:
    """Return what the catalogue says about a product."""
    price = f"It costs {money(item.price, currency)}" if item.price is not None else "I do not know its price"
    place = f" and is listed under {line(' > '.join(item.category))}" if item.category else ""
    return f"{line(item.title)}. {price}{place}."


def titles_of(items: Sequence[Item]) -> str:
    """Return titles on one line."""
    return "; ".join(line(item.title) for item in items)


def quoted(keys: Sequence[str]) -> str:
    """Return the first few ids in quotation marks."""
    return ", ".join(repr(line(key)[:80]) for key in keys[:5])


def no_place(numbers: Sequence[int], size: int, where: str) -> str:
    """Return the message that a list has no such numbers."""
    named = ", ".join(str(abs(number)) for number in numbers)
    return f"There is no number {named} {where}, which has {size}." if size else f"There is nothing {where} yet."


def no_bundle(number: int, size: int) -> str:
    """Return the message that there is no such bundle."""
    there = "there is one" if size == 1 else f"there are {size}" if size else "say bundle first"
    return f"There is no bundle {abs(number)}; {there}."


def count_of(desk: Desk) -> str:
    """Return the number of products in the cart and their total price in words."""
    if not desk.cart:
        return "The cart is empty."
    number = "1 product" if len(desk.cart) == 1 else f"{len(desk.cart)} products"
    pieces = sum(desk.pieces(item) for item in desk.cart)
    number += f" ({pieces} pieces)" if pieces > len(desk.cart) else ""
    card = desk.card()
    priced = card.unpriced < len(desk.cart)
    total = f", {money(card.total, desk.currency)} together" if priced else ""
    without = f" ({card.unpriced} without a price)" if priced and card.unpriced else ""
    return f"The cart holds {number}{total}{without}."


REASONS = 5
WORDS = 240


def lines_of(event: Event) -> Iterator[str]:
    """Yield the lines of a card; a text event has no card."""
    match event:
        case ProductsEvent():
            yield from _products(event)
        case CartEvent():
            notes = {key: f"{pieces} pieces" for key, pieces in event.quantities.items()}
            for key in event.excluded:
                notes[key] = ", ".join(filter(None, (notes.get(key), "left out of bundles")))
            yield from _numbered(event.items, notes, event.currency)
        case BundlesEvent():
            yield from _bundles(event)
        case WhyEvent():
            yield from _reasons(event)
        case ChipsEvent():
            yield f"You can say: {' · '.join(event.chips)}"
        case TextEvent() | DoneEvent():
            return


def words_of(event: Event) -> str:
    """Return an event in words; nothing for a cart or chips, of which the reply's text says enough."""
    if isinstance(event, TextEvent):
        return event.text
    rows = [] if isinstance(event, CartEvent | ChipsEvent) else list(lines_of(event))
    return "\n" + "\n".join(rows) + "\n" if rows else ""


def money(price: float | None, currency: str = "") -> str:
    """Return a price in words, with the currency if it is known, or "no price"."""
    return "no price" if price is None else f"{price:,.2f} {currency}".rstrip()


def _numbered(items: Sequence[Item], notes: dict[str, str], currency: str) -> Iterator[str]:
    for number, item in enumerate(items, 1):
        note = f" ({notes[item.id]})" if item.id in notes else ""
        yield f"{number}. {line(item.title)} · {money(item.price, currency)}{note}"


def _products(event: ProductsEvent) -> Iterator[str]:
    notes = {companion.item.id: f"{companion.score:.0%}" for companion in event.companions}
    yield from _numbered(event.products, notes, event.currency)


def _bundles(event: BundlesEvent) -> Iterator[str]:
    for number, offer in enumerate(event.bundles, 1):
        total = f"{money(offer.total, event.currency)} together" if offer.total is not None else "total not known"
        yield f"Bundle {number}: {line(offer.intent)} · {total} · {offer.confidence:.0%} sure"
        for item in offer.items:
            yield f"  - {line(item.title)} · {money(item.price, event.currency)}"


def _reasons(event: WhyEvent) -> Iterator[str]:
    for reason in event.reasons[:REASONS]:
        text = line(reason.text)
        shown = text if len(text) <= WORDS else f"{text[:WORDS]}..."
        yield f"{reason.effect:+.1%} {reason.kind}: {shown} [{reason.id}]"
