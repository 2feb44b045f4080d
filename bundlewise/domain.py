"""The records that flow through bundlewise: sessions, knowledge and predictions."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer, model_validator

from bundlewise import notebook
from bundlewise.errors import UsageError
from bundlewise.titles import clean

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KnowledgeKind = Literal["pattern", "rule", "thought"]
KNOWLEDGE_KINDS: tuple[KnowledgeKind, ...] = ("pattern", "rule", "thought")
Status = Literal["active", "quarantined", "retired"]
Outcome = Literal["ok", "repaired", "failed"]
Grouping = tuple[tuple[int, ...], ...]
"""Bundles as the positions of their products in the session, counted from 0."""


def item_set_of(titles: Iterable[str]) -> str:
    """Return 16 hex digits that are equal for sessions with equal titles, in any order."""
    named = sorted(normalize("NFC", " ".join(title.casefold().split())) for title in titles)
    content = json.dumps(named, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


Cleaned = Annotated[str, AfterValidator(clean)]
"""A text from outside; each record cleans it, so that training and serving read the same text."""


class Record(BaseModel):
    """An immutable record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        return notebook.record(self)


class Item(Record):
    """A product; only mining and display use its category and price, prediction uses the title alone."""

    id: str
    title: Cleaned
    category: tuple[Cleaned, ...] = ()
    price: float | None = None


class Bundle(Record):
    """Products that belong together, and the shopper's intent in a few words."""

    item_ids: tuple[str, ...]
    intent: Cleaned = ""


class Session(Record):
    """A shopper's products in the order seen, with the annotated bundles where they are known."""

    session_id: str
    domain: str = ""
    split: Split = "test"
    items: tuple[Item, ...]
    bundles: tuple[Bundle, ...] = ()

    @classmethod
    def of(cls, products: "Session | Iterable[str | Item]", session_id: str = "given") -> "Session":
        """Return a session of products, or of titles; titles are numbered from 1. A session stays as it is.

        Raises:
            UsageError: the products are none of these.
        """
        if isinstance(products, Session):
            return products
        is_list = isinstance(products, Iterable) and not isinstance(products, str)
        given = list(products) if is_list else [products]
        if wrong := [each for each in given if not (is_list and isinstance(each, str | Item))]:
            raise UsageError(f"products are a list of titles or of items, got {str(wrong[0])[:40]!r}")
        rows = enumerate(given, 1)
        items = tuple(Item(id=str(number), title=each) if isinstance(each, str) else each for number, each in rows)
        return cls(session_id=session_id, items=items)

    @property
    def titles(self) -> list[str]:
        """The titles in session order."""
        return [item.title for item in self.items]

    @property
    def groups(self) -> Grouping:
        """The annotated bundles as positions in the session, from 0."""
        place = {item.id: number for number, item in enumerate(self.items)}
        return tuple(tuple(sorted(place[item_id] for item_id in b.item_ids)) for b in self.bundles)

    @property
    def item_set(self) -> str:
        """The digits that all sessions with the same titles share; see `item_set_of`."""
        return item_set_of(self.titles)

    def __str__(self) -> str:
        """Return its products, one a line."""
        return "\n".join([f"{self.session_id}:", *(f"  {n}. {title}" for n, title in enumerate(self.titles, 1))])

    def _repr_html_(self) -> str:
        return notebook.products(f"{self.session_id} ({self.split})", self.items)

    def blind(self) -> "BlindSession":
        """Return the session as a student may see it: titles and ids, without categories, prices and annotations."""
        items = tuple(Item(id=item.id, title=item.title) for item in self.items)
        return BlindSession(session_id=self.session_id, domain=self.domain, split=self.split, items=items)


class BlindSession(Session):
    """A session as a student sees it; it refuses categories, prices and annotations.

    Sessions are blinded once: by `Student` for answers, and by `finetune` for training. Prompts, retrieval and the
    student graph accept only blind sessions. The id stays, so that retrieval can leave out knowledge from this session.
    """

    @model_validator(mode="after")
    def _check_titles_alone(self) -> "BlindSession":
        if self.bundles or any(item.category or item.price is not None for item in self.items):
            raise ValueError("a student sees only titles; make it by Session.blind()")
        return self

    def blind(self) -> "BlindSession":
        """Return the session itself."""
        return self


class KnownSession(Record):
    """A session that a knowledge base knows of: its id, its split and its item set.

    Knowledge may come only from sessions of the training split. The other sessions are listed so that this
    can be checked for every new record.
    """

    id: str
    split: Split
    items: str

    @classmethod
    def of(cls, session: Session) -> "KnownSession":
        """Return the data that a knowledge base keeps about a session."""
        return cls(id=session.session_id, split=session.split, items=session.item_set)


class Provenance(Record):
    """The origin of a knowledge record."""

    teacher: str
    prompt: str = Field(description="fingerprint of the template that worded the record, or 'import'")
    run: str = Field(description="fingerprint of everything that determined the run")


