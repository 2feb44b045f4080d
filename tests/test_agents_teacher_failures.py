"""Failures are counted by stage and subject; too many end the run, with the reasons told."""

import pytest

from bundlewise.agents.teacher.failures import Outcomes, StageError, remedy_for
from bundlewise.agents.teacher.tally import Tally


def heard(failed: int, asked: int, max_failed: float = 0.5, reason: str = "refused (400): no such {n}") -> Outcomes:
    outcomes, tally = Outcomes(max_failed), Tally()
    tally.listeners.append(outcomes.hear)
    for n in range(asked):
        tally._note("call", "think", subject=f"s{n}", calls=1)
        if n < failed:
            tally.failed("think", f"s{n}", reason.format(n=n))
    return outcomes


@pytest.mark.parametrize(
    ("failed", "asked", "share", "ends"),
    [
        (0, 4, 0.5, False),
        (2, 4, 0.5, False),
        (3, 4, 0.5, True),
        (1, 4, 0.0, True),
        (3, 4, 1.0, False),
        (4, 4, 1.0, True),
    ],
)
def test_a_share_may_fail_but_never_all(failed: int, asked: int, share: float, ends: bool) -> None:
    outcomes = heard(failed, asked, share)
    if not ends:
        outcomes.require("think", "never asked")
        return
    with pytest.raises(StageError, match=f"stage think failed for {failed} of {asked}"):
        outcomes.require("think")


def test_reasons_that_differ_in_numbers_are_one_with_an_example_and_a_remedy() -> None:
    with pytest.raises(StageError) as raised:
        heard(4, 4).require("think")
    assert str(raised.value).splitlines()[1:] == [
        "  4 x refused (400): no such 0 (such as s0); correct the model, its address or the options"
    ]


def test_refused_thoughts_count_as_failed_ones() -> None:
    outcomes = heard(1, 4)
    outcomes.require_grounded(["it speaks of lamp"])
    with pytest.raises(StageError, match="stage think failed for 3 of 4"):
        outcomes.require_grounded(["it speaks of lamp", "it speaks of kayak"])


def test_every_failure_has_a_remedy() -> None:
    assert remedy_for("Use 'max_completion_tokens' instead") == "give --effort low for a model that reasons"
    assert remedy_for("something else")
