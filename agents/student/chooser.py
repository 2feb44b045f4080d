"""The chooser: a small listwise model that ranks the candidate groupings of a session.

Expected GJS treats pairs as independent, but they depend on each other: a bundle with one weak link, a
product left out beside a strong link, or a session split in two is wrong more often than the log-odds
predict. The chooser describes each candidate grouping by a few features, expected GJS among them, and
scores it by a linear function of these. The fit maximises the GJS, or another aim, of a grouping drawn from
the softmax of the scores on training sessions. Their log-odds must be computed without the session's own annotation, as
for a new session.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bundlewise.agents.student.aims import GJS, Aim, exact_shares, gain
from bundlewise.agents.student.decoder import Calibration, Matrix, likely_groupings, parts
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping, Record
from bundlewise.errors import UsageError

BIASES = (0.0, 0.5, 1.0, 1.5)
"""Numbers added to the log-odds; each bias adds its likeliest groupings to the candidates."""
READINGS = (Calibration(0.3, 1.0), Calibration(0.8, 0.6), Calibration(1.2, 1.0), Calibration(0.8, 1.5))
"""Possible calibrations of the log-odds; the expected GJS under each is a feature."""
BEAM = 64
CANDIDATES = 15
WORLDS = 30
NEGLIGIBLE = 3e-3
SHARPNESS = 3.0
RIDGE = 0.3
NARROW = 16
"""Features of a grouping for GJS; those of exact bundles come after them."""
RECALL_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""The weights of recall beside precision, of which the first that reaches the floor of recall is taken."""
TAKEN_APART = 5
"""The likeliest groupings whose bundles are answers by themselves if exact bundles are wanted."""
FEWEST = 100
"""The smallest number of sessions for a fit."""
FINALISTS = 10
"""The candidates that a student scores; the likelihoods of all 30 to 60 would take most of its time."""
NEVER = -5.0
"""The log-odds for a feature about links when the grouping has no such link."""

Features = npt.NDArray[np.float64]


class Precise(Record):
    """Weights for precision, and the mean exact recall that they reach on the training sessions."""

    weights: tuple[float, ...]
    recall: float


class Chooser(Record):
    """The weight of each feature of a grouping, by itself and multiplied by the session's length.

    `weights` are for GJS. `exact` are for exact bundles, and `precise` for precision, those with the least recall
    first; both also weigh the features of exact bundles.
    """

    weights: tuple[float, ...]
    exact: tuple[float, ...] = ()
    precise: tuple[Precise, ...] = ()

    def choose(self, log_odds: Matrix, bounds: Bounds | None = None, aim: Aim = GJS) -> Grouping:
        """Return the best grouping for n x n calibrated log-odds, within bounds; ties go to the first candidate."""
        ranked = self.ranked(log_odds, bounds, aim)
        return best(ranked) if ranked else ()

    def ranked(self, log_odds: Matrix, bounds: Bounds | None = None, aim: Aim = GJS) -> list[tuple[Grouping, float]]:
        """Return the candidates within bounds with their scores.

        Raises:
            UsageError: the chooser was fitted before there were aims.
        """
        weights, for_exact = np.array(self._weights(aim)), aim.name != "gjs"
        candidates = candidates_of(log_odds, bounds, for_exact) if len(log_odds) > 1 else []
        if not candidates:
            return []
        scores = features_of(log_odds, candidates, bounds, for_exact) @ weights
        return list(zip(candidates, scores.tolist(), strict=True))

    def _weights(self, aim: Aim) -> tuple[float, ...]:
        if aim.name == "gjs":
            return self.weights
        if not self.exact or not self.precise:
            raise UsageError(f"this student cannot aim at {aim.name}; calibrate it (--calibrate DATA) or tune it again")
        if aim.name == "exact":
            return self.exact
        reached = (each.weights for each in self.precise if each.recall >= aim.recall)
        return next(reached, self.precise[-1].weights)


def finalists(ranked: Sequence[tuple[Grouping, float]]) -> list[tuple[Grouping, float]]:
    """Return the candidates with the highest scores, best first; only these are worth a student's opinion."""
    return sorted(ranked, key=lambda pair: -round(pair[1], 9))[:FINALISTS]


