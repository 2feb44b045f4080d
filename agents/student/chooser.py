"""The chooser: a small listwise model that ranks the candidate groupings of a session.

Expected GJS treats pairs as independent, but they depend on each other: a bundle with one weak link, a
product left out beside a strong link, or a session split in two is wrong more often than the log-odds
predict. The chooser describes each candidate grouping by a few features, expected GJS among them, and
scores it by a linear function of these. The fit maximises the GJS of a grouping drawn from the softmax of
the scores on training sessions. Their log-odds must be computed without the session's own annotation, as
for a new session.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bundlewise.agents.student.decoder import Calibration, Matrix, gain, likely_groupings
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping, Record

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
FEWEST = 100
"""The smallest number of sessions for a fit."""
FINALISTS = 10
"""The candidates that a student scores; the likelihoods of all 30 to 60 would take most of its time."""
NEVER = -5.0
"""The log-odds for a feature about links when the grouping has no such link."""

Features = npt.NDArray[np.float64]


class Chooser(Record):
    """The weight of each feature of a grouping, by itself and multiplied by the session's length."""

    weights: tuple[float, ...]

    def choose(self, log_odds: Matrix, bounds: Bounds | None = None) -> Grouping:
        """Return the best grouping for n x n calibrated log-odds, within bounds; ties go to the first candidate."""
        ranked = self.ranked(log_odds, bounds)
        return best(ranked) if ranked else ()

    def ranked(self, log_odds: Matrix, bounds: Bounds | None = None) -> list[tuple[Grouping, float]]:
        """Return the candidates within bounds with their scores."""
        candidates = candidates_of(log_odds, bounds) if len(log_odds) > 1 else []
        if not candidates:
            return []
        scores = features_of(log_odds, candidates, bounds) @ np.array(self.weights)
        return list(zip(candidates, scores.tolist(), strict=True))


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
    tables = [features_of(matrix, found) for matrix, found in zip(log_odds, listed, strict=True)]
    gains = [np.array([gain(c, truth) for c in found]) for found, truth in zip(listed, truths, strict=True)]
    counts = Counter(map(len, log_odds))
    share = np.array([1 / counts[len(matrix)] for matrix in log_odds])
    spread = np.concatenate(tables).std(0) + 1e-6
    weights = _maximise([table / spread for table in tables], gains, share / share.sum())
    return Chooser(weights=tuple((weights / spread).round(6).tolist()))


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
    found: Features = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    return found


def candidates_of(log_odds: Matrix, bounds: Bounds | None = None) -> list[Grouping]:
    """Return the distinct likeliest groupings at several biases, and all products as one bundle, within bounds."""
    found: dict[Grouping, None] = {}
    for bias in BIASES:
        for grouping, _ in likely_groupings(log_odds + bias, BEAM, bounds)[:CANDIDATES]:
            found[grouping] = None
    whole = (tuple(range(len(log_odds))),)
    if bounds is None or bounds.admits(whole):
        found[whole] = None
    return list(found)


def features_of(log_odds: Matrix, candidates: Sequence[Grouping], bounds: Bounds | None = None) -> Features:
    """Return a row of features for each candidate: the features, then the same multiplied by the session's length."""
    expected = np.stack([_expected_gains(reading.apply(log_odds), candidates, bounds) for reading in READINGS], axis=1)
    shape = np.array([_shape(log_odds, grouping) for grouping in candidates])
    table = np.concatenate([expected, shape], axis=1)
    return np.concatenate([table, table * (len(log_odds) - 6) / 3], axis=1)


def _expected_gains(log_odds: Matrix, candidates: Sequence[Grouping], bounds: Bounds | None) -> Features:
    likely = likely_groupings(log_odds, BEAM, bounds)[:WORLDS]
    worlds = [(world, weight) for world, weight in likely if weight > NEGLIGIBLE]
    return np.array([sum(weight * gain(grouping, world) for world, weight in worlds) for grouping in candidates])


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
