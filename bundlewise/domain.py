"""The records that flow through bundlewise: sessions, knowledge and predictions."""

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bundlewise import notebook
from bundlewise.titles import clean

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KnowledgeKind = Literal["pattern", "rule", "thought"]
KNOWLEDGE_KINDS: tuple[KnowledgeKind, ...] = ("pattern", "rule", "thought")
Status = Literal["active", "quarantined", "retired"]
Outcome = Literal["ok", "repaired", "failed"]
Grouping = tuple[tuple[int, ...], ...]
"""Bundles as positions of products in their session, counted from 0."""


def item_set_of(titles: Iterable[str]) -> str:
    """Return 16 hex digits of a session's products whatever their order: equal titles, equal digits."""
    named = sorted(normalize("NFC", " ".join(title.casefold().split())) for title in titles)
    content = json.dumps(named, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


Cleaned = Annotated[str, AfterValidator(clean)]
"""A text from outside that is cleaned wherever it comes in, so that training and serving read the same."""


class Record(BaseModel):
    """An immutable record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        return notebook.record(self)


class Item(Record):
    """A product. Category and price are for mining and display, never for prediction."""

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
    def of(cls, products: "Iterable[str | Item]", session_id: str = "given") -> "Session":
        """Return a session of products, or of titles; titles are numbered from 1."""
        rows = enumerate(products, 1)
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
        """What a session of equal titles shares with this one; see `item_set_of`."""
        return item_set_of(self.titles)

    def __str__(self) -> str:
        """Return its products, one a line."""
        return "\n".join([f"{self.session_id}:", *(f"  {n}. {title}" for n, title in enumerate(self.titles, 1))])

    def _repr_html_(self) -> str:
        return notebook.products(f"{self.session_id} ({self.split})", self.items)

    def blind(self) -> "BlindSession":
        """Return what a student may see: titles and ids, no category, price or annotation."""
        items = tuple(Item(id=item.id, title=item.title) for item in self.items)
        return BlindSession(session_id=self.session_id, domain=self.domain, split=self.split, items=items)


class BlindSession(Session):
    """A session as a student sees it; one with a category, a price or an annotation cannot be made.

    Sessions are blinded once, where they come in: in `Student`, and in `finetune` for training. Prompts, retrieval
    and the student graph take nothing else. The id stays, as knowledge from the very session must be left out.
    """

    @model_validator(mode="after")
    def _check_titles_alone(self) -> "BlindSession":
        if self.bundles or any(item.category or item.price is not None for item in self.items):
            raise ValueError("a student sees titles alone; make it by Session.blind()")
        return self

    def blind(self) -> "BlindSession":
        """Return the session itself."""
        return self


class KnownSession(Record):
    """A session that a knowledge base knows of: which split it is in, and its item set.

    Knowledge may come from sessions of the training split alone; the others are listed so that this
    can be checked wherever a record arrives.
    """

    id: str
    split: Split
    items: str

    @classmethod
    def of(cls, session: Session) -> "KnownSession":
        """Return what a knowledge base remembers of a session."""
        return cls(id=session.session_id, split=session.split, items=session.item_set)


class Provenance(Record):
    """Where a knowledge record comes from."""

    teacher: str
    prompt: str = Field(description="fingerprint of the template that worded the record, or 'import'")
    run: str = Field(description="fingerprint of everything that determined the run")


class Knowledge(Record):
    """One piece of distilled knowledge; the text is the source of truth, vectors can be rebuilt.

    A thought keeps its evidence in structured form too: `kinds` holds the kind of every product of
    its source session in order, `titles` their titles and `groups` the annotated bundles as positions
    into `kinds`. A pattern's sources are the sessions that hold its kinds; in its `supporters` they are
    bundled.
    """

    id: str
    kind: KnowledgeKind
    domain: str
    text: str
    kinds: tuple[str, ...] = ()
    groups: Grouping = ()
    titles: tuple[str, ...] = ()
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

    @property
    def is_untested(self) -> bool:
        """Say whether it is a rule that no held-out session has tested; it has neither gain nor harm then."""
        return self.kind == "rule" and self.gain is None

    @staticmethod
    def content_id(kind: KnowledgeKind, domain: str, text: str, sources: tuple[str, ...]) -> str:
        """Return the id of a record: a hash of its content, so that writing twice changes nothing."""
        content = json.dumps([kind, domain, text, list(sources)], ensure_ascii=False)
        return f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


class KnowledgeUse(Record):
    """A knowledge record that stood in a prompt, with its retrieval score (cosine, -1 to 1)."""

    id: str
    score: float


class Retrieved(Record):
    """What the knowledge base gives for one session, best first; empty is the plain student.

    `hints` says for pairs of positions (from 0, smaller first) how often such kinds go together,
    `affinity` holds the log-odds behind each word, and `evidence` names the thoughts that weighed most
    in them, with their share of the weight.
    """

    records: tuple[tuple[Knowledge, float], ...] = ()
    evidence: tuple[tuple[Knowledge, float], ...] = ()
    hints: dict[tuple[int, int], str] = {}
    affinity: dict[tuple[int, int], float] = {}

    @property
    def uses(self) -> tuple[KnowledgeUse, ...]:
        """The records and the evidence by id and score."""
        shown = (*self.records, *self.evidence)
        return tuple(KnowledgeUse(id=record.id, score=round(score, 4)) for record, score in shown)


class Reason(Record):
    """A knowledge record that a bundle rests on.

    `score` is its cosine, or its share of the evidence for the bundle; `effect` is how much the mean probability
    of the bundle's pairs falls when the record is not there. Below zero it spoke against the bundle.
    """

    id: str
    kind: KnowledgeKind
    domain: str
    text: str
    score: float
    effect: float


class PredictedBundle(Record):
    """A bundle of a prediction: product numbers from 1 in session order, their ids, the intent.

    `confidence` is the mean probability that two of its products go together; None where pairs were not judged.
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
    """The answer to one session; a failed one has no bundles and counts as zero.

    `cut` says what was left out of the prompt because the student could not have read it whole.
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
