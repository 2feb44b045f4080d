"""Replies as whole answers: the best of several texts, or the evidence's groupings weighed by the student."""

from itertools import combinations

import numpy as np
import pytest
from samples import record, session, thought
from writing_samples import ScriptedWriter, likes, titles_of

from bundlewise.agents.student.aims import gain
from bundlewise.agents.student.answer_text import grouping_text, read_answer
from bundlewise.agents.student.candidates import NARROW
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.chooser import FINALISTS, Chooser
from bundlewise.agents.student.compose import write_prompt
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.limits import Bounds, Limits
from bundlewise.agents.student.reading import Reading, affinity_of
from bundlewise.agents.student.replies import StudentReply
from bundlewise.agents.student.tokens import Written
from bundlewise.agents.student.whole_replies import (
    decided,
    grouping_scores,
    likely_pairs,
    reply_by_writing,
    shares,
    whole_prompt,
)
from bundlewise.domain import Grouping, Retrieved

TITLES = ["Mouse", "Keyboard", "Roller", "Mat"]
DESK, GYM = {"Mouse", "Keyboard"}, {"Roller", "Mat"}
SESSION = session("s", TITLES).blind()
DIALS = AnswerDials(form="write", samples=4)
FEATURES = 2 * NARROW


def texts(*lines: str) -> list[Written]:
    return [Written(line, 100, 10) for line in lines]


def bounds(**limits: object) -> Bounds:
    return Limits(**limits).on(SESSION.items)  # type: ignore[arg-type]


def test_the_grouping_with_the_highest_expected_gjs_over_all_texts_is_taken() -> None:
    said = ["1 2; 3 4\nA desk\nA gym\n", *["1 2; 3 4\nOther\nOther\n"] * 2, *["1 2\nDesk\n"] * 2, "1 3\nOdd one\n"]
    found = decided(texts(*said), 4)
    groupings = [read_answer(text, 4).groups for text in said]
    expected = {a: sum(gain(a, world) for world in groupings) for a in groupings}
    assert len({*groupings}) == 3
    assert found.answer.groups == max(expected, key=lambda a: expected[a]) == ((0, 1), (2, 3))
    assert found.answer.intents == ("A desk", "A gym") and not found.answer.faults
    assert (found.raw, found.tokens_in, found.tokens_out) == (said[0], 600, 60)
    assert found.likely is not None and found.likely[0, 1] == 5 / 6 and found.likely[2, 3] == 0.5


def test_a_text_that_is_not_the_most_frequent_wins_if_it_is_nearest_to_all() -> None:
    said = ["1 2 3 4\nAll of it\n"] * 2 + ["1 2\nTwo of it\n"] * 2 + ["1 2 3\nThree of it\n"]
    assert decided(texts(*said), 4).answer.groups == ((0, 1, 2),)


def test_faulty_texts_do_not_count_beside_good_ones() -> None:
    found = decided(texts("Sure!", "no idea", "1 2\nDesk set\n"), 4)
    assert (found.answer.groups, found.answer.faults) == (((0, 1),), ())


def test_of_texts_with_the_same_bundles_one_without_a_fault_is_taken() -> None:
    found = decided(texts("1 2\n", "1 2\nDesk set\nA note\n", "1 2\nDesk set\n"), 4)
    assert (found.answer.intents, found.answer.faults) == (("Desk set",), ())


def test_an_answer_with_a_fault_that_is_chosen_keeps_its_fault_for_the_repair() -> None:
    found = decided(texts("1 2; 3 9\nDesk set\n"), 4)
    assert found.answer.groups == ((0, 1),)
    assert "'3 9' is no list of product numbers from 1 to 4" in found.answer.faults


def test_nothing_readable_is_no_bundle_with_the_faults_of_a_text() -> None:
    found = decided(texts("Sure!", ""), 4)
    unread = "'Sure!' is no list of product numbers from 1 to 4"
    assert (found.answer.groups, found.answer.faults) == ((), (unread, "no two products go together"))
    assert found.raw == "Sure!" and found.likely is not None and not found.likely.any()


