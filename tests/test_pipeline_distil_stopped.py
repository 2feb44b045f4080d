"""A run that signals stop: the first waits for the answers on their way, the second does not, and nothing is lost."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Handler, TeacherServer
from test_pipeline_distil import KEY, STAGES, Lab, finish, interrupted, lab, stage_of, start

from bundlewise.data.sessions import write_sessions


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = TeacherServer()
    yield Lab(running, tmp_path)
    running.close()


QUICK = {("probe", signal.SIGINT), ("propose", signal.SIGTERM), ("formalise", signal.SIGINT)}


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        (stage, how) if (stage, how) in QUICK else pytest.param(stage, how, marks=pytest.mark.slow)
        for stage in ("probe", *STAGES)
        for how in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_the_first_signal_waits_for_the_answers_on_their_way_and_says_how_many(
    place: Lab, tmp_path: Path, stage: str, how: signal.Signals
) -> None:
    write_sessions(tmp_path / "data.jsonl", lab(6))
    place.server.delay = 0.3
    alone = stage in ("probe", "formalise")
    begun = time.monotonic()
    code, said = interrupted(place, stage, 1 if alone else 4, how)
    assert code == 130 and time.monotonic() - begun < 60
    found = re.fullmatch(r"stopping: waiting for (\d) answers? on the way; Ctrl-C again leaves at once.*\n", said)
    assert found and (found[1] == "1" if alone else found[1] in "1234"), said
    finish(place)
    assert set(place.server.answered.values()) == {1}, "what arrived was kept"


@pytest.mark.parametrize("stage", ["formalise", "think", pytest.param("probe", marks=pytest.mark.slow)])
def test_the_second_signal_leaves_at_once_and_loses_nothing_that_arrived(
    place: Lab, tmp_path: Path, stage: str
) -> None:
    write_sessions(tmp_path / "data.jsonl", lab(7))
    alone = stage in ("probe", "formalise")
    number, held = (1 if alone else 6), threading.Event()
    answered_before: list[set[str]] = []

    def hold(handler: Handler, body: dict[str, Any]) -> bool:
        is_held = strike(handler, body) or (stage_of(body) == stage and (alone or len(answered_before) > 0))
        if is_held and not held.is_set():
            answered_before.append(set(place.server.answered))
            held.wait(20)
        return False

    running: list[subprocess.Popen[str]] = []
    seen = [0]

    def strike(handler: Handler, body: dict[str, Any]) -> bool:
        seen[0] += stage_of(body) == stage
        if seen[0] != number:
            return False
        seen[0] += 1
        for wait in (0.0, 0.7):
            threading.Timer(wait, running[0].send_signal, [signal.SIGINT]).start()
        return True

    place.server.fault = hold
    running.append(start(place))
    begun = time.monotonic()
    said = running[0].communicate(timeout=60)[1]
    assert running[0].returncode == 130 and time.monotonic() - begun < 15
    first, second = said.splitlines()
    assert first.startswith("stopping: waiting for") and second.startswith("leaving at once, without"), said
    arrived = answered_before[0]
    place.server.fault = None
    held.set()
    time.sleep(0.3)
    paid = {key: place.server.answered[key] for key in arrived}
    finish(place)
    assert {key: place.server.answered[key] for key in arrived} == paid, "what had arrived is not asked for again"
