"""`bundlewise ledger`: what was paid, and paid answers taken to another machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlewise.agents.calls import Call, CallLedger, Reply
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
    CallLedger(path).take_in(tmp_path / "kept.jsonl")
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
    names = "key stage subject template model text finish tokens_in tokens_out seconds"
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
        (["import", "foreign.jsonl"], 1, "foreign.jsonl:1: no exported call; give a file that `bundlewise ledger"),
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
    assert code == 2 and "is also what --ledger names; give another file" in err
    assert run("show")[0] == 0


@pytest.mark.parametrize("prices", ["missing.toml", "damaged.toml"])
def test_prices_that_cannot_be_read_are_named(run: Run, ledger: Path, tmp_path: Path, prices: str) -> None:
    (tmp_path / "damaged.toml").write_text("[models]\nlab = 3\n")
    code, out, err = run("show", "--prices", prices)
    assert code in (1, 2) and out == ""
    assert prices in err and len(err.splitlines()) == 1
