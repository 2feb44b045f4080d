"""An answer that the ledger cannot take is written down elsewhere, whole or not at all, and is taken in from there."""

import os
import resource
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.ledger.rows import LARGEST, NAMES, rescued, row_of
from bundlewise.errors import DataError
from bundlewise.files import read_rows


def row(number: int = 1, text: str = "Möbel\n\u2028", **change: Any) -> tuple[Any, ...]:
    values = (f"key {number}", "kinds", "s", "t", "lab", text, "stop", 7, 2, 0.5, "good", 12.5)
    return tuple((dict(zip(NAMES, values, strict=True)) | change).values())


@contextmanager
def no_file_grows() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the working folder and that of temporary files lie in one of the test's own."""
    for name in ("ledger", "working", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def test_it_is_written_beside_the_ledger_and_the_message_says_how_it_comes_in(places: Path) -> None:
    ledger = places / "ledger" / "my calls.sqlite"
    told = rescued(ledger, row(1))
    assert rescued(ledger, row(2, "x" * 100_000)) == told
    saved = f"{ledger}.rescued.jsonl"
    assert f"the answer that arrived is in {saved}; import it with `bundlewise ledger import '{saved}' --ledger" in told
    assert [row_of(found, "") for found in read_rows(Path(saved))] == [row(1), row(2, "x" * 100_000)]
    assert CallLedger(ledger).take_in(Path(saved)) == (2, 2)


@pytest.mark.parametrize("taken", [["ledger"], ["ledger", "working"]])
def test_where_that_cannot_be_written_the_next_place_is_taken(places: Path, taken: list[str]) -> None:
    for name in taken:
        (places / name / "calls.sqlite.rescued.jsonl").mkdir()
    told = rescued(places / "ledger" / "calls.sqlite", row())
    place = places / "temporary" / f"{os.getpid()}-calls.sqlite.rescued.jsonl"
    assert (str(place) if "working" in taken else "is in calls.sqlite.rescued.jsonl;") in told
    assert [
        row_of(found, "") for found in read_rows(place if "working" in taken else Path("calls.sqlite.rescued.jsonl"))
    ]


def test_where_no_file_can_grow_it_is_printed(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with no_file_grows():
        told = rescued(places / "ledger" / "calls.sqlite", row())
    assert "is in the line above" in told
    (places / "printed.jsonl").write_text(capsys.readouterr().err)
    assert [row_of(found, "") for found in read_rows(places / "printed.jsonl")] == [row()]


def test_what_does_not_fit_leaves_no_half_line(places: Path) -> None:
    ledger = places / "ledger" / "calls.sqlite"
    rescued(ledger, row(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        rescued(ledger, row(2, "x" * 5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    rescued(ledger, row(3))
    assert [found["key"] for found in read_rows(Path(f"{ledger}.rescued.jsonl"))] == ["key 1", "key 3"]


def test_a_link_that_someone_laid_there_is_not_followed(places: Path) -> None:
    (places / "victim").write_text("mine")
    (places / "ledger" / "calls.sqlite.rescued.jsonl").symlink_to(places / "victim")
    rescued(places / "ledger" / "calls.sqlite", row())
    assert (places / "victim").read_text() == "mine"


def test_answers_of_many_threads_stand_on_lines_of_their_own(places: Path) -> None:
    ledger = places / "ledger" / "calls.sqlite"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: rescued(ledger, row(number, f"{number} " * 5000)), range(40)))
    found = read_rows(Path(f"{ledger}.rescued.jsonl"))
    assert {line["key"] for line in found} == {f"key {number}" for number in range(40)}


def test_numbers_that_no_ledger_takes_become_the_nearest_that_it_does(places: Path) -> None:
    ledger = places / "ledger" / "calls.sqlite"
    rescued(ledger, row(tokens_in=10**19, tokens_out=-5, seconds=float("nan")))
    (found,) = read_rows(Path(f"{ledger}.rescued.jsonl"))
    assert (found["tokens_in"], found["tokens_out"], found["seconds"]) == (LARGEST - 1, 0, 0)
    assert CallLedger(ledger).take_in(Path(f"{ledger}.rescued.jsonl")) == (1, 1)


def test_an_export_of_before_verdicts_and_times_is_read() -> None:
    older = dict(zip(NAMES, row(), strict=True))
    del older["verdict"], older["time"]
    assert row_of(older, "")[-2:] == ("good", 0.0)
    with pytest.raises(DataError, match="x:1: verdict must not be "):
        row_of(older | {"verdict": "splendid"}, "x:1")
    with pytest.raises(DataError, match="x:1: time must not be -1"):
        row_of(older | {"time": -1}, "x:1")
