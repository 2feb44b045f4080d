"""The file under a ledger of calls: read wherever it lies, and refused before the first call where none can be kept."""

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.ledger import file as calls_file
from bundlewise.agents.ledger.calls import Call, CallLedger, Reply
from bundlewise.errors import KnowledgeError

CALLS = [Call("kinds", f"session {number}", "t", "lab", {"n": number}) for number in range(40)]
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that another user may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        place = Path(name, "there")
        place.mkdir()
        yield place
        os.chmod(place, 0o755)


def filled(path: Path) -> CallLedger:
    ledger = CallLedger(path)
    for call in CALLS:
        ledger.keep(call, Reply("x" * 200))
    return ledger


def left_behind(path: Path, *endings: str) -> None:
    """Make a ledger whose process was killed: what it kept is in its log."""
    source = path.with_name("source")
    ledger = filled(source)
    for end in endings:
        shutil.copy(f"{source}{end}", f"{path}{end}")
    ledger.close()
    source.unlink()


def told_to_another(job: Callable[[], object]) -> str:
    """Run a job as a user without rights, whom no right of the superuser helps; return its result or its error."""

    def run() -> None:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            answers.put(str(job()))
        except KnowledgeError as error:
            answers.put(str(error))
        except BaseException as error:
            answers.put(repr(error))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=run)
    process.start()
    process.join(60)
    return str(answers.get())


def locked_up(path: Path, file: int, folder: int) -> None:
    for found in path.parent.iterdir():
        found.chmod(file)
    path.parent.chmod(folder)


def read_all(path: Path) -> list[object]:
    ledger = CallLedger.open_for_reading(path)
    found = [sum(row["calls"] for row in ledger.verdicts()), ledger.find(CALLS[-1].key)]
    ledger.close()
    return found


ALL = str([40, Reply("x" * 200)])
SHUT = [(0o444, 0o555), (0o666, 0o555), (0o444, 0o777)]


# Reading


@pytest.mark.parametrize(("file", "place"), SHUT, ids=["all read-only", "a read-only folder", "a read-only file"])
@pytest.mark.parametrize("left", [(), ("", "-wal"), ("", "-wal", "-shm")], ids=["closed", "its log alone", "killed"])
def test_a_ledger_is_read_with_all_it_holds_where_nothing_can_be_written(
    folder: Path, file: int, place: int, left: tuple[str, ...]
) -> None:
    path = folder / "calls.sqlite"
    if left:
        left_behind(path, *left)
    else:
        filled(path).close()
    locked_up(path, file, place)
    before = {found.name: found.read_bytes() for found in folder.iterdir()}
    assert told_to_another(lambda: read_all(path)) == ALL
    assert {found.name: found.read_bytes() for found in folder.iterdir()} == before


def test_reading_changes_nothing_and_leaves_nothing_behind(folder: Path) -> None:
    path = folder / "calls.sqlite"
    filled(path).close()
    before = path.read_bytes()
    assert str(read_all(path)) == ALL
    assert path.read_bytes() == before and os.listdir(folder) == ["calls.sqlite"]


def test_a_reader_sees_what_a_run_keeps_meanwhile(folder: Path) -> None:
    ledger, reader = CallLedger(folder / "calls.sqlite"), CallLedger.open_for_reading(folder / "calls.sqlite")
    ledger.keep(CALLS[0], Reply("x"))
    assert reader.find(CALLS[0].key) == Reply("x")
    reader.judge(CALLS[0].key, "faulty")
    assert ledger.find(CALLS[0].key) == Reply("x"), "what is open for reading judges nothing"
    with pytest.raises(KnowledgeError, match="readonly"):
        reader.keep(CALLS[1], Reply("x"))


@pytest.mark.parametrize("there", [True, False], ids=["without a byte", "missing"])
def test_a_file_without_a_byte_and_a_missing_one_are_empty_ledgers(folder: Path, there: bool) -> None:
    path = folder / "calls.sqlite"
    if there:
        path.touch()
    ledger = CallLedger.open_for_reading(path)
    assert (ledger.totals(), ledger.verdicts(), ledger.forgotten(), ledger.find("a")) == ([], [], [], None)
    assert path.exists() == there and (not there or not path.stat().st_size)
    assert CallLedger(path).answer(CALLS[0], lambda: Reply("x")) == Reply("x")


# Refused before the first call


@pytest.mark.parametrize(("file", "place"), SHUT, ids=["all read-only", "a read-only folder", "a read-only file"])
@pytest.mark.parametrize("left", [(), ("", "-wal")], ids=["closed", "killed"])
def test_a_ledger_that_cannot_be_written_is_refused_and_what_is_in_the_way_is_named(
    folder: Path, file: int, place: int, left: tuple[str, ...]
) -> None:
    path = folder / "calls.sqlite"
    if left:
        left_behind(path, *left)
    else:
        filled(path).close()
    locked_up(path, file, place)
    before = sorted(os.listdir(folder))
    named = folder if file == 0o666 else path
    told = f"cannot use the ledger of calls {path}: {named} cannot be written by you; give yourself that permission"
    assert told_to_another(lambda: CallLedger(path)).startswith(told)
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize(("mode", "told"), [(0o444, "written"), (0o000, "read")])
def test_the_file_of_a_ledger_that_cannot_be_used_is_named(folder: Path, end: str, mode: int, told: str) -> None:
    path = folder / "calls.sqlite"
    left_behind(path, "", "-wal", "-shm")
    locked_up(path, 0o666, 0o777)
    Path(f"{path}{end}").chmod(mode)
    assert f": {path}{end} cannot be {told} by you; " in told_to_another(lambda: CallLedger(path))


