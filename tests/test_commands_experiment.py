"""`bundlewise experiment`: validate, plan, run, report, compare and export from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from experiment_samples import write_file
from kb_samples import use_words

from bundlewise.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["experiment", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


def test_the_shipped_experiments_are_listed_with_their_questions(call: Call) -> None:
    code, out, _ = call("list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [
        "demo",
        "format",
        "quantity",
        "utilisation",
        "retention",
    ]
    assert all(line.endswith("?") for line in out.splitlines())


def test_a_shipped_experiment_is_valid_on_the_starter_data(call: Call, tmp_path: Path) -> None:
    code, out, err = call("validate", "format", "--limit", 20)
    assert code == 0 and out.splitlines()[0] == "plain student" and "all, icl+sft" in out
    assert "23 cells, 20 sessions to score, no leak found" in err
    assert list(tmp_path.iterdir()) == []


def test_a_dial_set_for_all_cells_stands_in_place_of_what_grids_name(
    call: Call, tmp_path: Path, tiny_student: Path
) -> None:
    file = write_file(tmp_path, tiny_student, grid=[{"k": [1, 2], "utilisation": ["icl"]}, {"formats": ["rules"]}])
    code, out, err = call("validate", file, "--set", "k=3", "--set", "formats=[rules, thoughts]")
    assert code == 0, err
    assert out.splitlines() == ["plain student", "rules+thoughts, icl, k 3"]


def test_a_run_is_planned_made_reported_compared_and_exported(call: Call, tmp_path: Path, tiny_student: Path) -> None:
    file = write_file(tmp_path, tiny_student)
    code, out, _ = call("run", file, "--dry-run")
    assert code == 0 and "0.4 min  icl" in out and "2 cells, 0 cached, about 1 minutes for the rest (a guess" in out
    assert not (tmp_path / "experiments").exists()

    code, out, err = call("run", file)
    assert code == 0, err
    assert "[2/2] icl: 4 sessions" in err and "report: experiments/small/report.html" in err
    assert out.splitlines()[1].startswith("plain student ") and "whole session" in out and "Highest: icl" in out
    folder = tmp_path / "experiments" / "small"
    assert {path.name for path in folder.iterdir()} == {
        "begun.json",
        "experiment.yaml",
        "report.html",
        "report.md",
        "results.json",
    }
    plan = json.loads(call("run", file, "--dry-run", "--json")[1])
    assert plan["minutes"] == 0 and [row["cached"] for row in plan["cells"]] == [True, True]

    (folder / "report.md").unlink()
    assert call("report", folder)[:2] == (
        0,
        "experiments/small/report.html\nexperiments/small/report.md\n".replace("experiments/small", str(folder)),
    )
    assert (folder / "report.md").is_file()
    code, out, _ = call("compare", folder, folder)
    assert code == 0 and "| icl | " in out and "+.000 [+.000, +.000] | 1.000 |" in out
    code, out, _ = call("export", folder, "-o", "table.csv")
    assert (code, out) == (0, "table.csv\n") and "icl,cell,validation" in (tmp_path / "table.csv").read_text()


def test_the_command_in_the_report_gives_the_same_again(call: Call, tmp_path: Path, tiny_student: Path) -> None:
    file = write_file(tmp_path, tiny_student)
    first = json.loads(call("run", file, "--limit", 3, "--seeds", "1,2", "--set", "k=1", "--json")[1])
    assert first["experiment"]["seeds"] == [1, 2] and first["experiment"]["settings"]["k"] == 1
    assert first["command"] == "bundlewise experiment run experiments/small/experiment.yaml -o experiments/small"
    again = json.loads(call(*first["command"].split()[2:], "--json")[1])
    assert again == first and again["rows"][0]["sessions"] == 3


def test_other_data_and_packs_take_the_place_of_those_in_the_file(
    call: Call, tmp_path: Path, tiny_student: Path
) -> None:
    write_file(tmp_path, tiny_student)
    options = ["--data", "shop=electronics.jsonl", "--pack", "shop=electronics-pack.jsonl"]
    code, _, err = call("validate", "utilisation", *options)
    assert code == 0 and "12 cells, 4 sessions to score" in err
    code, _, err = call("validate", "utilisation", "--data", "shop=electronics.jsonl")
    assert code == 2 and "no pack of domain 'shop' for teacher recorded; add it to packs" in err


def test_a_cell_that_fails_gives_exit_code_1_and_the_rest_a_report(
    call: Call, tmp_path: Path, tiny_student: Path
) -> None:
    file = write_file(tmp_path, tiny_student, grid=[{"student": [str(tiny_student), "./absent"]}])
    code, out, err = call("run", file)
    assert code == 1 and "2 failed, the rest is in the report. plain student, student ./absent: " in err
    assert f"icl, student {tiny_student}" in out or "student" in out
    assert "Failed" in (tmp_path / "experiments" / "small" / "report.html").read_text()
    code, out, _ = call("run", file, "--dry-run")
    assert code == 0 and out.count("fails  ") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.yaml"], "no experiment 'absent.yaml'; give a YAML file, or one of demo, format"),
        (["run", "small.yaml", "--set", "colour=red"], "unknown setting 'colour'; choose from utilisation"),
        (["run", "small.yaml", "--set", "k"], "--set needs NAME=VALUE, got 'k'"),
        (["run", "small.yaml", "--set", "k=[1, 2"], "--set k: '[1, 2', line 1: expected ',' or ']'"),
        (["run", "small.yaml", "--seeds", "one"], "--seeds needs whole numbers with commas between, got 'one'"),
        (["run", "small.yaml", "--limit", "1"], "Invalid value for '--limit'"),
        (["run", "small.yaml", "--only", "ideas"], "no cell has 'ideas' in its name; there are: plain student; "),
        (["run", "small.yaml", "--split", "train"], "Invalid value for '--split'"),
        (["run", "small.yaml", "--data", "shop=absent.jsonl", "--set", "teacher=grounded"], "'absent.jsonl'"),
        (["run", "small.yaml", "--teacher", "large=absent.jsonl"], "no file absent.jsonl (teacher large)"),
        (["report", "nowhere"], "no results in nowhere; run the experiment"),
        (["compare", "nowhere", "nowhere"], "no results in nowhere"),
        (["export", "nowhere", "-o", "x.csv"], "no results in nowhere"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    call: Call, tmp_path: Path, tiny_student: Path, arguments: list[str], message: str
) -> None:
    write_file(tmp_path, tiny_student)
    code, _, err = call(*arguments)
    assert code == 2 and message in " ".join(err.split())
    assert not (tmp_path / "experiments" / "small" / "results.json").exists()


def test_results_that_are_damaged_are_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text("{")
    code, _, err = call("report", "run")
    assert code == 1 and "run/results.json is damaged, or of another version; run the experiment again" in err
