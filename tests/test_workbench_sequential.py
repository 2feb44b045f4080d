"""Looking at a comparison again and again keeps its error of five per cent; a plain interval does not."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import t

from bundlewise.workbench.sequential import boundaries, look_at, spent

CHANGES = np.array([0, 0, 0, 0, 0, 0, 1 / 3, -1 / 3, 0.5, -0.5, 1, -1, 0.2, -0.2])
"""Differences in GJS look like this: most answers stay as they are."""
LOOKS = (16, 32, 48, 64, 80, 96)


def test_boundaries_are_those_published_for_five_looks() -> None:
    found = boundaries(tuple(look / 5 for look in range(1, 6)))
    assert found == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=2e-3)
    assert boundaries((1.0,)) == pytest.approx((1.959964,), abs=1e-4)


def test_all_of_the_error_is_spent_at_the_end_and_hardly_any_early() -> None:
    assert spent(1.0, 0.05) == pytest.approx(0.05) and spent(0.2, 0.05) < 1e-5
    assert spent(0.5, 0.02) < spent(0.5, 0.05) < spent(0.9, 0.05)


def excluded(draws: np.ndarray, bounds: list[float]) -> float:
    """Return how many of the comparisons exclude zero at any look, with these bounds in standard errors."""
    hit = np.zeros(len(draws), bool)
    for look, bound in zip(LOOKS, bounds, strict=True):
        seen = draws[:, :look]
        hit |= np.abs(seen.mean(1)) > bound * seen.std(1, ddof=1) / look**0.5
    return float(hit.mean())


def test_zero_is_excluded_by_chance_in_five_per_cent_of_comparisons_whatever_the_number_of_looks() -> None:
    draws = np.random.default_rng(0).choice(CHANGES, size=(20_000, LOOKS[-1]))
    honest = [
        float(t.isf(ndtr(-bound), look - 1))
        for look, bound in zip(LOOKS, boundaries(tuple(look / LOOKS[-1] for look in LOOKS)), strict=True)
    ]
    naive = [float(t.isf(0.025, look - 1)) for look in LOOKS]
    assert 0.04 < excluded(draws, honest) < 0.055
    assert excluded(draws, naive) > 0.12


def test_a_real_difference_is_found_early() -> None:
    draws = np.random.default_rng(1).choice(CHANGES, size=(300, LOOKS[-1])) * 0.5 + 0.15
    stopped = []
    for row in draws:
        for number, look in enumerate(LOOKS, 1):
            if look_at(row[:look].tolist(), LOOKS[:number], LOOKS[-1]).decided:
                stopped.append(look)
                break
    assert len(stopped) == 300 and sum(stopped) / 300 < 60


def test_a_look_holds_mean_and_interval_and_no_change_at_all_decides_nothing() -> None:
    look = look_at([0.1, 0.2, 0.3, 0.2], [4], 4)
    assert look.difference == pytest.approx(0.2) and look.low == pytest.approx(0.2 - 3.182 * 0.0816 / 2, abs=1e-3)
    assert look.decided
    nothing = look_at([0.0] * 16, [16], 96)
    assert (nothing.low, nothing.high, nothing.decided) == (0.0, 0.0, False)
    assert not look_at([0.5], [1], 2).decided