def best(ranked: Sequence[tuple[Grouping, float]], more: Sequence[float] = ()) -> Grouping:
    """Return the candidate with the highest score, to which `more` is added; ties go to the first candidate."""
    scores = np.array([score for _, score in ranked]) + np.array(more or 0.0)
    return ranked[int(np.round(scores, 9).argmax())][0]


def fit_chooser(log_odds: Sequence[Matrix], truths: Sequence[Grouping]) -> Chooser | None:
    """Fit the weights on annotated sessions, with equal weight for each session length; None for too few sessions.

    Args:
        log_odds: the pairs' log-odds of each session, computed without the session's own annotation.
        truths: the annotated groupings.
    """
    if len(truths) < FEWEST:
        return None
    listed = [candidates_of(matrix) for matrix in log_odds]
    wide = [[*found, *_alone(matrix, found)] for matrix, found in zip(log_odds, listed, strict=True)]
    columns = [_columns(matrix, found, None, True) for matrix, found in zip(log_odds, wide, strict=True)]
    counts = Counter(map(len, log_odds))
    share = np.array([1 / counts[len(matrix)] for matrix in log_odds])
    share /= share.sum()
    narrow = [
        by_length(rows[: len(found), :NARROW], len(m)) for rows, found, m in zip(columns, listed, log_odds, strict=True)
    ]
    gains = [np.array([gain(c, truth) for c in found]) for found, truth in zip(listed, truths, strict=True)]
    tables = [by_length(rows, len(matrix)) for rows, matrix in zip(columns, log_odds, strict=True)]
    exact = [np.array([exact_shares(c, truth) for c in found]) for found, truth in zip(wide, truths, strict=True)]
    return Chooser(
        weights=_fitted(narrow, gains, share),
        exact=_fitted(tables, [each.mean(1) for each in exact], share),
        precise=tuple(_precise(tables, exact, share, weight) for weight in RECALL_WEIGHTS),
    )


def _precise(tables: list[Features], exact: list[Features], share: Features, weight: float) -> Precise:
    """Fit the weights for precision plus `weight` times recall."""
    weights = _fitted(tables, [each[:, 0] + weight * each[:, 1] for each in exact], share)
    chosen = (int(np.round(table @ np.array(weights), 9).argmax()) for table in tables)
    recalls = [each[place, 1] for each, place in zip(exact, chosen, strict=True)]
    return Precise(weights=weights, recall=round(float(np.mean(recalls)), 4))


def _fitted(tables: list[Features], gains: list[Features], share: Features) -> tuple[float, ...]:
    spread = np.concatenate(tables).std(0) + 1e-6
    weights = _maximise([table / spread for table in tables], gains, share)
    return tuple((weights / spread).round(6).tolist())


def _maximise(tables: list[Features], gains: list[Features], share: Features) -> Features:
    """Return the weights with the highest expected gain of a draw from the softmax, minus a ridge penalty."""
    from scipy.optimize import minimize

    owner = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])[:-1]])
    rows, gain_of = np.concatenate(tables), np.concatenate(gains)
    size = rows.shape[1]

    def loss(weights: Features) -> tuple[float, Features]:
        scores = SHARPNESS * (rows @ weights)
        drawn = np.exp(scores - np.maximum.reduceat(scores, starts)[owner])
        drawn /= np.add.reduceat(drawn, starts)[owner]
        expected = np.add.reduceat(drawn * gain_of, starts)
        slope = SHARPNESS * drawn * (gain_of - expected[owner]) * share[owner]
        ridge = RIDGE / size
        return float(ridge * weights @ weights - share @ expected), 2 * ridge * weights - rows.T @ slope

    start = np.zeros(size)
    start[: len(READINGS)] = 0.5
    if size > 2 * NARROW:
        start[NARROW : NARROW + len(READINGS)] = 0.5
    found: Features = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    return found