def test_a_folder_that_may_not_be_written_is_named_before_it_is_tried(folder: Path) -> None:
    folder.chmod(0o555)
    found = told_to_another(lambda: CallLedger(folder / "new" / "calls.sqlite"))
    assert f": {folder} cannot be written by you; give yourself that permission, or give another file" in found


@pytest.mark.parametrize("writable", [True, False], ids=["to write", "to read"])
@pytest.mark.parametrize("end", ["", "-wal"])
@pytest.mark.parametrize("kind", ["a folder", "a device, pipe or socket"])
def test_what_is_no_file_is_named_at_once(folder: Path, writable: bool, end: str, kind: str) -> None:
    path = folder / "calls.sqlite"
    if end:
        filled(path).close()
    made = Path(f"{path}{end}")
    if kind == "a folder":
        made.mkdir()
    else:
        os.mkfifo(made)
    with pytest.raises(KnowledgeError, match=f"{made} is {kind}; move that away, or give another file with --ledger"):
        CallLedger(path, writable=writable)


@pytest.mark.parametrize("writable", [True, False], ids=["to write", "to read"])
def test_an_emptied_file_beside_a_full_log_is_refused_and_the_log_stays(folder: Path, writable: bool) -> None:
    path = folder / "calls.sqlite"
    left_behind(path, "", "-wal")
    os.truncate(path, 0)
    log = Path(f"{path}-wal").read_bytes()
    with pytest.raises(KnowledgeError, match=r"is empty, but calls.sqlite-wal beside it holds .*--what-is-readable"):
        CallLedger(path, writable=writable)
    assert Path(f"{path}-wal").read_bytes() == log


def test_too_little_room_is_told_before_the_first_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(
        KnowledgeError, match=r"only 1,000 bytes are free for the ledger .*; free space, or give another"
    ):
        CallLedger(folder / "calls.sqlite")
    CallLedger.open_for_reading(folder / "calls.sqlite").close()


def locking(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("BEGIN IMMEDIATE")
    return base


LOCKED = (
    "database is locked; another program uses it: end that program and run the same command again, or give another file"
)


def test_a_ledger_that_another_program_holds_is_told_before_the_first_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "calls.sqlite"
    filled(path).close()
    monkeypatch.setattr(calls_file, "BUSY", 0.2)
    base = locking(path)
    with pytest.raises(KnowledgeError, match=LOCKED):
        CallLedger(path)
    assert str(read_all(path)) == ALL, "it can be read meanwhile"
    base.close()
    CallLedger(path).close()


# An answer that arrived


@pytest.mark.parametrize("retry", [False, True])
def test_an_answer_that_arrives_while_another_program_holds_the_ledger_is_saved_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, retry: bool
) -> None:
    monkeypatch.setattr(calls_file, "BUSY", 0.2)
    ledger, held = CallLedger(folder / "calls.sqlite"), list[sqlite3.Connection]()

    def send() -> Reply:
        held.append(locking(ledger.path))
        return Reply("paid for", "stop", 7, 2, 0.5, "faulty")

    saved = folder / "calls.sqlite.rescued.jsonl"
    with pytest.raises(KnowledgeError, match=rf"{LOCKED}.*the answer that arrived is in {saved}; import it with"):
        ledger.answer(CALLS[0], send, retry=retry)
    held[0].close()
    assert ledger.take_in(saved) == (1, 1)
    assert ledger.find(CALLS[0].key) == Reply("paid for", "stop", 7, 2, 0.5, "faulty")


def test_a_ledger_that_is_deleted_under_a_run_is_noticed_and_all_it_kept_is_saved(folder: Path) -> None:
    ledger = CallLedger(folder / "calls.sqlite")
    for call in CALLS[:3]:
        ledger.answer(call, lambda: Reply("x"))

    def send() -> Reply:
        for found in folder.iterdir():
            found.unlink()
        return Reply("x")

    with pytest.raises(KnowledgeError, match="moved or deleted while it was in use; 4 answers of this run were saved"):
        ledger.answer(CALLS[3], send)
    again = CallLedger(folder / "calls.sqlite")
    again.take_in(folder / "calls.sqlite.rescued.jsonl")
    assert [bool(again.find(call.key)) for call in CALLS[:5]] == [True] * 4 + [False]


def test_a_ledger_behind_a_link_is_made_safe_like_any(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link").symlink_to(folder / "calls.sqlite")
    ledger, synced = CallLedger(folder / "link"), list[Any]()
    monkeypatch.setattr(os, "fsync", synced.append)
    ledger.keep(CALLS[0], Reply("x"))
    assert len(synced) == 1