def test_one_text_tells_nothing_of_probabilities() -> None:
    assert decided(texts("1 2\nDesk set\n"), 4).likely is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"bundles": 1}, ((0, 1),)),
        ({"least": 3}, ((0, 1, 2),)),
        ({"most": 2, "least": 2}, ((0, 1), (2, 3))),
    ],
)
def test_an_answer_within_the_bounds_is_taken_even_if_it_is_rare(limits: dict[str, int], expected: Grouping) -> None:
    said = ["1 2; 3 4\nA desk\nA gym\n"] * 5 + ["1 2\nDesk\n", "1 2 3\nThree of it\n"]
    assert decided(texts(*said), 4, bounds(**limits)).answer.groups == expected


def test_if_no_text_keeps_to_the_bounds_their_shares_decide_within_them() -> None:
    said = ["1 2 3\nThree of it\n"] * 3 + ["1 2 4\nOther three\n"] * 2
    found = decided(texts(*said), 4, bounds(most=2))
    assert found.answer.groups == ((0, 1),) and found.answer.intents == ("Three of it",)
    assert decided(texts(*said), 4, bounds(least=4, most=4)).answer.groups in ((), ((0, 1, 2, 3),))


def test_products_without_prices_keep_to_no_price() -> None:
    found = decided(texts("Sure!", "1 2\nDesk set\n"), 4, bounds(total=5.0))
    assert (found.answer.groups, found.answer.faults) == ((), ("no two products go together",))


def test_shares_count_the_groupings_that_join_two_products() -> None:
    found = shares([((0, 1), (2, 3)), ((0, 1, 2),)], 4)
    assert found[0, 1] == found[1, 0] == 1 and found[1, 2] == found[2, 3] == 0.5
    assert not np.diag(found).any() and not shares([], 3).any()


def retrieved(**fields: object) -> Retrieved:
    """Return knowledge whose evidence joins mouse and keyboard, and a little the others."""
    affinity = dict.fromkeys(combinations(range(4), 2), -1.0) | {(0, 1): 2.0, (2, 3): 0.3}
    return Retrieved(affinity=affinity, **fields)  # type: ignore[arg-type]


def by_evidence(grouping: float = 0.1) -> Reading:
    """Return a reading by the evidence, whose chooser looks at expected GJS alone."""
    weights = [1.0] + [0.0] * (FEATURES - 1)
    return Reading(student=0.0, evidence=1.0, grouping=grouping, chooser=Chooser(weights=tuple(weights)))


def reply(engine: ScriptedWriter, reading: Reading, known: Retrieved, limits: Bounds | None = None) -> StudentReply:
    prompt = write_prompt(SESSION, known)
    given = {"s": limits} if limits else {}
    (found,) = reply_by_writing(engine, [SESSION], [known], [prompt], reading, DIALS, bounds=given)
    return found


@pytest.mark.parametrize("liked", [(DESK, GYM), (DESK,), (GYM,), (DESK | GYM,)])
def test_by_evidence_the_sum_of_both_scores_wins(liked: tuple[set[str], ...]) -> None:
    engine, reading = ScriptedWriter(opinion=likes(*liked)), by_evidence()
    found = reply(engine, reading, retrieved())
    assert reading.chooser is not None and found.likely is not None
    odds = np.log(found.likely + np.eye(4) / 2) - np.log(1 - found.likely - np.eye(4) / 2)
    ranked = reading.chooser.ranked(odds * (1 - np.eye(4)))
    scores = {g: score + 0.1 * engine.opinion(TITLES, [[p + 1 for p in b] for b in g]) for g, score in ranked}  # type: ignore[misc]
    assert found.answer.groups == max(scores, key=lambda g: scores[g])
    assert {frozenset(TITLES[p] for p in group) for group in found.answer.groups} == {frozenset(g) for g in liked}


