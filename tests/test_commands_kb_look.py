"""`bundlewise kb stats`, `search`, `show`, `list` and `explain`: what is there, and what a student is given of it."""

import json
from pathlib import Path

import pytest
from kb_samples import (
    APART,
    DESK,
    DESK_THOUGHT,
    PAIR,
    RECORDS,
    TOGETHER,
    TRIP_THOUGHT,
    TWIN,
    Call,
    caller,
    fill,
    use_words,
)
from samples import HOSTILE, record

from bundlewise.data.sessions import write_sessions
from bundlewise.domain import Knowledge


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    return caller(capsys)


def ids(out: str) -> list[str]:
    return [json.loads(row)["id"] for row in out.splitlines()]


def test_stats_count_by_kind_domain_teacher_and_status(call: Call) -> None:
    call("retire", "kb", APART.id, "--reason", "wrong")
    said = json.loads(call("stats", "kb", "--json")[1])
    rows = {(row["kind"], row["domain"], row["teacher"], row["status"]): row["records"] for row in said["records"]}
    assert rows == {
        ("pattern", "electronics", "grounded", "active"): 1,
        ("rule", "electronics", "grounded", "active"): 2,
        ("rule", "electronics", "grounded", "retired"): 1,
        ("thought", "electronics", "grounded", "active"): 2,
    }
    assert said["sessions"] == {"train": 2, "validation": 0, "test": 1}
    assert (said["embedder"], said["generation"], said["settled"]) == ("bag-of-words", 1, True)
    assert said["bytes"] > 1000 and said["revision"] == 2


def test_stats_are_a_table_to_read(call: Call) -> None:
    rows = call("stats", "kb")[1].splitlines()
    assert rows[0].startswith("kb: 6 records, ")
    assert "settled; known sessions: 2 train, 0 validation, 1 test" in rows[2]
    assert [row.split() for row in rows[4:6]] == [
        ["kind", "domain", "teacher", "status", "records"],
        ["pattern", "electronics", "grounded", "active", "1"],
    ]


@pytest.mark.parametrize("search", ["dense", "lexical", "hybrid"])
def test_search_shows_score_kind_text_source_and_id_best_first(call: Call, search: str) -> None:
    code, out, _ = call("search", "kb", "put", "the mouse", "and a keyboard together", "--search", search)
    first, text, source = out.splitlines()[:3]
    assert code == 0
    assert first.split()[1:] == [TWIN.id, "(electronics)"] and 0 < float(first.split()[0]) <= 1
    assert (text.strip(), source.strip()) == (TWIN.text, "from desk")
    scores = [float(row.split()[0]) for row in out.splitlines() if row[:7].strip()]
    assert scores == sorted(scores, reverse=True)


def test_search_keeps_to_kind_domain_and_count(call: Call) -> None:
    found = [json.loads(row) for row in call("search", "kb", "mouse", "--kind", "rule", "--json")[1].splitlines()]
    assert {row["record"]["kind"] for row in found} == {"rule"}
    assert len(call("search", "kb", "mouse", "--count", "2", "--json")[1].splitlines()) == 2
    code, out, err = call("search", "kb", "mouse", "--domain", "grocery")
    assert (code, out, err) == (0, "", "no such record in kb; its domains: electronics\n")


def test_show_prints_whole_records_by_the_beginning_of_their_ids(call: Call) -> None:
    code, out, _ = call("show", "kb", "pattern", DESK_THOUGHT.id, "pattern-")
    rows = [row.strip() for row in out.splitlines()]
    assert code == 0 and rows[0] == f"{PAIR.id} (electronics)"
    assert {"support: 2", "lift: 2.0", "sources: desk, trip", "teacher: grounded"} <= set(rows)
    assert {"bundles: 1 + 2", "1. Wireless Mouse", "3. Oat Milk"} <= set(rows)
    assert out.count(PAIR.id) == 1
    shown = call("show", "kb", "pattern", "--json")[1]
    assert Knowledge.model_validate_json(shown) == PAIR


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], RECORDS),
        (["--kind", "rule"], [TOGETHER, TWIN, APART]),
        (["--domain", "grocery"], []),
        (["--status", "retired"], []),
        (["--teacher", "grounded"], RECORDS),
        (["--teacher", "gpt"], []),
        (["--source", "desk"], [TWIN, PAIR, DESK_THOUGHT]),
        (["--kind", "thought", "--source", "trip"], [TRIP_THOUGHT]),
    ],
)
def test_list_gives_what_is_asked_for_in_the_order_of_ids(
    call: Call, options: list[str], expected: list[Knowledge]
) -> None:
    assert ids(call("list", "kb", *options, "--json")[1]) == sorted(record.id for record in expected)
    assert len(call("list", "kb", *options, "--limit", "1")[1].splitlines()) == min(1, len(expected))


def test_texts_are_data_and_drive_no_terminal(call: Call, tmp_path: Path) -> None:
    hostile = [record("rule", f"mouse {text} [bold red]x[/bold red] \x9b31m \u202e") for text in HOSTILE]
    fill(tmp_path / "bad", hostile)
    keys, merge = [each.id for each in hostile], ["merge", "bad", "--threshold", 0.1]
    for command in (["list", "bad"], ["search", "bad", "mouse"], ["show", "bad", *keys], merge):
        for form in ([], ["--json"]):
            code, out, _ = call(*command, *form)
            assert code == 0 and "[bold red]x[/bold red]" in out
            assert all(letter.isprintable() for letter in out.replace("\n", ""))


def test_explain_says_of_every_kind_what_is_kept_and_why_the_next_is_dropped(call: Call) -> None:
    code, out, _ = call("explain", "kb", "--items", "Wireless Mouse", "Mechanical Keyboard", "--rules", "1")
    assert code == 0
    assert out.startswith("given (no domain, test)\n  1. Wireless Mouse\n")
    assert "rules: 1 of at most 1" in out and "patterns: 1 of at most 2" in out
    assert "  1 kept " in out and "  2 dropped " in out and "place 2 of 3: the quota is 1" in out
    assert "hints" not in out


def test_explain_of_a_training_session_refuses_what_the_session_taught(call: Call, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", [DESK])
    _, out, _ = call("explain", "kb", "--data", "data.jsonl", "--session", "desk")
    after = out[out.index(DESK_THOUGHT.id) :].splitlines()[1]
    assert after.strip() == "it comes from this session"
    kept = [row.split()[-1] for row in out.splitlines() if " kept " in row]
    assert TRIP_THOUGHT.id in kept and DESK_THOUGHT.id not in kept


def test_explain_counts_a_budget_in_the_tokens_of_the_student(call: Call, tiny_student: Path) -> None:
    common = ["explain", "kb", "--items", "Wireless Mouse", "--student", tiny_student, "--budget"]
    assert "thoughts: 0 of at most 4" in (out := call(*common, "1")[1])
    assert "tokens: the budget is 1" in out
    assert "thoughts: 2 of at most 4" in call(*common, "1000")[1]


def test_explain_shows_hints_where_they_are_asked_for(call: Call) -> None:
    given = json.loads(call("explain", "kb", "--items", "Mouse", "Keyboard", "--hints", "3", "--json")[1])
    assert {verdict["record"]["kind"] for verdict in given["verdicts"]} == {"pattern", "rule", "thought"}
    assert all(hint["products"] == [1, 2] for hint in given["hints"])
