"""The candidate groupings of a session, and the features by which the chooser tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bundlewise.agents.student.aims import exact_shares, gain
from bundlewise.agents.student.decoder import Calibration, Matrix, likely_groupings, parts
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping

BIASES = (0.0, 0.5, 1.0, 1.5)
"""Numbers added to the log-odds; each bias adds its likeliest groupings to the candidates."""
READINGS = (Calibration(0.3, 1.0), Calibration(0.8, 0.6), Calibration(1.2, 1.0), Calibration(0.8, 1.5))
"""Possible calibrations of the log-odds; the expected GJS under each is a feature."""
BEAM = 64
CANDIDATES = 15
WORLDS = 30
NEGLIGIBLE = 3e-3
NARROW = 16
"""Features of a grouping for GJS; those of exact bundles come after them."""
TAKEN_APART = 5
"""The likeliest groupings whose bundles are answers by themselves if exact bundles are wanted."""
NEVER = -5.0
"""The log-odds for a feature about links when the grouping has no such link."""

Features = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Described:
    """The candidates of a session, a row of features for each, and the number of candidates for GJS, the first ones."""

    candidates: list[Grouping]
    table: Features
    usual: int
    products: int

    @classmethod
    def of(cls, log_odds: Matrix, bounds: Bounds | None = None, *, for_exact: bool = True) -> "Described":
        """Describe the candidates within bounds of a session of two or more products, from its n x n log-odds."""
        found = candidates_of(log_odds, bounds)
        # The candidates begin with the likeliest groupings.
        alone = parts(found[:TAKEN_APART], bounds) if for_exact else []
        listed = [*found, *(each for each in alone if each not in found)]
        table = _columns(log_odds, listed, bounds, for_exact) if listed else np.zeros((0, NARROW))
        return cls(listed, table, len(found), len(log_odds))

    @property
    def for_gjs(self) -> Features:
        """The features for GJS, of the usual candidates."""
        return by_length(self.table[: self.usual, :NARROW], self.products)

    @property
    def for_exact(self) -> Features:
        """The features for exact bundles, of all candidates."""
        return by_length(self.table, self.products)


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
