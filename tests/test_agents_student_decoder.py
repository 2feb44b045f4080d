"""From pair judgements to bundles: exhaustive for few products, and by expected GJS, not by mode."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundlewise.agents.student.decoder import (
    NEGLIGIBLE,
    Calibration,
    Matrix,
    best_grouping,
    calibrate,
    candidates_for,
    likely_groupings,
)
from bundlewise.domain import Grouping
from bundlewise.evaluation.metrics import gjs


def matrix(size: int, odds: list[float]) -> Matrix:
    upper = np.zeros((size, size))
    upper[np.triu_indices(size, 1)] = odds
    return upper + upper.T


@st.composite
def matrices(draw: st.DrawFn, least: int = 2, most: int = 5) -> Matrix:
    size = draw(st.integers(least, most))
    pairs = size * (size - 1) // 2
    return matrix(size, draw(st.lists(st.floats(-4, 4), min_size=pairs, max_size=pairs)))


def partitions(products: list[int]) -> Iterator[list[list[int]]]:
    if not products:
        yield []
        return
    first, *rest = products
    for parts in partitions(rest):
        yield [[first], *parts]
        for place, part in enumerate(parts):
            yield [*parts[:place], [first, *part], *parts[place + 1 :]]


def by_brute_force(log_odds: Matrix) -> dict[Grouping, float]:
    """Return the weight of every grouping: a part earns the log-odds of all its pairs."""
    scores = {}
    for parts in partitions(list(range(len(log_odds)))):
        score = sum(log_odds[a, b] for part in parts for a in part for b in part if a < b)
        if bundles := tuple(sorted(tuple(part) for part in parts if len(part) > 1)):
            scores[bundles] = np.exp(score)
    total = sum(scores.values())
    return {bundles: weight / total for bundles, weight in scores.items()}


@given(matrices())
def test_up_to_five_products_every_grouping_is_listed_with_its_weight(log_odds: Matrix) -> None:
    found = {tuple(sorted(bundles)): weight for bundles, weight in likely_groupings(log_odds)}
    assert found == pytest.approx(by_brute_force(log_odds), rel=1e-6, abs=1e-12)


@given(matrices(most=4))
def test_the_answer_has_the_best_expected_gjs(log_odds: Matrix) -> None:
    worlds = by_brute_force(log_odds)

    def expected(answer: Grouping) -> float:
        return sum(weight * gjs(answer, world) for world, weight in worlds.items())

    neglected = sum(weight for weight in worlds.values() if weight <= NEGLIGIBLE)
    best = max(expected(answer) for answer in worlds)
    assert expected(best_grouping(log_odds)) >= best - neglected - 1e-9


@given(matrices(most=10))
@settings(max_examples=40)
def test_an_answer_is_disjoint_bundles_of_two_or_more(log_odds: Matrix) -> None:
    answer = best_grouping(log_odds)
    places = [place for group in answer for place in group]
    assert answer
    assert all(len(group) >= 2 for group in answer)
    assert len(places) == len(set(places))
    assert set(places) <= set(range(len(log_odds)))


@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_the_order_of_the_products_does_not_matter(seed: int, order: list[int]) -> None:
    # Up to four products GJS has no ties that its greedy matching would break by their order.
    log_odds = matrix(4, np.random.default_rng(seed).normal(0, 2, 6).tolist())
    answer = {frozenset(group) for group in best_grouping(log_odds)}
    moved = {frozenset(order[place] for place in group) for group in best_grouping(log_odds[np.ix_(order, order)])}
    assert moved == answer


def test_everything_is_not_the_answer_just_because_it_is_the_mode() -> None:
    log_odds = matrix(4, [0.9, -1.0, 2.4, 1.1, 0.4, 0.0])
    (mode, weight), (_, second), *_ = likely_groupings(log_odds)
    assert mode == ((0, 1, 2, 3),)
    assert weight > second
    assert best_grouping(log_odds) == ((0, 1, 3),)


def test_many_products_are_grouped_as_clear_judgements_say() -> None:
    labels = np.arange(30) % 7
    log_odds = np.where(labels[:, None] == labels, 3.0, -3.0)
    expected = {frozenset(np.flatnonzero(labels == label).tolist()) for label in range(7)}
    assert {frozenset(group) for group in best_grouping(log_odds)} == expected


@pytest.mark.parametrize("odds", [-9.0, 0.0, 9.0])
def test_two_products_are_one_bundle_whatever_is_judged(odds: float) -> None:
    assert best_grouping(matrix(2, [odds])) == ((0, 1),)


@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_products_have_no_bundle(size: int) -> None:
    assert best_grouping(np.zeros((size, size))) == ()


def test_weights_are_finite_and_sum_to_one_for_extreme_judgements() -> None:
    weights = [weight for _, weight in likely_groupings(matrix(4, [900.0, -900, 900, -900, 0, 900]))]
    assert sum(weights) == pytest.approx(1)
    assert weights == sorted(weights, reverse=True)


def test_calibration_shifts_then_scales() -> None:
    assert Calibration(bias=1, temperature=2).apply(np.array([[3.0]])) == pytest.approx(2)


@pytest.mark.parametrize("shift", [-2.0, 1.0])
def test_calibration_undoes_a_constant_bias_of_the_judgements(shift: float) -> None:
    truth: Grouping = ((0, 1), (2, 3))
    clear = np.where(np.arange(4)[:, None] // 2 == np.arange(4) // 2, 0.6, -0.6)
    chosen = calibrate([clear + shift], [truth])
    assert gjs(best_grouping(clear + shift), truth) < 1
    assert chosen.bias * shift < 0
    assert best_grouping(chosen.apply(clear + shift)) == truth


def test_calibration_is_the_best_of_its_candidates_together_with_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    judged = [matrix(5, rng.normal(-1, 2, 10).tolist()) for _ in range(6)]
    truths: list[Grouping] = [((0, 1), (2, 3, 4)), ((0, 1, 2),), ((0, 1, 2, 3, 4),)] * 2

    def quality(point: Calibration) -> float:
        return sum(gjs(best_grouping(point.apply(j)), truth) for j, truth in zip(judged, truths, strict=True))

    rows = candidates_for(judged)
    chosen = calibrate(judged, truths)
    (row,) = [row for row in rows if chosen in row]
    assert quality(chosen) > min(map(quality, row))

    def smooth(row: list[Calibration], place: int) -> float:
        near = [row[max(0, place - 1)], row[place], row[place], row[min(len(row) - 1, place + 1)]]
        return sum(map(quality, near)) / 4

    best = max(smooth(row, place) for row in rows for place in range(len(row)))
    assert smooth(row, row.index(chosen)) == pytest.approx(best)


def test_calibration_of_judgements_without_any_spread_stays_finite() -> None:
    assert calibrate([matrix(2, [1.0])], [((0, 1),)]) == Calibration(bias=-1.0, temperature=1.0)