def test_the_student_scores_only_the_best_candidates_of_the_chooser() -> None:
    many = session("s", [f"thing {number}" for number in range(8)]).blind()
    affinity = {pair: 0.3 * (sum(pair) % 5) - 0.6 for pair in combinations(range(8), 2)}
    known, reading = Retrieved(affinity=affinity), by_evidence()
    assert reading.chooser is not None
    ranked = reading.chooser.ranked(reading.log_odds(np.zeros((8, 8)), affinity_of(known, 8)))
    engine = ScriptedWriter(opinion=lambda titles, groups: 0.0)
    reply_by_writing(engine, [many], [known], [write_prompt(many, known)], reading, DIALS)
    assert len(ranked) > FINALISTS and {len(texts) for _, texts in engine.scored} == {FINALISTS}
    _, texts = engine.scored[0]
    assert texts[0] == grouping_text(max(ranked, key=lambda pair: pair[1])[0])


def test_the_student_names_the_bundles_that_the_evidence_chose() -> None:
    engine = ScriptedWriter(["Work at a desk\nTrain at home\n"], likes(DESK, GYM))
    found = reply(engine, by_evidence(), retrieved())
    assert found.answer.intents == ("Work at a desk", "Train at home")
    (prompt,) = engine.prompts
    assert isinstance(prompt, ChatPrompt) and prompt.opening == "1 2; 3 4\n"
    assert found.raw == "1 2; 3 4\nWork at a desk\nTrain at home\n" and engine.grammars[0].startswith(
        "start: intent intent"
    )


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_without_likelihoods_the_chooser_decides_alone(weight: float) -> None:
    names = ["Set up a desk\nTrain at home\n"]
    silent, told = ScriptedWriter(names), ScriptedWriter(names, likes(DESK | GYM))
    found = reply(silent, by_evidence(weight), retrieved())
    assert found.answer.groups == reply(told, by_evidence(0.0), retrieved()).answer.groups
    assert not told.scored and bool(silent.scored) is bool(weight) and not found.answer.faults


def test_by_evidence_nothing_outside_the_bounds_comes_out() -> None:
    engine = ScriptedWriter(opinion=likes(DESK, GYM))
    assert len(reply(engine, by_evidence(), retrieved(), bounds(bundles=1)).answer.groups) == 1
    found = reply(engine, by_evidence(), retrieved(), bounds(total=1.0))
    assert (found.answer.groups, found.raw) == ((), "") and found.answer.faults


def test_sessions_without_evidence_are_written_beside_those_with_it() -> None:
    engine = ScriptedWriter(["1 4\nWritten first\n"] * 4 + ["Named then\n"], likes(DESK))
    prompts = [write_prompt(SESSION, known) for known in (Retrieved(), retrieved())]
    told: list[int] = []
    dials = DIALS.model_copy(update={"samples": 1})
    plain, known = reply_by_writing(
        ScriptedWriter(["Named here\n", "1 4\nWritten here\n"], likes(DESK)),
        [SESSION, SESSION],
        [Retrieved(), retrieved()],
        prompts,
        by_evidence(),
        dials,
        told.append,
    )
    assert plain.answer.groups == ((0, 3),) and known.answer.groups == ((0, 1),)
    assert sum(told) == 2 and not engine.prompts


GROUPINGS: list[Grouping] = [((0, 1),), ((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 1, 2, 3),)]


def uneven(titles: list[str], bundles: list[list[int]]) -> float:
    """Return a likelihood that depends on the places of the products, as that of a real student."""
    return float(sum(n * number for n, bundle in enumerate(bundles, 2) for number in bundle)) + 0.1 * len(titles[0])


