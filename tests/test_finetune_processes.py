"""Several processes train what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_finetune_training import tune

from bundlewise.files import read_rows
from bundlewise.finetune.training import TrainingResult


@pytest.fixture(scope="module")
def whole(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """Return the result and folder of a training by one process."""
    folder = tmp_path_factory.mktemp("whole")
    return tune(tiny_student, folder), folder


SHARED = """
import sys
from pathlib import Path
import test_finetune_training as this
from bundlewise.finetune.processes import Processes
processes = Processes.current()
assert processes.count == 2, processes
this.tune(Path(sys.argv[1]), Path(sys.argv[2]), processes=processes)
"""


def test_two_processes_train_what_one_does(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [*launch, str(script), str(tiny_student), str(tmp_path / "a")],
        env=environment,
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = read_rows(tmp_path / "a" / "loss.jsonl")
    assert [row["loss"] for row in rows] == pytest.approx(whole[0].losses, rel=1e-4)
