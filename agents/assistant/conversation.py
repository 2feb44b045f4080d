"""What a conversation about a cart is made of: actions asked for, events that answer, and what lies on the table."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bundlewise.agents.assistant.mentions import MOST_PLACES
from bundlewise.agents.student.limits import Limits
from bundlewise.domain import Item, Reason, Record
from bundlewise.titles import LONGEST

Act = Literal[
    "search",
    "add",
    "paste",
    "remove",
    "exclude",
    "include",
    "clear",
    "limit",
    "free",
    "show",
    "undo",
    "bundle",
    "complete",
    "explain",
    "help",
    "thanks",
    "greet",
    "unknown",
]
Words = Annotated[str, StringConstraints(max_length=LONGEST)]
Place = Annotated[int, Field(ge=-1000, le=1000)]
"""Bounded, for a checkpoint cannot hold an integer of more than 64 bits."""
Price = Annotated[float, Field(ge=0, le=1e9)]


class Action(Record):
    """One thing to do: whoever asks for it, a sentence, a click or a chat model.

    Products are named by `ids`, by `numbers` (places from 1 in the list last shown; -1 is the last), or by the words
    in `text`; none of them means all that are meant by "these". `limits` changes only what it names.
    """

    name: Act
    text: Words = ""
    ids: Annotated[tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=100)] = ()
    numbers: Annotated[tuple[Place, ...], Field(max_length=MOST_PLACES)] = ()
    titles: Annotated[tuple[Words, ...], Field(max_length=100)] = ()
    least_price: Price | None = None
    max_price: Price | None = None
    limits: Limits | None = None


class Offer(Record):
    """A bundle as a shopper sees it: products of the cart, intent, price, and how sure the student is.

    `confidence` is the mean probability of the bundle's pairs; `total` is None where a price is not known.
    """

    items: tuple[Item, ...]
    intent: str
    confidence: float
    total: float | None = None
    knowledge: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The products by id."""
        return tuple(item.id for item in self.items)


class Companion(Record):
    """A product of the catalogue that goes with the cart: how likely, and with which of its products above all."""

    item: Item
    score: float
    goes_with: str


class TextEvent(Record):
    """A piece of the reply's text; the pieces one after the other are the text."""

    type: Literal["text"] = "text"
    text: str


class ProductsEvent(Record):
    """Products of the catalogue, numbered from 1 in this order; `companions` tell why where they go with the cart."""

    type: Literal["products"] = "products"
    products: tuple[Item, ...]
    query: str = ""
    companions: tuple[Companion, ...] = ()


class CartEvent(Record):
    """The cart as it is now, with what is left out of bundles, the limits, and the total of the known prices."""

    type: Literal["cart"] = "cart"
    items: tuple[Item, ...]
    excluded: tuple[str, ...] = ()
    limits: Limits = Limits()
    total: float = 0.0
    unpriced: int = 0


class BundlesEvent(Record):
    """The bundles of the cart as the student sees them now."""

    type: Literal["bundles"] = "bundles"
    bundles: tuple[Offer, ...]


class WhyEvent(Record):
    """What a bundle (numbered from 1) rests on, strongest first."""

    type: Literal["why"] = "why"
    bundle: int
    reasons: tuple[Reason, ...]


class DoneEvent(Record):
    """The end of a reply."""

    type: Literal["done"] = "done"


Event = Annotated[
    TextEvent | ProductsEvent | CartEvent | BundlesEvent | WhyEvent | DoneEvent, Field(discriminator="type")
]


class Message(Record):
    """What was said, and the cards that came with it."""

    role: Literal["user", "assistant"]
    text: str
    events: tuple[Event, ...] = ()


class Desk(Record):
    """What lies on the table: the cart, what was shown last, the wishes, and the bundles offered."""

    cart: tuple[Item, ...] = ()
    excluded: tuple[str, ...] = ()
    limits: Limits = Limits()
    found: tuple[Item, ...] = ()
    query: str = ""
    bundles: tuple[Offer, ...] = ()

    def card(self) -> CartEvent:
        """Return the cart as an event."""
        prices = [item.price for item in self.cart]
        return CartEvent(
            items=self.cart,
            excluded=self.excluded,
            limits=self.limits,
            total=round(sum(price for price in prices if price is not None), 2),
            unpriced=prices.count(None),
        )


class ThreadView(Record):
    """A thread as it is: what was said, the cart, the bundles; `pending` while an answer is on its way."""

    thread: str
    messages: tuple[Message, ...]
    cart: CartEvent
    bundles: tuple[Offer, ...]
    found: tuple[Item, ...]
    pending: bool = False


class ThreadLine(Record):
    """A thread in a list: its name, its first words, when it last changed, and how much is in it."""

    thread: str
    title: str
    at: str
    messages: int
    cart: int
