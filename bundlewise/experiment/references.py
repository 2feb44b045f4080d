"""The baselines in every table: bundles without a language model, with settings chosen on validation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundlewise.agents.student.decoder import best_grouping, calibrate
from bundlewise.domain import Grouping, Session
from bundlewise.errors import UsageError
from bundlewise.evaluation import baselines

if TYPE_CHECKING:
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.retrieval import Retriever

WHOLE, LEXICAL, EMBEDDING, NEAREST = BASELINES = (
    "whole session",
    "lexical clusters",
    "embedding clusters",
    "nearest training session",
)
"""The names of the baselines in every table."""
EVIDENCE = "evidence alone"
"""The name of the row of a knowledge base's pair evidence, decoded without a student."""


@dataclass(frozen=True)
class Reference:
    """A baseline's answers to the sessions asked, in their order, and its chosen settings."""

    name: str
    groups: list[Grouping]
    note: str = ""


@dataclass(frozen=True)
class References:
    """The baselines for the sessions asked; they read only the titles of these sessions."""

    validation: Sequence[Session]
    asked: Sequence[Session]

    def __post_init__(self) -> None:
        if not self.validation:
            raise UsageError("baselines need annotated validation sessions, and there are none; add some")

    def whole_session(self) -> Reference:
        """Return every session as one bundle."""
        return Reference(WHOLE, [baselines.whole_session(len(s.items)) for s in self.asked])

    def lexical(self) -> Reference:
        """Return clusters of titles that share words; a session without a cluster is one bundle."""
        return self._clusters(LEXICAL, lambda session: baselines.overlap(session.titles))

    def embedding(self, embedder: "Embedder") -> Reference:
        """Return average-link clusters of similar embeddings; a session without a cluster is one bundle."""
        return self._clusters(EMBEDDING, lambda s: baselines.cosine(embedder.embed(s.titles)))

    def nearest(self, training: Sequence[Session], embedder: "Embedder") -> Reference:
        """Return the bundles of the nearest training session, transferred product by product.

        The nearest session has the largest cosine of mean title vectors. Each product goes into the first bundle of
        the most similar product of that session, or into no bundle.
        """
        import numpy as np

        # One call embeds all titles, so that titles of similar length share a batch.
        ends = np.cumsum([len(session.titles) for session in training])[:-1]
        known = np.split(embedder.embed([title for session in training for title in session.titles]), ends)
        centres = np.stack([rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)) for rows in known])
        groups = []
        for session in self.asked:
            rows = embedder.embed(session.titles)
            place = int(np.argmax(centres @ rows.mean(axis=0)))
            bundle_of = {p: number for number, group in reversed([*enumerate(training[place].groups)]) for p in group}
            alike = np.argmax(rows @ known[place].T, axis=1).tolist()
            groups.append(baselines.labelled([bundle_of.get(product) for product in alike]))
        return Reference(NEAREST, groups)

    def pair_classifier(self, retriever: "Retriever") -> Reference:
        """Return the groupings with the best expected GJS by the knowledge base's pair evidence alone.

        The evidence is a logistic regression over title and kind similarities and the share of bundled pairs among
        the nearest kind pairs of the teacher's thoughts. A student gets the same evidence, and must do better.
        """
        matrix = retriever.evidence().matrix
        truths = [session.groups for session in self.validation]
        chosen = calibrate([matrix(session.titles) for session in self.validation], truths)
        groups = [best_grouping(chosen.apply(matrix(session.titles))) for session in self.asked]
        return Reference(EVIDENCE, groups, "no language model")

    def _clusters(self, name: str, similarity: Callable[[Session], Any]) -> Reference:
        truths = [session.groups for session in self.validation]
        known = [similarity(session) for session in self.validation]
        threshold = baselines.choose_threshold(known, truths, never_none=True)
        groups = [baselines.clusters(similarity(session), threshold, never_none=True) for session in self.asked]
        return Reference(name, groups, f"threshold {threshold:.2f}")