class Knowledge(Record):
    """One piece of distilled knowledge; its vector can be rebuilt from its text.

    A thought also keeps its evidence in structured form: `kinds` holds the kind of every product of
    its source session in order, `titles` their titles and `groups` the annotated bundles as positions
    in `kinds`; `intents` has the intent of every group, and `lesson` the general lesson alone, if it has one.
    `original` is the text as the teacher wrote it, if `text` differs from it. The sources of a pattern are the
    sessions that contain its kinds; its `supporters` are the sources in which these kinds are bundled.
    """

    id: str
    kind: KnowledgeKind
    domain: str
    text: str
    kinds: tuple[str, ...] = ()
    groups: Grouping = ()
    intents: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    lesson: str = ""
    original: str = ""
    source_session_ids: tuple[str, ...] = ()
    supporters: tuple[str, ...] = ()
    support: int | None = None
    confidence: float | None = None
    lift: float | None = None
    gain: float | None = Field(default=None, description="mean held-out GJS gained by applying the rule")
    harm: float | None = Field(default=None, description="mean held-out GJS lost by the sessions it makes worse")
    provenance: Provenance
    status: Status = "active"
    reason: str = ""

    def __str__(self) -> str:
        """Return its text, and what it is."""
        return f"{self.kind} ({self.domain or 'any domain'}): {self.text}"

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: Callable[["Knowledge"], dict[str, Any]]) -> dict[str, Any]:
        """Leave out later fields that are empty, so that the bytes and the digest of older records stay equal."""
        return {k: v for k, v in serialize(self).items() if v or k not in ("intents", "lesson", "original")}

    @property
    def is_untested(self) -> bool:
        """Say whether the record is a rule without a test on held-out sessions, so without gain and harm."""
        return self.kind == "rule" and self.gain is None

    @staticmethod
    def content_id(kind: KnowledgeKind, domain: str, text: str, sources: tuple[str, ...]) -> str:
        """Return the id of a record: a hash of its content, so that writing twice changes nothing."""
        content = json.dumps([kind, domain, text, list(sources)], ensure_ascii=False)
        return f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


class KnowledgeUse(Record):
    """A knowledge record that a prompt contained, with its retrieval score (cosine, -1 to 1)."""

    id: str
    score: float


class Retrieved(Record):
    """The knowledge that is retrieved for one session, best first; the plain student gets an empty one.

    `hints` says for pairs of positions (from 0, smaller first) how often such kinds go together; `affinity` holds the
    log-odds behind it, and `evidence` the thoughts with the largest weight in it, each with its share.
    `demonstrations` are thoughts whose source sessions are shown solved, the nearest first.
    """

    records: tuple[tuple[Knowledge, float], ...] = ()
    demonstrations: tuple[tuple[Knowledge, float], ...] = ()
    evidence: tuple[tuple[Knowledge, float], ...] = ()
    hints: dict[tuple[int, int], str] = {}
    affinity: dict[tuple[int, int], float] = {}

    @property
    def uses(self) -> tuple[KnowledgeUse, ...]:
        """The records and the evidence by id and score."""
        shown = (*self.records, *self.demonstrations, *self.evidence)
        return tuple(KnowledgeUse(id=record.id, score=round(score, 4)) for record, score in shown)


class PredictedBundle(Record):
    """A bundle of a prediction: product numbers from 1 in session order, their ids, the intent.

    `confidence` is the mean probability that two of its products go together; None if no pairs were judged.
    """

    items: tuple[int, ...]
    item_ids: tuple[str, ...]
    intent: str = ""
    confidence: float | None = None

    def __str__(self) -> str:
        """Return its intent and the numbers of its products."""
        sure = "" if self.confidence is None else f" ({self.confidence:.0%})"
        return f"{self.intent or '(no intent)'}{sure}: products {', '.join(map(str, self.items))}"


class Prediction(Record):
    """The answer to one session; a failed answer has no bundles and scores zero.

    `cut` says which parts were left out because the prompt was too long for the student.
    """

    session_id: str
    bundles: tuple[PredictedBundle, ...]
    knowledge: tuple[KnowledgeUse, ...] = ()
    raw: str = ""
    outcome: Outcome = "ok"
    reason: str = ""
    cut: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    @property
    def groups(self) -> Grouping:
        """The bundles as positions in the session, from 0."""
        return tuple(tuple(number - 1 for number in bundle.items) for bundle in self.bundles)

    def __str__(self) -> str:
        """Return its bundles, one a line, or why there are none."""
        rows = self.bundles or (self.reason or "no bundle",)
        return "\n".join([f"{self.session_id}:", *(f"  {row}" for row in rows)])

    def _repr_html_(self) -> str:
        rows = [(each.intent, ", ".join(map(str, each.items)), each.confidence) for each in self.bundles]
        return notebook.table(f"{self.session_id}: {self.outcome}", ("intent", "products", "confidence"), rows)
