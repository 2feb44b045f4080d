"""Aims: GJS, exact bundles or sure bundles decide among the same candidates, by themselves and in the chooser."""

import numpy as np
import pytest

from bundlewise.agents.student.aims import GJS, Aim, best_expected, exact_shares
from bundlewise.agents.student.candidates import Described, candidates_of
from bundlewise.agents.student.chooser import FEWEST, Chooser, fit_chooser
from bundlewise.agents.student.decoder import Matrix, best_grouping
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.reading import Reading
from bundlewise.agents.student.tokens import Written
from bundlewise.agents.student.whole_replies import decided
from bundlewise.domain import Grouping, Item
from bundlewise.errors import UsageError

EXACT, SURE = Aim(name="exact"), Aim(name="precision", recall=0.2)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        (((0, 1), (2, 3)), ((0, 1), (2, 3)), (1, 1)),
        (((0, 1),), ((0, 1), (2, 3)), (1, 0.5)),
        (((0, 1), (2, 3)), ((0, 1),), (0.5, 1)),
        (((0, 1, 2),), ((0, 1),), (0, 0)),
        (((0, 1), (1, 0)), ((0, 1),), (1, 1)),
        ((), ((0, 1),), (0, 0)),
    ],
)
def test_exact_shares_count_distinct_equal_bundles(
    answer: Grouping, truth: Grouping, expected: tuple[float, float]
) -> None:
    assert exact_shares(answer, truth) == expected


WORLDS: list[tuple[Grouping, float]] = [
    (((0, 1), (2, 3)), 0.4),
    (((0, 1), (2, 3, 4)), 0.35),
    (((0, 1, 2, 3, 4),), 0.25),
]
ANSWERS: list[Grouping] = [((0, 1), (2, 3, 4)), ((0, 1), (2, 3)), ((0, 1),), ((0, 1, 2, 3, 4),)]


def test_each_aim_takes_the_answer_with_its_own_highest_expectation() -> None:
    assert best_expected(ANSWERS, WORLDS) == best_expected(ANSWERS, WORLDS, GJS) == ((0, 1), (2, 3, 4))
    assert best_expected(ANSWERS, WORLDS, EXACT) == ((0, 1), (2, 3))
    assert best_expected(ANSWERS, WORLDS, SURE) == ((0, 1),)


def test_precision_keeps_to_the_floor_of_recall_and_comes_as_near_as_it_can() -> None:
    for recall, expected in ((0.3, ((0, 1),)), (0.5, ((0, 1), (2, 3))), (0.99, ((0, 1), (2, 3)))):
        assert best_expected(ANSWERS, WORLDS, Aim(name="precision", recall=recall)) == expected


def odds(n: int, together: dict[tuple[int, int], float], apart: float = -2.0) -> Matrix:
    found = np.full((n, n), apart)
    for (a, b), value in together.items():
        found[a, b] = found[b, a] = value
    return found


def test_without_a_chooser_the_sure_bundle_alone_is_an_answer() -> None:
    matrix = odds(4, {(0, 1): 3.0, (2, 3): 0.2})
    assert best_grouping(matrix) == best_grouping(matrix, aim=EXACT) == ((0, 1), (2, 3))
    assert best_grouping(matrix, aim=SURE) == ((0, 1),)
    bounds = Limits(least=3).on([Item(id=str(n), title=str(n)) for n in range(4)])
    assert all(len(group) > 2 for group in best_grouping(matrix, bounds, SURE))


def doubtful(seed: int) -> tuple[Matrix, Grouping]:
    """Return a session of a sure pair and a doubtful one, which is annotated with a third product in half the cases."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.05, (5, 5))
    matrix = odds(5, {(0, 1): 2.5, (2, 3): 0.8, (2, 4): 0.1, (3, 4): 0.1}) + noise + noise.T
    return matrix, ((0, 1), (2, 3)) if seed % 2 else ((0, 1), (2, 3, 4))


def test_the_chooser_is_fitted_for_each_aim() -> None:
    known = [doubtful(seed) for seed in range(FEWEST)]
    chooser = fit_chooser([matrix for matrix, _ in known], [truth for _, truth in known])
    assert chooser is not None and [each.recall for each in chooser.precise]
    new = [doubtful(seed) for seed in range(900, 940)]

    def measured(aim: Aim) -> tuple[float, float]:
        shares = [exact_shares(chooser.choose(matrix, aim=aim), truth) for matrix, truth in new]
        precision, recall = np.mean(shares, axis=0).tolist()
        return precision, recall

    sure, exact, usual = measured(SURE), measured(EXACT), measured(GJS)
    assert sure[0] == 1 and sure[1] == pytest.approx(0.5)
    assert sum(exact) >= sum(usual) - 0.01 and exact[1] > sure[1]
    floor = measured(Aim(name="precision", recall=0.7))
    assert floor[1] >= 0.7 and floor[0] < 1


def test_a_bundle_alone_is_a_candidate_only_where_exact_bundles_count() -> None:
    matrix = odds(4, {(0, 1): 3.0, (2, 3): 2.0})
    usual, more = candidates_of(matrix), Described.of(matrix).candidates
    assert more[: len(usual)] == usual and len(set(more)) == len(more)
    assert {((0, 1),), ((2, 3),)} <= set(more)


def test_the_weights_for_gjs_do_not_depend_on_the_other_aims() -> None:
    weights = tuple(np.linspace(-1, 1, 32).tolist())
    plain, aiming = Chooser(weights=weights), Chooser(weights=weights, exact=(0.0,) * 40)
    for seed in range(20):
        matrix, _ = doubtful(seed)
        assert plain.choose(matrix) == aiming.choose(matrix)


def test_a_chooser_from_before_there_were_aims_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"cannot aim at exact; calibrate it \(--calibrate DATA\) or tune it again"):
        Chooser(weights=(0.0,) * 32).choose(odds(3, {(0, 1): 1.0}), aim=EXACT)


def test_of_drawn_answers_the_aim_takes_its_own() -> None:
    texts = ["1 2; 3 4\nA desk\nA gym\n"] * 4 + ["1 2; 3 4 5\nA desk\nA gym\n"] * 4 + ["1 2\nA desk\n"] * 2
    drawn = [Written(text, 10, 5) for text in texts]
    assert decided(drawn, 5).answer.groups == ((0, 1), (2, 3))
    assert decided(drawn, 5, aim=SURE).answer.groups == ((0, 1),)


def test_a_reading_aims_as_the_dials_say() -> None:
    matrix, dials = odds(4, {(0, 1): 3.0, (2, 3): 0.2}), AnswerDials.of(aim="precision", recall=0.2)
    reading, nothing = Reading(), np.zeros((4, 4))
    assert reading.bundles(matrix, nothing) == ((0, 1), (2, 3))
    assert reading.aimed(dials.aiming).bundles(matrix, nothing) == ((0, 1),)
    assert Reading.model_validate_json(reading.model_dump_json()) == reading


@pytest.mark.parametrize(("dials", "message"), [({"aim": "f1"}, "aim must be gjs or exact or precision, got f1")])
def test_an_aim_that_is_none_is_refused(dials: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AnswerDials.of(**dials)
