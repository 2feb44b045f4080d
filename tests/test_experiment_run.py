"""Running an experiment: each cell once and kept, resumed after a kill, failures recorded, changed data refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import content, run_here, small, steady, write_file
from kb_samples import use_words

from bundlewise.data.sessions import read_sessions, write_sessions
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.experiment import workers
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.file import Experiment, read
from bundlewise.experiment.maker import Made, Maker
from bundlewise.experiment.references import BASELINES, EVIDENCE
from bundlewise.experiment.results import Results
from bundlewise.experiment.run import NO_CHOOSER, NO_WEIGHT, Run, chosen, note_of
from bundlewise.experiment.workers import locally
from bundlewise.files import only_process

ROOT = Path(__file__).resolve().parents[1]


def run(folder: Path, experiment: Experiment, name: str = "run", only: str | None = None) -> Run:
    return Run(experiment, folder / name, folder / "cache", lambda text: None, only)


def test_cells_stand_beside_baselines_with_all_that_they_took(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    grid = [{"utilisation": ["icl", "sft"], "formats": ["thoughts"]}]
    experiment = small(tmp_path, tiny_student, grid=grid, seeds=[0, 1], machine={"dollars_per_hour": 3.6})
    results = run_here(monkeypatch, tmp_path, experiment)
    cells = ["plain student", "thoughts, icl", "thoughts, sft"]
    assert [row.name for row in results.rows] == [*cells, *BASELINES, EVIDENCE]

    plain, icl, sft = results.rows[:3]
    assert [row.repeats for row in (plain, icl, sft)] == [1, 1, 2]  # a seed changes nothing where nothing is random
    for row in (plain, icl, sft):
        assert row.sessions == 4 and len(row.by_session) == 4
        assert row.cost.tokens_in and row.cost.tokens_out and row.cost.seconds and row.cost.memory_gb
        assert row.cost.dollars == pytest.approx(row.cost.seconds, rel=0.01)  # 3.6 dollars an hour, 1,000 sessions
        assert row.intent is not None and row.validation_gjs is not None
    assert plain.cost.trainable_parameters == 0 < (sft.cost.trainable_parameters or 0)
    assert NO_CHOOSER in icl.note and NO_CHOOSER not in plain.note + sft.note  # the latter two read no knowledge
    assert sft.cost.tuning_seconds and icl.cost.distil_seconds and not plain.cost.distil_seconds
    assert (icl.knowledge["rule"], icl.knowledge["thought"]) == (4, 6)
    assert (plain.teaching_sessions, icl.teaching_sessions, sft.teaching_sessions) == (0, 6, 6)
    assert set(results.hashes) == {"data electronics", "pack electronics"}
    assert results.model_dump_json() == Results.read(tmp_path / "run").model_dump_json()
    assert read(tmp_path / "run" / "experiment.yaml") == experiment


def test_other_columns_of_the_data_make_another_experiment(
    tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Maker(small(tmp_path, tiny_student), tmp_path).inputs.hashes
    monkeypatch.setenv("BUNDLEWISE_COLUMNS", "title=Article")
    given = Maker(small(tmp_path, tiny_student), tmp_path).inputs.hashes
    monkeypatch.setenv("BUNDLEWISE_COLUMNS", "title=Name")
    other = Maker(small(tmp_path, tiny_student), tmp_path).inputs.hashes
    assert given.keys() - without.keys() == {"columns"} and given["columns"] != other["columns"]


def test_a_limit_scores_the_same_sessions_every_time(tmp_path: Path, tiny_student: Path) -> None:
    limited = small(tmp_path, tiny_student, limit=2)
    scored = [Maker(limited, tmp_path).inputs.scored for _ in range(2)]
    everything = Maker(small(tmp_path, tiny_student, limit=99), tmp_path).inputs.scored
    assert scored[0] == scored[1] and len(scored[0]) == 2 and len(everything) == 4
    assert [s for s in everything if s in scored[0]] == scored[0]


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    grid = [{"student": [str(tiny_student), str(tmp_path / "absent")]}]
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, grid=grid))
    failed = [failure.name for failure in results.failures]
    assert len(failed) == 2 and all("absent" in name for name in failed)
    assert all(str(tmp_path / "absent") in failure.reason for failure in results.failures)
    assert [row.name for row in results.rows[2:]] == [*BASELINES, EVIDENCE]


def test_the_correction_is_over_all_planned_cells_whichever_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    use_words(monkeypatch)
    monkeypatch.setattr("bundlewise.experiment.rows.paired_p", lambda *_: 0.01)
    grid = [{"formats": ["patterns", "thoughts"], "k": [1, 2]}]
    results = run(tmp_path, small(tmp_path, tiny_student, grid=grid), only="thoughts, k 1").run(locally)
    (holm,) = [row.difference.holm for row in results.rows if row.role == "cell" and row.difference]
    assert holm == 0.04


@pytest.mark.parametrize(
    ("weight", "choosers", "note"),
    [
        (0.4, [True, True], ""),
        (0.4, [True, False], NO_CHOOSER),
        (0.0, [True, True], NO_WEIGHT),
        (0.0, [False, False], f"{NO_WEIGHT}; {NO_CHOOSER}"),
    ],
)
def test_a_row_says_how_it_is_read_otherwise_than_others(weight: float, choosers: list[bool], note: str) -> None:
    known: dict[str, Any] = {"predictions": "p", "sessions": 1, "tokens_in": 1, "tokens_out": 1, "seconds": 1.0}
    made = [Made(**known, student_weight=weight, chooser=chooser) for chooser in choosers]
    assert note_of([Cell(), Cell(seed=1)], made) == note


def test_even_a_fault_of_ours_in_a_cell_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    real = Maker._student

    def faulty(self: Maker, cell: Any, *others: Any) -> Any:
        if cell.reads:
            raise ZeroDivisionError("oops")
        return real(self, cell, *others)

    monkeypatch.setattr(Maker, "_student", faulty)
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student))
    assert [failure.name for failure in results.failures] == ["icl"]
    assert "unexpected ZeroDivisionError: oops" in results.failures[0].reason


def test_without_its_plain_student_a_table_has_no_differences(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    monkeypatch.setattr(workers, "attempt", lambda maker, planned: "no memory")
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student))
    assert [failure.reason for failure in results.failures] == ["no memory", "no memory"]
    assert [row.name for row in results.rows] == list(BASELINES)
    assert all(row.difference is None for row in results.rows)


def test_two_runs_in_one_folder_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student)
    with only_process(tmp_path / "run"), pytest.raises(BundlewiseError, match=r"another process is writing .*run"):
        run_here(monkeypatch, tmp_path, experiment)


@pytest.mark.parametrize(
    ("file", "name"), [("electronics.jsonl", "data electronics"), ("electronics-pack.jsonl", "pack electronics")]
)
def test_a_file_that_changed_since_the_run_began_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, file: str, name: str
) -> None:
    experiment = small(tmp_path, tiny_student)
    run_here(monkeypatch, tmp_path, experiment)
    text = (tmp_path / file).read_text("utf-8")
    (tmp_path / file).write_text(
        text.replace('"kind": "rule"', '"kind":  "rule"') + " \n" * ("pack" not in file), "utf-8"
    )
    with pytest.raises(DataError, match=rf"{name} has changed since the run in .*run began .*another folder with -o"):
        run_here(monkeypatch, tmp_path, experiment)
    assert run_here(monkeypatch, tmp_path, experiment, "another").failures == ()


def test_data_that_leak_stop_the_run_before_any_cell_and_may_be_mended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student)
    clean = read_sessions(tmp_path / "electronics.jsonl")
    twin = clean[0].model_copy(update={"session_id": "twin", "split": "test"})
    write_sessions(tmp_path / "electronics.jsonl", [*clean, twin])
    with pytest.raises(DataError, match=r"equal products in two splits \(1\): .* and twin \(test\)"):
        run_here(monkeypatch, tmp_path, experiment)
    assert not (tmp_path / "cache").exists()
    write_sessions(tmp_path / "electronics.jsonl", clean)
    assert run_here(monkeypatch, tmp_path, experiment).failures == ()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_data_without_what_the_cells_need_are_refused_before_any_cell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, split: str
) -> None:
    experiment = small(tmp_path, tiny_student, split="test")
    kept = [session for session in read_sessions(tmp_path / "electronics.jsonl") if session.split != split]
    write_sessions(tmp_path / "electronics.jsonl", kept)
    with pytest.raises(UsageError, match=f"no annotated sessions in split '{split}'"):
        run_here(monkeypatch, tmp_path, experiment)


def test_only_takes_the_cells_of_a_name_and_the_plain_student(tmp_path: Path, tiny_student: Path) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"formats": ["rules", "all"], "utilisation": ["icl", "sft"]}])
    assert [one.label for one in run(tmp_path, experiment, only="rules").planned] == [
        "plain student",
        "rules, icl",
        "rules, sft",
    ]
    planned = run(tmp_path, experiment).planned
    assert [one.label for one in chosen(planned, "plain")] == ["plain student"]
    with pytest.raises(UsageError, match="no cell has 'ideas' in its name; there are: plain student; rules, icl;"):
        chosen(planned, "ideas")


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_killed_in_the_middle_the_same_command_goes_on_to_the_same_results(tmp_path: Path, tiny_student: Path) -> None:
    grid = [{"utilisation": ["sft", "icl+sft"], "formats": ["thoughts"]}]
    training = {**content(tmp_path, tiny_student)["settings"]["training"], "epochs": 6}
    settings = {"teacher": "recorded", "student": str(tiny_student), "training": training}
    file = write_file(tmp_path, tiny_student, grid=grid, settings=settings)

    def started(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "bundlewise", "experiment", "run", str(file), "-o", str(tmp_path / name / "r")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    killed = started("killed")
    assert killed.stderr is not None
    said = ""
    while "[2/3]" not in said and not list((tmp_path / "killed" / "cache" / "adapters").glob("*")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert len(list((tmp_path / "killed" / "cache" / "cells").glob("*.json"))) == 1

    _, resumed = started("killed").communicate(timeout=300)
    assert "[1/3] plain student: from the cache" in resumed
    _, whole = started("whole").communicate(timeout=300)
    assert "[1/3] plain student: 4 sessions" in whole
    once, twice = (Results.read(tmp_path / name / "r") for name in ("whole", "killed"))
    assert steady(twice) == steady(once)
