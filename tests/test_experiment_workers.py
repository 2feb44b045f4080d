"""The ray engine: cells and sessions spread over real worker processes give what this process gives, kills included."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import content, run_here, small, steady, write_file
from teacher_server import TeacherServer

from bundlewise.data.sessions import load, write_sessions
from bundlewise.errors import UsageError
from bundlewise.experiment import workers
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.results import Results
from bundlewise.experiment.workers import locally, on_ray, workers_named

ROOT = Path(__file__).resolve().parents[1]
KILLER = """
import os, signal, sys, threading, time
import psutil, ray

def kill_one(name, wait):
    while True:
        for child in psutil.Process().children(recursive=True):
            try:
                if name in " ".join(child.cmdline()) and time.time() - child.create_time() > wait:
                    child.send_signal(signal.SIGKILL)
                    print("killed", child.pid, file=sys.stderr)
                    return
            except psutil.Error:
                pass
        time.sleep(0.02)

ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, configure_logging=False)
threading.Thread(target=kill_one, args=(sys.argv[1], 1.0), daemon=True).start()
from bundlewise.cli import main
main(sys.argv[2:])
"""


def on_two_workers(folder: Path, victim: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a command with a local cluster of two workers; one whose process title holds `victim` is killed at work."""
    command = [sys.executable, "-c", KILLER, victim, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


def test_engines_have_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maker = Maker(small(tmp_path), tmp_path / "cache")
    assert workers_named("local", maker, _planned(maker.inputs.experiment)) is locally
    monkeypatch.setattr(workers, "require", lambda extra, use: None)
    assert workers_named("ray", maker, _planned(maker.inputs.experiment)) is on_ray


def test_large_teachers_are_paid_here_before_a_cluster_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setattr(workers, "require", lambda extra, use: None)
    server = TeacherServer()
    known: dict[str, Any] = {"teacher": server.spec, "student": str(tiny_student)}
    distilled = small(tmp_path, tiny_student, settings=known)
    asked = small(tmp_path, tiny_student, teachers=[{"name": "live", "endpoint": server.spec}])
    for experiment, name in ((distilled, "icl"), (asked, "live")):
        before = Maker(experiment, tmp_path / "cache")
        with pytest.raises(UsageError, match=f"{name} would ask a large teacher.*run it with --engine local first"):
            workers_named("ray", before, _planned(experiment))
        assert workers_named("local", before, _planned(experiment)) is locally
        run_here(monkeypatch, tmp_path, experiment, name)
        assert workers_named("ray", Maker(experiment, before.cache), _planned(experiment)) is on_ray
    server.close()


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'--engine ray needs the package ray.*pip install "bundlewise\[ray\]"'):
        workers_named("ray", Maker(small(tmp_path), tmp_path / "cache"), [])


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_cells_on_two_workers_with_one_killed_give_the_same_table(tmp_path: Path, tiny_student: Path) -> None:
    pytest.importorskip("ray")
    training = {**content(tmp_path, tiny_student)["settings"]["training"], "epochs": 4}
    settings: dict[str, Any] = {"teacher": "recorded", "student": str(tiny_student), "training": training}
    grid = [{"utilisation": ["sft", "icl", "icl+sft"], "formats": ["thoughts", "all"]}]
    file = write_file(tmp_path, tiny_student, grid=grid, settings=settings)

    spread = on_two_workers(
        tmp_path, "ray::_in_folder", "experiment", "run", file, "-o", "spread/run", "--engine", "ray"
    )
    assert spread.returncode == 0 and "killed" in spread.stderr, spread.stderr
    assert "[7/7]" in spread.stderr and "failed" not in spread.stderr
    local = [sys.executable, "-m", "bundlewise", "experiment", "run", str(file), "-o", "local/run"]
    subprocess.run(local, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=500)

    here, there = (Results.read(tmp_path / name / "run") for name in ("local", "spread"))
    assert steady(there) == steady(here)
    written = {path.name for path in (tmp_path / "spread").iterdir() if not path.name.startswith(".")}
    assert written == {"cache", "run"}
    known = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert known == {"small.yaml", "electronics.jsonl", "electronics-pack.jsonl", "spread", "local"}


@pytest.mark.slow
def test_sessions_on_two_workers_with_one_killed_give_the_same_file(tmp_path: Path, tiny_student: Path) -> None:
    pytest.importorskip("ray")
    sessions = [session for session in load("electronics") if len(session.items) <= 5][:150]
    write_sessions(tmp_path / "many.jsonl", [s.model_copy(update={"split": "test"}) for s in sessions])
    options = ["generate", "--data", "many.jsonl", "--student", str(tiny_student), "-o"]
    spread = on_two_workers(tmp_path, "ray::_Worker.answer", *options, "spread.jsonl", "--engine", "ray")
    assert spread.returncode == 0 and "killed" in spread.stderr, spread.stderr
    local = [sys.executable, "-m", "bundlewise", *options, "local.jsonl"]
    subprocess.run(local, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=500)

    assert (tmp_path / "spread.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    assert len((tmp_path / "local.jsonl").read_text().splitlines()) == len(sessions) > 64
    assert json.loads((tmp_path / "spread.cost.json").read_text())["sessions"] == len(sessions)


def test_a_live_experiment_tells_what_each_cell_came_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student)
    run_here(monkeypatch, tmp_path, experiment)
    said: list[str] = []
    maker = Maker(experiment, tmp_path / "cache")
    cells = [one for one, _ in locally(maker, _planned(experiment), said.append)]
    assert [one.label for one in cells] == ["plain student", "icl"]
    assert said == ["[1/2] plain student: from the cache", "[2/2] icl: from the cache"]


def _planned(experiment: Any) -> Any:
    from bundlewise.experiment.grid import cells_of

    return cells_of(experiment)
