"""Limits on bundles: whatever the log-odds, no answer breaks one, and the best of what is left is answered."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.decoder import Matrix, best_grouping, likely_groupings
from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.reading import Reading
from bundlewise.domain import Item

CHOOSER = Chooser(weights=tuple([0.5] * 4 + [0.0] * 28))


def items(*prices: float | None) -> list[Item]:
    return [Item(id=str(n), title=f"thing {n}", price=price) for n, price in enumerate(prices)]


def all_pairs(size: int, odds: float) -> Matrix:
    return np.full((size, size), odds) * (1 - np.eye(size))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, list[Item], Limits]:
    size = draw(st.integers(2, 7))
    odds = np.zeros((size, size))
    for a, b in combinations(range(size), 2):
        odds[a, b] = odds[b, a] = draw(st.floats(-6, 6))
    prices = draw(st.lists(st.none() | st.floats(0, 60), min_size=size, max_size=size))
    limits = Limits(
        least=draw(st.integers(2, 3)),
        most=draw(st.none() | st.integers(2, 4)),
        total=draw(st.none() | st.floats(5, 90)),
        bundles=draw(st.none() | st.integers(1, 2)),
    )
    return odds, items(*prices), limits


@settings(max_examples=40)
@given(cases())
@pytest.mark.parametrize("chooser", [None, CHOOSER])
def test_no_answer_ever_breaks_a_limit(chooser: Chooser | None, case: tuple[Matrix, list[Item], Limits]) -> None:
    odds, products, limits = case
    bounds = limits.on(products)
    answer = Reading(chooser=chooser).bundles(odds, np.zeros_like(odds), bounds)
    assert bounds.admits(answer)
    for group in answer:
        prices = [products[place].price for place in group]
        assert limits.least <= len(group) <= (limits.most or 99)
        assert limits.total is None or sum(99 if p is None else p for p in prices) <= limits.total + 1e-5
    assert len(answer) <= (limits.bundles or 99)


@given(cases())
def test_without_limits_the_answer_is_the_one_of_old(case: tuple[Matrix, list[Item], Limits]) -> None:
    odds, products, _ = case
    assert best_grouping(odds, bounds=Limits().on(products)) == best_grouping(odds)


@given(cases())
def test_groupings_within_limits_are_told_once_each_with_weights_that_sum_to_one(
    case: tuple[Matrix, list[Item], Limits],
) -> None:
    odds, products, limits = case
    found = likely_groupings(odds, bounds=limits.on(products))
    assert len({grouping for grouping, _ in found}) == len(found)
    assert not found or sum(weight for _, weight in found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({}, [6]),
        ({"most": 2}, [2, 2, 2]),
        ({"most": 4}, [4, 2]),
        ({"total": 25.0}, [2, 2, 2]),
        ({"most": 2, "bundles": 1}, [2]),
        ({"total": 19.0}, []),
    ],
)
def test_what_belongs_together_is_split_as_the_limits_want(limits: dict[str, float], sizes: list[int]) -> None:
    bounds = Limits(**limits).on(items(*[10.0] * 6))  # type: ignore[arg-type]
    assert sorted((len(group) for group in best_grouping(all_pairs(6, 4.0), bounds=bounds)), reverse=True) == sizes


def test_of_two_equal_bundles_the_student_s_scores_decide_which_is_kept() -> None:
    odds = all_pairs(4, -4.0)
    odds[0, 1] = odds[1, 0] = 2.0
    odds[2, 3] = odds[3, 2] = 5.0
    assert best_grouping(odds, bounds=Limits(bundles=1).on(items(1, 1, 1, 1))) == ((2, 3),)


def test_a_product_without_a_price_is_in_no_bundle_under_a_price() -> None:
    found = best_grouping(all_pairs(3, 5.0), bounds=Limits(total=50).on(items(10, None, 20)))
    assert found == ((0, 2),)


def test_prices_that_add_up_to_the_limit_are_within_it() -> None:
    bounds = Limits(total=0.3).on(items(0.1, 0.2))
    assert best_grouping(all_pairs(2, 5.0), bounds=bounds) == ((0, 1),)
