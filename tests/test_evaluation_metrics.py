"""Metrics: the published values, the small cases and the intervals."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundlewise.domain import Grouping, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.evaluation.metrics import (
    SessionScore,
    bootstrap,
    gjs,
    holm,
    intervals,
    nested,
    paired_bootstrap,
    paired_p,
    pooled,
    ratio,
    score_session,
    summarise,
)

SHARED = Path(__file__).parents[2] / "shared"
BUNDLE = st.lists(st.integers(0, 6), max_size=5).map(tuple)
GROUPING = st.lists(BUNDLE, max_size=4).map(tuple)


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    path = SHARED / "datasets" / "electronic.jsonl"
    if not path.is_file():
        pytest.skip("the shared electronic sessions are not here")
    rows = (Session.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [session for session in rows if session.split == "test"]


def large_teacher(name: str, sessions: list[Session]) -> list[Grouping]:
    lines = (SHARED / "teacher" / f"electronic-test-{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["session_id"]: row["bundles"] for row in map(json.loads, lines)}
    return [
        tuple(tuple(number - 1 for number in bundle["items"]) for bundle in rows[session.session_id])
        for session in sessions
    ]


PREDICTIONS: dict[str, Callable[[list[Session]], list[Grouping]]] = {
    "whole": lambda sessions: [(tuple(range(len(s.items))),) for s in sessions],
    "pairs": lambda sessions: [tuple(combinations(range(len(s.items)), 2)) for s in sessions],
    "zero": lambda sessions: large_teacher("zero", sessions),
    "informed": lambda sessions: large_teacher("informed", sessions),
}


@pytest.mark.parametrize(
    ("prediction", "v1", "v2", "exact", "mean_gjs"),
    [
        ("whole", (0.261, 0.261, 1.000), (0.261, 0.261, 1.000), (0.261, 0.261), 0.535),
        ("zero", (0.622, 0.685, 0.872), (0.624, 0.646, 0.869), (0.479, 0.501), 0.658),
        ("informed", (0.627, 0.648, 0.922), (0.630, 0.641, 0.919), (0.509, 0.521), 0.679),
        ("pairs", (0.433, 4.687, 0.476), (0.435, 1.000, 0.476), None, None),
    ],
)
def test_published_values_are_reproduced_to_three_decimals(
    sessions: list[Session],
    prediction: str,
    v1: tuple[float, ...],
    v2: tuple[float, ...],
    exact: tuple[float, ...] | None,
    mean_gjs: float | None,
) -> None:
    predicted = PREDICTIONS[prediction](sessions)
    summary = summarise([score_session(p, s.groups) for p, s in zip(predicted, sessions, strict=True)])
    published = summary.as_dict()

    assert (summary.n, summary.answered) == (180, 180)
    assert tuple(round(value, 3) for value in published["v1"].values()) == v1
    assert tuple(round(value, 3) for value in published["v2"].values()) == v2
    if exact is not None:
        assert tuple(round(value, 3) for value in published["exact"].values()) == exact
        assert round(summary.gjs, 3) == mean_gjs


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (((0, 1),), ((0, 1),), 1.0),
        (((0, 1), (2, 3)), ((3, 2), (1, 0)), 1.0),
        (((0, 1, 2, 3),), ((0, 1), (2, 3)), 0.25),
        (((0, 1, 2),), ((0, 1), (0, 1, 2)), 0.5),
        (((0, 1), (0, 1)), ((0, 1),), 1.0),
        (((0, 1), (5,)), ((0, 1),), 1.0),
        (((0, 0), (3, 3)), ((0, 1),), 0.0),
        (((2, 3),), ((0, 1),), 0.0),
        ((), ((0, 1),), 0.0),
        (((0, 1),), (), 0.0),
        ((), (), 0.0),
    ],
    ids=[
        "equal",
        "order is nothing",
        "a quarter",
        "surplus truth costs",
        "duplicates merge",
        "singles drop",
        "one product twice is a single",
        "disjoint",
        "unanswered",
        "no truth",
        "both empty",
    ],
)
def test_gjs_of_small_groupings(predicted: Grouping, truth: Grouping, expected: float) -> None:
    assert gjs(predicted, truth) == pytest.approx(expected)


def test_gjs_takes_the_most_similar_pair_first_even_where_another_matching_sums_to_more() -> None:
    greedy, other = 3 / 4 + 1 / 3, 2 / 3 + 1 / 2
    assert greedy < other
    assert gjs(((0, 1, 2), (1, 2)), ((0, 1, 2, 3), (0, 1))) == pytest.approx(greedy / 2)


@settings(deadline=None)
@given(GROUPING, GROUPING, st.randoms())
def test_gjs_is_a_share_that_ignores_the_order_of_bundles(predicted: Grouping, truth: Grouping, random: Random) -> None:
    value = gjs(predicted, truth)
    shuffled = list(predicted)
    random.shuffle(shuffled)

    assert 0 <= value <= 1
    assert gjs(tuple(shuffled), truth[::-1]) == value
    kept = [{frozenset(bundle) for bundle in g if len(set(bundle)) > 1} for g in (predicted, truth)]
    assert (value == 1) == (kept[0] == kept[1] != set())


def test_v1_counts_the_first_annotated_bundle_and_v2_every_one_that_holds_a_prediction() -> None:
    score = score_session(((0, 1), (0, 1), (4, 5), (2,)), ((0, 1, 2, 3), (0, 1)))
    assert score == SessionScore(
        predicted=3,
        annotated=2,
        v1_hits=2,
        v1_covered=2 * 2 / 4,
        v2_hits=4,
        v2_covered=2 * (2 / 4 + 1),
        v2_found=2,
        exact_hits=1,
        exact_predicted=2,
        exact_annotated=2,
        gjs=0.5,
    )


def test_an_unanswered_session_halves_every_mean_and_leaves_coverage() -> None:
    right, failed = score_session(((0, 1),), ((0, 1),)), score_session(((1,),), ((0, 1),))
    assert summarise([right, failed]).as_dict() == {
        "n": 2,
        "answered": 1,
        "v1": {"precision": 0.5, "recall": 0.5, "coverage": 1.0},
        "v2": {"precision": 0.5, "recall": 0.5, "coverage": 1.0},
        "exact": {"precision": 0.5, "recall": 0.5},
        "gjs": 0.5,
    }


def test_nothing_answered_is_zero_throughout_intervals_included() -> None:
    scores = [score_session((), ((0, 1),))] * 3
    assert {value for name, value in asdict(summarise(scores)).items() if name != "n"} == {0}
    assert set(intervals(scores, samples=50).values()) == {(0.0, 0.0)}


def test_no_sessions_have_no_metrics() -> None:
    with pytest.raises(DataError, match="no sessions to score; choose another"):
        summarise([])


def test_intervals_have_the_shape_of_the_metrics_and_hold_them() -> None:
    scores = [score_session(((0, 1), (2, 3))[: n % 3], ((0, 1), (2, 3, 4))) for n in range(30)]
    summary, bounds = summarise(scores), intervals(scores, samples=500)

    assert nested(bounds).keys() == summary.as_dict().keys() - {"n", "answered"}
    for name, (low, high) in bounds.items():
        assert low <= getattr(summary, name) <= high
    assert bounds["gjs"] == pytest.approx(bootstrap([score.gjs for score in scores], samples=500))


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_large_sample() -> None:
    values = np.random.default_rng(1).uniform(size=400)
    half = 1.96 * values.std() / 20
    assert bootstrap(values.tolist()) == pytest.approx((values.mean() - half, values.mean() + half), abs=2e-3)


def test_the_bootstrap_depends_on_its_seed_alone_and_not_on_its_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [0.1, 0.9, 0.4, 0.7]
    once = bootstrap(values, samples=100)
    assert bootstrap(values, samples=100) == once != bootstrap(values, samples=100, seed=1)
    monkeypatch.setattr("bundlewise.evaluation.metrics.BLOCK", 28)
    assert bootstrap(values, samples=100) == once


def test_a_paired_difference_has_no_width_where_every_session_differs_by_the_same() -> None:
    b = [0.0, 0.5, 0.25, 0.75]
    assert paired_bootstrap([x + 0.125 for x in b], b, samples=100) == (0.125, 0.125)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_bootstrap([1.0], [1.0, 0.0]), "the same sessions, got 1 and 2"),
        (lambda: bootstrap([]), "got 0 and 10000"),
        (lambda: bootstrap([1.0], samples=-1), "got 1 and -1"),
    ],
)
def test_a_bootstrap_of_nothing_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_pooled_is_the_summary_and_intervals_of_one_repeat() -> None:
    scores = [score_session(((0, 1), (2, 3))[: n % 3], ((0, 1), (2, 3, 4))) for n in range(12)]
    summary, bounds = summarise(scores), intervals(scores, samples=200)
    for name, (value, interval) in pooled([scores], samples=200).items():
        assert value == pytest.approx(getattr(summary, name)) and interval == pytest.approx(bounds[name])


def test_pooled_repeats_say_the_same_as_one_and_are_no_further_sessions() -> None:
    scores = [score_session(((0, 1), (2, 3))[: n % 3], ((0, 1), (2, 3, 4))) for n in range(12)]
    once, thrice = pooled([scores], samples=200), pooled([scores] * 3, samples=200)
    assert {name: value for name, (value, _) in once.items()} == pytest.approx(
        {name: value for name, (value, _) in thrice.items()}
    )
    for name, (_, interval) in once.items():
        assert interval == pytest.approx(thrice[name][1])


def test_pooled_coverage_is_over_the_hits_of_all_repeats() -> None:
    truth = ((0, 1, 2, 3),)
    half, whole, miss = (score_session((group,), truth) for group in ((0, 1), (0, 1, 2, 3), (0, 4)))
    value, _ = pooled([[half, miss], [whole, whole]], samples=50)["v1_coverage"]
    assert value == pytest.approx((0.5 + 1 + 1) / 3)


def test_pooled_refuses_repeats_of_different_lengths() -> None:
    score = score_session(((0, 1),), ((0, 1),))
    with pytest.raises(ValueError, match="zip"):
        pooled([[score], [score, score]])


def test_a_ratio_is_of_sums_and_its_interval_is_exact_where_one_is_a_multiple_of_the_other() -> None:
    b = [0.25, 1.0, 0.5, 0.0]
    assert ratio([x / 2 for x in b], b, samples=500) == (0.5, (0.5, 0.5))
    value, (low, high) = ratio([1.0, 0.0, 0.5], [0.5, 1.0, 1.0], samples=2000)
    assert value == 1.5 / 2.5 and low < value < high
    assert ratio([1.0], [0.0], samples=10) == (0.0, (0.0, 0.0))


def exact_p(a: list[float], b: list[float]) -> float:
    """Go through all resamples with replacement of the centred differences, each as likely as any other."""
    gaps = np.array(a) - np.array(b)
    centred = gaps - gaps.mean()
    means = [np.mean(draw) for draw in product(centred, repeat=len(gaps))]
    return float(np.mean([abs(mean) >= abs(gaps.mean()) - 1e-12 for mean in means]))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 0.5, 0.75, 0.25, 1.0], [0.5, 0.5, 0.25, 0.5, 0.25]),
        ([0.2, 0.9, 0.4, 0.4], [0.3, 0.5, 0.4, 0.1]),
        ([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_a_paired_p_value_is_that_of_all_resamples(a: list[float], b: list[float]) -> None:
    assert paired_p(a, b, samples=40_000) == pytest.approx(exact_p(a, b), abs=0.01)
    assert paired_p(a, b) == paired_p(b, a)


def test_a_paired_p_value_agrees_with_the_normal_one_of_a_large_sample() -> None:
    generator = np.random.default_rng(3)
    gaps = generator.normal(0.1, 1.0, 400)
    z = abs(gaps.mean()) / (gaps.std() / 20)
    normal = 1 - math.erf(z / math.sqrt(2))
    assert paired_p(gaps.tolist(), [0.0] * 400) == pytest.approx(normal, abs=0.015)


def test_no_difference_has_a_p_of_one_and_a_constant_one_the_smallest() -> None:
    values = [0.1, 0.7, 0.4]
    assert paired_p(values, values, samples=99) == 1.0
    assert paired_p([value + 0.1 for value in values], values, samples=99) == 0.01


def test_a_paired_p_value_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = [0.1, 0.9, 0.4, 0.7], [0.3, 0.2, 0.4, 0.1]
    once = paired_p(a, b, samples=100)
    monkeypatch.setattr("bundlewise.evaluation.metrics.BLOCK", 28)
    assert paired_p(a, b, samples=100) == once
    with pytest.raises(UsageError, match="the same sessions, got 1 and 2"):
        paired_p([1.0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("given", "corrected"),
    [
        # The textbook example: 4 x .005, then 3 x .01, then 2 x .03, and .04 is not below the one before it.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5], [0.5]),
        ([], []),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm_steps_down_in_the_order_given(given: list[float], corrected: list[float]) -> None:
    assert holm(given) == pytest.approx(corrected)


def test_holm_counts_comparisons_that_were_planned_but_not_made() -> None:
    assert holm([0.01, 0.04], 5) == pytest.approx([0.05, 0.16])
    assert holm([0.01, 0.04], 1) == holm([0.01, 0.04]) == pytest.approx([0.02, 0.04])


def test_holm_refuses_no_more_than_bonferroni() -> None:
    values = np.random.default_rng(0).uniform(size=20).tolist()
    assert all(p <= h <= min(1.0, 20 * p) + 1e-12 for p, h in zip(values, holm(values), strict=True))
