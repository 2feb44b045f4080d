"""Temporary files and folders: never left behind, not by a kill either, and never taken from a process that lives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundlewise import scratch
from bundlewise.files import write_text
from bundlewise.scratch import follow_umask, scratch_folder

HOLD = """
import sys, time
from pathlib import Path
from bundlewise.files import atomic_writer
from bundlewise.scratch import scratch_folder
from bundlewise.signals import signals_stop
with signals_stop(), scratch_folder(Path(sys.argv[1]) / "model") as work, atomic_writer(Path(sys.argv[1]) / "a") as a:
    (work / "weights").write_bytes(b"x" * 1000)
    a.write(b"half")
    print("there", flush=True)
    time.sleep(60)
"""


def holding(folder: Path, program: str = HOLD) -> subprocess.Popen[str]:
    """Start a process that is writing into a folder."""
    child = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "there\n"
    child.stdout.close()
    return child


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


def forget() -> None:
    """Let this process look again, as a new one does."""
    scratch._SWEPT.clear()


def test_what_a_kill_left_goes_with_the_next_writing_and_what_lives_stays(tmp_path: Path) -> None:
    killed, living = holding(tmp_path), holding(tmp_path)
    try:
        killed.kill()
        killed.wait()
        assert len(hidden(tmp_path)) == 4
        forget()
        write_text(tmp_path / "b", "new")
        assert len(hidden(tmp_path)) == 2, "a folder and a file of the process that lives"
        assert living.poll() is None
    finally:
        living.kill()
        living.wait()
    forget()
    with scratch_folder(tmp_path / "c"):
        assert len(hidden(tmp_path)) == 1
    assert not hidden(tmp_path)


def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    child = holding(tmp_path)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=20)
    assert not list(tmp_path.iterdir())


HOLD_MANY = HOLD.replace(
    ".write_bytes", ".mkdir()\n    for n in range(9000):\n        (work / 'weights' / str(n)).write_bytes"
)


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.05])
def test_an_impatient_user_does_not_break_the_cleaning_off(tmp_path: Path, gap: float) -> None:
    child = holding(tmp_path, HOLD_MANY)
    for _ in range(6):
        child.send_signal(signal.SIGTERM)
        time.sleep(gap)
    child.wait(timeout=20)
    assert not list(tmp_path.iterdir())


def test_files_and_links_of_others_are_never_swept(tmp_path: Path) -> None:
    own = [tmp_path / ".notes", tmp_path / "x.bundlewise.tmp", tmp_path / ".a.tmp"]
    for path in own:
        path.write_text("mine")
    (tmp_path / "kept").mkdir()
    (tmp_path / ".link.bundlewise.tmp").symlink_to(tmp_path / "kept")
    write_text(tmp_path / "b", "new")
    assert all(path.exists() for path in [*own, tmp_path / "kept"])


def test_long_names_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("Ü" * 120), "x")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "x")
        private = tmp_path / "folder" / "weights"
        private.parent.mkdir(0o700)
        private.touch(0o600)
        follow_umask(private.parent)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert private.stat().st_mode & 0o777 == 0o666 & ~mask
    assert private.parent.stat().st_mode & 0o777 == 0o777 & ~mask


def test_it_is_not_slow_to_look(tmp_path: Path) -> None:
    started = time.process_time()
    for number in range(200):
        write_text(tmp_path / str(number), "x")
    assert time.process_time() - started < 5