def test_the_orders_of_the_products_are_those_of_their_places_not_of_their_names() -> None:
    knowledge = retrieved(demonstrations=((thought(session("t", ["a", "b"], ((0, 1),)), ["a", "b"]), 1.0),))
    engine = ScriptedWriter(opinion=likes(DESK, GYM))
    scores = grouping_scores(engine, SESSION, knowledge, GROUPINGS)
    assert [titles_of(prompt) for prompt, _ in engine.scored] == [TITLES, TITLES[::-1]]
    assert engine.scored[1][1][1] == "1 2; 3 4\n" and engine.scored[1][1][2] == "1 3; 2 4\n"
    backwards = session("s", TITLES[::-1]).blind()
    mirrored = [tuple(tuple(sorted(3 - p for p in g)) for g in groups) for groups in GROUPINGS]
    assert grouping_scores(engine, backwards, knowledge, mirrored) == scores
    uneven_scores = grouping_scores(ScriptedWriter(opinion=uneven), SESSION, knowledge, GROUPINGS)
    assert grouping_scores(ScriptedWriter(opinion=uneven), backwards, knowledge, mirrored) == pytest.approx(
        uneven_scores
    )


def test_more_orders_are_permutations_and_always_the_same() -> None:
    engine = ScriptedWriter(opinion=likes(DESK))
    grouping_scores(engine, SESSION, Retrieved(), GROUPINGS[:1], orders=5)
    grouping_scores(engine, SESSION, Retrieved(), GROUPINGS[:1], orders=5)
    seen = [titles_of(prompt) for prompt, _ in engine.scored]
    assert all(sorted(titles) == sorted(TITLES) for titles in seen) and seen[:5] == seen[5:]


def test_a_prompt_that_does_not_fit_has_no_likelihoods() -> None:
    assert grouping_scores(ScriptedWriter(opinion=likes(DESK), most=10), SESSION, Retrieved(), GROUPINGS) == []
    assert grouping_scores(ScriptedWriter(), SESSION, Retrieved(), GROUPINGS) is None


def test_a_prompt_of_feedback_or_reasoning_is_cut_to_what_the_student_reads() -> None:
    known = Retrieved(records=((record("rule", "Put them together " * 9), 1.0),))
    dials = AnswerDials(form="write", reasoning="brief")
    whole, _ = whole_prompt(SESSION, known, ScriptedWriter(), dials, "a bundle has no intent")
    assert "a bundle has no intent" in whole.user and "Because:" in whole.system
    cut, note = whole_prompt(SESSION, known, ScriptedWriter(most=len(whole.user) - 1), dials, "a bundle has no intent")
    assert note == "1 of 1 knowledge records left out" and "a bundle has no intent" in cut.user
    assert grouping_text(((0, 1),)) not in cut.user


def test_probabilities_of_one_session_under_other_knowledge_come_from_the_same_drawn_answers() -> None:
    def opinion(titles: list[str], bundles: list[list[int]]) -> float:
        return 0.0 if bundles == [[1, 2]] else -float(np.log(3))

    said = ["1 2\nDesk\n"] * 2 + ["3 4\nGym\n"] * 6
    engine, variants = ScriptedWriter(said, opinion), [retrieved(), Retrieved(), Retrieved()]
    found = likely_pairs(engine, [SESSION] * 3, variants, Reading(), DIALS)
    assert len(engine.prompts) == 1 and len(engine.scored) == 3
    for likely in found:
        assert likely[0, 1] == pytest.approx(0.75) and likely[2, 3] == pytest.approx(0.25) and likely[0, 2] == 0
    other = session("t", TITLES).blind()
    engine = ScriptedWriter(said + said, opinion)
    found = likely_pairs(engine, [SESSION, other], variants[:2], Reading(), DIALS)
    assert len(engine.prompts) == 2 and not engine.scored
    assert [likely[2, 3] for likely in found] == [0.75, 0.75]


def test_without_likelihoods_all_variants_have_the_shares_of_the_drawn_answers() -> None:
    engine = ScriptedWriter(["1 2\nDesk\n"] * 6 + ["3 4\nGym\n"] * 2)
    found = likely_pairs(engine, [SESSION] * 2, [Retrieved()] * 2, Reading(), DIALS)
    assert len(engine.prompts) == 1 and [likely[0, 1] for likely in found] == [0.75, 0.75]
