"""A recording teaches about training sessions only, and is read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import session

from bundlewise.agents.teacher.conditions import Condition
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.grounding import RefusedKnowledge
from bundlewise.agents.teacher.protocol import Rule, Thought
from bundlewise.agents.teacher.recorded import RecordedTeacher
from bundlewise.errors import DataError, UsageError
from bundlewise.files import write_jsonl

SESSIONS = [
    session("a", ["Glide mouse", "Foam pad"], ((0, 1),)),
    session("b", ["Oat milk", "Tea"], ((0, 1),)),
    session("c", ["Glide mouse", "Foam pad"]),
    session("v", ["Glide mouse", "Foam pad"], ((0, 1),), split="validation"),
    session("t", ["Glide mouse", "Foam pad"], ((0, 1),), split="test"),
]
THOUGHT = {"kind": "thought", "source_session": "a", "item_kinds": ["pointer", "pad"], "text": "A pad", "lesson": "so"}


RULE = {"kind": "rule", "text": "Mice go with pads.", "together": True, "condition": {"first": ["mouse"]}}


def teacher(folder: Path, *rows: dict[str, Any]) -> RecordedTeacher:
    path = folder / "gpt.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RecordedTeacher(path, SESSIONS)


def test_what_was_recorded_is_what_is_taught(tmp_path: Path) -> None:
    found = teacher(tmp_path, {"kind": "rule", "text": " Pads join mice. "}, THOUGHT)
    assert found.name == "recorded:gpt"
    assert found.formalise([], []) == [Rule("Pads join mice.", sources=())]
    assert found.kinds(SESSIONS[0]) == ("pointer", "pad")
    assert found.think(SESSIONS[0], ("x", "y"), [], []) == Thought("so A pad", ("pointer", "pad"), "so")


def test_a_session_that_was_not_recorded_gets_grounded_kinds_and_no_thought(tmp_path: Path) -> None:
    found = teacher(tmp_path, THOUGHT)
    assert found.kinds(SESSIONS[1]) == GroundedTeacher().kinds(SESSIONS[1])
    assert found.think(SESSIONS[1], ("milk", "tea"), [], []) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_session": "t"}, "the thought is about 't' of the test split; only train sessions may teach"),
        ({"source_session": "v"}, "the thought is about 'v' of the validation split; only train sessions may teach"),
        ({"source_session": "x"}, "the thought is about 'x', which is not in the data; add that session"),
        ({"source_session": ""}, "source_session must be text, got ''"),
        ({"source_session": None}, "source_session must be text, got None"),
        ({"item_kinds": ["mouse"]}, "1 item_kinds for the 2 products of 'a'"),
        ({"item_kinds": ["mouse", " "]}, "item_kinds must be a list of words"),
        ({"item_kinds": ["mouse", 7]}, "item_kinds must be a list of words"),
        ({"item_kinds": "mouse pad"}, "item_kinds must be a list of words"),
        ({"text": "  "}, "text must be text, got '  '"),
        ({"kind": "hint"}, "kind must be rule or thought, got 'hint'"),
        ({"kind": None}, "kind must be rule or thought, got None"),
        ({"text": "\ud800"}, "not portable JSON"),
        ({"weight": float("nan")}, "not portable JSON"),
        ({"bundlewise_pack": 2}, "this is a pack; import it with: bundlewise kb import KB"),
        ({"id": "t1", "provenance": {}}, "this is a record of a pack without its manifest; export the pack again"),
        ({"kind": "rule", "text": 7}, "text must be text, got 7"),
        (RULE | {"together": None}, "a rule with a condition needs together: true or false, got None"),
        (RULE | {"condition": "mice"}, "condition: must be an object; correct it, or leave the condition out"),
        (RULE | {"condition": {"relation": "near"}}, "condition.relation: input should be 'any', 'same kind'"),
        (RULE | {"condition": {"least": 1}}, "condition.least: input should be greater than or equal to 2"),
        (RULE | {"condition": {"third": ["a"]}}, "condition.third: extra inputs are not permitted"),
        (RULE | {"condition": {"first": [" "]}}, "the condition holds for all products; restrict it, or leave it out"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"gpt\.jsonl:2: ") as error:
        teacher(tmp_path, THOUGHT, THOUGHT | change)
    assert message in str(error.value)


def test_a_rule_that_says_for_which_products_it_speaks_can_be_tested(tmp_path: Path) -> None:
    tested, untested = teacher(tmp_path, RULE | {"together": False}, {"kind": "rule", "text": "So."}).formalise([], [])
    assert untested.condition is None and untested.gain is None
    assert tested.condition == Condition(first=("mouse",), second=(), relation="any", least=2, most=99)
    assert not tested.joins and tested.gain is None


def test_an_empty_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"gpt\.jsonl: the file is empty; give a file with one rule or thought per line"
    ):
        teacher(tmp_path)


def test_of_two_thoughts_about_one_session_the_later_one_stands(tmp_path: Path) -> None:
    found = teacher(tmp_path, THOUGHT, THOUGHT | {"text": "Other words,"})
    assert found.think(SESSIONS[0], ("x", "y"), [], []) == Thought("so Other words,", ("pointer", "pad"), "so")
    assert found.refused == [RefusedKnowledge("so A pad", "a later thought is about the same session a")]


def test_a_thought_about_a_session_without_bundles_teaches_nothing_and_is_told(tmp_path: Path) -> None:
    found = teacher(tmp_path, THOUGHT, THOUGHT | {"source_session": "c"})
    assert found.think(SESSIONS[2], ("x", "y"), [], []) is None
    assert found.refused == [RefusedKnowledge("so A pad", "its source c has no annotated bundles")]


@pytest.mark.parametrize(
    ("domains", "stated", "is_taught"),
    [
        (("shop",), "shop", True),
        (("shop",), "", True),
        (("shop",), "food", False),
        (("shop", "food"), "food", True),
        (("",), "shop", True),
    ],
)
def test_a_rule_teaches_about_sessions_of_its_own_domain(
    tmp_path: Path, domains: tuple[str, ...], stated: str, is_taught: bool
) -> None:
    write_jsonl(
        tmp_path / "gpt.jsonl", [{"kind": "rule", "text": "So.", "domain": stated}, {"kind": "rule", "text": "Any."}]
    )
    sessions = [session(name or "s", ["Mug", "Tea"], ((0, 1),), domain=name) for name in domains]
    found = RecordedTeacher(tmp_path / "gpt.jsonl", sessions)
    assert [rule.text for rule in found.formalise([], [])] == (["So.", "Any."] if is_taught else ["Any."])
    refused = [] if is_taught else [RefusedKnowledge("So.", "its domain food is not a domain of the sessions, shop")]
    assert found.refused == refused


def test_a_recording_of_which_nothing_can_be_taught_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record fits the data: its source c has no annotated bundles; give the"):
        teacher(tmp_path, THOUGHT | {"source_session": "c"})


def test_a_missing_recording_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        RecordedTeacher(tmp_path / "none.jsonl", SESSIONS)
