"""The records of a conversation about a cart: actions, events of a reply, the desk and the threads."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bundlewise.agents.assistant.mentions import MOST_PLACES
from bundlewise.agents.student.limits import Limits
from bundlewise.bundles import Reason
from bundlewise.domain import Item, Record
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
    "more",
    "sort",
    "compare",
    "details",
    "swap",
    "quantity",
    "checkout",
    "answer",
    "dismiss",
    "help",
    "thanks",
    "greet",
    "unknown",
]
Order = Literal["", "cheapest", "dearest"]
Words = Annotated[str, StringConstraints(max_length=LONGEST)]
Place = Annotated[int, Field(ge=-1000, le=1000)]
"""A number in a list, with bounds because a checkpoint stores integers of at most 64 bits."""
Price = Annotated[float, Field(ge=0, le=1e9)]
MOST_PIECES = 999
"""The most pieces of one product in a cart."""


class Action(Record):
    """One step for the assistant, requested by a sentence, a click or a chat model.

    Products are named by `ids`, by `numbers` (positions from 1 in the last list; -1 is the last), or by the words
    in `text`; without any of these, the action is about all products at hand. `limits` changes only its own fields.
    `order` names the `top` cheapest or dearest of them, `count` is how many pieces of each, and prices are bounds.
    """

    name: Act
    text: Words = ""
    ids: Annotated[tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=100)] = ()
    numbers: Annotated[tuple[Place, ...], Field(max_length=MOST_PLACES)] = ()
    titles: Annotated[tuple[Words, ...], Field(max_length=100)] = ()
    least_price: Price | None = None
    max_price: Price | None = None
    limits: Limits | None = None
    count: Annotated[int, Field(ge=0, le=MOST_PIECES)] | None = None
    order: Order = ""
    top: Annotated[int, Field(ge=1, le=100)] = 1


class OpenQuestion(Record):
    """A question to the shopper: the action that waits for the choice among products, and the actions after it."""

    action: Action
    among: tuple[str, ...]
    then: tuple[Action, ...] = ()


class Offer(Record):
    """A bundle for a shopper: products of the cart, intent, total price, and the student's confidence.

    `confidence` is the mean probability of the bundle's pairs; `total` is None if a price is not known.
    """

    items: tuple[Item, ...]
    intent: str
    confidence: float
    total: float | None = None
    knowledge: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the products."""
        return tuple(item.id for item in self.items)


class Companion(Record):
    """A product of the catalogue with the probability that it goes with the cart, and its best match in the cart."""

    item: Item
    score: float
    goes_with: str


class TextEvent(Record):
    """A piece of the reply's text; the text is all pieces in order."""

    type: Literal["text"] = "text"
    text: str


class ProductsEvent(Record):
    """Products of the catalogue, numbered from 1 in this order; `companions` has their matches with the cart."""

    type: Literal["products"] = "products"
    products: tuple[Item, ...]
    query: str = ""
    companions: tuple[Companion, ...] = ()
    currency: str = ""


class CartEvent(Record):
    """The current cart, with the products left out of bundles, the limits, and the total of the known prices.

    `quantities` has the pieces of the products of which there is more than one.
    """

    type: Literal["cart"] = "cart"
    items: tuple[Item, ...]
    excluded: tuple[str, ...] = ()
    limits: Limits = Limits()
    total: float = 0.0
    unpriced: int = 0
    currency: str = ""
    quantities: dict[str, int] = Field(default_factory=dict)


class ChipsEvent(Record):
    """Messages that the shopper may want to send next."""

    type: Literal["chips"] = "chips"
    chips: tuple[str, ...]


class BundlesEvent(Record):
    """The student's current bundles of the cart."""

    type: Literal["bundles"] = "bundles"
    bundles: tuple[Offer, ...]
    currency: str = ""


class WhyEvent(Record):
    """The reasons for a bundle (numbered from 1), the strongest first."""

    type: Literal["why"] = "why"
    bundle: int
    reasons: tuple[Reason, ...]


class DoneEvent(Record):
    """The end of a reply."""

    type: Literal["done"] = "done"


Event = Annotated[
    TextEvent | ProductsEvent | CartEvent | BundlesEvent | WhyEvent | ChipsEvent | DoneEvent,
    Field(discriminator="type"),
]


class Message(Record):
    """A text by the user or the assistant, and the cards that came with it."""

    role: Literal["user", "assistant"]
    text: str
    events: tuple[Event, ...] = ()


class Desk(Record):
    """The state of a conversation: the cart, the last list, the limits, and the offered bundles.

    `asked` is the search behind the last list and `passed` the number of products before it; `focus` has the products
    that were talked about last, `removed` those that were taken out last, and `question` waits for an answer.
    `currency` is that of the catalogue.
    """

    cart: tuple[Item, ...] = ()
    excluded: tuple[str, ...] = ()
    limits: Limits = Limits()
    found: tuple[Item, ...] = ()
    query: str = ""
    bundles: tuple[Offer, ...] = ()
    quantities: dict[str, int] = Field(default_factory=dict)
    asked: Action | None = None
    passed: int = 0
    focus: tuple[str, ...] = ()
    removed: tuple[Item, ...] = ()
    question: OpenQuestion | None = None
    currency: str = ""

    def pieces(self, item: Item) -> int:
        """Return how many pieces of a product are in the cart."""
        return self.quantities.get(item.id, 1)

    def card(self) -> CartEvent:
        """Return the cart as an event."""
        prices = [item.price for item in self.cart]
        known = [item.price * self.pieces(item) for item in self.cart if item.price is not None]
        held = {item.id for item in self.cart}
        return CartEvent(
            items=self.cart,
            excluded=self.excluded,
            limits=self.limits,
            total=round(sum(known), 2),
            unpriced=prices.count(None),
            currency=self.currency,
            quantities={key: pieces for key, pieces in self.quantities.items() if key in held},
        )


class ThreadView(Record):
    """The current state of a thread: messages, cart and bundles; `pending` is true while a reply is not finished."""

    thread: str
    messages: tuple[Message, ...]
    cart: CartEvent
    bundles: tuple[Offer, ...]
    found: tuple[Item, ...]
    pending: bool = False


class ThreadLine(Record):
    """A thread in a list: its name, first words, time of the last change, and numbers of messages and products."""

    thread: str
    title: str
    at: str
    messages: int
    cart: int
