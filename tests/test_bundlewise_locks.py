"""Locks by files: one process holds it, the file goes with the holder, and no two ever hold it at once."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bundlewise.errors import BundlewiseError
from bundlewise.files import made_once, only_process
from bundlewise.locks import HeldError, held

TURNS = """
import os, sys
from pathlib import Path
from bundlewise.locks import HeldError, held
place, wait, count = Path(sys.argv[1]), sys.argv[2] == "wait", 0
while count < 300:
    try:
        with held(place / ".a.lock", wait=wait):
            # Whoever comes in meanwhile fails here, and each turn is counted or lost.
            number = os.open(place / "inside", os.O_CREAT | os.O_EXCL)
            (place / "turns").write_text(str(int((place / "turns").read_text()) + 1))
            os.close(number)
            os.unlink(place / "inside")
            count += 1
    except HeldError:
        pass
"""


@pytest.mark.parametrize("ways", [("wait",) * 4, ("try",) * 3, ("wait", "wait", "try")], ids=["wait", "try", "both"])
def test_many_processes_take_turns_however_often_the_file_is_removed(tmp_path: Path, ways: tuple[str, ...]) -> None:
    (tmp_path / "turns").write_text("0")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", TURNS, str(tmp_path)]
    children = [subprocess.Popen([*command, way], env=environment) for way in ways]
    assert [child.wait(timeout=120) for child in children] == [0] * len(ways)
    assert (tmp_path / "turns").read_text() == str(300 * len(ways))
    assert {path.name for path in tmp_path.iterdir()} == {"turns"}


def test_the_file_is_there_while_it_is_held_and_a_second_process_is_refused(tmp_path: Path) -> None:
    with held(tmp_path / ".a.lock", wait=False):
        assert (tmp_path / ".a.lock").exists()
        with pytest.raises(HeldError), held(tmp_path / ".a.lock", wait=False):
            raise AssertionError
        assert (tmp_path / ".a.lock").exists(), "who is refused removes nothing"
    assert list(tmp_path.iterdir()) == []


def test_who_waited_for_a_file_that_was_removed_holds_the_new_one(tmp_path: Path) -> None:
    done: list[str] = []

    def second() -> None:
        with held(tmp_path / ".a.lock", wait=True):
            done.append("second")
            with pytest.raises(HeldError), held(tmp_path / ".a.lock", wait=False):
                raise AssertionError

    waiting = threading.Thread(target=second)
    with held(tmp_path / ".a.lock", wait=False):
        waiting.start()
        time.sleep(0.3)
        assert done == []
    waiting.join(10)
    assert done == ["second"] and list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_process_is_no_hindrance_and_goes(tmp_path: Path) -> None:
    (tmp_path / ".a.lock").touch()
    with only_process(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_within_comes_through_as_it_is_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="from inside"), only_process(tmp_path / "a"):
        raise OSError("from inside")
    assert list(tmp_path.iterdir()) == []


def test_what_is_made_once_leaves_no_lock(tmp_path: Path) -> None:
    assert made_once(tmp_path / "a.json", lambda: {"a": 1}) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_place_without_room_for_a_lock_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / ".a.lock").mkdir()
    told = pytest.raises(BundlewiseError, match=r"cannot write .*a: Is a directory; choose another path")
    with told, only_process(tmp_path / "a"):
        raise AssertionError


def test_a_file_system_without_locks_is_held_by_a_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with held(tmp_path / ".a.lock", wait=False), pytest.raises(HeldError), held(tmp_path / ".a.lock", wait=False):
        raise AssertionError
    with held(tmp_path / ".a.lock", wait=False):
        pass
