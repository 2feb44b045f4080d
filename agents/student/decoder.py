"""The decoder: turns pair judgements into the grouping with the best expected GJS, the grouping score.

The most probable grouping is a bad answer, because "everything together" is often the likeliest single
one. The decoder therefore lists the likeliest groupings by beam search, treats them with their weights
as the possible truths, and answers with the grouping that has the highest expected GJS over them
(minimum Bayes risk decoding with the metric as gain).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bundlewise.agents.student.aims import GJS, Aim, best_expected
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping
from bundlewise.evaluation.metrics import gjs

Matrix = npt.NDArray[np.float64]

BEAM = 192
CANDIDATES = 40
NEGLIGIBLE = 1e-3
QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHARPNESS = (1.0, 0.5, 2.0)


@dataclass(frozen=True)
class Calibration:
    """The calibration of a student's log-odds: (log-odds + bias) / temperature."""

    bias: float = 0.0
    temperature: float = 1.0

    def apply(self, log_odds: Matrix) -> Matrix:
        """Return calibrated log-odds."""
        return (log_odds + self.bias) / self.temperature


def likely_groupings(log_odds: Matrix, beam: int = BEAM, bounds: Bounds | None = None) -> list[tuple[Grouping, float]]:
    """Return the likeliest groupings with their weights, best first; with bounds, only groupings within them.

    Args:
        log_odds: n x n symmetric matrix, log-odds that two products belong to one bundle.
        beam: the number of partial groupings to keep; for n <= 5 the search is exhaustive.
        bounds: limits on the groupings; the list is empty when no grouping is within them.

    Returns:
        Groupings with at least one bundle of two or more products. Weights sum to 1.
    """
    size = len(log_odds)
    labels = np.zeros((1, size), dtype=np.int16)
    scores = np.zeros(1)
    used = np.ones(1, dtype=np.int16)
    for product in range(1, size):
        options = int(used.max()) + 1
        member = labels[:, :product, None] == np.arange(options)
        gains = np.einsum("bpo,p->bo", member, log_odds[:product, product])
        totals = scores[:, None] + gains
        totals[np.arange(options) > used[:, None]] = -np.inf
        if bounds is not None:
            totals[bounds.refuses(member, product)] = -np.inf
        order = np.argsort(-totals, axis=None, kind="stable")
        order = order[: min(beam, int(np.isfinite(totals).sum()))]
        parent, choice = np.unravel_index(order, totals.shape)
        labels = labels[parent]
        labels[:, product] = choice
        scores = totals[parent, choice]
        used = np.maximum(used[parent], choice.astype(np.int16) + 1)
    found = [(bundles, float(score)) for row, score in zip(labels, scores, strict=True) if (bundles := _bundles(row))]
    if bounds is not None:
        found = _within(found, bounds, log_odds)
    weights = np.exp(np.array([score for _, score in found]) - max((score for _, score in found), default=0.0))
    return [(bundles, float(weight)) for (bundles, _), weight in zip(found, weights / weights.sum(), strict=True)]


def _within(found: list[tuple[Grouping, float]], bounds: Bounds, log_odds: Matrix) -> list[tuple[Grouping, float]]:
    """Remove bundles that are too small, and return each grouping once, the likeliest first."""
    kept = dict.fromkeys(grouping for bundles, _ in found if (grouping := bounds.large_enough(bundles)))
    links = {grouping: [log_odds[a, b] for g in grouping for a, b in combinations(g, 2)] for grouping in kept}
    return sorted(((grouping, float(sum(links[grouping]))) for grouping in kept), key=lambda pair: -pair[1])


def _bundles(labels: npt.NDArray[np.int16]) -> Grouping:
    groups: dict[int, list[int]] = {}
    for product, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(product)
    return tuple(tuple(members) for members in groups.values() if len(members) > 1)


def best_grouping(log_odds: Matrix, bounds: Bounds | None = None, aim: Aim = GJS) -> Grouping:
    """Return the grouping with the highest expected GJS, or the best one for another aim; ties go to the likelier one.

    Bounds apply to the answer and to the possible truths, because a shopper who sets bounds wants such bundles.
    The answer is empty when no grouping is within the bounds.
    """
    if len(log_odds) < 2:
        return ()
    likely = likely_groupings(log_odds, bounds=bounds)[:CANDIDATES]
    worlds = [(bundles, weight) for bundles, weight in likely if weight > NEGLIGIBLE] or likely[:1]
    found = [bundles for bundles, _ in likely]
    return best_expected(found if aim.name == "gjs" else [*found, *parts(found, bounds)], worlds, aim)


def parts(groupings: Sequence[Grouping], bounds: Bounds | None = None) -> list[Grouping]:
    """Return each bundle of some groupings as an answer of its own, within bounds; nothing is listed twice."""
    alone = dict.fromkeys((group,) for grouping in groupings if len(grouping) > 1 for group in grouping)
    return [answer for answer in alone if answer not in groupings and (bounds is None or bounds.admits(answer))]


def candidates_for(log_odds: list[Matrix]) -> list[list[Calibration]]:
    """Return the candidate calibrations: one row per sharpness, one column per quantile of the log-odds."""
    pooled = np.concatenate([matrix[np.triu_indices(len(matrix), 1)] for matrix in log_odds])
    spread = float(pooled.std()) or 1.0
    cuts = np.quantile(pooled, QUANTILES).tolist()
    return [[Calibration(_four_digits(-cut), _four_digits(spread / sharp)) for cut in cuts] for sharp in SHARPNESS]


def _four_digits(value: float) -> float:
    return float(f"{value:.4g}")


def calibrate(log_odds: list[Matrix], truths: list[Grouping]) -> Calibration:
    """Return the calibration with the best GJS, averaged with its neighbours' GJS; ties go to the first.

    Students differ in the mean and spread of their log-odds, so the candidates follow these. The average
    with the neighbours guards against a single high score over a few sessions, which is noise.
    """

    def quality(calibration: Calibration) -> float:
        answers = (best_grouping(calibration.apply(matrix)) for matrix in log_odds)
        return sum(gjs(answer, truth) for answer, truth in zip(answers, truths, strict=True))

    rows = candidates_for(log_odds)
    scores = np.array([[quality(candidate) for candidate in row] for row in rows])
    around = np.pad(scores, ((0, 0), (1, 1)), mode="edge")
    smooth = np.round(0.5 * scores + 0.25 * (around[:, :-2] + around[:, 2:]), 9)
    sharp, cut = np.unravel_index(int(smooth.argmax()), smooth.shape)
    return rows[int(sharp)][int(cut)]
