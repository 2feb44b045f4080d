"""A ledger is known by its tables before it is used: older ones are brought up to date, all else is refused by name."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.ledger import schema
from bundlewise.agents.ledger.calls import Call, CallLedger, Reply
from bundlewise.errors import KnowledgeError

FIRST = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY, stage TEXT NOT NULL, subject TEXT NOT NULL, template TEXT NOT NULL, model TEXT NOT NULL,
    text TEXT NOT NULL, finish TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    seconds REAL NOT NULL);
CREATE INDEX calls_by_subject ON calls (stage, subject);
CREATE TABLE claims (key TEXT PRIMARY KEY, process TEXT NOT NULL);
CREATE TRIGGER kept AFTER INSERT ON calls BEGIN DELETE FROM claims WHERE key = NEW.key; END;
"""
"""The tables of the first format."""
CALLS = [Call("kinds", f"session {number}", "t", "lab", {"n": number}) for number in range(40)]
KILLED = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path
from bundlewise.agents.ledger.calls import CallLedger

class Deadly(sqlite3.Connection):
    def execute(self, sql, *values):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(sql, *values)

connect = sqlite3.connect
sqlite3.connect = lambda *given, **named: connect(*given, **named, factory=Deadly)
ended = -signal.SIGKILL
for left in range(1, 100):
    if ended != -signal.SIGKILL:
        break
    path = Path(sys.argv[2]) / f"{left}.sqlite"
    shutil.copy(sys.argv[1], path)
    child = os.fork()
    if child == 0:
        CallLedger(path)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, flush=True)
"""
"""Opens a copy of a ledger in a process that is killed at its first statement, then at its second and so on."""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Return a ledger of the first format with forty calls."""
    path = tmp_path / "first.sqlite"
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode=WAL")
    base.executescript(FIRST)
    for call in CALLS:
        base.execute(
            "INSERT INTO calls VALUES (?, 'kinds', ?, 't', 'lab', 'x', 'stop', 7, 2, .5)", (call.key, call.subject)
        )
    base.commit()
    base.close()
    return path


def changed(path: Path, *statements: str) -> None:
    base = sqlite3.connect(path)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()


def test_a_ledger_of_the_first_format_is_brought_up_to_date_and_its_answers_are_good(first: Path) -> None:
    ledger = CallLedger(first)
    assert all(ledger.find(call.key) == Reply("x", "stop", 7, 2, 0.5, "good") for call in CALLS)
    ledger.judge(CALLS[0].key, "faulty")
    ledger.close()
    again = CallLedger(first)
    assert [row["verdict"] for row in again.verdicts()] == ["faulty", "good"]
    assert sum(row["calls"] for row in again.verdicts()) == 40


def test_a_ledger_of_the_first_format_is_read_as_it_is(first: Path, tmp_path: Path) -> None:
    before = first.read_bytes()
    ledger = CallLedger.open_for_reading(first)
    assert ledger.find(CALLS[3].key) == Reply("x", "stop", 7, 2, 0.5, "good")
    assert ledger.templates("kinds", "session 3") == {"t"}
    assert [row["calls"] for row in ledger.verdicts()] == [40] and ledger.forgotten() == []
    assert ledger.export(tmp_path / "calls.jsonl") == (40, 0)
    ledger.close()
    assert first.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["calls.jsonl", "first.sqlite"]


