"""When a rule applies, and its trial: what harms held-out sessions is quarantined, with its numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from samples import BagOfWords, session

from bundlewise.agents.teacher.conditions import Condition, Relation, Trial, trial
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.protocol import Rule
from bundlewise.domain import Grouping, Knowledge, Session
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.graphs.teacher_state import TeacherContext, TeacherState
from bundlewise.knowledge_base.store import KnowledgeStore


def condition(
    first: Sequence[str] = (),
    second: Sequence[str] = (),
    relation: Relation = "any",
    least: int = 2,
    most: int = 99,
) -> Condition:
    return Condition(first=tuple(first), second=tuple(second), relation=relation, least=least, most=most)


@pytest.mark.parametrize(
    ("relation", "one", "other", "holds"),
    [
        ("any", "Glide Mouse", "Wool Rug", True),
        ("same kind", "Glide Mouse", "Two Red Mouse", True),
        ("same kind", "Glide 11 Case", "Leather Cases for Tablets", True),
        ("same kind", "Glide Mouse", "Glide Pad", False),
        ("different kinds", "Glide Mouse", "Glide Pad", True),
        ("different kinds", "Wool Rugs", "Red Rug", False),
        ("share a word", "Glide Mouse", "Foam Glide Pad", True),
        ("share a word", "Glide Mouse", "Wool Rug", False),
        ("share a word", "Mouse for the Desk", "Rug for the Floor", False),
        ("share no word", "Glide Mouse", "Wool Rug", True),
        ("share no word", "Glide Mouse", "glide pad", False),
        ("share a number", "Case for Glide 11", "Glide 11 Tablet", True),
        ("share a number", "A B C D E F aa bb cc dd x12", "aa bb cc dd x12", True),
        ("share a number", "Case for Glide 11", "Glide 12 Tablet", False),
        ("share a number", "Glide Case", "Glide Tablet", False),
        ("same brand", "Treskell Mouse", "treskell Wool Rug", True),
        ("same brand", "Treskell Mouse", "Wool Treskell Rug", False),
        ("same brand", "手机", "手机 壳", True),
        ("same brand", "!", "!", False),
    ],
)
@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_what_two_titles_have_to_do_with_each_other(
    relation: Relation, one: str, other: str, holds: bool, places: tuple[int, int]
) -> None:
    assert condition(relation=relation).holds(session("s", [one, other]), *places) is holds


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [
        ([], [], True),
        (["mouse"], [], True),
        ([], ["mouse"], True),
        (["mouse"], ["pad"], True),
        (["pad"], ["mouse"], True),
        (["rug", "mouse"], ["pad"], True),
        (["glide mouse"], ["pad"], True),
        (["mouse glide"], ["pad"], True),
        (["Mouse "], ["PAD"], True),
        (["mouses"], ["pads"], True),
        (["mouse"], ["mouse"], False),
        (["mouse"], ["rug"], False),
        (["foam mouse"], ["pad"], False),
        (["mou"], ["pad"], False),
        (["mouse", "pad"], ["rug"], False),
        (["", "rug"], ["pad"], False),
        (["of"], ["pad"], True),
    ],
)
@pytest.mark.parametrize("titles", [["Glide Mouse", "Foam Pads"], ["Foam Pads", "Glide Mouse"]])
def test_each_title_holds_one_of_the_words_of_its_side_whichever_comes_first(
    titles: list[str], first: list[str], second: list[str], holds: bool
) -> None:
    assert condition(first, second).holds(session("s", titles), 0, 1) is holds


@pytest.mark.parametrize(
    ("word", "title"),
    [("battery", "AA Batteries"), ("batteries", "AA Battery"), ("box", "Lunch Boxes"), ("glasses", "Wine Glasses")],
)
def test_a_word_holds_for_one_and_for_many(word: str, title: str) -> None:
    assert condition([word]).holds(session("s", [title, "Wool Rug"]), 0, 1)


@pytest.mark.parametrize(
    ("least", "most", "sizes"),
    [(2, 99, [2, 3, 4, 5]), (4, 99, [4, 5]), (2, 3, [2, 3]), (3, 4, [3, 4]), (4, 3, [])],
)
def test_a_session_has_at_least_and_at_most_so_many_products(least: int, most: int, sizes: list[int]) -> None:
    given = condition(least=least, most=most)
    assert [n for n in range(2, 6) if given.holds(session("s", ["Mouse"] * n), 0, 1)] == sizes


@pytest.mark.parametrize(
    ("changes", "empty"),
    [
        ({}, True),
        ({"first": [""]}, True),
        ({"first": ["of", "a"], "second": ["!"]}, True),
        ({"second": ["手机"]}, False),
        ({"most": 50}, True),
        ({"first": ["mouse"]}, False),
        ({"second": ["", "mouse"]}, False),
        ({"relation": "share a word"}, False),
        ({"least": 3}, False),
        ({"most": 8}, False),
    ],
)
def test_a_condition_that_holds_for_everything_is_none(changes: dict[str, Any], empty: bool) -> None:
    assert condition(**changes).is_empty is empty


@pytest.mark.parametrize(
    "changes",
    [{"relation": "alike"}, {"least": 1}, {"most": 0}, {"first": ["x"] * 13}, {"second": "mouse"}, {"colour": "red"}],
)
def test_a_condition_out_of_its_range_is_refused(changes: dict[str, Any]) -> None:
    fields = {"first": [], "second": [], "relation": "any", "least": 2, "most": 99}
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Condition.model_validate(fields | changes)


# The rugs share two of three words, so that the heuristic joins them, and neither shares one with the pad.
RUGS = ["Red Wool Rug", "Wool Rug", "Foam Pad"]
RUG_AND_PAD = condition(["rug"], ["pad"])
RUG_AND_RUG = condition(["rug"], ["rug"])
ALL: Grouping = ((0, 1, 2),)
PAIR: Grouping = ((0, 1),)
UNTOUCHED = session("u", ["Oat Milk", "Green Tea"], PAIR)


@pytest.mark.parametrize(
    ("asked", "joins", "truths", "expected"),
    [
        # The heuristic finds {1, 2}. Joined, both pairs with the pad are at 0.5, and so is their mean: {1, 2, 3}.
        (RUG_AND_PAD, True, [PAIR], Trial(gain=-0.1667, harm=0.1667, touched=1, sessions=2)),
        (RUG_AND_PAD, True, [ALL], Trial(gain=0.1667, harm=0.0, touched=1, sessions=2)),
        # Won 1/3, lost 1/3 and 1/3, of four sessions.
        (RUG_AND_PAD, True, [ALL, PAIR, PAIR], Trial(gain=-0.0833, harm=0.1667, touched=3, sessions=4)),
        # Parted, the rugs are at 2/3 - 1/2: no bundle is left, which earns 0 instead of 1, or of 2/3.
        (RUG_AND_RUG, False, [PAIR], Trial(gain=-0.5, harm=0.5, touched=1, sessions=2)),
        (RUG_AND_RUG, False, [ALL], Trial(gain=-0.3333, harm=0.3333, touched=1, sessions=2)),
        # Joined, they are at 1, where they were together already: touched, and no different.
        (RUG_AND_RUG, True, [PAIR, ALL], Trial(gain=0.0, harm=0.0, touched=2, sessions=3)),
        # What is at 0 cannot be further apart.
        (RUG_AND_PAD, False, [PAIR, ALL], Trial(gain=0.0, harm=0.0, touched=0, sessions=3)),
        (condition(["sofa"], ["lamp"]), True, [PAIR, ALL], Trial(gain=0.0, harm=0.0, touched=0, sessions=3)),
    ],
)
def test_a_trial_gives_the_mean_of_what_a_rule_wins_and_loses_over_all_sessions(
    asked: Condition, joins: bool, truths: list[Grouping], expected: Trial
) -> None:
    held_out = [*(session(f"v{n}", RUGS, truth) for n, truth in enumerate(truths)), UNTOUCHED]
    assert trial(asked.holds, joins, held_out, threshold=0.5) == expected


@pytest.mark.parametrize(("threshold", "gain"), [(0.1, -0.1667), (0.5, -0.1667), (0.6, 0.0)])
def test_a_trial_moves_a_pair_by_half_of_the_scale_and_no_further(threshold: float, gain: float) -> None:
    held_out = [session("v", RUGS, PAIR), UNTOUCHED]
    assert trial(RUG_AND_PAD.holds, True, held_out, threshold).gain == gain


def test_a_trial_on_no_sessions_says_nothing() -> None:
    assert trial(RUG_AND_PAD.holds, True, [], 0.5) == Trial(0.0, 0.0, 0, 0)


DESK = ["Glide Mouse", "Foam Pad", "Wool Rug", "Red Wool Rug"]
TRAIN = [session(f"d{n}", DESK, ((2, 3),), domain="home") for n in range(4)]
TRAIN.append(session("d4", ["Soy Milk", "Black Tea"], PAIR, domain="home"))
HELD_OUT = [
    session("v0", DESK, ((2, 3),), domain="home", split="validation"),
    session("v1", DESK, ((2, 3),), domain="home", split="validation"),
    session("v2", ["Oat Milk", "Green Tea"], PAIR, domain="home", split="validation"),
]
TOGETHER = "Put mouse and pad together."
# Of the desks {3, 4} is right; with {1, 2} beside it half of the score is lost, in two of three sessions.
HARMS = Rule(TOGETHER, ("d0",), joins=True, condition=condition(["mouse"], ["pad"]))
# Milk and tea share no word, so that the heuristic finds no bundle; with the rule it is right in one of three.
HELPS = Rule("Milk goes with tea.", ("d1",), joins=True, condition=condition(["milk"], ["tea"]))
UNTESTED = Rule("Think of the whole desk.", ("d2",))


class Planted(GroundedTeacher):
    """A teacher that may word one rule several times."""

    name = "planted"
    worded_by: ClassVar[dict[Any, str]] = {}
    repeats_itself = True

    def __init__(self, *rules: Rule) -> None:
        super().__init__()
        self.planted = rules

    def formalise(self, *_: Any) -> list[Rule]:
        return list(self.planted)


def rules_of(teacher: Any, **context: Any) -> dict[str, Knowledge]:
    """Return the records of the rules that went through the whole graph, by their text."""
    given = TeacherContext(**{"teacher": teacher, "validation": HELD_OUT} | context)
    found = build_teacher_graph().invoke(TeacherState(TRAIN), context=given)
    return {record.text: record for record in found["records"] if record.kind == "rule"}


def test_a_planted_harmful_rule_comes_out_quarantined_with_its_numbers_and_a_good_one_active_with_its_gain() -> None:
    found = rules_of(Planted(HARMS, HELPS, UNTESTED))
    bad, good, untested = (found[rule.text] for rule in (HARMS, HELPS, UNTESTED))
    assert (bad.status, bad.gain, bad.harm) == ("quarantined", -0.3333, 0.3333)
    assert bad.reason == "held-out GJS -0.3333, 0.3333 lost by the sessions it harms"
    assert (good.status, good.gain, good.harm, good.reason) == ("active", 0.3333, 0.0, "")
    assert (untested.status, untested.gain, untested.harm, untested.reason) == ("active", None, None, "")


@pytest.mark.parametrize(
    "validation",
    [
        [],
        [session("v", DESK, ((2, 3),), domain="food", split="validation")],
        [session("v", DESK, domain="home", split="validation")],
    ],
    ids=["none", "another domain", "not annotated"],
)
def test_without_validation_sessions_of_its_domain_a_rule_is_not_tested(validation: list[Session]) -> None:
    (found,) = rules_of(Planted(HARMS), validation=validation).values()
    assert (found.status, found.gain, found.harm) == ("active", None, None)


@pytest.mark.parametrize(
    ("measured", "status", "gain"),
    [
        (replace(HARMS, gain=0.25, harm=0.0), "quarantined", -0.3333),
        (replace(HELPS, gain=0.0, harm=0.0), "active", 0.3333),
        (replace(HELPS, gain=-0.2, harm=0.2), "quarantined", -0.2),
        (replace(UNTESTED, gain=0.25, harm=0.0), "active", 0.25),
    ],
    ids=["harms validation", "helps validation", "harmed before", "says not for which products"],
)
def test_what_a_teacher_measured_itself_is_measured_again_unless_it_speaks_against_the_rule(
    measured: Rule, status: str, gain: float
) -> None:
    (found,) = rules_of(Planted(measured)).values()
    assert (found.status, found.gain) == (status, gain)


# The same words in another order are the same to a bag of words.
TWICE = Rule("Put pad and mouse together.", ("d0", "d3"), support=2)
APART = Rule("Never put mouse and pad together.", ("d2",), joins=False)
ONCE = Rule(TOGETHER, ("d0",), support=1)


def embed(texts: Sequence[str]) -> Any:
    return BagOfWords().embed(texts)


def test_rules_that_say_the_same_are_retired_with_the_reason_and_stay_in_the_records(tmp_path: Path) -> None:
    store = KnowledgeStore(tmp_path / "kb", BagOfWords())
    found = rules_of(Planted(TWICE, ONCE, APART, HELPS), embed=embed, store=store)
    kept, repeated = found[TWICE.text], found[TOGETHER]
    assert (kept.status, kept.reason, kept.support) == ("active", "", 2)
    assert (repeated.status, repeated.reason) == ("retired", f"says the same as {kept.id}")
    assert repeated.source_session_ids == ONCE.sources
    assert {found[rule.text].status for rule in (APART, HELPS)} == {"active"}
    assert store.records.counts()["rule", "home", "retired"] == 1
    assert store.records.get([repeated.id]) == {repeated.id: repeated}


def test_a_rule_that_harms_neither_retires_another_nor_is_retired() -> None:
    found = rules_of(Planted(HARMS, replace(TWICE, condition=None)), embed=embed)
    assert (found[TOGETHER].status, found[TWICE.text].status) == ("quarantined", "active")


@pytest.mark.parametrize("repeats", [True, False])
def test_nothing_is_retired_without_an_embedder_or_where_the_teacher_does_not_repeat_itself(repeats: bool) -> None:
    teacher = Planted(TWICE, ONCE)
    teacher.repeats_itself = repeats
    found = rules_of(teacher, embed=None if repeats else embed)
    assert {record.status for record in found.values()} == {"active"}
