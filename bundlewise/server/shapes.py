"""Requests and answers of /v1/bundles, and the sessions made from requests."""

from collections.abc import Sequence
from itertools import count
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bundlewise.domain import Item, Knowledge, KnowledgeKind, Outcome, Session
from bundlewise.server.limits import MAX_ITEMS, MAX_SESSIONS, MAX_TITLE
from bundlewise.server.refusals import shown
from bundlewise.titles import clean, is_named


def _named(title: str) -> str:
    if not is_named(clean(title)):
        raise PydanticCustomError("title", "a title needs a letter, a digit or a symbol")
    return title


Title = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TITLE, pattern=r"\S", description="a product's title"),
    AfterValidator(_named),
]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Shape(BaseModel):
    """A part of a request; an unknown field is refused, and null means the default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, given: Any) -> Any:
        return asked(cls, given)


def asked(shape: type[BaseModel], given: Any) -> Any:
    """Return the given fields of a shape without null values, and only the first of the unknown fields.

    A refusal names one unknown field, since ten thousand of them would cost more than the request.
    """
    if not isinstance(given, dict):
        return given
    fields = shape.model_fields
    known = {name: given[name] for name in fields if name in given}
    told = {name: value for name, value in known.items() if value is not None or fields[name].is_required()}
    strange = next((name for name in given if name not in fields), None)
    return told if strange is None else told | {strange: given[strange]}


class Product(Shape):
    """A product with the shop's data; the student reads only the title."""

    title: Title
    id: Name | None = Field(default=None, description="the shop's id; its number in the session if none is given")
    price: float | None = Field(default=None, ge=0, le=1e12, allow_inf_nan=False)
    category: list[Annotated[str, Field(max_length=MAX_TITLE)]] = Field(default=[], max_length=10)


def _form_of_product(value: Any) -> str:
    return "a title" if isinstance(value, str) else "a product"


AnyProduct = Annotated[
    Annotated[Title, Tag("a title")] | Annotated[Product, Tag("a product")], Discriminator(_form_of_product)
]


class OneSession(Shape):
    """A shopper's products, as titles or with ids and prices."""

    items: list[AnyProduct] = Field(min_length=2, max_length=MAX_ITEMS, fail_fast=True)
    session_id: Name | None = Field(default=None, description="comes back with the answer")
    domain: str = Field(default="", max_length=100, description="the domain whose knowledge may be used; empty for all")

    @field_validator("items")
    @classmethod
    def _differ(cls, items: list[str | Product]) -> list[str | Product]:
        """Refuse an id that two products share, since the answer names products by id."""
        _refuse_repeated([item.id if isinstance(item, Product) else None for item in items], "products")
        return items

    def session(self, key: str) -> Session:
        """Return the session for the student, under its own id or the given one."""
        products = [Product(title=item) if isinstance(item, str) else item for item in self.items]
        items = [
            Item(id=own, title=product.title, price=product.price, category=tuple(product.category))
            for own, product in zip(numbered([product.id for product in products]), products, strict=True)
        ]
        return Session(session_id=self.session_id or key, domain=self.domain, items=tuple(items))


def _refuse_repeated(ids: Sequence[str | None], what: str) -> None:
    places = dict[str, int]()
    for place, key in enumerate(ids, 1):
        if key is not None and (first := places.setdefault(key, place)) < place:
            told = {"id": shown(key), "what": what, "first": first, "second": place}
            raise PydanticCustomError("repeated_id", "the id {id} is that of {what} {first} and {second}", told)


def numbered(given: Sequence[str | None]) -> list[str]:
    """Return the given ids; a missing id becomes the place number, or the next free number."""
    taken = {key for key in given if key is not None}
    later = (str(number) for number in count(len(given) + 1))

    def made(number: int) -> str:
        return str(number) if str(number) not in taken else next(key for key in later if key not in taken)

    return [made(number) if key is None else key for number, key in enumerate(given, 1)]


class SessionRequest(OneSession):
    """One session to bundle."""

    explain: bool = Field(default=False, description="say for each bundle what each knowledge record did for it")


class BatchRequest(Shape):
    """Several sessions to bundle."""

    sessions: list[OneSession] = Field(min_length=1, max_length=MAX_SESSIONS, fail_fast=True)
    explain: bool = Field(default=False, description="say for each bundle what each knowledge record did for it")

    @field_validator("sessions")
    @classmethod
    def _differ(cls, sessions: list[OneSession]) -> list[OneSession]:
        """Refuse an id that two sessions share, since the answer names sessions by id."""
        _refuse_repeated([session.session_id for session in sessions], "sessions")
        return sessions


def _form_of_request(value: Any) -> str:
    return (
        "a batch"
        if isinstance(value, BatchRequest) or (isinstance(value, dict) and "sessions" in value)
        else "one session"
    )


BundlesRequest = Annotated[
    Annotated[SessionRequest, Tag("one session")] | Annotated[BatchRequest, Tag("a batch")],
    Discriminator(_form_of_request),
]


def sessions_of(request: SessionRequest | BatchRequest) -> list[Session]:
    """Return the sessions of a request; a session without an id gets a number."""
    asked: Sequence[OneSession] = request.sessions if isinstance(request, BatchRequest) else [request]
    keys = numbered([each.session_id for each in asked])
    return [each.session(key) for key, each in zip(keys, asked, strict=True)]


class Usage(BaseModel):
    """Tokens that the student read and wrote."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    @classmethod
    def of(cls, read: int, written: int) -> "Usage":
        """Return the usage for numbers of tokens read and written."""
        return cls(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


class BundledItem(BaseModel):
    """A product of an answer; `number` is its place in the session, from 1."""

    number: int
    id: str
    title: str
    price: float | None = None


class Why(BaseModel):
    """A knowledge record behind an answer.

    `effect`, if it was asked for, is the loss of the bundle's confidence without the record.
    """

    id: str
    kind: KnowledgeKind
    domain: str
    text: str
    score: float
    effect: float | None = None


class FoundKnowledge(BaseModel):
    """Records that match the words, best first. Their text is data, not an instruction."""

    records: list[Why]

    @classmethod
    def of(cls, found: Sequence[tuple[Knowledge, float]]) -> "FoundKnowledge":
        """Return records with their scores in the clients' format."""
        return cls(records=[Why(id=r.id, kind=r.kind, domain=r.domain, text=r.text, score=score) for r, score in found])


class AnsweredBundle(BaseModel):
    """Products that belong together, the shopper's intent, and how sure the student is of its pairs, 0 to 1."""

    items: list[BundledItem]
    intent: str
    confidence: float | None = Field(ge=0, le=1)
    total: float | None = Field(description="sum of the prices, where all are known")
    reasons: list[Why] = Field(description="with `explain`: what each record did for this bundle, strongest first")


class BundledSession(BaseModel):
    """The answer to one session; a failed one has no bundles and says why.

    `knowledge` has the records behind the answer, with their scores; `cut` names the part of the prompt that was left
    out because the prompt was too long.
    """

    session_id: str
    outcome: Outcome
    reason: str
    cut: str
    bundles: list[AnsweredBundle]
    left_out: list[BundledItem]
    knowledge: list[Why]
    usage: Usage


class BundlesResponse(BaseModel):
    """The answers in the order of the sessions."""

    id: str
    object: Literal["bundles"] = "bundles"
    model: str
    sessions: list[BundledSession]
    usage: Usage
