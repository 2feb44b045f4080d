"""A recording teaches about training sessions only, and is read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
from samples import session

from bundlewise.agents.grounded import GroundedTeacher
from bundlewise.agents.recorded import RecordedTeacher
from bundlewise.agents.teacher import Rule, Thought
from bundlewise.errors import DataError, UsageError

SESSIONS = [
    session("a", ["Glide mouse", "Foam pad"], ((0, 1),)),
    session("b", ["Oat milk", "Tea"], ((0, 1),)),
    session("v", ["Glide mouse", "Foam pad"], ((0, 1),), split="validation"),
    session("t", ["Glide mouse", "Foam pad"], ((0, 1),), split="test"),
]
THOUGHT = {"kind": "thought", "source_session": "a", "item_kinds": ["pointer", "pad"], "text": "A pad", "lesson": "so"}


def teacher(folder: Path, *rows: dict[str, Any]) -> RecordedTeacher:
    path = folder / "gpt.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RecordedTeacher(path, SESSIONS)


def test_what_was_recorded_is_what_is_taught(tmp_path: Path) -> None:
    found = teacher(tmp_path, {"kind": "rule", "text": " Pads join mice. "}, THOUGHT)
    assert found.name == "recorded:gpt"
    assert found.formalise([], []) == [Rule("Pads join mice.", sources=())]
    assert found.kinds(SESSIONS[0]) == ("pointer", "pad")
    assert found.think(SESSIONS[0], ("x", "y"), [], []) == Thought("A pad so", ("pointer", "pad"))


def test_a_session_that_was_not_recorded_gets_grounded_kinds_and_no_thought(tmp_path: Path) -> None:
    found = teacher(tmp_path, THOUGHT)
    assert found.kinds(SESSIONS[1]) == GroundedTeacher().kinds(SESSIONS[1])
    assert found.think(SESSIONS[1], ("milk", "tea"), [], []) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_session": "t"}, "thought about 't' of the test split; only train may teach"),
        ({"source_session": "v"}, "thought about 'v' of the validation split; only train may teach"),
        ({"source_session": "x"}, "thought about 'x', which is not in the data"),
        ({"source_session": ""}, "source_session must be text, got ''"),
        ({"source_session": None}, "source_session must be text, got None"),
        ({"item_kinds": ["mouse"]}, "1 item_kinds for the 2 products of 'a'"),
        ({"item_kinds": ["mouse", " "]}, "item_kinds must be a list of words"),
        ({"item_kinds": ["mouse", 7]}, "item_kinds must be a list of words"),
        ({"item_kinds": "mouse pad"}, "item_kinds must be a list of words"),
        ({"text": "  "}, "text must be text, got '  '"),
        ({"kind": "hint"}, "kind must be rule or thought, got 'hint'"),
        ({"kind": None}, "kind must be rule or thought, got None"),
        ({"kind": "rule", "text": 7}, "text must be text, got 7"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"gpt\.jsonl:2: ") as error:
        teacher(tmp_path, THOUGHT, THOUGHT | change)
    assert message in str(error.value)


def test_a_missing_recording_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        RecordedTeacher(tmp_path / "none.jsonl", SESSIONS)
