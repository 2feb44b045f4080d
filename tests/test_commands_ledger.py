"""`bundlewise ledger`: what was paid, and paid answers taken to another machine."""

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from bundlewise.agents.ledger.calls import Call, CallLedger, Reply, Verdict
from bundlewise.cli import main
from bundlewise.files import read_rows

Run = Callable[..., tuple[int, str, str]]


def calls_of(model: str, stage: str, count: int) -> list[Call]:
    return [Call(stage, f"s{number}", "t", model, {"model": model, "n": [stage, number]}) for number in range(count)]


KEPT = [*calls_of("gpt-4.1", "kinds", 1500), *calls_of("lab", "rules", 2)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return what a ledger of two models exports."""
    folder = tmp_path_factory.mktemp("kept")
    ledger = CallLedger(folder / "calls.sqlite")
    ledger._base.execute("PRAGMA synchronous = OFF")
    for call in KEPT:
        ledger.keep(call, Reply("x", "stop", 1000, 250, 1.0))
    ledger.export(folder / "calls.jsonl")
    return (folder / "calls.jsonl").read_bytes()


@pytest.fixture
def ledger(tmp_path: Path, kept: bytes) -> Path:
    path = tmp_path / "bundlewise-calls.sqlite"
    (tmp_path / "kept.jsonl").write_bytes(kept)
    ledger = CallLedger(path)
    ledger.take_in(tmp_path / "kept.jsonl")
    ledger.close()
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUNDLEWISE_PRICES", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["ledger", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_a_line_a_stage_and_model_says_calls_tokens_time_and_money(run: Run, ledger: Path) -> None:
    code, out, err = run("show")
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == [
        "kinds      gpt-4.1: 1,500 calls, 1,500,000 tokens in, 375,000 out, 1,500 s, $6.00",
        "rules      lab: 2 calls, 2,000 tokens in, 500 out, 2 s, unknown",
    ]


def test_as_json_an_unknown_price_is_null_and_never_nothing(run: Run, ledger: Path) -> None:
    code, out, _ = run("show", "--json", "--ledger", ledger)
    told = json.loads(out)
    assert (code, told["ledger"]) == (0, str(ledger))
    kinds, rules = sorted(told["stages"], key=lambda row: row["stage"])
    assert kinds == {
        "stage": "kinds",
        "model": "gpt-4.1",
        "calls": 1500,
        "tokens_in": 1_500_000,
        "tokens_out": 375_000,
        "seconds": 1500.0,
        "cost": 6.0,
    }
    assert (rules["model"], rules["calls"], rules["cost"]) == ("lab", 2, None)


@pytest.mark.parametrize("way", ["--prices", "BUNDLEWISE_PRICES"])
def test_prices_can_be_given(run: Run, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    (tmp_path / "prices.toml").write_text("[models]\nlab = { input = 1000, output = 0 }\n")
    if way == "BUNDLEWISE_PRICES":
        monkeypatch.setenv(way, "prices.toml")
    out = run("show", *([way, "prices.toml"] if way == "--prices" else []))[1]
    kinds, rules = sorted(out.splitlines())
    assert kinds.endswith(", unknown"), "a table stands alone"
    assert rules.endswith(", $2.00")


def test_an_empty_ledger_says_so_on_the_side(run: Run, tmp_path: Path) -> None:
    CallLedger(tmp_path / "empty.sqlite").close()
    assert run("show", "--ledger", "empty.sqlite") == (0, "", "no calls in empty.sqlite\n")
    assert json.loads(run("show", "--ledger", "empty.sqlite", "--json")[1])["stages"] == []


def test_what_is_exported_here_and_imported_there_is_known_there(run: Run, ledger: Path, tmp_path: Path) -> None:
    there = tmp_path / "there" / "calls.sqlite"
    assert run("export", "calls.jsonl") == (0, "1,502 calls in calls.jsonl\n", "")
    assert run("import", "calls.jsonl", "--ledger", there) == (0, f"1,502 new calls of 1,502 in {there}\n", "")
    assert run("import", "calls.jsonl", "--ledger", there) == (0, f"0 new calls of 1,502 in {there}\n", "")
    here, elsewhere = CallLedger(ledger), CallLedger(there)
    assert all(here.find(call.key) == elsewhere.find(call.key) is not None for call in KEPT)
    run("export", "again.jsonl", "--ledger", there)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "calls.jsonl").read_bytes()


def test_an_export_holds_no_key_and_no_address(
    run: Run, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    run("export", "calls.jsonl")
    names = "key stage subject template model text finish tokens_in tokens_out seconds verdict time"
    assert all(row.keys() == set(names.split()) for row in read_rows(tmp_path / "calls.jsonl"))
    assert "sk-secret" not in (tmp_path / "calls.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show"], 2, "no ledger bundlewise-calls.sqlite; name it with --ledger, or let `bundlewise distil` make it"),
        (["show", "--ledger", "other"], 2, "no ledger other; name it with --ledger"),
        (["show", "--ledger", "."], 2, "is a directory"),
        (["export", "calls.jsonl"], 2, "no ledger bundlewise-calls.sqlite; name it with --ledger"),
        (["import", "calls.jsonl"], 2, "no file calls.jsonl; check the path"),
        (["import", "damaged.jsonl"], 1, "damaged.jsonl:2: not JSON"),
        (
            ["import", "foreign.jsonl"],
            1,
            "foreign.jsonl:1: this is not an exported call; give a file that `bundlewise ledger",
        ),
        (["show", "--ledger", "damaged.jsonl"], 1, "cannot use the ledger of calls damaged.jsonl: file is not a"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line_with_a_remedy(
    run: Run, tmp_path: Path, kept: bytes, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "damaged.jsonl").write_bytes(kept.splitlines(keepends=True)[0] + b'{"key": "a", "te')
    (tmp_path / "foreign.jsonl").write_text('{"id": "r1", "text": "a rule"}\n')
    left, out, err = run(*arguments)
    assert (left, out) == (code, "")
    assert message in err.splitlines()[-1]


def test_a_ledger_is_not_written_over_by_its_export(run: Run, ledger: Path) -> None:
    code, _, err = run("export", ledger)
    assert code == 2 and "--ledger names " in err and " too; give another file" in err
    assert run("show")[0] == 0


# Answers that could not be used


@pytest.fixture
def failed(tmp_path: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the ledger with eight answers that could not be used, kept on 1 May 2026 at noon, local time."""
    monkeypatch.setattr("bundlewise.agents.ledger.calls.time.time", datetime(2026, 5, 1, 12).timestamp)
    opened = CallLedger(ledger)
    for number, call in enumerate(calls_of("gpt-4.1", "propose", 8)):
        verdict: Verdict = "empty" if number < 3 else "faulty"
        opened.keep(call, Reply("overloaded, try later", "stop", 1000, 250, 1.0, verdict))
    opened.close()
    return ledger


def test_answers_that_could_not_be_used_are_shown_with_what_they_cost(run: Run, failed: Path) -> None:
    lines = run("show")[1].splitlines()
    assert lines[-3:] == [
        "propose    gpt-4.1: 8 calls, 8,000 tokens in, 2,000 out, 8 s, $0.0320",
        "           of these empty: 3 calls, 3,000 tokens in, 750 out, 3 s, $0.0120",
        "           of these faulty: 5 calls, 5,000 tokens in, 1,250 out, 5 s, $0.0200",
    ]
    told = json.loads(run("show", "--json")[1])
    assert [(row["verdict"], row["calls"], row["cost"]) for row in told["failed"]] == [
        ("empty", 3, 0.012),
        ("faulty", 5, 0.02),
    ]


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--verdict", "failed"], 8),
        (["--verdict", "faulty"], 5),
        (["--verdict", "faulty", "--verdict", "empty", "--stage", "propose"], 8),
        (["--stage", "rules"], 2),
        (["--stage", "rules", "--verdict", "failed"], 0),
        (["--after", "2026-05-01"], 8),
        (["--after", "2026-05-01T12:00:00", "--before", "2026-05-01 12:00:01"], 8),
        (["--stage", "propose", "--before", "2026-05-01T12:00:00"], 0),
    ],
)
def test_answers_are_forgotten_by_stage_verdict_and_time_as_it_was_said_before(
    run: Run, failed: Path, options: list[str], gone: int
) -> None:
    opened = CallLedger(failed)
    opened._base.execute("UPDATE calls SET time = 0 WHERE stage <> 'propose'")
    opened.close()
    before = failed.read_bytes()
    code, out, err = run("forget", *options, "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"{gone:,} calls would be forgotten in bundlewise-calls.sqlite"
    assert failed.read_bytes() == before
    assert run("forget", *options) == (0, out.replace("would be forgotten", "forgotten"), "")
    shown = json.loads(run("show", "--json")[1])
    assert sum(row["calls"] for row in shown["stages"]) == 1510 - gone
    assert sum(row["calls"] for row in shown["forgotten"]) == gone


def test_what_would_be_forgotten_is_told_by_stage_and_verdict_with_its_cost(run: Run, failed: Path) -> None:
    assert run("forget", "--verdict", "failed", "--dry-run")[1].splitlines() == [
        "propose    gpt-4.1, empty: 3 calls, 3,000 tokens in, 750 out, 3 s, $0.0120",
        "propose    gpt-4.1, faulty: 5 calls, 5,000 tokens in, 1,250 out, 5 s, $0.0200",
        "8 calls would be forgotten in bundlewise-calls.sqlite",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no answers are chosen; give --stage, --verdict, --before or --after"),
        (["--dry-run"], "no answers are chosen"),
        (
            ["--stage", "kind"],
            "no calls of a stage 'kind' in bundlewise-calls.sqlite; choose from kinds, rules, propose",
        ),
        (["--verdict", "bad"], "'bad' is not one of"),
        (["--before", "yesterday"], "'yesterday' does not match the format"),
        (["--stage", "kinds", "--ledger", "other"], "no ledger other; name it with --ledger"),
    ],
)
def test_a_mistake_forgets_nothing(run: Run, failed: Path, options: list[str], message: str) -> None:
    code, out, err = run("forget", *options)
    assert (code, out) == (2, "") and message in err
    assert sum(row["calls"] for row in json.loads(run("show", "--json")[1])["stages"]) == 1510


