"""Whoever watches a teacher sees a table by stage, reads a log, and knows beforehand what a run would take."""

import io
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bundlewise.agents.ledger.calls import Reply
from bundlewise.agents.teacher.tally import Tally
from bundlewise.errors import UsageError
from bundlewise.files import read_rows
from bundlewise.models.prices import Price
from bundlewise.pipeline import watch as module
from bundlewise.pipeline.watch import plan_lines, stage_table, watching

PRICE = Price(input=2.0, output=10.0)
PAID = Reply("x", "stop", 12_000, 3_400, 1.5)


def told(tally: Tally, started: dict[str, float]) -> list[list[str]]:
    """Return the table row by row, headings first."""
    columns = stage_table(tally, started).columns
    return [[str(column.header) for column in columns], *map(list, zip(*(c.cells for c in columns), strict=True))]


def test_a_terminal_of_80_columns_shows_every_word_and_number() -> None:
    tally = Tally()
    tally.expect("formalise", 1000)
    tally.call("formalise", "s", Reply("", tokens_in=1_234_567, tokens_out=234_567), cached=False)
    stream = io.StringIO()
    Console(file=stream, width=80).print(stage_table(tally, {}))
    heading, row = stream.getvalue().splitlines()
    assert heading.split("  ")[0] == "stage" and "tokens out" in heading
    assert row.split() == ["formalise", "0", "of", "1,000", "0", "1", "0", "1,234,567", "234,567", "unknown"]


# The log


def test_a_log_is_json_lines_with_their_time_and_a_second_run_adds_to_it(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.jsonl"
    for subject in ("Möbel", "half \ud83d of an emoji"):
        tally = Tally()
        with watching(tally, log):
            tally.expect("kinds", 1)
            tally.failed("kinds", subject, "it was\nno JSON")
            assert read_rows(log)[-1]["subject"] == subject, "it can be followed"
        tally.done("kinds", "after the run")
        assert tally.listeners == []
    rows = read_rows(log)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row.pop("time")) for row in rows)
    failed = {"event": "failed", "stage": "kinds", "reason": "it was\nno JSON", "failed": 1}
    expected = {"event": "stage", "stage": "kinds", "total": 1}
    first, second = failed | {"subject": "Möbel"}, failed | {"subject": "half \ud83d of an emoji"}
    assert rows == [expected, first, expected, second]
    assert "Möbel" in log.read_text(encoding="utf-8"), "people read it"


def test_a_run_that_fails_leaves_its_log(tmp_path: Path) -> None:
    tally = Tally()
    with pytest.raises(ZeroDivisionError), watching(tally, tmp_path / "log"):
        tally.done("kinds", "a")
        raise ZeroDivisionError
    assert [row["event"] for row in read_rows(tmp_path / "log")] == ["done"]
    assert tally.listeners == []


def test_without_a_log_and_a_terminal_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    with watching(tally):
        tally.done("kinds", "a")
    assert tally.listeners == []
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_waited_for_is_told_of_without_a_terminal_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally()
    with watching(tally, tmp_path / "log"):
        tally.waits("lab gives no answer (refused)")
        assert capsys.readouterr() == ("", "lab gives no answer (refused)\n"), "at once"
        tally.waits("")
        tally.done("kinds", "a")
    assert capsys.readouterr() == ("", "it answers again\n")
    told = [(row["event"], row.get("reason")) for row in read_rows(tmp_path / "log")]
    assert told == [("waiting", "lab gives no answer (refused)"), ("answering", ""), ("done", None)]


def test_notes_and_the_end_of_a_run_are_told_and_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    with watching(tally, tmp_path / "log"):
        tally.note("the model takes no temperature")
        tally.stopping("stopping: waiting for 2 answers on the way")
        tally.call("kinds", "a", Reply("x", estimated=True), cached=False)
        tally.call("kinds", "b", Reply("x", estimated=True, verdict="empty"), cached=False)
        tally.sum_up()
    estimated = "the tokens and the cost of 2 answers are estimated: the server gave no plausible counts"
    words = ["the model takes no temperature", "stopping: waiting for 2 answers on the way", estimated]
    assert capsys.readouterr().err.splitlines() == words
    rows = read_rows(tmp_path / "log")
    assert [row["event"] for row in rows] == ["note", "stopping", "call", "call", "note"]
    assert rows[3]["verdict"] == "empty" and rows[4]["reason"] == estimated


def test_a_run_without_estimates_says_nothing_of_them() -> None:
    tally = Tally()
    tally.call("kinds", "a", Reply("x"), cached=False)
    tally.sum_up()
    assert tally.notes == []


