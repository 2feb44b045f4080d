"""The reading of a student that writes: three fitted numbers, and a weight only for a student that helps."""

from itertools import combinations

import pytest
from samples import session
from writing_samples import Opinion, ScriptedWriter

from bundlewise.agents.student.candidates import NARROW
from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.reading import Reading
from bundlewise.agents.student.writer_reading import WEIGHTS, fit_writer
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.pipeline.calibration import fitted_by_split

DIALS = AnswerDials(form="write", samples=8)
FEATURES = 2 * NARROW
CHOOSER = Chooser(weights=(1.0, *[0.0] * (FEATURES - 1)))
DESK = [("Mouse", "Keyboard"), ("Monitor", "Cable"), ("Printer", "Paper")]
GYM = [("Roller", "Mat"), ("Towel", "Bottle"), ("Rope", "Gloves")]
PAIRS = [(desk, gym) for desk in DESK for gym in GYM]
VALIDATION = [
    session(f"v{n}", [desk[0], gym[0], desk[1], gym[1]], ((0, 2), (1, 3)), split="validation")
    for n, (desk, gym) in enumerate(PAIRS)
]
TOGETHER = {frozenset(pair) for pair in (*DESK, *GYM)}


def knowledge(given: Session, clear: bool) -> Retrieved:
    """Return pair evidence: it knows the bundles if it is clear, and otherwise it mistakes one in three sessions."""
    number = int(given.session_id[1:])
    true = given.groups if clear or number % 3 else ((0, 1), (2, 3))
    affinity = {pair: 1.0 if any({*pair} <= {*group} for group in true) else -1.0 for pair in combinations(range(4), 2)}
    return Retrieved(affinity=affinity)


def knows(titles: list[str], bundles: list[list[int]]) -> float:
    """Return a high likelihood for bundles of products that belong together."""
    return -40.0 + 20.0 * sum(frozenset(titles[n - 1] for n in bundle) in TOGETHER for bundle in bundles)


def is_wrong(titles: list[str], bundles: list[list[int]]) -> float:
    """Return a high likelihood for bundles of products that do not belong together."""
    return -knows(titles, bundles)


def says_nothing(titles: list[str], bundles: list[list[int]]) -> float:
    """Return the same likelihood for everything."""
    return -40.0


def fit(opinion: Opinion | None, clear: bool, chooser: Chooser | None = CHOOSER) -> tuple[Reading, float]:
    known = [knowledge(each, clear) for each in VALIDATION]
    return fit_writer(ScriptedWriter(opinion=opinion), VALIDATION, known, chooser, DIALS)


def test_a_student_that_knows_more_than_the_evidence_has_a_weight() -> None:
    reading, score = fit(knows, clear=False)
    assert reading.grouping > 0 and reading.by_evidence
    assert score > 0.8 > fit(None, clear=False)[1]


@pytest.mark.parametrize("opinion", [says_nothing, is_wrong])
def test_a_student_that_knows_nothing_has_no_weight_where_the_evidence_decides(opinion: Opinion) -> None:
    reading, score = fit(opinion, clear=True)
    assert (reading.grouping, score) == (0.0, 1.0)


def test_three_numbers_are_fitted_and_the_chooser_stays() -> None:
    reading, _ = fit(knows, clear=False)
    assert (reading.student, reading.chooser) == (0.0, CHOOSER)
    assert reading.grouping in WEIGHTS and reading.evidence > 0 and reading.bias
    assert set(Reading.model_fields) == {"student", "evidence", "bias", "grouping", "chooser", "aim"}


def test_an_engine_without_likelihoods_leaves_the_decision_to_the_chooser() -> None:
    reading, score = fit(None, clear=True)
    assert (reading.grouping, score) == (0.0, 1.0) and reading.by_evidence


@pytest.mark.parametrize("chooser", [None, CHOOSER])
def test_without_evidence_or_chooser_the_likeliest_answers_are_measured(chooser: Chooser | None) -> None:
    known = [knowledge(each, True) if chooser is None else Retrieved() for each in VALIDATION]
    engine = ScriptedWriter(["1 3; 2 4\nWork at a desk\nTrain at home\n"] * 5 + ["1 3\nWork at a desk\n"])
    reading, score = fit_writer(engine, VALIDATION, known, chooser, DIALS)
    assert reading == Reading()
    assert score == pytest.approx((5 + 4 * 0.5) / 9)
    assert len(engine.prompts) == 9 and not engine.scored


def test_a_session_whose_prompt_does_not_fit_counts_zero() -> None:
    engine = ScriptedWriter(["1 3; 2 4\nWork at a desk\nTrain at home\n"], most=0)
    assert fit_writer(engine, VALIDATION, [Retrieved()] * 9, None, DIALS) == (Reading(), 0.0)


def test_the_annotation_is_in_no_prompt() -> None:
    engine = ScriptedWriter(opinion=knows)
    fit_writer(engine, VALIDATION, [knowledge(each, False) for each in VALIDATION], CHOOSER, DIALS)
    assert engine.scored and all("set up a desk" not in prompt.user for prompt, _ in engine.scored)  # type: ignore[union-attr]


def test_calibration_fits_the_form_of_the_dials() -> None:
    engine = ScriptedWriter(["1 3; 2 4\nWork at a desk\nTrain at home\n"])
    found = fitted_by_split(engine, None, VALIDATION, DIALS)
    assert (found.reading, found.score) == (Reading(), 1.0)
    with pytest.raises(UsageError, match="no annotated validation session has 2 to 30 products"):
        fitted_by_split(engine, None, [each.model_copy(update={"split": "test"}) for each in VALIDATION], DIALS)
