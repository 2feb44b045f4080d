"""The rows of the table: every metric over all sessions, paired differences, Holm, retention and cost reduction."""

from typing import Any

import pytest
from samples import session

from bundlewise.domain import Grouping, PredictedBundle, Prediction
from bundlewise.evaluation.metrics import holm, intervals, paired_bootstrap, ratio, score_session, summarise
from bundlewise.experiment.rows import FAILURES_SHOWN, Cost, Row, compared, failures_of, row_of

TRUTHS: list[Grouping] = [((0, 1), (2, 3)), ((0, 1, 2),), ((0, 1),), ((1, 2),)]
SESSIONS = [session(f"s{n}", ["a", "b", "c", "d"], truth) for n, truth in enumerate(TRUTHS)]
NOTHING: list[Grouping] = [(), (), (), ()]
HALF: list[Grouping] = [((0, 1),), ((0, 1),), (), ((1, 2),)]


def row(name: str, *repeats: list[Grouping], role: Any = "cell", **known: Any) -> Row:
    return row_of(name, role, repeats, SESSIONS, **known)


def test_a_row_of_one_repeat_has_the_metrics_of_its_predictions() -> None:
    scores = [score_session(groups, truth) for groups, truth in zip(HALF, TRUTHS, strict=True)]
    summary, bounds, found = summarise(scores), intervals(scores), row("half", HALF)
    for name, estimate in found.metrics.items():
        assert estimate.value == pytest.approx(getattr(summary, name), abs=5e-5)
        assert (estimate.low, estimate.high) == pytest.approx(bounds[name], abs=5e-5)
    assert found.by_session == pytest.approx([score.gjs for score in scores])
    assert (found.sessions, found.repeats, found.unanswered, found.bundles) == (4, 1, 1, 0.75)


def test_repeats_are_averaged_by_session_and_their_spread_is_kept() -> None:
    found = row("both", TRUTHS, NOTHING)
    assert found.gjs.value == 0.5
    assert found.by_session == (0.5, 0.5, 0.5, 0.5)
    assert found.by_repeat == (1.0, 0.0)
    assert (found.gjs.low, found.gjs.high) == (0.5, 0.5)  # a seed is no further session
    assert found.unanswered == 4


def test_failures_are_counted_over_all_seeds_and_the_first_are_listed() -> None:
    good = Prediction(session_id="s", bundles=(PredictedBundle(items=(1, 2), item_ids=("a", "b")),))
    mended = good.model_copy(update={"outcome": "repaired"})
    bad = [
        Prediction(session_id=f"s{n}", bundles=(), outcome="failed", reason="too long") for n in range(FAILURES_SHOWN)
    ]
    found = failures_of([[good, mended, bad[0]], bad])
    assert (found["failed"], found["repaired"]) == (FAILURES_SHOWN + 1, 1)
    assert found["failures"] == ("s0: too long", *(f"s{n}: too long" for n in range(FAILURES_SHOWN - 1)))


def test_differences_are_paired_with_the_reference_and_corrected_over_the_cells_alone() -> None:
    base, perfect, half = row("plain", NOTHING), row("perfect", TRUTHS), row("half", HALF)
    beside = row("baseline", TRUTHS, role="baseline")
    found = {r.name: r for r in compared([base, perfect, half, beside], "plain", None)}

    assert found["plain"].difference is None
    gaps = {name: r.difference for name, r in found.items() if r.difference}
    assert gaps["perfect"].value == 1.0 and (gaps["perfect"].low, gaps["perfect"].high) == (1.0, 1.0)
    low, high = paired_bootstrap(half.by_session, base.by_session)
    assert (gaps["half"].low, gaps["half"].high) == pytest.approx((low, high), abs=5e-5)
    assert gaps["baseline"].holm is None
    corrected = holm([gaps["perfect"].p, gaps["half"].p])
    assert [gaps["perfect"].holm, gaps["half"].holm] == pytest.approx(corrected, abs=5e-5)


def test_without_the_reference_there_are_no_differences() -> None:
    (found,) = compared([row("half", HALF)], "plain", None)
    assert found.difference is None and found.gjs.value > 0


def test_retention_is_the_share_of_the_teachers_score_and_cost_reduction_what_is_saved() -> None:
    teacher = row("teacher", TRUTHS, role="teacher", cost=Cost(dollars=0.8))
    student = row("student", HALF, cost=Cost(dollars=0.2))
    whole = row("whole", HALF, role="baseline")
    found = {r.name: r for r in compared([student, whole, teacher], "student", "teacher")}

    value, (low, high) = ratio(student.by_session, teacher.by_session)
    kept = found["student"].retention
    assert kept is not None and kept.value == pytest.approx(student.gjs.value / teacher.gjs.value, abs=5e-5)
    assert (kept.value, kept.low, kept.high) == pytest.approx((value, low, high), abs=5e-5)
    assert found["student"].cost_reduction == 0.75
    assert found["whole"].retention == kept and found["whole"].cost_reduction is None
    assert found["teacher"].retention is None


def test_retention_is_against_the_row_that_is_a_teacher_whatever_else_has_its_name() -> None:
    twin, teacher = row("large", HALF), row("large", TRUTHS, role="teacher")
    found = compared([twin, teacher], "plain", "large")
    assert found[0].retention is not None and found[0].retention.value == pytest.approx(twin.gjs.value)


@pytest.mark.parametrize(("ours", "theirs"), [(None, 0.8), (0.2, None), (0.2, 0.0)])
def test_a_cost_that_is_unknown_saves_nothing_that_could_be_told(ours: float | None, theirs: float | None) -> None:
    teacher = row("teacher", TRUTHS, role="teacher", cost=Cost(dollars=theirs))
    found = compared([row("student", HALF, cost=Cost(dollars=ours)), teacher], "student", "teacher")
    assert found[0].cost_reduction is None and found[0].retention is not None