@pytest.mark.parametrize("place", [".", "file/log"], ids=["a folder", "below a file"])
def test_a_log_that_cannot_be_written_is_a_usage_error_before_anything_is_done(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    tally = Tally()
    with (
        pytest.raises(UsageError, match=r"cannot write the log .*: (Is a directory|File exists); give another file"),
        watching(tally, tmp_path / place),
    ):
        pytest.fail("the run began")


# The table


def test_the_table_says_of_every_stage_what_was_done_what_it_took_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)
    tally = Tally(PRICE)
    tally.expect("kinds", 1200)
    tally.call("kinds", "a", PAID, cached=False)
    tally.call("kinds", "b", PAID, cached=True)
    tally.failed("kinds", "b", "it was no JSON")
    for subject in "ab":
        tally.done("kinds", subject)
    tally.call("rules", "all", PAID, cached=True)
    tally.done("rules", "all")
    header, kinds, rules = told(tally, {"kinds": 999.0})
    assert header == ["stage", "done", "failed", "calls", "cached", "tokens in", "tokens out", "money", "left"]
    assert kinds == ["kinds", "2 of 1,200", "1", "1", "1", "12,000", "3,400", "$0.0580", "10 min"]
    assert rules == ["rules", "1", "0", "0", "1", "0", "0", "$0.0000", ""]


def test_unknown_money_is_told_as_unknown() -> None:
    tally = Tally()
    tally.call("kinds", "a", PAID, cached=False)
    tally.call("rules", "a", PAID, cached=True)
    assert [row[7] for row in told(tally, {})[1:]] == ["unknown", "$0.0000"]


@pytest.mark.parametrize(
    ("total", "done", "seconds", "left"),
    [
        (10, 0, 60.0, ""),
        (10, 5, 60.0, "60 s"),
        (10, 1, 10.0, "90 s"),
        (10, 1, 20.0, "3 min"),
        (10, 10, 60.0, ""),
        (0, 3, 60.0, ""),
    ],
    ids=["not begun", "half", "just seconds", "minutes", "done", "of how many is unknown"],
)
def test_the_time_left_is_as_long_as_what_was_done_took(
    monkeypatch: pytest.MonkeyPatch, total: int, done: int, seconds: float, left: str
) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)
    tally = Tally()
    tally.expect("kinds", total)
    for number in range(done):
        tally.done("kinds", str(number))
    assert told(tally, {"kinds": 1000.0 - seconds})[1][8] == left


def test_on_a_terminal_the_table_is_live_and_gone_when_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    tally = Tally(PRICE)
    tally.expect("kinds", 2)
    with watching(tally):
        tally.call("kinds", "a", PAID, cached=False)
        tally.waits("lab gives no answer")
        time.sleep(0.6)
        assert "lab gives no answer" in stream.getvalue()
        tally.waits("")
        tally.done("kinds", "a")
    assert "1 of 2" in stream.getvalue() and "$0.0580" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K"), "the last thing done is to erase a line"
    assert tally.listeners == []


# The plan


def row(stage: str, cost: list[float | None], **values: Any) -> dict[str, Any]:
    usual = {"cached": 0, "failed": 0, "calls": 1200, "most_calls": 3600, "tokens_in": (500_000, 2_000_000)}
    return {"stage": stage, **usual, "tokens_out": (9_000, 80_000), "why": {"new": 1200}, "cost": cost, **values}


NOTHING = {"calls": 0, "most_calls": 0, "tokens_in": (0, 0), "tokens_out": (0, 0), "why": {}, "cached": 40}
FAILED = {"failed": 3}


def words(lines: list[str]) -> list[str]:
    """Return lines with one space for many."""
    return [" ".join(line.split()) for line in lines]


def test_a_plan_says_by_stage_what_a_run_takes_from_low_to_high_and_why() -> None:
    why = {"template changed": 1000, "what it builds on changed": 200}
    rows = [row("kinds", [0.0, 0.0], **NOTHING), row("propose", [0.5, 1.25]), row("rules", [1.5, 2500.0], why=why)]
    assert words(plan_lines(rows)) == [
        "stage cached calls tokens in tokens out money",
        "kinds 40 0 0 0 $0.0000",
        "propose 0 1,200 500,000 9,000 $0.5000",
        "at most 3,600 2,000,000 80,000 $1.25",
        "why: 1,200 new",
        "rules 0 1,200 500,000 9,000 $1.50",
        "at most 3,600 2,000,000 80,000 $2,500.00",
        "why: 1,000 template changed, 200 what it builds on changed",
        "all 40 2,400 1,000,000 18,000 $2.00",
        "at most 7,200 4,000,000 160,000 $2,501.25",
    ]


