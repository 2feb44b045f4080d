"""Pair evidence: what the thoughts of known sessions say about two products going together.

A thought keeps the kind of every product of its session and which were bundled, so each pair of
its products is one observation. For a pair of new products the nearest observations are read off,
and a logistic regression over all observations weighs their share of bundled pairs with how alike
the two titles and kinds are. The result becomes one word in the student's question: the way a
teacher's knowledge reaches products that nobody has seen before.

A known session does not meet its own evidence: its thought is left out of the neighbours, and it is
judged by a regression fitted on the other half of the thoughts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from bundlewise.baselines import overlap
from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.embedding import Embedder, Vectors

LEVELS = ("never", "rarely", "sometimes", "often", "usually")
NEIGHBOURS = 30
KIND_NEIGHBOURS = 5
KIND_SHARPNESS = 10.0
PAIR_SHARPNESS = 5.0
FOLDS = 2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Affinity:
    """How likely each pair is to be bundled, and which thoughts say so.

    `score[k]` (log-odds) belongs to the k-th pair of `combinations(range(n), 2)`; `credit` holds the
    indices of the thoughts that weighed most in the neighbours, with their share of the weight.
    """

    score: Floats
    credit: dict[int, float]


class PairEvidence:
    """All observed pairs of a list of thoughts, as vectors."""

    def __init__(self, thoughts: Sequence[Knowledge], embedder: Embedder, neighbours: int = NEIGHBOURS) -> None:
        self.thoughts = [thought for thought in thoughts if len(thought.kinds) > 1]
        self._embedder = embedder
        self._neighbours = neighbours
        self._titles = embedder.embed([title for thought in self.thoughts for title in thought.titles])
        self._kinds = embedder.embed([kind for thought in self.thoughts for kind in thought.kinds])
        self._owner = np.repeat(np.arange(len(self.thoughts)), [len(t.kinds) for t in self.thoughts])
        self._collect_pairs()
        self._fit()

    def _collect_pairs(self) -> None:
        first, second, bundled, owner, start = [], [], [], [], 0
        for index, thought in enumerate(self.thoughts):
            for a, b in combinations(range(len(thought.kinds)), 2):
                first.append(start + a)
                second.append(start + b)
                bundled.append(any(a in group and b in group for group in thought.groups))
                owner.append(index)
            start += len(thought.kinds)
        self._first, self._second = np.array(first, int), np.array(second, int)
        self._bundled, self._pair_owner = np.array(bundled, np.float32), np.array(owner, int)

    def _fit(self) -> None:
        known = [self._features(thought.titles, frozenset({i}))[0] for i, thought in enumerate(self.thoughts)]
        fold = self._pair_owner % FOLDS
        if any(len(set(self._bundled[fold != f].tolist())) < 2 for f in range(FOLDS)):
            self._models: list[Any] = []
            self._cuts = np.zeros(len(LEVELS) - 1, np.float32)
            return
        table = np.concatenate(known)
        self._models = [_regression(table[fold != f], self._bundled[fold != f]) for f in range(FOLDS)]
        scores = [self._score(rows, frozenset({i})) for i, rows in enumerate(known)]
        steps = np.linspace(0, 1, len(LEVELS) + 1)[1:-1]
        self._cuts = np.quantile(np.concatenate(scores), steps).astype(np.float32)

    def affinity(self, titles: Sequence[str], own: frozenset[int] = frozenset()) -> Affinity | None:
        """Return how likely each pair of titles is to be bundled; None when nothing is known.

        Args:
            titles: product titles, bundled or not: all are treated alike.
            own: indices of thoughts that must not be read (those of the query's own session).
        """
        if not self._models or len(titles) < 2 or len(own) >= len(self.thoughts):
            return None
        features, credit = self._features(titles, own)
        return Affinity(self._score(features, own), credit)

    def matrix(self, titles: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the affinities of a new session as a symmetric n x n matrix: bundling with no language model."""
        found = self.affinity(titles)
        matrix = np.zeros((len(titles), len(titles)))
        if found is not None:
            for (a, b), score in zip(combinations(range(len(titles)), 2), found.score.tolist(), strict=True):
                matrix[a, b] = matrix[b, a] = score
        return matrix

    def word(self, score: float) -> str:
        """Return the word for a score: which fifth of the known sessions' pairs it falls into."""
        return LEVELS[int(np.searchsorted(self._cuts, score))]

    def _score(self, features: Floats, own: frozenset[int]) -> Floats:
        folds = {index % FOLDS for index in own}
        unseen = [model for fold, model in enumerate(self._models) if not folds or fold in folds]
        score: Floats = np.mean([model.decision_function(features) for model in unseen], axis=0).astype(np.float32)
        return score

    def _features(self, titles: Sequence[str], own: frozenset[int]) -> tuple[Floats, dict[int, float]]:
        vectors = self._embedder.embed(titles)
        kinds = self._kind_vectors(vectors, own)
        a, b = (np.array(side, int) for side in zip(*combinations(range(len(titles)), 2), strict=True))
        share, credit = self._neighbourhood(kinds, a, b, own)
        alike = vectors @ vectors.T
        others = (alike.sum(0) - 1)[a] + (alike.sum(0) - 1)[b] - 2 * alike[a, b]
        crowd = others / max(1, 2 * (len(titles) - 2))
        columns = [
            share,
            alike[a, b],
            (kinds @ kinds.T)[a, b],
            overlap(list(titles))[a, b],
            crowd,
            np.full(len(a), len(titles)),
        ]
        return np.stack(columns, axis=1).astype(np.float32), credit

    def _kind_vectors(self, vectors: Vectors, own: frozenset[int]) -> Vectors:
        """Return a unit vector for the kind of every title, carried over from the nearest known titles."""
        similarity = vectors @ self._titles.T
        similarity[:, np.isin(self._owner, list(own))] = -np.inf
        nearest, weights = _nearest(similarity, KIND_NEIGHBOURS, KIND_SHARPNESS)
        mixed = (weights[..., None] * self._kinds[nearest]).sum(1)
        unit: Vectors = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
        return unit

    def _neighbourhood(
        self, kinds: Vectors, a: npt.NDArray[np.int_], b: npt.NDArray[np.int_], own: frozenset[int]
    ) -> tuple[Floats, dict[int, float]]:
        """Return the share of bundled pairs among the nearest observations, and whose these were."""
        near = kinds @ self._kinds.T
        straight = near[a][:, self._first] + near[b][:, self._second]
        crossed = near[a][:, self._second] + near[b][:, self._first]
        score = np.maximum(straight, crossed)
        score[:, np.isin(self._pair_owner, list(own))] = -np.inf
        nearest, weights = _nearest(score, self._neighbours, PAIR_SHARPNESS)
        share = (weights * self._bundled[nearest]).sum(1) / np.maximum(weights.sum(1), 1e-9)
        owners = self._pair_owner[nearest].ravel()
        totals = np.bincount(owners, weights=weights.ravel(), minlength=len(self.thoughts))
        best = np.argsort(-totals, kind="stable")[:3]
        return share, {int(i): float(totals[i] / totals.sum()) for i in best if totals[i] > 0}


def _nearest(scores: Floats, count: int, sharpness: float) -> tuple[npt.NDArray[np.intp], Floats]:
    count = min(count, scores.shape[1])
    nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    weights: Floats = np.exp(sharpness * np.take_along_axis(scores, nearest, 1))
    return nearest, weights


def _regression(features: Floats, bundled: Floats) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(features, bundled)
