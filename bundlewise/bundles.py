"""Bundles with their products and the reasons for them; a prediction has only the products' numbers."""

from bundlewise import notebook
from bundlewise.domain import Item, KnowledgeKind, PredictedBundle, Prediction, Record, Session


class FoundBundle(Record):
    """A bundle that the student found: its products, the intent, and how sure the student is.

    `confidence` is the mean probability (0 to 1) that two of its products go together.
    """

    items: tuple[Item, ...]
    intent: str
    confidence: float | None = None

    @classmethod
    def of(cls, bundle: PredictedBundle, session: Session) -> "FoundBundle":
        """Return a bundle of a prediction together with the products of its session."""
        items = tuple(session.items[number - 1] for number in bundle.items)
        return cls(items=items, intent=bundle.intent, confidence=bundle.confidence)

    @classmethod
    def all_of(cls, prediction: Prediction, session: Session) -> "list[FoundBundle]":
        """Return all bundles of a prediction with the products of its session."""
        return [cls.of(bundle, session) for bundle in prediction.bundles]

    @property
    def titles(self) -> list[str]:
        """The titles of its products."""
        return [item.title for item in self.items]

    @property
    def _called(self) -> str:
        sure = "" if self.confidence is None else f" ({self.confidence:.0%})"
        return f"{self.intent or '(no intent)'}{sure}"

    def __str__(self) -> str:
        """Return its intent and the titles of its products."""
        return f"{self._called}: {', '.join(self.titles)}"

    def __repr__(self) -> str:
        """Return the same text in angle brackets, for lists of bundles."""
        return f"<{self}>"

    def _repr_html_(self) -> str:
        return notebook.products(self._called, self.items)


class Reason(Record):
    """A knowledge record that influenced a bundle.

    `score` is the record's cosine, or its share of the evidence for the bundle. `effect` is how much the mean
    probability of the bundle's pairs falls without the record; it is negative if the record speaks against the bundle.
    """

    id: str
    kind: KnowledgeKind
    domain: str
    text: str
    score: float
    effect: float