def test_a_plan_tells_answers_that_could_not_be_used_apart_from_those_that_answer() -> None:
    lines = words(plan_lines([row("kinds", [0.0, 0.0], **NOTHING | FAILED), row("rules", [1.0, 1.0], **FAILED)]))
    assert lines[2] == "failed: 3 kept answers that --retry-failed asks for again"
    assert "why: 1,200 new; failed: 3 kept answers that --retry-failed asks for again" in lines
    assert lines[-1] == "failed: 6 kept answers that --retry-failed asks for again"


def test_a_plan_of_a_hundred_thousand_sessions_fits_into_80_columns() -> None:
    why = {"new": 10**6, "template changed": 10**6, "what it builds on changed": 10**6}
    many = {"cached": 300_000, "calls": 300_000, "most_calls": 900_000, "tokens_in": (10**8, 10**10)}
    stages = ("describe", "propose", "reflect", "formalise", "think")
    lines = plan_lines([row(name, [1234.5, 123456.0], **many, tokens_out=(10**8, 10**9), why=why) for name in stages])
    assert max(map(len, lines)) <= 80
    assert words(lines)[1:5] == [
        "describe 300,000 300,000 100,000,000 100,000,000 $1,234.50",
        "at most 900,000 10,000,000,000 1,000,000,000 $123,456.00",
        "why: 1,000,000 new, 1,000,000 template changed, 1,000,000 what it builds on",
        "changed",
    ]


def test_the_columns_of_a_plan_stand_below_each_other() -> None:
    header, *lines = plan_lines([row("kinds", [0.5, 1.25]), row("propose", [234.5, 98765.0])])
    ends = [header.index(name) + len(name) for name in ("cached", "calls", "tokens in", "tokens out", "money")]
    for line in lines:
        if "why:" not in line:
            assert all(line[end - 1] != " " and line.ljust(end + 1)[end] == " " for end in ends)


def test_a_plan_with_a_price_that_is_unknown_says_so_and_so_does_its_sum() -> None:
    rows = [row("kinds", [0.0, 0.0], **NOTHING), row("rules", [None, None])]
    _, kinds, *rules = plan_lines(rows)
    assert "$0.0000" in kinds
    least, most, why, *both = rules
    assert all(line.endswith("unknown") and "$" not in line for line in (least, most, *both))
    assert why.strip() == "why: 1,200 new" and len(both) == 2


def test_a_plan_of_nothing_is_all_zeros() -> None:
    assert words(plan_lines([]))[1:] == ["all 0 0 0 0 $0.0000"]


def test_however_long_its_numbers_the_columns_of_a_plan_stay_apart() -> None:
    many = {"cached": 10**9, "calls": 10**9, "most_calls": 10**10, "tokens_in": (10**12, 10**13)}
    found = words(plan_lines([row("propositions", [123456.0, 1234567.0], **many, tokens_out=(10**12, 10**13))]))
    least = "1,000,000,000 1,000,000,000 1,000,000,000,000 1,000,000,000,000 $123,456.00"
    most = "10,000,000,000 10,000,000,000,000 10,000,000,000,000 $1,234,567.00"
    assert found[1:3] == [f"propositions {least}", f"at most {most}"]


def test_without_a_terminal_a_line_tells_now_and_then_how_far_the_stage_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bundlewise.progress.EVERY", 0.01)
    tally = Tally(price=PRICE)
    with watching(tally):
        tally.expect("think", 1_200)
        tally.call("think", "s", PAID, cached=False)
        tally.done("think", "s")
        tally.failed("think", "t", "cut off")
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert "think: 1 of 1,200, 1 failed, 1 calls, $0.0580 so far\n" in said
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("events", [1, 3])
def test_a_log_that_takes_no_more_ends_with_a_word_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], events: int
) -> None:
    tally, pipe = Tally(), tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with watching(tally, pipe):
        tally.done("kinds", "a")
        os.close(reader)
        for _ in range(events):
            tally.done("kinds", "b")
    assert tally.stages["kinds"].done == 1 + events
    said = capsys.readouterr().err
    assert said.count("ends here (Broken pipe), and the run continues; free space, or give another file") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_a_log_on_a_full_disk_ends_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    with watching(tally, Path("/dev/full")):
        tally.done("kinds", "a")
    assert "ends here (No space left on device)" in capsys.readouterr().err
