"""`bundlewise kb import` of a recording: added to what is there, checked against its sessions, taken back by undo."""

import json
from pathlib import Path
from typing import Any

import pytest
from kb_samples import DESK, HELD, TRIP, Call, caller, fill, use_words

from bundlewise.data.sessions import write_sessions
from bundlewise.files import read_rows, write_jsonl

RECORDED_RULE = {"kind": "rule", "domain": "electronics", "text": "A sleeve joins the bag it fits."}
RECORDED_THOUGHT = {
    "kind": "thought",
    "source_session": "trip",
    "item_kinds": ["laptop sleeve", "laptop bag"],
    "text": "Sleeve 1 goes into bag 2.",
    "lesson": "Nested protection belongs together.",
}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    return caller(capsys)


def record_to(path: str, *rows: dict[str, Any]) -> str:
    """Write a recording, and beside it the sessions it is about."""
    write_sessions(Path("data.jsonl"), [DESK, TRIP, HELD])
    write_jsonl(Path(path), rows)
    return path


def test_a_recording_is_added_to_what_is_there_and_can_be_taken_back(call: Call) -> None:
    call("export", "kb", "-o", "before.jsonl")
    record_to("gpt.jsonl", RECORDED_RULE, RECORDED_THOUGHT)
    told = call("import", "kb", "gpt.jsonl", "--data", "data.jsonl")
    assert told == (0, "kb: 2 records taken in, 0 left as they were\n", "")
    assert call("diff", "before.jsonl", "kb")[2] == "2 added, 0 removed, 0 changed\n"
    assert call("verify", "kb") == (0, "sound: 8 records\n", "")
    assert "import gpt.jsonl" in call("history", "kb")[1]
    call("undo", "kb")
    call("export", "kb", "-o", "after.jsonl")
    assert Path("before.jsonl").read_bytes() == Path("after.jsonl").read_bytes()


def test_a_recording_is_found_in_a_new_knowledge_base_and_travels_on_as_a_pack(call: Call) -> None:
    record_to("gpt.jsonl", RECORDED_RULE, RECORDED_THOUGHT)
    call("import", "other", "gpt.jsonl", "--data", "data.jsonl")
    (first, *_) = call("search", "other", "sleeve and bag", "--json")[1].splitlines()
    assert json.loads(first)["record"]["provenance"]["teacher"] == "recorded:gpt"
    call("export", "other", "-o", "a.jsonl")
    assert call("import", "third", "a.jsonl")[1] == "third: 2 records taken in, 0 left as they were\n"


def test_importing_a_recording_twice_changes_nothing_and_what_was_retired_stays_retired(call: Call) -> None:
    record_to("gpt.jsonl", RECORDED_RULE, RECORDED_THOUGHT)
    call("import", "other", "gpt.jsonl", "--data", "data.jsonl")
    again = "other: 0 records taken in, 2 left as they were\n"
    assert call("import", "other", "gpt.jsonl", "--data", "data.jsonl")[1] == again
    assert len(call("history", "other", "--json")[1].splitlines()) == 1
    key = json.loads(call("list", "other", "--kind", "rule", "--json")[1])["id"]
    call("retire", "other", key, "--reason", "bad advice")
    assert call("import", "other", "gpt.jsonl", "--data", "data.jsonl")[1] == again
    assert "retired" in call("show", "other", key)[1]


def test_what_is_refused_of_a_recording_is_told_and_counted(call: Call) -> None:
    foreign = RECORDED_THOUGHT | {"source_session": "desk", "item_kinds": ["a", "b", "c"], "text": "\x1b[2J Item 4."}
    record_to("gpt.jsonl", RECORDED_RULE | {"text": "x" * 1201}, foreign, RECORDED_THOUGHT)
    code, out, err = call("import", "other", "gpt.jsonl", "--data", "data.jsonl")
    assert (code, out) == (0, "other: 1 records taken in, 0 left as they were\n")
    long, product, counted, *kinds = err.splitlines()
    assert long.startswith("refused: the text has 1201 characters, more than 1200: xxx")
    assert product == "refused: it speaks of product 4 of 3: [2J Item 4. Nested protection belongs together."
    assert counted == "2 of 3 refused"
    assert kinds[0].startswith("kind replaced: it has no word of its title")
    assert kinds[-1].endswith("kinds gave way to their titles")


def test_of_many_refusals_the_first_are_shown_and_a_recording_of_nothing_else_makes_no_knowledge_base(
    call: Call,
) -> None:
    record_to("gpt.jsonl", *(RECORDED_RULE | {"text": f"{n}" * 1300} for n in range(30)))
    code, out, err = call("import", "other", "gpt.jsonl", "--data", "data.jsonl")
    assert (code, out, err.count("refused: ")) == (1, "", 20)
    assert "30 of 30 refused, 20 of them shown\n" in err
    assert "no record of gpt.jsonl can be taken in" in err
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (RECORDED_THOUGHT | {"source_session": "held"}, "thought about 'held' of the test split; only train may teach"),
        (RECORDED_THOUGHT | {"source_session": "x"}, "thought about 'x', which is not in the data"),
        ({"kind": "pattern"}, "kind must be rule or thought, got 'pattern'"),
    ],
)
def test_a_recording_with_a_wrong_line_is_refused_whole(call: Call, row: dict[str, Any], reason: str) -> None:
    record_to("gpt.jsonl", RECORDED_RULE, row)
    code, out, err = call("import", "other", "gpt.jsonl", "--data", "data.jsonl")
    assert (code, out) == (1, "") and f"gpt.jsonl:2: {reason}" in err
    assert not Path("other").exists()


def test_a_recording_about_a_session_that_the_knowledge_base_knows_as_a_test_session_is_refused(call: Call) -> None:
    about = RECORDED_THOUGHT | {"source_session": "held"}
    record_to("gpt.jsonl", about)
    write_sessions(Path("data.jsonl"), [HELD.model_copy(update={"split": "train"})])
    code, _, err = call("import", "kb", "gpt.jsonl", "--data", "data.jsonl")
    assert code == 1 and "session held is train" in err
    assert call("verify", "kb") == (0, "sound: 6 records\n", "")


def test_a_recording_needs_its_sessions_and_a_pack_does_not(call: Call) -> None:
    record_to("gpt.jsonl", RECORDED_RULE)
    code, _, err = call("import", "other", "gpt.jsonl")
    assert code == 2 and "bundlewise kb import other gpt.jsonl --data SESSIONS" in err
    code, _, err = call("import", "other", "gpt.jsonl", "--data", "data.jsonl", "--salvage")
    assert code == 2 and "--salvage is for packs" in err
    call("export", "kb", "-o", "a.jsonl")
    code, _, err = call("import", "other", "a.jsonl", "--data", "data.jsonl")
    assert code == 2 and "a.jsonl is a pack, which says itself what its sessions are; leave --data out" in err
    assert not Path("other").exists()


def test_a_pack_that_lost_its_manifest_is_not_taken_for_a_recording(call: Call) -> None:
    call("export", "kb", "-o", "a.jsonl")
    record_to("gpt.jsonl", *read_rows(Path("a.jsonl"))[1:])
    assert "gpt.jsonl:1: no manifest" in call("import", "other", "gpt.jsonl")[2]
    assert "without its manifest" in call("import", "other", "gpt.jsonl", "--data", "data.jsonl")[2]
    assert not Path("other").exists()
