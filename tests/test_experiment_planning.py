"""The plan: which cells there are, which are cached, how long the rest will take and what that rests on."""

from pathlib import Path

import pytest
from experiment_samples import run_here, small
from kb_samples import use_words

from bundlewise.experiment.grid import cells_of
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.run import ANSWERING, LOADING, TUNING, plan


def test_before_anything_was_made_the_estimate_is_a_guess(tmp_path: Path, tiny_student: Path) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"utilisation": ["sft", "icl"]}], seeds=[0, 1])
    rows, rests_on = plan(Maker(experiment, tmp_path / "cache"), cells_of(experiment))
    assert rests_on.startswith("a guess")
    assert [row["cell"] for row in rows] == ["plain student", "sft", "sft, seed 1", "icl"]
    assert [(row["teaching"], row["tuned"]) for row in rows] == [(0, 0), (6, 6), (6, 6), (6, 0)]
    read = LOADING + 8 * ANSWERING
    assert [row["minutes"] for row in rows] == [
        round(s / 60, 1) for s in (read, read + 6 * TUNING, read + 6 * TUNING, read)
    ]
    assert not any(row["cached"] or row["problem"] for row in rows)
    assert not (tmp_path / "cache").exists()


def test_afterwards_cells_are_cached_and_the_estimate_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student)
    run_here(monkeypatch, tmp_path, experiment)
    more = small(tmp_path, tiny_student, grid=[{"utilisation": "icl", "formats": ["all", "rules"]}])
    rows, rests_on = plan(Maker(more, tmp_path / "cache"), cells_of(more))
    assert rests_on == "2 cells made before"
    assert [(row["cached"], row["minutes"] > 0) for row in rows] == [(True, False), (True, False), (False, True)]


def test_a_cell_that_will_fail_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_words(monkeypatch)
    experiment = small(tmp_path, tmp_path / "absent")
    rows, _ = plan(Maker(experiment, tmp_path / "cache"), cells_of(experiment))
    assert all(str(tmp_path / "absent") in row["problem"] and row["minutes"] == 0 for row in rows)