# Damaged ledgers


def test_what_is_readable_of_a_damaged_ledger_is_written_and_taken_in_elsewhere(run: Run, ledger: Path) -> None:
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[: len(whole) // 3])
    code, out, err = run("show")
    assert (code, out) == (1, "")
    remedy = "bundlewise ledger export FILE --what-is-readable --ledger bundlewise-calls.sqlite"
    assert f"`{remedy}` saves the readable calls" in err
    assert run("export", "calls.jsonl")[0] == 1 and not ledger.with_name("calls.jsonl").exists()
    code, out, err = run("export", "calls.jsonl", "--what-is-readable")
    read, lost = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= calls| more)", out))
    assert (code, err) == (0, "") and 0 < read < 1502 and 0 < lost <= 1502 - read
    assert run("import", "calls.jsonl", "--ledger", "new.sqlite")[1].startswith(f"{read:,} new calls of {read:,}")


def test_commands_that_read_leave_no_trace(run: Run, ledger: Path, tmp_path: Path) -> None:
    before = ledger.read_bytes()
    for arguments in (["show"], ["export", "calls.jsonl"], ["forget", "--stage", "kinds", "--dry-run"]):
        assert run(*arguments)[0] == 0
    assert ledger.read_bytes() == before
    assert {path.name for path in tmp_path.glob("bundlewise-calls*")} == {ledger.name}