def candidates_of(log_odds: Matrix, bounds: Bounds | None = None, for_exact: bool = False) -> list[Grouping]:
    """Return the distinct likeliest groupings at several biases, and all products as one bundle, within bounds.

    With `for_exact`, the bundles of the likeliest groupings are candidates by themselves, too.
    """
    found: dict[Grouping, None] = {}
    for bias in BIASES:
        for grouping, _ in likely_groupings(log_odds + bias, BEAM, bounds)[:CANDIDATES]:
            found[grouping] = None
    whole = (tuple(range(len(log_odds))),)
    if bounds is None or bounds.admits(whole):
        found[whole] = None
    return [*found, *_alone(log_odds, found, bounds)] if for_exact else list(found)


def _alone(log_odds: Matrix, known: Iterable[Grouping], bounds: Bounds | None = None) -> list[Grouping]:
    """Return the bundles of the likeliest groupings, each as a grouping, without those that are known."""
    likely = [grouping for grouping, _ in likely_groupings(log_odds, BEAM, bounds)[:TAKEN_APART]]
    listed = set(known)
    return [grouping for grouping in parts(likely, bounds) if grouping not in listed]


def features_of(
    log_odds: Matrix, candidates: Sequence[Grouping], bounds: Bounds | None = None, for_exact: bool = False
) -> Features:
    """Return a row of features for each candidate: the features, then the same multiplied by the session's length.

    With `for_exact`, expected exact precision plus recall under each reading is among them.
    """
    return by_length(_columns(log_odds, candidates, bounds, for_exact), len(log_odds))


def by_length(table: Features, products: int) -> Features:
    """Return a table beside itself multiplied by the session's length, which is scaled to about -1 to 1."""
    return np.concatenate([table, table * (products - 6) / 3], axis=1)


def _columns(log_odds: Matrix, candidates: Sequence[Grouping], bounds: Bounds | None, for_exact: bool) -> Features:
    worlds = [_worlds(reading.apply(log_odds), bounds) for reading in READINGS]
    expected = np.array([[sum(w * gain(a, world) for world, w in each) for each in worlds] for a in candidates])
    table = np.concatenate([expected, np.array([_shape(log_odds, grouping) for grouping in candidates])], axis=1)
    if not for_exact:
        return table
    exact = [[sum(w * sum(exact_shares(a, world)) for world, w in each) for each in worlds] for a in candidates]
    return np.concatenate([table, np.array(exact)], axis=1)


def _worlds(log_odds: Matrix, bounds: Bounds | None) -> list[tuple[Grouping, float]]:
    likely = likely_groupings(log_odds, BEAM, bounds)[:WORLDS]
    return [(world, weight) for world, weight in likely if weight > NEGLIGIBLE]


def _shape(log_odds: Matrix, grouping: Grouping) -> list[float]:
    """Return features of a grouping: its sizes, the links inside its bundles, and the links that it cuts."""
    n = len(log_odds)
    label = np.full(n, -1)
    for number, group in enumerate(grouping):
        label[list(group)] = number
    inside, cohesion, holds = [], [], []
    for group in grouping:
        block = log_odds[np.ix_(group, group)]
        links = block[np.triu_indices(len(group), 1)]
        inside.append(links)
        cohesion.append(links.mean())
        holds.append(np.where(np.eye(len(group), dtype=bool), -np.inf, block).max(1).min())
    links = np.concatenate(inside)
    apart = [log_odds[a, b] for a, b in combinations(range(n), 2) if -1 != label[a] != label[b] != -1]
    outside = np.flatnonzero(label < 0)
    left_out = [log_odds[a, b] for a in outside for b in range(n) if a != b]
    total = log_odds[np.triu_indices(n, 1)].sum()
    bundled = int((label >= 0).sum())
    return [
        len(grouping),
        bundled / n,
        max(map(len, grouping)) / n,
        float(len(grouping) == 1 and bundled == n),
        links.mean(),
        links.min(),
        float(np.mean(cohesion)),
        min(cohesion),
        min(holds),
        max(left_out, default=NEVER),
        max(apart, default=NEVER),
        links.sum() - total / 2,
    ]
