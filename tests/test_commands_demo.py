"""The command demo: the experiment `demo` on a starter domain, read back the second time."""

import json
import shlex
from pathlib import Path

import pytest
from experiment_samples import TRAINING, write_data
from kb_samples import use_words

from bundlewise.cli import main
from bundlewise.data import sessions
from bundlewise.experiment.file import find, read
from bundlewise.experiment.grid import cells_of
from bundlewise.experiment.references import BASELINES
from bundlewise.experiment.results import Results

CELLS = ["plain student", "icl, teacher grounded", "icl+sft, teacher grounded", "sft", "icl+sft, teacher recorded"]
EVIDENCE = ["evidence alone, teacher grounded", "evidence alone, teacher recorded"]


def test_the_experiment_demo_asks_for_each_use_of_knowledge_on_test() -> None:
    experiment = read(find("demo"))
    assert [planned.label for planned in cells_of(experiment)] == CELLS
    assert experiment.split == "test"


def test_the_demo_makes_every_row_a_report_and_a_command_and_reads_them_back_the_second_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_words(monkeypatch)
    write_data(tmp_path, "grocery")
    monkeypatch.setattr(sessions, "starter_path", lambda domain: tmp_path / f"{domain}.jsonl")
    monkeypatch.setattr(sessions, "starter_pack_path", lambda domain: tmp_path / f"{domain}-pack.jsonl")
    monkeypatch.chdir(tmp_path)
    dials = [f"student={tiny_student}", "tuned=6", f"training={json.dumps(TRAINING)}"]
    arguments = ["demo", "--domain", "grocery", *(part for dial in dials for part in ("--set", dial))]

    def run() -> tuple[str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert not left.value.code
        return capsys.readouterr()

    out, err = run()
    folder = tmp_path / "experiments" / "demo-grocery"
    rows = Results.read(folder).rows
    assert [row.name for row in rows] == [*CELLS, *BASELINES, *EVIDENCE]
    assert all(row.name in out for row in rows) and (folder / "report.html").is_file()
    (told,) = [line for line in err.splitlines() if line.startswith("try next: ")]
    options = shlex.split(told.partition(" generate ")[2])
    assert all(Path(options[options.index(name) + 1]).is_dir() for name in ("--adapter", "--kb"))
    again, err = run()
    assert again == out and "[5/5] icl+sft, teacher recorded: from the cache" in err
