"""Several processes train what one does, and stop together wherever one of them is stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_finetune_deadline import tune

HERE = Path(__file__).resolve().parent


def launched(script: str, tmp_path: Path, *arguments: str) -> None:
    """Run a script in two processes."""
    path = tmp_path / "script.py"
    path.write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    done = subprocess.run(
        [*launch, str(path), *arguments], env=environment, timeout=240, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


STOPPED = """
import json, os, signal, sys, time
from pathlib import Path
import test_finetune_deadline as this
from bundlewise.finetune.checkpoint import CHECKPOINT
from bundlewise.finetune.deadline import Deadline
from bundlewise.finetune.processes import Processes

student, folder = Path(sys.argv[1]), Path(sys.argv[2])
processes = Processes.current()
assert processes.count == 2, processes
told = {}

class Pressed(this.Late):
    "A deadline that presses Ctrl-C instead, twice, as a terminal and a launcher do."

    def check(self):
        if self.left < 0:
            self.looks = 10**9
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

def tuned(name, **options):
    "Tune until stopped; tell why it ended, and after how many steps and looks at the time."
    deadline = options.setdefault("deadline", this.late_after(10**9))
    before, done = getattr(deadline, "looks", 0), []
    watch = options.pop("watch", None)
    def note(*step):
        done.append(step[2])
        if watch:
            watch(*step)
    try:
        result = this.tune(student, folder / name, processes=processes, watch=note, **options)
        ended, done = result.stopped or "done", list(result.losses)
    except KeyboardInterrupt:
        ended = "interrupted"
    looks = before - getattr(deadline, "looks", 0)
    told[name] = {"ended": ended, "losses": done, "looks": looks, "saved": (folder / name / CHECKPOINT).is_file()}
    return told[name]

def at(rank, kind, looks):
    deadline = kind(5)
    deadline.looks = looks if processes.rank == rank else 10**9
    return deadline

def pressed_between(number, *_):
    if number == 2 and processes.rank == 1:
        os.kill(os.getpid(), signal.SIGINT)

half = int(0.6 * tuned("whole")["looks"])
for rank in (0, 1):
    tuned(f"late {rank}", deadline=at(rank, this.Late, half))
    tuned(f"pressed {rank}", deadline=at(rank, Pressed, half))
tuned("pressed between", watch=pressed_between)
validation = Deadline(1)
late = lambda number, *_: setattr(validation, "started", time.perf_counter() - 58) if number == 1 else None
tuned("validation", deadline=validation, watch=late, validate=lambda: time.sleep(60) or 0.5)
for name in list(told):
    if name != "whole":
        told[f"{name}, then on"] = {"first": told[name]} | tuned(name)
(folder / f"{processes.rank}.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes tells of trainings that were stopped, and gone on with."""
    folder = tmp_path_factory.mktemp("stopped")
    launched(STOPPED, folder, str(tiny_student), str(folder))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_train_what_one_does(told: list[dict[str, Any]], tiny_student: Path, tmp_path: Path) -> None:
    alone = tune(tiny_student, tmp_path)
    for each in told:
        assert each["whole"]["losses"] == pytest.approx(alone.losses, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "ended", "steps"),
    [
        ("late 0", "5 minutes are over", 2),
        ("late 1", "5 minutes are over", 2),
        ("pressed 0", "interrupted", 2),
        ("pressed 1", "interrupted", 2),
        ("pressed between", "interrupted", 2),
        ("validation", "1 minutes are over", 2),
    ],
)
def test_all_stop_where_one_is_stopped_and_go_on_to_the_same_losses(
    told: list[dict[str, Any]], name: str, ended: str, steps: int
) -> None:
    for each in told:
        on, whole = each[f"{name}, then on"], each["whole"]
        first = on["first"]
        assert (first["ended"], len(first["losses"]), first["saved"]) == (ended, steps, True)
        assert first["losses"] == whole["losses"][:steps]
        assert (on["ended"], on["losses"]) == ("done", whole["losses"])


@pytest.mark.parametrize("rank", [0, 1])
def test_the_process_that_is_stopped_stops_within_its_step(told: list[dict[str, Any]], rank: int) -> None:
    each = told[rank]
    whole = each["whole"]
    within = each[f"late {rank}, then on"]["first"]["looks"] % (whole["looks"] // len(whole["losses"]))
    assert within > 1
