"""A group-sequential design: valid intervals for a paired comparison at each look while it runs.

If one looks at a 95 % interval again and again, it excludes zero by chance far too often. Here the error of 5 % is
spent over the looks by the function of Lan and DeMets (1983) that is like O'Brien and Fleming's: almost nothing early,
almost all at the end. The interval at each look is the repeated confidence interval of Jennison and Turnbull: all of
them together contain the true difference with 95 %. The process between looks is taken as a Brownian motion, whose
boundaries are integrated numerically; quantiles of Student's t for the sessions seen replace the normal quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

GRID = 601
BEYOND = 8.0
"""The boundary in standard errors where almost no error may be spent."""


@dataclass(frozen=True)
class Look:
    """The state of a comparison after some sessions: the mean paired difference, and its interval."""

    sessions: int
    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def spent(fraction: float, alpha: float) -> float:
    """Return the error, half on either side, that may be spent when a fraction of the sessions is seen."""
    from scipy.special import ndtr, ndtri

    return float(4 * ndtr(ndtri(alpha / 4) / min(1.0, fraction) ** 0.5))


@lru_cache(maxsize=256)
def boundaries(fractions: tuple[float, ...], alpha: float = 0.05) -> tuple[float, ...]:
    """Return the boundaries, in standard errors from zero, for looks at rising fractions of the sessions."""
    import numpy as np
    from scipy.special import ndtr

    found: list[float] = []
    places, density, before, done = np.zeros(1), np.ones(1), 0.0, 0.0
    for fraction in fractions:
        step, budget = (fraction - before) ** 0.5, spent(fraction, alpha) - done
        scale = fraction**0.5

        def leaves(
            bound: float, step: float = step, scale: float = scale, places: Any = places, mass: Any = density
        ) -> float:
            edge = bound * scale
            return float(mass @ (ndtr((places - edge) / step) + ndtr((-edge - places) / step)))

        low, high = 0.0, BEYOND
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if leaves(middle) > budget else (low, middle)
        found.append(high)
        done += leaves(high)
        edge = high * scale
        grid = np.linspace(-edge, edge, GRID)
        kernel = np.exp(-(((grid[:, None] - places[None]) / step) ** 2) / 2) / (step * (2 * np.pi) ** 0.5)
        weights = np.full(GRID, grid[1] - grid[0])
        weights[[0, -1]] /= 2
        places, density, before = grid, (kernel @ density) * weights, fraction
    return tuple(found)


def look_at(differences: Sequence[float], looks: Sequence[int], planned: int, alpha: float = 0.05) -> Look:
    """Return the latest look at paired differences.

    Args:
        differences: the differences of the sessions seen so far, in the planned order.
        looks: the number of sessions at each look, this look last.
        planned: the largest number of sessions.
        alpha: the error over all looks together.
    """
    from statistics import fmean, stdev

    from scipy.special import ndtr
    from scipy.stats import t

    n = len(differences)
    bound = boundaries(tuple(look / planned for look in looks), alpha)[-1]
    tail = float(ndtr(-bound))
    mean = fmean(differences)
    if n < 2:
        return Look(n, mean, -2.0, 2.0)
    reach = float(t.isf(tail, n - 1)) * stdev(differences) / n**0.5
    return Look(n, mean, mean - reach, mean + reach)
