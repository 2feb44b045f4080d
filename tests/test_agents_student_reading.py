"""Reading a student: how much its judgements count beside the evidence, and what then chooses."""

import numpy as np
import pytest

from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.decoder import Calibration, Matrix, best_grouping
from bundlewise.agents.student.reading import Judged, Reading, affinity_of, fit_reading, learn_chooser
from bundlewise.domain import Bundle, Item, Retrieved, Session

NOTHING = Chooser(weights=(1.0,) * 4 + (0.0,) * 28)
"""A chooser that adds nothing to expected GJS."""


def symmetric(random: np.random.Generator, signal: Matrix, noise: float) -> Matrix:
    found = signal + random.normal(0, noise, signal.shape)
    return np.asarray(np.triu(found, 1) + np.triu(found, 1).T)


def judged(seed: int, student: float, evidence: float) -> Judged:
    """Return a session of five with bundle 0, 1, 2, where student and evidence say so with some noise each."""
    random = np.random.default_rng(seed)
    truth = np.where(np.outer(np.arange(5) < 3, np.arange(5) < 3), 1.0, -1.0)
    return Judged(symmetric(random, truth, student), symmetric(random, truth, evidence), ((0, 1, 2),))


def test_who_is_more_often_right_counts_more() -> None:
    by_student, _ = fit_reading([judged(seed, 0.5, 4.0) for seed in range(20)], NOTHING)
    by_evidence, _ = fit_reading([judged(seed, 4.0, 0.5) for seed in range(20)], NOTHING)
    assert by_student.student > 3 * by_student.evidence > 0
    assert by_evidence.evidence > 3 * by_evidence.student
    assert by_student.chooser == NOTHING


def test_a_student_that_contradicts_gets_no_say() -> None:
    wrong = [Judged(-j.log_odds, j.affinity, j.truth) for j in (judged(seed, 0.5, 1.0) for seed in range(20))]
    reading, score = fit_reading(wrong, NOTHING)
    assert reading.student == 0 and reading.evidence > 0 and score > 0.8


def test_without_a_chooser_bias_and_temperature_are_calibrated() -> None:
    sessions = [Judged(j.log_odds - 3, j.affinity, j.truth) for j in (judged(seed, 0.5, 1) for seed in range(10))]
    reading, score = fit_reading(sessions)
    assert (reading.evidence, reading.chooser) == (0, None)
    assert reading.bias > 0 and score > 0.9


def test_pairs_that_are_all_bundled_are_calibrated_too() -> None:
    reading, score = fit_reading([Judged(np.ones((2, 2)), np.ones((2, 2)), ((0, 1),))], NOTHING)
    assert (reading.chooser, score) == (None, 1.0)


def test_a_reading_of_bias_and_temperature_says_what_the_calibration_says() -> None:
    log_odds, calibration = judged(1, 1, 1).log_odds, Calibration(0.7, 2.0)
    reading = Reading.of(calibration)
    assert np.allclose(reading.log_odds(log_odds, np.zeros((5, 5))), calibration.apply(log_odds))
    assert reading.bundles(log_odds, np.zeros((5, 5))) == best_grouping(calibration.apply(log_odds))


def test_a_reading_survives_json() -> None:
    reading = Reading(student=0.5, evidence=0.25, bias=-1, chooser=NOTHING)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


def test_affinity_is_a_symmetric_matrix() -> None:
    assert affinity_of(Retrieved(affinity={(0, 2): 1.5}), 3).tolist() == [[0, 0, 1.5], [0, 0, 0], [1.5, 0, 0]]
    assert not affinity_of(Retrieved(), 2).any()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_chooser_is_learnt_from_training_sessions_alone(split: str) -> None:
    items = tuple(Item(id=str(n), title=f"thing {n}") for n in range(3))
    session = Session(session_id="s", split="train", items=items, bundles=(Bundle(item_ids=("0", "1")),))
    retrieved = Retrieved(affinity={(0, 1): 1.0, (0, 2): -1.0, (1, 2): -1.0})
    assert learn_chooser([session] * 120, [retrieved] * 120) is not None
    assert learn_chooser([session] * 120, [Retrieved()] * 120) is None
    others = [session.model_copy(update={"split": split})] * 120
    assert learn_chooser(others, [retrieved] * 120) is None
