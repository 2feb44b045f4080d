"""Pair evidence: how likely two products go together, according to the thoughts of known sessions.

A thought keeps the kind of every product of its session and which products were bundled, so each pair of
its products is one observation. For a pair of new products we find the nearest observations. A logistic
regression over all observations combines their share of bundled pairs with the similarity of the two
titles and kinds. The result becomes one word in the student's question. In this way the teacher's
knowledge reaches new products.

A known session never uses its own evidence: its thought is left out of the neighbours. Its regression is
fitted on the other half of the thoughts, and its kind reader, if there is one, is tuned on the other half.
Sessions with equal titles are in the same half.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bundlewise.domain import Knowledge, Record
from bundlewise.errors import BundlewiseError
from bundlewise.evaluation.baselines import overlap
from bundlewise.files import fingerprint, write_text
from bundlewise.knowledge_base.embedding import Embedder, Vectors, parts_of
from bundlewise.knowledge_base.kind_reader import HALVES, halves, observed

LEVELS = ("never", "rarely", "sometimes", "often", "usually")
NEIGHBOURS = 30
KIND_NEIGHBOURS = 5
KIND_SHARPNESS = 10.0
PAIR_SHARPNESS = 5.0

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int_]
Weights = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Affinity:
    """The scores of pairs (how likely each pair is to be bundled), and the thoughts behind them.

    `score[k]` (log-odds) belongs to the k-th pair of `combinations(range(n), 2)`; `credit` holds the
    indices of the thoughts with the largest weight among the neighbours, with their share of the weight.
    """

    score: Floats
    credit: dict[int, float]


@dataclass(frozen=True)
class Eye:
    """One embedder's view of the observed products: a unit vector for each title and for each kind."""

    embedder: Embedder
    titles: Vectors
    kinds: Vectors

    @classmethod
    def of(cls, embedder: Embedder, thoughts: Sequence[Knowledge]) -> "Eye":
        """Embed the titles and the kinds of thoughts, in order."""
        return cls(
            embedder,
            embedder.embed([title for thought in thoughts for title in thought.titles]),
            embedder.embed([kind for thought in thoughts for kind in thought.kinds]),
        )


class Fitted(Record):
    """One regression per half, and the scores that separate the hint words."""

    weights: Weights = ()
    cuts: tuple[float, ...] = (0.0,) * (len(LEVELS) - 1)