def test_commands_that_write_close_the_ledger_whole(run: Run, ledger: Path, tmp_path: Path) -> None:
    run("forget", "--stage", "rules")
    run("import", "kept.jsonl")
    assert {path.name for path in tmp_path.glob("bundlewise-calls*")} == {ledger.name}


@pytest.mark.parametrize("prices", ["missing.toml", "damaged.toml"])
def test_prices_that_cannot_be_read_are_named(run: Run, ledger: Path, tmp_path: Path, prices: str) -> None:
    (tmp_path / "damaged.toml").write_text("[models]\nlab = 3\n")
    code, out, err = run("show", "--prices", prices)
    assert code in (1, 2) and out == ""
    assert prices in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--before", "--after"])
@pytest.mark.parametrize("moment", ["0001-01-01", "1969-12-01", "1900-01-01 12:00:00"])
def test_times_before_any_ledger_are_refused(ledger: Path, run: Run, option: str, moment: str) -> None:
    code, out, err = run("forget", option, moment)
    assert (code, out) == (2, "") and "is before every ledger; give a time since 1970" in err


def test_damaged_calls_are_told_and_an_export_says_how_many_it_leaves_out(ledger: Path, run: Run) -> None:
    base = sqlite3.connect(ledger)
    base.execute("UPDATE calls SET tokens_in = 9000000000000000000, text = x'ff' WHERE stage = 'rules'")
    base.commit()
    base.close()
    code, out, err = run("show")
    assert code == 0 and "rules" not in out and "2 damaged calls in bundlewise-calls.sqlite are not counted" in err
    assert json.loads(run("show", "--json")[1])["damaged"] == 2
    assert run("export", "out.jsonl")[1] == "1,500 calls in out.jsonl; 2 damaged ones are left out\n"
    assert run("import", "out.jsonl", "--ledger", "new.sqlite")[0] == 0
