"""SIGTERM and SIGHUP stop the work as Ctrl-C does, and the exit code tells them apart."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundlewise.data.sessions import load, write_sessions
from bundlewise.signals import NotedSignals, signals_stop, signals_wait


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_interrupts_and_has_its_code(number: signal.Signals, code: int) -> None:
    with signals_stop() as stopped:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)
        assert stopped.code == code
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_does_what_ctrl_c_does_at_the_moment() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with signals_stop():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGTERM]


def test_it_stops_what_a_shell_runs_in_the_background_too() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_stop(), pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_stop() as stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
        assert stopped.number == signal.SIGINT
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_wait_for_the_end_of_a_short_block() -> None:
    done: list[str] = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signals_stop() as stopped:
        inside = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), signals_wait(), signals_wait():
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
                time.sleep(0.05)
            done.append("all")
        assert (done, stopped.code) == (["all"], 130)
        assert signal.getsignal(signal.SIGTERM) is inside
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_in_a_short_block_leaves_the_handlers_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError), signals_wait():
        raise ValueError
    assert signal.getsignal(signal.SIGINT) is before


def test_a_command_keeps_what_is_done_and_leaves_nothing_else(tiny_student: Path, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", [s for s in load("electronics") if len(s.items) <= 6])
    output, partial = tmp_path / "p.jsonl", tmp_path / ".p.jsonl.partial"
    arguments = ["--data", tmp_path / "data.jsonl", "--split", "train", "--student", tiny_student, "-o", output]
    slowly = ("--form", "write", "--samples", "1")
    command = [sys.executable, "-m", "bundlewise", "generate", *slowly, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not (partial.exists() and len(partial.read_bytes().splitlines()) > 1) and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (143, ""), err
    assert err.splitlines()[-1] == "bundlewise: stopped; the same command goes on where it stopped"
    assert partial.exists() and not output.exists()


def test_noted_signals_break_off_only_what_allows_it_and_only_once() -> None:
    noted, done = NotedSignals(), list[str]()
    with pytest.raises(KeyboardInterrupt), noted.noted():
        with pytest.raises(KeyboardInterrupt), noted.breaking():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append("kept")
    assert done == ["kept"] and noted.heard == [signal.SIGINT] * 2


def test_a_noted_signal_breaks_off_the_next_block_that_allows_it() -> None:
    noted, done = NotedSignals(), list[str]()
    with pytest.raises(KeyboardInterrupt), noted.noted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        with noted.breaking():
            done.append("begun")
    assert done == []
