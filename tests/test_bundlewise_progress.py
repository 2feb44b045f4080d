"""Progress without a terminal: a plain line now and then for work that takes long, nothing for what is short."""

import time
from pathlib import Path

import pytest

from bundlewise import progress as module
from bundlewise.progress import duration, progress


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)


def test_long_work_is_told_of_with_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("finetune", 1_200) as advance:
        advance(300, "loss 0.610")
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert lines[0].startswith("finetune: 300 of 1,200, loss 0.610, about ") and lines[0].endswith(" s left")


def test_it_is_told_that_the_first_step_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("prepare", 3):
        time.sleep(0.2)
    assert capsys.readouterr().err.splitlines()[0] == "prepare: 0 of 3"


def test_of_works_within_each_other_the_innermost_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("outer", 2), progress("inner", 2):
        time.sleep(0.2)
    assert {line.partition(":")[0] for line in capsys.readouterr().err.splitlines()} == {"inner"}


def test_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "EVERY", 10.0)
    started = time.monotonic()
    with progress("generate", 5) as advance:
        advance(5)
    with progress("nothing", 0) as advance:
        advance()
    assert capsys.readouterr().err == "" and time.monotonic() - started < 5


def test_work_that_fails_is_told_of_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress("work", 2):
        raise ZeroDivisionError
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == "" and not module._RUNNING


def test_a_note_from_outside_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("a\x1b[2J", 2) as advance:
        advance(1, "b\nforged: 1 of 1")
        time.sleep(0.2)
    err = capsys.readouterr().err
    assert "\x1b" not in err and "\nforged" not in err


@pytest.mark.parametrize(("seconds", "told"), [(4, "4 s"), (89, "89 s"), (100, "2 min"), (9000, "2.5 h")])
def test_a_time_is_told_in_the_unit_that_suits_it(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_without_a_terminal_tuning_tells_of_itself(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bundlewise.data.sessions import load
    from bundlewise.finetune.config import TrainingConfig
    from bundlewise.finetune.tuning import Tuning

    monkeypatch.setattr(module, "EVERY", 0.01)
    sessions = [s for s in load("electronics") if s.split != "test" and len(s.items) == 3][:6]
    Tuning(sessions, tmp_path / "a", TrainingConfig(layers=1, rank=2, epochs=3), str(tiny_student)).run()
    said = {line.partition(":")[0] for line in capsys.readouterr().err.splitlines()}
    assert {"prepare examples", "finetune"} <= said
