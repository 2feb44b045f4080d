"""Care of records one by one: what keeps one out, and what differs between two lists."""

import json
from typing import Any

import pytest
from samples import record, session, thought

from bundlewise.domain import KnownSession
from bundlewise.knowledge_base.checks import ChangedRecord, diff, faults_of

S1 = session("s1", ["x", "y", "z"], ((0, 2),))
KNOWN = {
    s.session_id: KnownSession.of(s)
    for s in (S1, session("s2", ["x"]), session("v1", ["y"], split="validation"), session("t1", ["z"], split="test"))
}
PATTERN = record("pattern", "a + b", ["s1", "s2"], kinds=("a", "b"), supporters=("s1",), support=1, confidence=0.5)
THOUGHT = thought(S1, ["a", "b", "c"])
RULE = record("rule", "keep apart", gain=0.1)


@pytest.mark.parametrize("good", [PATTERN, THOUGHT, RULE], ids=lambda good: good.kind)
def test_a_record_of_training_sessions_has_no_faults(good: Any) -> None:
    assert faults_of(good, KNOWN) == []


@pytest.mark.parametrize(
    ("good", "change", "fault"),
    [
        (RULE, {"text": "put together"}, f"its id {RULE.id} is not that of its content, rule-d361a4fe3323b3ce"),
        (RULE, {"gain": float("nan")}, "its gain must be a finite number, got nan"),
        (RULE, {"confidence": float("inf")}, "its confidence must be a finite number, got inf"),
        (RULE, {"support": -1}, "its support must be at least 0 and below 2^53"),
        (RULE, {"support": 10**400}, "its support must be at least 0 and below 2^53"),
        (PATTERN, {"supporters": ("s1", "s2")}, "its support is 1 with 2 supporters"),
        (PATTERN, {"supporters": ("s3",)}, "its source s3 is not among the known sessions"),
        (PATTERN, {"supporters": ("t1",)}, "its source t1 is a test session; only training sessions may teach"),
        (THOUGHT, {"kinds": ("a", "b")}, "it has 2 kinds for 3 titles"),
        (THOUGHT, {"titles": ("x", "y", "w")}, "its titles are not those of its source s1"),
        (THOUGHT, {"groups": ((0, 3),)}, "its group (0, 3) must hold positions from 0 to 2"),
        (THOUGHT, {"groups": ((-1, 1),)}, "its group (-1, 1) must hold positions from 0 to 2"),
        (THOUGHT, {"groups": ((1, 1),)}, "its group (1, 1) must hold different positions"),
        (THOUGHT, {"intents": ("one", "two")}, "it has 2 intents for 1 groups"),
        (THOUGHT, {"groups": ((),)}, "its group () must hold different positions"),
    ],
)
def test_what_keeps_a_record_out_is_said(good: Any, change: dict[str, Any], fault: str) -> None:
    assert fault in faults_of(good.model_copy(update=change), KNOWN)


def test_a_record_without_the_later_fields_is_written_without_them() -> None:
    row = json.loads(RULE.model_dump_json())
    assert not {"intents", "lesson", "original"} & row.keys()
    assert json.loads(THOUGHT.model_dump_json())["intents"] == ["set up a desk"]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("v1", "its source v1 is a validation session; only training sessions may teach"),
        ("t1", "its source t1 is a test session; only training sessions may teach"),
        ("s9", "its source s9 is not among the known sessions"),
    ],
)
def test_only_known_training_sessions_may_teach(source: str, fault: str) -> None:
    assert faults_of(record("rule", "r", ["s1", source]), KNOWN) == [fault]


def test_an_empty_text_is_a_fault() -> None:
    assert faults_of(record("rule", " \n"), KNOWN) == ["its text is empty"]


def test_a_difference_names_what_came_what_went_and_which_fields_changed() -> None:
    retired = RULE.model_copy(update={"status": "retired", "reason": "merged into rule-1"})
    found = diff([RULE, PATTERN], [THOUGHT, retired])
    assert (found.added, found.removed) == ((THOUGHT,), (PATTERN,))
    assert found.changed == (ChangedRecord(RULE, retired, ("status", "reason")),)


def test_lists_of_equal_records_do_not_differ_whatever_their_order() -> None:
    found = diff([RULE, PATTERN, THOUGHT], [THOUGHT, RULE, PATTERN])
    assert (found.added, found.removed, found.changed) == ((), (), ())
