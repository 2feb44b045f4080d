"""The chooser: a small listwise model that ranks the candidate groupings of a session.

Expected GJS treats pairs as independent, but they depend on each other: a bundle with one weak link, a
product left out beside a strong link, or a session split in two is wrong more often than the log-odds
predict. The chooser describes each candidate grouping by a few features, expected GJS among them, and
scores it by a linear function of these. The fit maximises the GJS, or another aim, of a grouping drawn from
the softmax of the scores on training sessions. Their log-odds must be computed without the session's own annotation, as
for a new session.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bundlewise.agents.student.aims import GJS, Aim, exact_shares, gain
from bundlewise.agents.student.candidates import NARROW, READINGS, Described, Features
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping, Record
from bundlewise.errors import UsageError

SHARPNESS = 3.0
RIDGE = 0.3
RECALL_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
"""The weights of recall beside precision, of which the first that reaches the floor of recall is taken."""
FEWEST = 100
"""The smallest number of sessions for a fit."""
FINALISTS = 10
"""The candidates that a student scores; the likelihoods of all 30 to 60 would take most of its time."""


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
        if len(log_odds) < 2:
            return []
        return self.score(Described.of(log_odds, bounds, for_exact=aim.name != "gjs"), aim)

    def score(self, described: Described, aim: Aim = GJS) -> list[tuple[Grouping, float]]:
        """Return the candidates for an aim with their scores.

        Raises:
            UsageError: the chooser was fitted before there were aims.
        """
        table = described.for_gjs if aim.name == "gjs" else described.for_exact
        return list(zip(described.candidates, (table @ np.array(self._weights(aim))).tolist(), strict=False))

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
    return fit_described([Described.of(matrix) for matrix in log_odds], truths) if len(truths) >= FEWEST else None


def fit_described(sessions: Sequence[Described], truths: Sequence[Grouping]) -> Chooser:
    """Fit the weights on sessions that are described already."""
    counts = Counter(session.products for session in sessions)
    share = np.array([1 / counts[session.products] for session in sessions])
    share /= share.sum()
    known = list(zip(sessions, truths, strict=True))
    gains = [np.array([gain(c, truth) for c in each.candidates[: each.usual]]) for each, truth in known]
    exact = [np.array([exact_shares(c, truth) for c in each.candidates]) for each, truth in known]
    narrow, tables = [each.for_gjs for each in sessions], [each.for_exact for each in sessions]
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
