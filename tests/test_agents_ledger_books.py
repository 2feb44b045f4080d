"""The books of a ledger: what was paid stays in the sums; answers are forgotten by stage, verdict and time."""

import os
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.ledger.books import Which, export_what_is_readable
from bundlewise.agents.ledger.calls import Call, CallLedger, Reply
from bundlewise.errors import UsageError


def call_of(stage: str, number: int) -> Call:
    return Call(stage, f"session {number}", "t", "lab", {"n": [stage, number]})


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CallLedger:
    """Return a ledger of twelve calls of two stages, kept at the times 100 to 111; every third one is faulty."""
    ledger = CallLedger(tmp_path / "calls.sqlite")
    for number in range(12):
        monkeypatch.setattr("bundlewise.agents.ledger.calls.time.time", lambda now=100.0 + number: now)
        verdict: Any = "good" if number % 3 else "faulty"
        ledger.keep(call_of("kinds" if number < 8 else "rules", number), Reply("x", "stop", 10, 2, 0.5, verdict))
    return ledger


def kept(ledger: CallLedger) -> list[int]:
    return [n for n in range(12) if ledger.find(call_of("kinds" if n < 8 else "rules", n).key)]


@pytest.mark.parametrize(
    ("which", "gone"),
    [
        ({"stages": ["rules"]}, [8, 9, 10, 11]),
        ({"stages": ["rules", "kinds"], "verdicts": ["faulty"]}, [0, 3, 6, 9]),
        ({"verdicts": ["faulty", "good"], "after": 110.0}, [10, 11]),
        ({"before": 102.0}, [0, 1]),
        ({"before": 104.0, "after": 102.0}, [2, 3]),
        ({"verdicts": ["empty"]}, []),
        ({"stages": ["kinds' OR 1 --"]}, []),
        ({}, list(range(12))),
    ],
)
def test_what_is_named_is_forgotten_and_nothing_else(ledger: CallLedger, which: Any, gone: list[int]) -> None:
    assert sum(row["calls"] for row in ledger.verdicts(Which(**which))) == len(gone)
    assert ledger.forget(**which) == len(gone)
    assert kept(ledger) == [number for number in range(12) if number not in gone]
    assert ledger.forget(**which) == 0


def test_what_was_paid_for_what_is_forgotten_stays_in_the_sums(ledger: CallLedger) -> None:
    ledger.forget(verdicts=["faulty"])
    assert ledger.forgotten() == [{"model": "lab", "calls": 4, "tokens_in": 40, "tokens_out": 8, "seconds": 2.0}]
    assert sum(row["tokens_in"] for row in [*ledger.totals(), *ledger.forgotten()]) == 120


def test_what_was_forgotten_is_sent_for_again_and_both_are_in_the_sums(ledger: CallLedger) -> None:
    ledger.forget(stages=["rules"])
    again = ledger.answer(call_of("rules", 9), lambda: Reply("y", "stop", 11, 3, 0.5))
    assert ledger.find(call_of("rules", 9).key) == again
    assert sum(row["tokens_in"] for row in [*ledger.totals(), *ledger.forgotten()]) == 131


def test_what_is_forgotten_and_taken_in_again_was_paid_once(ledger: CallLedger, tmp_path: Path) -> None:
    ledger.export(tmp_path / "calls.jsonl")
    ledger.forget(stages=["kinds"])
    assert ledger.take_in(tmp_path / "calls.jsonl") == (8, 12)
    assert ledger.forgotten() == [] and kept(ledger) == list(range(12))


def test_a_good_answer_takes_the_place_of_one_that_could_not_be_used(ledger: CallLedger, tmp_path: Path) -> None:
    other = CallLedger(tmp_path / "other.sqlite")
    other.keep(call_of("kinds", 0), Reply("better", "stop", 20, 4, 1.0))
    other.keep(call_of("kinds", 1), Reply("another", "stop", 20, 4, 1.0))
    other.keep(call_of("kinds", 2), Reply("worse", "stop", 20, 4, 1.0, "empty"))
    other.export(tmp_path / "other.jsonl")
    assert ledger.take_in(tmp_path / "other.jsonl") == (1, 3)
    texts = [found.text for n in range(3) if (found := ledger.find(call_of("kinds", n).key))]
    assert texts == ["better", "x", "x"]
    assert [row["calls"] for row in ledger.forgotten()] == [1], "both answers were paid"


@pytest.mark.parametrize("salvaged", [False, True])
@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".rescued.jsonl"])
@pytest.mark.parametrize("way", ["as it is", "by a link", "by a hard link", "from elsewhere"])
def test_no_export_is_written_over_a_file_of_the_ledger(
    ledger: CallLedger, tmp_path: Path, end: str, way: str, salvaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Path(f"{ledger.path}{end}")
    if not target.exists() and way == "by a hard link":
        target.touch()
    if "link" in way:
        (os.link if way == "by a hard link" else os.symlink)(target, tmp_path / "link")
        target = tmp_path / "link"
    if way == "from elsewhere":
        (tmp_path / "folder").mkdir()
        monkeypatch.chdir(tmp_path / "folder")
        target = Path("..", target.name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(UsageError, match=r"is the ledger itself.*; give another file to write its calls to"):
        export_what_is_readable(ledger.path, target) if salvaged else ledger.export(target)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