def test_a_process_killed_at_any_statement_while_it_brings_a_ledger_up_to_date_leaves_it_usable(
    first: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(first), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    *killed, last = [int(line) for line in done.stdout.split()]
    assert (last, set(killed)) == (0, {-signal.SIGKILL}), done.stderr
    assert len(killed) >= 15, "it was killed on its way, statement by statement"
    for number in range(1, len(killed) + 2):
        path = tmp_path / f"{number}.sqlite"
        for ledger in (CallLedger.open_for_reading(path), CallLedger(path)):
            assert sum(row["calls"] for row in ledger.verdicts()) == 40
            ledger.close()


def test_six_processes_may_bring_one_ledger_up_to_date_at_once(first: Path) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(6)
    opening = [context.Process(target=keep_at, args=(first, gate, number)) for number in range(6)]
    for process in opening:
        process.start()
    for process in opening:
        process.join(60)
    assert [process.exitcode for process in opening] == [0] * 6
    assert sum(row["calls"] for row in CallLedger(first).totals()) == 46


def keep_at(path: Path, gate: Any, number: int) -> None:
    gate.wait()
    ledger = CallLedger(path)
    ledger.answer(Call("kinds", "new", "t", "lab", {"new": number}), lambda: Reply("x"))
    ledger.close()


@pytest.mark.parametrize("writable", [True, False], ids=["to write", "to read"])
@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ["PRAGMA user_version = 2", "CREATE TABLE later (a)"],
            "was written by a newer bundlewise (format 2 of the ledger of calls, 1 is known); update bundlewise, or",
        ),
        (
            ["CREATE TABLE bookmarks (a)"],
            "is not a ledger of calls but another database; give another file with --ledger",
        ),
        (
            ["PRAGMA application_id = 77"],
            "is not a ledger of calls but another database; give another file with --ledger",
        ),
        (
            ["DROP TABLE claims", "CREATE TABLE claims (patient, sum)"],
            "is not a ledger of calls: its table claims has the columns patient, sum; give another file with --ledger",
        ),
        (["ALTER TABLE calls ADD COLUMN rating"], "seconds, verdict, time, rating; give another file with --ledger"),
        (["ALTER TABLE calls RENAME COLUMN text TO answer"], "its table calls has the columns key, stage, subject"),
    ],
)
def test_what_is_no_ledger_of_this_format_is_named_and_stays_as_it_is(
    tmp_path: Path, writable: bool, statements: list[str], told: str
) -> None:
    path = tmp_path / "file.sqlite"
    CallLedger(path).close()
    changed(path, *statements)
    before = path.read_bytes()
    with pytest.raises(KnowledgeError) as error:
        CallLedger(path, writable=writable)
    assert str(path) in str(error.value) and told in str(error.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("lost", ["TABLE claims", "TABLE forgotten", "TRIGGER kept", "TRIGGER forgot"])
def test_what_a_ledger_has_lost_is_made_again(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "calls.sqlite"
    CallLedger(path).close()
    changed(path, f"DROP {lost}")
    ledger = CallLedger(path)
    assert ledger.answer(CALLS[0], lambda: Reply("x")) == Reply("x")
    assert ledger._base.execute("SELECT * FROM claims").fetchall() == []
    assert ledger.forget(stages=["kinds"]) == 1 and ledger.forgotten()[0]["calls"] == 1


def overwritten(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a page of zeros": lambda path: overwritten(path, 3 * 4096, bytes(4096)),
    "a page of noise": lambda path: overwritten(path, 4 * 4096, os.urandom(4096)),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut within a page": lambda path: os.truncate(path, path.stat().st_size - 1000),
}


@pytest.mark.parametrize(
    ("damage", "checked"),
    [*((damage, 2**28) for damage in DAMAGES), ("cut in the middle", 0), ("cut within a page", 0)],
)
@pytest.mark.parametrize("writable", [True, False], ids=["to write", "to read"])
def test_a_damaged_ledger_is_refused_before_anything_is_paid_with_the_way_to_save_it(
    tmp_path: Path, damage: str, writable: bool, checked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my calls.sqlite"
    ledger = CallLedger(path)
    for call in CALLS:
        ledger.keep(call, Reply("word " * 500))
    ledger.close()
    DAMAGES[damage](path)
    monkeypatch.setattr(schema, "CHECKED", checked)
    told = r"`bundlewise ledger export FILE --what-is-readable --ledger '.*my calls\.sqlite'` saves the readable calls"
    before = path.read_bytes()
    with pytest.raises(KnowledgeError, match=told):
        CallLedger(path, writable=writable)
    assert path.read_bytes() == before


SWALLOW = "CREATE TRIGGER evil BEFORE INSERT ON calls BEGIN SELECT raise(ignore); END"


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ([SWALLOW], "another program made the trigger 'evil'"),
        (["DROP TRIGGER kept", SWALLOW.replace("evil", "kept")], "another program made the trigger 'kept'"),
        ([SWALLOW.replace("evil", "sqliteXevil")], "another program made the trigger 'sqliteXevil'"),
        (["CREATE VIEW v AS SELECT * FROM calls"], "another program made the view 'v'"),
        (["CREATE UNIQUE INDEX i ON calls (model)"], "another program made the index 'i'"),
        (
            ["CREATE TABLE c AS SELECT * FROM calls", "DROP TABLE calls", "ALTER TABLE c RENAME TO calls"],
            "another program has changed the table calls of the ledger of calls",
        ),
    ],
)
def test_what_may_swallow_answers_is_refused_by_name_before_anything_is_paid_and_can_be_read(
    tmp_path: Path, statements: list[str], told: str
) -> None:
    ledger = CallLedger(path := tmp_path / "calls.sqlite")
    ledger.keep(CALLS[0], Reply("x"))
    ledger.close()
    changed(path, *statements)
    with pytest.raises(KnowledgeError, match=told):
        CallLedger(path)
    assert CallLedger.open_for_reading(path).export(tmp_path / "calls.jsonl") == (1, 0)


def test_a_file_that_does_not_keep_a_test_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CallLedger(path := tmp_path / "calls.sqlite").close()
    changed(path, SWALLOW)
    monkeypatch.setattr("bundlewise.agents.ledger.file.refuse_foreign", lambda *_: None)
    with pytest.raises(KnowledgeError, match="does not keep what is written to it; give another file"):
        CallLedger(path)


@pytest.mark.parametrize(
    "change",
    [
        "text = x'ff00fe'",
        "tokens_in = 'many'",
        "tokens_in = 9000000000000000000",
        "tokens_out = -1",
        "verdict = 'weird'",
        "seconds = 9e999",
        "subject = x'00'",
    ],
)
def test_damaged_calls_are_counted_and_left_out_and_refused_before_anything_is_paid(
    tmp_path: Path, change: str
) -> None:
    ledger = CallLedger(path := tmp_path / "calls.sqlite")
    for call in CALLS[:4]:
        ledger.keep(call, Reply("x", tokens_in=5))
    ledger.close()
    changed(path, f"UPDATE calls SET {change} WHERE rowid <= 2")
    ledger = CallLedger.open_for_reading(path)
    assert ledger.find(CALLS[0].key) is None or change.startswith("subject")
    assert ledger.damaged() == 2 and [row["calls"] for row in ledger.totals()] == [2]
    assert ledger.export(tmp_path / "calls.jsonl") == (2, 2)
    with pytest.raises(KnowledgeError, match=r"holds 2 damaged calls, such as .*ledger export FILE"):
        CallLedger(path)
    assert CallLedger(tmp_path / "new.sqlite").take_in(tmp_path / "calls.jsonl") == (2, 2)


def test_a_text_that_is_not_utf_8_is_damaged_too(tmp_path: Path) -> None:
    ledger = CallLedger(path := tmp_path / "calls.sqlite")
    ledger.keep(CALLS[0], Reply("x"))
    ledger.close()
    changed(path, "UPDATE calls SET text = CAST(x'ff41' AS TEXT)")
    assert CallLedger.open_for_reading(path).export(tmp_path / "calls.jsonl") == (0, 1)
    with pytest.raises(KnowledgeError, match=r"the answer to a call in .* is damaged"):
        CallLedger(path).find(CALLS[0].key)
