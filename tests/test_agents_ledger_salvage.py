"""Paid answers are read out of a damaged ledger, whatever is broken: all that stand on whole pages, and no others."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundlewise.agents.ledger.books import export_what_is_readable
from bundlewise.agents.ledger.calls import Call, CallLedger, Reply
from bundlewise.agents.ledger.salvage import TABLE, salvage
from bundlewise.errors import KnowledgeError
from bundlewise.files import read_rows

PAGE = 4096
CALLS = [Call("kinds", f"session {number}", "t", "lab", {"n": number}) for number in range(300)]
LONG = 17


def reply_of(number: int) -> Reply:
    """Return an answer; each seventeenth goes on over several pages."""
    text = f"Möbel {number} " * (1200 if number % LONG == 0 else 3)
    return Reply(text, "stop", number, 2, number / 4 if number % 2 else 3.0)


def filled(path: Path, *, in_the_log: bool = False) -> CallLedger:
    ledger = CallLedger(path)
    if in_the_log:
        ledger._base.execute("PRAGMA wal_autocheckpoint = 0")
    ledger._base.execute("PRAGMA synchronous = OFF")
    for number, call in enumerate(CALLS):
        ledger.keep(call, reply_of(number))
    return ledger


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ledger of 300 calls with an export of it beside it."""
    path = tmp_path_factory.mktemp("whole") / "calls.sqlite"
    ledger = filled(path)
    ledger.judge(CALLS[7].key, "faulty")
    ledger.export(path.with_name("calls.jsonl"))
    ledger.close()
    return path


def salvaged(path: Path) -> list[dict[str, object]]:
    export_what_is_readable(path, path.with_name("salvaged.jsonl"))
    return read_rows(path.with_name("salvaged.jsonl"))


def test_of_a_whole_ledger_the_same_is_written_as_by_an_export(whole: Path, tmp_path: Path) -> None:
    assert export_what_is_readable(whole, tmp_path / "salvaged.jsonl") == (300, 0)
    assert (tmp_path / "salvaged.jsonl").read_bytes() == whole.with_name("calls.jsonl").read_bytes()


def test_what_was_forgotten_and_replaced_does_not_come_back(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "calls.sqlite")
    for call in CALLS[::2]:
        ledger.judge(call.key, "faulty")
    ledger.forget(verdicts=["faulty"])
    ledger.judge(CALLS[1].key, "empty")
    ledger.close()
    again = CallLedger(tmp_path / "calls.sqlite")
    again.answer(CALLS[1], lambda: Reply("better"), retry=True)
    again.export(tmp_path / "calls.jsonl")
    again.close()
    assert salvaged(tmp_path / "calls.sqlite") == read_rows(tmp_path / "calls.jsonl")


def test_what_is_only_in_the_log_is_read_while_a_run_goes_on_and_after_one_was_killed(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "calls.sqlite")
    assert export_what_is_readable(ledger.path, tmp_path / "salvaged.jsonl") == (300, 0)
    ledger.export(tmp_path / "calls.jsonl")
    assert (tmp_path / "salvaged.jsonl").read_bytes() == (tmp_path / "calls.jsonl").read_bytes()


@given(pages=st.sets(st.integers(0, 10**6), min_size=1, max_size=30), noise=st.binary(min_size=PAGE, max_size=PAGE))
@settings(max_examples=25, deadline=None)
def test_whatever_pages_are_broken_what_is_read_is_right_and_what_is_named_is_counted(
    whole: Path, pages: set[int], noise: bytes
) -> None:
    content = bytearray(whole.read_bytes())
    for page in pages:
        at = page % (len(content) // PAGE) * PAGE
        content[at : at + PAGE] = noise if page % 2 else bytes(PAGE)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "broken.sqlite").write_bytes(content)
        found = salvage(Path(folder) / "broken.sqlite")
    right = {row["key"]: tuple(row.values()) for row in read_rows(whole.with_name("calls.jsonl"))}
    assert found.rows.items() <= right.items()
    assert len(found.rows) + found.lost <= 300
    if len(pages) < 3:
        assert len(found.rows) > 200, "a page holds a few dozens of calls at most"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_of_a_file_that_was_cut_off_the_front_is_read(whole: Path, tmp_path: Path, share: float) -> None:
    shutil.copy(whole, tmp_path / "cut.sqlite")
    os.truncate(tmp_path / "cut.sqlite", int(whole.stat().st_size * share))
    found = salvage(tmp_path / "cut.sqlite")
    right = {row["key"]: tuple(row.values()) for row in read_rows(whole.with_name("calls.jsonl"))}
    assert found.rows.items() <= right.items()
    assert len(found.rows) >= 300 * (share - 0.3)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, PAGE // 2),
        lambda path: flipped(Path(f"{path}-wal")),
        lambda path: os.truncate(f"{path}-wal", Path(f"{path}-wal").stat().st_size - 100),
    ],
    ids=["the file is empty", "the file is cut off", "the log is broken in the middle", "the log is cut off"],
)
def test_a_log_is_read_beside_a_broken_file_and_behind_its_own_fault(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    ledger = filled(tmp_path / "source", in_the_log=True)
    for end in ("", "-wal"):
        shutil.copy(f"{ledger.path}{end}", tmp_path / f"killed{end}")
    damage(tmp_path / "killed")
    found = salvage(tmp_path / "killed")
    assert len(found.rows) >= 298
    assert all(
        call.key not in found.rows or found.rows[call.key][5] == reply_of(n).text for n, call in enumerate(CALLS)
    )


def test_a_log_that_was_written_into_the_file_still_helps_where_the_file_is_lost(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "source")
    (tmp_path / "lost").touch()
    shutil.copy(f"{ledger.path}-wal", tmp_path / "lost-wal")
    assert len(salvage(tmp_path / "lost").rows) > 150


@pytest.mark.parametrize("content", [b"", b"hello " * 1000, b"SQLite format 3\0" + b"\xff" * 20_000, bytes(9000)])
def test_where_there_is_no_call_nothing_is_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(KnowledgeError, match=r"no call in .*file is readable, so nothing was written"):
        export_what_is_readable(tmp_path / "file", tmp_path / "calls.jsonl")
    assert os.listdir(tmp_path) == ["file"]


def test_what_was_read_answers_in_a_new_ledger(whole: Path, tmp_path: Path) -> None:
    content = bytearray(whole.read_bytes())
    leaf = next(at for at in range(9 * PAGE, len(content), PAGE) if content[at] == TABLE)
    content[leaf : leaf + PAGE] = bytes(PAGE)
    (tmp_path / "calls.sqlite").write_bytes(content)
    with pytest.raises(KnowledgeError, match="--what-is-readable"):
        CallLedger(tmp_path / "calls.sqlite")
    rows = salvaged(tmp_path / "calls.sqlite")
    ledger = CallLedger(tmp_path / "new.sqlite")
    assert ledger.take_in(tmp_path / "salvaged.jsonl") == (len(rows), len(rows))
    assert 200 < sum(ledger.find(call.key) is not None for call in CALLS) == len(rows)


def test_a_ledger_in_utf_16_is_told(tmp_path: Path) -> None:
    base = sqlite3.connect(path := tmp_path / "calls.sqlite")
    base.executescript("PRAGMA encoding = 'UTF-16le'; CREATE TABLE calls (key)")
    base.close()
    with pytest.raises(KnowledgeError, match="in UTF-16, which cannot be read from a damaged file; try"):
        salvage(path)