class PairEvidence:
    """All observed pairs of a list of thoughts, as vectors."""

    def __init__(
        self,
        thoughts: Sequence[Knowledge],
        embedder: Embedder,
        neighbours: int = NEIGHBOURS,
        memory: Path | None = None,
        readers: Sequence[Embedder] = (),
        domain: str | None = None,
    ) -> None:
        """Collect the pairs, and fit the regressions or read them from the folder `memory`.

        `readers` are the kind readers of the two halves of all these thoughts, if they were tuned. With a
        `domain`, only the thoughts of that domain are observed.
        """
        known = observed(thoughts)
        mine = [place for place, thought in enumerate(known) if domain in (None, thought.domain)]
        self.thoughts = [known[place] for place in mine]
        self._half = halves(known)[mine]
        self._embedder, self._readers = embedder, readers
        self._neighbours = neighbours
        self._eyes = [Eye.of(each, self.thoughts) for each in parts_of(embedder)]
        self._owner = np.repeat(np.arange(len(self.thoughts)), [len(t.kinds) for t in self.thoughts])
        self._collect_pairs()
        self._fitted = self._remember(memory) if memory else self._fit()

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

    def _remember(self, memory: Path) -> "Fitted":
        """Read the regressions that were fitted on these thoughts, or fit them and keep them for the next process."""
        read_by = [self._embedder.fingerprint, *(reader.fingerprint for reader in self._readers), self._neighbours]
        known = [thought.model_dump_json() for thought in self.thoughts]
        key = fingerprint([*known, self._half.tolist(), *read_by])
        path = memory / f"evidence-{key}.json"
        try:
            return Fitted.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            found = self._fit()
        with suppress(BundlewiseError):  # A read-only knowledge base can still be read.
            write_text(path, found.model_dump_json())
        return found

    def _fit(self) -> "Fitted":
        half = self._half[self._pair_owner]
        if any(len(set(self._bundled[half != h].tolist())) < 2 for h in range(HALVES)):
            return Fitted()
        known = []
        for i, thought in enumerate(self.thoughts):
            rows, _ = self.features(thought.titles, frozenset({i}))
            known.append(self._with_read(rows, thought.titles, frozenset({i}), int(self._half[i])))
        table = np.concatenate(known)
        weights = tuple(fit_regression(table[half != h], self._bundled[half != h]) for h in range(HALVES))
        scores = [log_odds_of(rows, weights[h]) for rows, h in zip(known, self._half.tolist(), strict=True)]
        steps = np.linspace(0, 1, len(LEVELS) + 1)[1:-1]
        return Fitted(weights=weights, cuts=tuple(np.quantile(np.concatenate(scores), steps).tolist()))

    def affinity(
        self, titles: Sequence[str], own: frozenset[int] = frozenset(), gone: frozenset[int] = frozenset()
    ) -> Affinity | None:
        """Return how likely each pair of titles is to be bundled; None if there is no evidence.

        Args:
            titles: product titles; bundled and other products are treated alike.
            own: indices of thoughts that must not be read (those of the query's own session).
            gone: indices of thoughts that are left out to measure their effect; the regression stays.
        """
        if not self._fitted.weights or len(titles) < 2 or len(own | gone) >= len(self.thoughts):
            return None
        features, credit = self.features(titles, own | gone)
        halves = {int(self._half[index]) for index in own} or range(HALVES)
        rows = [(self._with_read(features, titles, own | gone, half), self._fitted.weights[half]) for half in halves]
        score: Floats = np.mean([log_odds_of(table, weights) for table, weights in rows], axis=0)
        return Affinity(score.astype(np.float32), credit)

    def witnesses(self, titles: Sequence[str], group: Sequence[int], own: frozenset[int]) -> dict[int, float]:
        """Return the thoughts with the largest weight in the pairs of a group of titles, with their share."""
        if not self._fitted.weights or len(group) < 2 or len(own) >= len(self.thoughts):
            return {}
        eye = self._eyes[0]
        kinds = self._kind_vectors(eye, eye.embedder.embed(titles), own)
        a, b = (np.array(side, int) for side in zip(*combinations(group, 2), strict=True))
        return self._neighbourhood(kinds @ eye.kinds.T, a, b, own)[1]

    def companions(self, titles: Sequence[str], own: frozenset[int], limit: int) -> list[str]:
        """Return the kinds that are bundled with kinds similar to those of the titles, the likeliest first."""
        if not self.thoughts or len(own) >= len(self.thoughts):
            return []
        eye = self._eyes[0]
        near = (self._kind_vectors(eye, eye.embedder.embed(titles), own) @ eye.kinds.T).max(0)
        usable = (self._bundled > 0) & ~np.isin(self._pair_owner, list(own))
        names = [kind for thought in self.thoughts for kind in thought.kinds]
        weights: dict[str, float] = defaultdict(float)
        for known, other in ((self._first, self._second), (self._second, self._first)):
            for place, weight in zip(other[usable], np.exp(KIND_SHARPNESS * near[known[usable]]), strict=True):
                weights[names[place]] += float(weight)
        return sorted(weights, key=lambda name: -weights[name])[:limit]

    def matrix(self, titles: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the log-odds of a new session's pairs as a symmetric n x n matrix, without a language model."""
        found = self.affinity(titles)
        return np.zeros((len(titles), len(titles))) if found is None else square(found.score, len(titles))

    def word(self, score: float) -> str:
        """Return the hint word for a score: each word stands for a fifth of the known sessions' pairs."""
        return LEVELS[int(np.searchsorted(self._fitted.cuts, score))]

    def features(self, titles: Sequence[str], own: frozenset[int]) -> tuple[Floats, dict[int, float]]:
        """Return a row of features for each pair of titles, and the thoughts with the largest weight in them.

        The columns are what the first embedder sees, words and length, then what each embedder beside it sees.
        """
        a, b = (np.array(side, int) for side in zip(*combinations(range(len(titles)), 2), strict=True))
        (first, credit), *others = (self._seen(eye, titles, a, b, own) for eye in self._eyes)
        share, alike, kinds, crowd = first
        columns = [share, alike, kinds, overlap(list(titles))[a, b], crowd, np.full(len(a), len(titles))]
        return _rounded([*columns, *(column for seen, _ in others for column in seen)]), credit

    def _seen(
        self, eye: Eye, titles: Sequence[str], a: Places, b: Places, own: frozenset[int]
    ) -> tuple[list[Floats], dict[int, float]]:
        """Return an eye's columns for the pairs (a, b) of titles, and the thoughts with the largest weight in them.

        The columns are the share of bundled pairs among the nearest observations, the similarity of the titles, that
        of their kinds, and the mean similarity of both to the session's other titles.
        """
        vectors = eye.embedder.embed(titles)
        kinds = self._kind_vectors(eye, vectors, own)
        share, credit = self._neighbourhood(kinds @ eye.kinds.T, a, b, own)
        alike = vectors @ vectors.T
        others = (alike.sum(0) - 1)[a] + (alike.sum(0) - 1)[b] - 2 * alike[a, b]
        crowd = others / max(1, 2 * (len(titles) - 2))
        return [share, alike[a, b], (kinds @ kinds.T)[a, b], crowd], credit

    def _with_read(self, features: Floats, titles: Sequence[str], own: frozenset[int], half: int) -> Floats:
        """Add two features from the kind reader of a half: the share of bundled pairs, and the kinds' similarity."""
        if not self._readers:
            return features
        kinds = self._readers[half].embed(titles)
        a, b = (np.array(side, int) for side in zip(*combinations(range(len(titles)), 2), strict=True))
        share, _ = self._neighbourhood(kinds @ self._eyes[0].kinds.T, a, b, own)
        return np.concatenate([features, _rounded([share, (kinds @ kinds.T)[a, b]])], axis=1)

    def _kind_vectors(self, eye: Eye, vectors: Vectors, own: frozenset[int]) -> Vectors:
        """Return a unit vector for the kind of every title, averaged over the kinds of the nearest known titles."""
        similarity = vectors @ eye.titles.T
        similarity[:, np.isin(self._owner, list(own))] = -np.inf
        nearest, weights = _nearest(similarity, KIND_NEIGHBOURS, KIND_SHARPNESS)
        mixed = (weights[..., None] * eye.kinds[nearest]).sum(1)
        unit: Vectors = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
        return unit

    def _neighbourhood(
        self, near: Floats, a: Places, b: Places, own: frozenset[int]
    ) -> tuple[Floats, dict[int, float]]:
        """Return the share of bundled pairs among the nearest observations, and the thoughts they come from.

        `near` has the similarity of each title's kind to each observed kind, shape (titles, observed products).
        """
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


def _rounded(columns: Sequence[Floats]) -> Floats:
    """Return one row per pair; rounding keeps a feature that is the same for all pairs constant when it is scaled."""
    return np.stack(columns, axis=1).round(5).astype(np.float32)


def square(scores: Floats, products: int) -> npt.NDArray[np.float64]:
    """Return the scores of all pairs of products as a symmetric n x n matrix with zeros on the diagonal."""
    matrix = np.zeros((products, products))
    matrix[np.triu_indices(products, 1)] = scores
    return matrix + matrix.T


def log_odds_of(features: Floats, weights: tuple[float, ...]) -> Floats:
    """Return the log-odds of each row of features by the weights of a regression."""
    found: Floats = features @ np.array(weights[:-1]) + weights[-1]
    return found


def fit_regression(features: Floats, bundled: Floats) -> tuple[float, ...]:
    """Fit a logistic regression of pairs; return a weight for each feature and, last, the intercept."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    model = LogisticRegression().fit(scaler.transform(features), bundled)
    weights = model.coef_[0] / scaler.scale_
    return (*weights.tolist(), float(model.intercept_[0] - weights @ scaler.mean_))
