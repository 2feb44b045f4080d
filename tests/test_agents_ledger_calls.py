"""A paid call is sent once and its answer kept, whatever threads, processes, kills and full disks come between."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bundlewise.agents.ledger.calls import Call, CallLedger, Reply, Verdict
from bundlewise.errors import DataError, KnowledgeError, ModelError, UsageError
from bundlewise.files import read_rows

REQUEST: dict[str, Any] = {
    "model": "lab",
    "temperature": 0.0,
    "max_tokens": 100,
    "messages": [{"role": "system", "content": "You teach."}, {"role": "user", "content": "1. mouse"}],
    "schema": {"type": "object", "properties": {"kinds": {"type": "array"}}},
}


def call_of(number: int) -> Call:
    return Call("kinds", f"session {number}", "template", "lab", {**REQUEST, "seed": number})


CALLS = [call_of(number) for number in range(50)]
ONE, OTHER = CALLS[:2]
THREADS = 4


class StopError(Exception):
    """What ends the waiting."""


def stop(_: float) -> None:
    raise StopError


class Sender:
    """Counts what it sends, by subject; slow enough for others to come in between."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.sent = seconds, Counter[str]()

    def __call__(self, call: Call) -> Callable[[], Reply]:
        def send() -> Reply:
            self.sent[call.subject] += 1
            time.sleep(self.seconds)
            return Reply(f"answer {sum(self.sent.values())} to {call.subject}", "stop", 100, 20, 0.25)

        return send


class Patience:
    """Waits, but not for ever."""

    def __init__(self) -> None:
        self.end = time.monotonic() + 60

    def __call__(self, seconds: float) -> None:
        assert time.monotonic() < self.end, "still waiting for a claim"
        time.sleep(seconds)


def main(job: str, ledger: str, sent: str = "") -> None:
    """Claim a call and never answer it (`hold`), or ask for all, noting in the file SENT what was sent (`ask`)."""

    def hold() -> Reply:
        tell("ready")
        time.sleep(600)
        return Reply("too late")

    def note(call: Call) -> Reply:
        with open(sent, "ab", buffering=0) as stream:
            stream.write(f"{call.subject}\n".encode())
        time.sleep(0.02)
        return Reply(f"{call.subject} by {os.getpid()}")

    def tell(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    if job == "hold":
        CallLedger(Path(ledger)).answer(ONE, hold)
    tell("ready")
    sys.stdin.readline()
    opened, order = CallLedger(Path(ledger)), random.Random(os.getpid()).sample(CALLS, len(CALLS))
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda call: (call.subject, opened.answer(call, lambda: note(call)).text), order)
        tell(json.dumps(dict(found)))


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, *map(str, arguments)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    return worker


def asked(*workers: "subprocess.Popen[str]") -> list[dict[str, str]]:
    """Let processes that are ready ask for all calls at once; return the answers that each of them got."""
    with ThreadPoolExecutor(len(workers)) as threads:
        ends = threads.map(lambda worker: worker.communicate("go\n", timeout=120), workers)
        return [json.loads(text) for text, _ in ends]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "there" / "calls.sqlite"


@pytest.fixture
def ledger(path: Path) -> CallLedger:
    return CallLedger(path)


@pytest.fixture
def holder(ledger: CallLedger) -> Iterator["subprocess.Popen[str]"]:
    """Return a process that holds the claim of a call."""
    worker = start("hold", ledger.path)
    yield worker
    worker.kill()
    worker.communicate()


# What is the same call


@pytest.mark.parametrize(
    "change",
    [
        {"model": "lab-2"},
        {"temperature": 0.1},
        {"temperature": None},
        {"max_tokens": 101},
        {"max_tokens": "100"},
        {"reasoning_effort": "low"},
        {"messages": REQUEST["messages"][::-1]},
        {"messages": REQUEST["messages"][:1]},
        {"messages": [*REQUEST["messages"], {"role": "user", "content": ""}]},
        {"messages": [REQUEST["messages"][0], {"role": "user", "content": "1. mouse "}]},
        {"messages": [REQUEST["messages"][0], {"role": "assistant", "content": "1. mouse"}]},
        {"schema": {"type": "object", "properties": {"kinds": {"type": "string"}}}},
        {"schema": None},
    ],
)
def test_any_change_of_a_request_makes_another_call(change: dict[str, Any]) -> None:
    assert Call("kinds", "s", "t", "lab", REQUEST | change).key != Call("kinds", "s", "t", "lab", REQUEST).key


@pytest.mark.parametrize("changed", ["stage", "subject", "template"])
def test_what_a_call_is_for_does_not_make_another_one(changed: str) -> None:
    purpose = {"stage": "kinds", "subject": "s", "template": "t"}
    again = Call(**purpose | {changed: "other"}, model="lab", request=dict(reversed(REQUEST.items())))
    assert again.key == Call(**purpose, model="lab", request=REQUEST).key


def test_each_attempt_at_a_request_is_a_call_of_its_own_and_the_first_is_the_request_alone() -> None:
    first, *others = (Call("kinds", "s", "t", "lab", REQUEST, attempt) for attempt in range(4))
    assert first.key == Call("kinds", "s", "t", "lab", REQUEST).key
    assert len({first.key, *(call.key for call in others)}) == 4


# Sent once, kept for good


def test_an_answer_that_is_kept_is_never_sent_for_again(ledger: CallLedger) -> None:
    sender = Sender()
    assert ledger.find(ONE.key) is None
    first = ledger.answer(ONE, sender(ONE))
    for opened in (ledger, CallLedger(ledger.path)):
        assert opened.answer(ONE, sender(ONE), stop) == opened.find(ONE.key) == first
    assert sender.sent == {ONE.subject: 1}


@given(text=st.text(), tokens=st.integers(0, 10**12), seconds=st.floats(0, 1e6))
@example(text="half \ud83d of an emoji, and \0", tokens=1, seconds=0.5)
@settings(max_examples=30)
def test_an_answer_is_found_as_it_was_given(text: str, tokens: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = CallLedger(Path(folder) / "calls.sqlite")
        given = ledger.answer(ONE, lambda: Reply(text, "length", tokens, 3, seconds))
        assert ledger.find(ONE.key) == given
        assert given.text == text.encode(errors="replace").decode(), "half a character cannot be kept"
        ledger.close()


@pytest.mark.parametrize("error", [ModelError("no"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_call_that_fails_leaves_nothing_and_can_be_sent_at_once(ledger: CallLedger, error: BaseException) -> None:
    def fail() -> Reply:
        raise error

    with pytest.raises(type(error)):
        ledger.answer(ONE, fail)
    assert ledger.find(ONE.key) is None
    assert ledger.totals() == []
    assert ledger._base.execute("SELECT * FROM claims").fetchall() == [], "no process waits for it"
    assert CallLedger(ledger.path).answer(ONE, Sender()(ONE), stop).text == f"answer 1 to {ONE.subject}"


def test_a_change_that_breaks_off_is_undone_and_holds_up_nobody(ledger: CallLedger) -> None:
    with pytest.raises(OverflowError):
        ledger.answer(ONE, lambda: Reply("x", tokens_in=2**70))
    saved = read_rows(ledger.path.with_name("calls.sqlite.rescued.jsonl"))
    assert [row["text"] for row in saved] == ["x"], "it was paid all the same"
    for opened in (CallLedger(ledger.path), ledger):
        assert opened.find(ONE.key) is None
        opened.keep(OTHER, Reply("x"))
    assert ledger.answer(ONE, Sender()(ONE), stop)


def test_calls_are_counted_by_stage_and_model_and_templates_by_what_they_were_about(ledger: CallLedger) -> None:
    about = ["kinds a t1 lab", "kinds a t2 lab", "kinds b t1 lab", "rules a t3 m"]
    for number, words in enumerate(about):
        ledger.keep(Call(*words.split(), {"n": number}), Reply("x", "stop", 10, 2, 0.5))
    kinds = {"stage": "kinds", "model": "lab", "calls": 3, "tokens_in": 30, "tokens_out": 6, "seconds": 1.5}
    rules = {"stage": "rules", "model": "m", "calls": 1, "tokens_in": 10, "tokens_out": 2, "seconds": 0.5}
    assert ledger.totals() == [kinds, rules]
    assert ledger.templates("kinds", "a") == {"t1", "t2"}
    assert ledger.templates("rules", "b") == set()


# Verdicts


@pytest.mark.parametrize("verdict", ["good", "empty", "refused", "tools", "unreadable", "faulty"])
def test_an_answer_is_kept_and_found_with_its_verdict(ledger: CallLedger, verdict: Verdict) -> None:
    given = ledger.answer(ONE, lambda: Reply("x", "stop", 10, 2, 0.5, verdict))
    assert ledger.find(ONE.key) == given and given.verdict == verdict
    assert ledger.answer(ONE, Sender()(ONE), stop) == given, "it is paid once, whatever became of it"


def test_a_verdict_may_be_passed_when_an_answer_is_read(ledger: CallLedger) -> None:
    ledger.answer(ONE, lambda: Reply("overloaded, try later", "stop", 10, 2, 0.5))
    ledger.judge(ONE.key, "faulty")
    ledger.judge(OTHER.key, "faulty")
    again = CallLedger(ledger.path)
    assert again.find(ONE.key) == Reply("overloaded, try later", "stop", 10, 2, 0.5, "faulty")
    assert again.find(OTHER.key) is None


def failed_before(path: Path, order: tuple[Call, ...] = (OTHER, ONE)) -> CallLedger:
    """Return a ledger opened anew, in which one answer is good and another could not be used."""
    ledger = CallLedger(path)
    replies = {ONE.key: Reply("overloaded", "stop", 10, 2, 0.5, "faulty"), OTHER.key: Reply("fine", "stop", 10, 2, 0.5)}
    for call in order:
        ledger.keep(call, replies[call.key])
    ledger.close()
    return CallLedger(path)


@pytest.mark.parametrize("order", [(ONE, OTHER), (OTHER, ONE)], ids=["kept first", "kept last"])
def test_on_a_retry_answers_of_before_that_could_not_be_used_are_sent_for_again_once(
    path: Path, order: tuple[Call, ...]
) -> None:
    ledger, sender = failed_before(path, order), Sender()
    for _ in range(3):
        assert ledger.answer(OTHER, sender(OTHER), stop, retry=True).text == "fine"
        assert ledger.answer(ONE, sender(ONE), stop, retry=True).text == f"answer 1 to {ONE.subject}"
    assert sender.sent == {ONE.subject: 1}
    assert ledger.forgotten()[0]["calls"] == 1, "the first answer was paid too"


def test_on_a_retry_an_answer_of_this_run_is_not_sent_for_again_though_it_could_not_be_used(path: Path) -> None:
    ledger, sent = failed_before(path), []

    def send() -> Reply:
        sent.append(1)
        return Reply("overloaded still", verdict="faulty")

    assert ledger.answer(ONE, send, retry=True) == ledger.answer(ONE, send, stop, retry=True)
    assert len(sent) == 1
    assert CallLedger(path).answer(ONE, Sender()(ONE), retry=True).verdict == "good", "the next run asks again"


def test_a_retry_ends_though_another_process_forgets_what_was_kept_last(path: Path) -> None:
    """SQLite gives the number of the last row again once that is gone, so numbers alone do not tell old from new."""
    ledger, sent = failed_before(path), []
    for number in range(2, 20):
        ledger.keep(CALLS[number], Reply("x"))
    ledger.close()
    ledger = CallLedger(path)
    CallLedger(path).forget(verdicts=["good"])

    def send() -> Reply:
        sent.append(1)
        return Reply("overloaded still", verdict="faulty")

    for _ in range(3):
        assert ledger.answer(ONE, send, stop, retry=True).text == "overloaded still"
    assert len(sent) == 1 and not ledger.is_of_before(ONE.key)


def test_without_a_retry_an_answer_that_could_not_be_used_answers(path: Path) -> None:
    assert failed_before(path).answer(ONE, Sender()(ONE), stop).text == "overloaded"


def test_a_retry_that_fails_leaves_the_first_answer(path: Path) -> None:
    ledger = failed_before(path)

    def fail() -> Reply:
        raise ModelError("no")

    with pytest.raises(ModelError):
        ledger.answer(ONE, fail, retry=True)
    found = ledger.find(ONE.key)
    assert found is not None and found.text == "overloaded" and ledger.forgotten() == []


def test_two_ledgers_that_retry_at_once_send_once(path: Path) -> None:
    ledgers, sender, barrier = [failed_before(path), CallLedger(path)], Sender(0.05), Barrier(8)

    def ask(number: int) -> str:
        barrier.wait()
        return ledgers[number % 2].answer(ONE, sender(ONE), Patience(), retry=True).text

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {f"answer 1 to {ONE.subject}"}
    assert sender.sent == {ONE.subject: 1}


# Closed while answers are on their way


def test_a_ledger_that_is_closed_keeps_the_answers_on_their_way_and_takes_no_new_call(path: Path) -> None:
    ledger, on_its_way, arrives = CallLedger(path), Barrier(5), Event()

    def send() -> Reply:
        on_its_way.wait()
        assert arrives.wait(60)
        return Reply("late")

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ledger.answer, call, send, Patience()) for call in CALLS[:4]]
        on_its_way.wait()
        ledger.close()
        with pytest.raises(KnowledgeError, match="was closed; the same command goes on"):
            ledger.answer(CALLS[9], Sender()(CALLS[9]))
        ledger.close()
        arrives.set()
        assert {thread.result().text for thread in asking} == {"late"}
    with pytest.raises(KnowledgeError):
        ledger.find(ONE.key)
    again = CallLedger(path)
    assert all(again.find(call.key) == Reply("late") for call in CALLS[:4])
    assert again._base.execute("SELECT * FROM claims").fetchall() == []


def test_a_ledger_that_is_closed_is_closed_when_the_last_call_fails(path: Path) -> None:
    ledger = CallLedger(path)

    def fail() -> Reply:
        ledger.close()
        raise ModelError("no")

    with pytest.raises(ModelError):
        ledger.answer(ONE, fail)
    with pytest.raises(KnowledgeError, match="closed"):
        ledger.find(ONE.key)
    assert not Path(f"{path}-wal").exists(), "the file was closed whole"


# Threads and processes at once


@pytest.mark.parametrize("objects", [1, 3], ids=["one ledger", "three on one file"])
def test_threads_that_ask_for_the_same_calls_at_once_send_each_once(path: Path, objects: int) -> None:
    ledgers, sender, barrier = [CallLedger(path) for _ in range(objects)], Sender(0.005), Barrier(12)

    def ask(number: int) -> dict[str, Reply]:
        barrier.wait()
        order = random.Random(number // 4).sample(CALLS[:20], 20)
        return {c.key: ledgers[number % objects].answer(c, sender(c), Patience()) for c in order}

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(ask, range(12)))
    assert sender.sent == {call.subject: 1 for call in CALLS[:20]}
    assert all(answers == found[0] for answers in found)


def test_a_thread_that_waits_for_one_that_fails_sends_itself(ledger: CallLedger) -> None:
    sender, barrier = Sender(), Barrier(2)

    def fail() -> Reply:
        barrier.wait()
        time.sleep(0.2)
        raise ModelError("no")

    with ThreadPoolExecutor(1) as threads:
        failing = threads.submit(ledger.answer, ONE, fail)
        barrier.wait()
        assert ledger.answer(ONE, sender(ONE), Patience()) == ledger.find(ONE.key)
        assert isinstance(failing.exception(), ModelError)
    assert sender.sent == {ONE.subject: 1}


def test_two_processes_that_ask_for_the_same_calls_at_once_send_each_once(path: Path, tmp_path: Path) -> None:
    one, other = asked(*[start("ask", path, tmp_path / "sent") for _ in range(2)])
    assert Counter((tmp_path / "sent").read_text().splitlines()) == {call.subject: 1 for call in CALLS}
    assert one == other
    assert one.keys() == {call.subject for call in CALLS}


def test_a_process_killed_on_its_way_has_paid_for_nothing_twice_but_what_was_not_here_yet(
    path: Path, tmp_path: Path
) -> None:
    sent, worker = tmp_path / "sent", start("ask", path, tmp_path / "sent")
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    patience = Patience()
    while not sent.exists() or len(sent.read_text().splitlines()) < 15:
        patience(0.001)
    worker.kill()
    worker.communicate()
    kept = sum(row["calls"] for row in CallLedger(path).totals())
    asked(start("ask", path, sent))
    counts = Counter(sent.read_text().splitlines())
    assert counts.keys() == {call.subject for call in CALLS}
    assert kept >= 15 - THREADS
    assert sum(counts.values()) - len(CALLS) <= THREADS


def test_waiting_for_another_process_can_be_stopped(ledger: CallLedger, holder: "subprocess.Popen[str]") -> None:
    sender = Sender()
    with pytest.raises(StopError):
        ledger.answer(ONE, sender(ONE), stop)
    assert ledger.answer(OTHER, sender(OTHER), stop), "other calls are free"
    with pytest.raises(StopError):
        ledger.answer(ONE, sender(ONE), stop)
    assert sender.sent == {OTHER.subject: 1}
    assert holder.poll() is None


@pytest.mark.parametrize("buried", [True, False], ids=["and reaped", "and left a zombie"])
def test_a_claim_of_a_killed_process_is_taken_over(
    ledger: CallLedger, holder: "subprocess.Popen[str]", buried: bool
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    if buried:
        assert holder.wait() == -signal.SIGKILL
    sender = Sender()
    assert ledger.answer(ONE, sender(ONE), Patience()) == ledger.find(ONE.key)
    assert sender.sent == {ONE.subject: 1}


@pytest.mark.parametrize(
    ("claim", "held"),
    [
        ("{node}:{number}:{started}:x", True),
        ("{node}:{number}:{moved}:x", True),
        ("{node}:{number}:{earlier}:x", False),
        ("elsewhere:{number}:{started}:x", False),
        ("{node}:{own}:{started}:x", False),
    ],
    ids=["its own", "the clock was set", "its number was another's", "on another machine", "ours, not given back"],
)
def test_a_claim_is_held_only_by_the_very_process_that_made_it(
    ledger: CallLedger, holder: "subprocess.Popen[str]", claim: str, held: bool
) -> None:
    base = sqlite3.connect(ledger.path, isolation_level=None)
    node, number, started, _ = base.execute("SELECT process FROM claims").fetchone()[0].split(":")
    assert int(number) == holder.pid
    times = {"started": started, "moved": float(started) + 1, "earlier": float(started) - 100}
    written = claim.format(node=node, number=number, own=os.getpid(), **times)
    base.execute("UPDATE claims SET process = ?", (written,))
    base.close()
    sender = Sender()
    if held:
        with pytest.raises(StopError):
            ledger.answer(ONE, sender(ONE), stop)
    else:
        ledger.answer(ONE, sender(ONE), stop)
    assert sender.sent == ({} if held else {ONE.subject: 1})


# Faults of the disk


@contextmanager
def few_pages(ledger: CallLedger) -> Iterator[None]:
    """Leave the base no page more: a small claim fits, a long answer does not."""
    pages = ledger._base.execute("PRAGMA page_count").fetchone()[0]
    ledger._base.execute(f"PRAGMA max_page_count = {pages}")
    yield
    ledger._base.execute(f"PRAGMA max_page_count = {2**30}")


@contextmanager
def no_bytes(ledger: CallLedger) -> Iterator[None]:
    """Let no file grow: not even a claim fits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = ledger.path.with_name(f"{ledger.path.name}-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


Full = Callable[[CallLedger], AbstractContextManager[None]]
LONG = Reply("word " * 20_000)


@pytest.mark.parametrize(
    ("full", "fault", "paid"), [(few_pages, "database or disk is full", 1), (no_bytes, "disk I/O error", 0)]
)
def test_a_full_disk_is_told_loses_nothing_and_the_run_goes_on_when_there_is_space(
    ledger: CallLedger, full: Full, fault: str, paid: int
) -> None:
    sent = []

    def send() -> Reply:
        sent.append(1)
        return LONG

    before = ledger.answer(ONE, Sender()(ONE))
    told = rf"cannot use the ledger of calls .*calls\.sqlite: {fault}; free space, or give another file with --ledger"
    with full(ledger), pytest.raises(KnowledgeError, match=told):
        ledger.answer(OTHER, send, stop)
    assert len(sent) == paid
    saved = ledger.path.with_name("calls.sqlite.rescued.jsonl")
    assert [row["text"] for row in (read_rows(saved) if saved.exists() else [])] == [LONG.text] * paid
    assert ledger.find(ONE.key) == before and ledger.find(OTHER.key) is None
    assert ledger.answer(OTHER, send, stop) == LONG
    ledger.close()
    again = CallLedger(ledger.path)
    assert again.find(ONE.key) == before and again.find(OTHER.key) == LONG


def test_a_call_that_fails_on_a_full_disk_says_why_it_failed_and_can_be_sent_again(ledger: CallLedger) -> None:
    full = no_bytes(ledger)

    def fill_and_fail() -> Reply:
        full.__enter__()
        raise ModelError("the key is wrong")

    try:
        with pytest.raises(ModelError, match="the key is wrong"):
            ledger.answer(ONE, fill_and_fail)
    finally:
        full.__exit__(None, None, None)
    assert ledger.answer(ONE, Sender()(ONE), stop)


def test_a_full_disk_while_calls_are_taken_in_takes_in_none(ledger: CallLedger, tmp_path: Path) -> None:
    source = CallLedger(tmp_path / "source.sqlite")
    source.keep(ONE, Reply("short"))
    source.keep(OTHER, LONG)
    source.export(tmp_path / "calls.jsonl")
    with few_pages(ledger), pytest.raises(KnowledgeError, match="disk is full; free space"):
        ledger.take_in(tmp_path / "calls.jsonl")
    assert ledger.totals() == []
    assert ledger.take_in(tmp_path / "calls.jsonl") == (2, 2)


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_ledger_is_an_error_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(KnowledgeError, match=r"cannot use the ledger of calls .*/file: .*give another file"):
        CallLedger(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content


def test_the_database_of_something_else_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "file")
    base.execute("CREATE TABLE records (id TEXT)")
    base.close()
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(KnowledgeError, match=r"/file is not a ledger of calls but another database; give another file"):
        CallLedger(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == before


@pytest.mark.parametrize("place", [".", "file/calls.sqlite"], ids=["a folder", "below a file"])
def test_a_place_that_cannot_hold_a_ledger_is_an_error_with_a_remedy(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KnowledgeError, match=r"cannot use the ledger of calls .*give another file with --ledger"):
        CallLedger(tmp_path / place)


# Taken elsewhere


@given(order=st.permutations(range(6)), cut=st.integers(0, 6))
@settings(max_examples=15)
def test_an_export_is_in_the_order_of_keys_and_the_same_however_the_calls_came(order: list[int], cut: int) -> None:
    def exported(numbers: list[int], name: str) -> bytes:
        ledger = CallLedger(folder / f"{name}.sqlite")
        for number in numbers:
            ledger.keep(CALLS[number], Reply(f"Möbel\n\u2028 {number}", "stop", number, 2, number / 4))
        assert ledger.export(folder / name) == (len(numbers), 0)
        ledger.close()
        return (folder / name).read_bytes()

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as clock:
        clock.setattr("bundlewise.agents.ledger.calls.time.time", lambda: 1.0)
        folder = Path(place)
        whole = exported(list(range(6)), "whole")
        assert exported(order, "otherwise") == whole
        keys = [row["key"] for row in read_rows(folder / "whole")]
        assert keys == sorted(call.key for call in CALLS[:6])
        exported(order[:cut], "first")
        exported(order[cut:], "second")
        elsewhere = CallLedger(folder / "elsewhere.sqlite")
        assert elsewhere.take_in(folder / "second") == (6 - cut, 6 - cut)
        assert elsewhere.take_in(folder / "first") == (cut, cut)
        elsewhere.export(folder / "again")
        elsewhere.close()
        assert (folder / "again").read_bytes() == whole


def test_calls_taken_elsewhere_are_found_there_once_and_those_that_were_there_stay(
    ledger: CallLedger, tmp_path: Path
) -> None:
    sender = Sender()
    kept = {call.key: ledger.answer(call, sender(call)) for call in CALLS[:3]}
    assert ledger.export(tmp_path / "calls.jsonl") == (3, 0)
    elsewhere = CallLedger(tmp_path / "elsewhere.sqlite")
    own = elsewhere.answer(ONE, lambda: Reply("mine"))
    assert elsewhere.take_in(tmp_path / "calls.jsonl") == (2, 3)
    assert elsewhere.take_in(tmp_path / "calls.jsonl") == (0, 3)
    assert {key: elsewhere.find(key) for key in kept} == kept | {ONE.key: own}
    assert elsewhere.templates("kinds", OTHER.subject) == {"template"}
    assert elsewhere.answer(OTHER, sender(OTHER), stop) == kept[OTHER.key]
    assert sum(sender.sent.values()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "this is not an exported call; give a file that `bundlewise ledger export` wrote"),
        ({"text": None}, "text must not be null; export the ledger again"),
        ({"text": "\ud800"}, r'text must not be "\\ud800"; export the ledger again'),
        ({"key": 3}, "key must not be 3"),
        ({"stage": ["kinds"]}, r'stage must not be \["kinds"\]'),
        ({"tokens_in": "7"}, 'tokens_in must not be "7"'),
        ({"tokens_in": True}, "tokens_in must not be true"),
        ({"tokens_out": 1.5}, r"tokens_out must not be 1\.5"),
        ({"tokens_out": -1}, "tokens_out must not be -1"),
        ({"tokens_in": 2**63}, "tokens_in must not be 9223372036854775808"),
        ({"seconds": float("nan")}, "seconds must not be NaN"),
        ({"seconds": float("inf")}, "seconds must not be Infinity"),
    ],
)
def test_a_damaged_line_is_named_by_file_and_number_and_nothing_is_taken_in(
    ledger: CallLedger, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = CallLedger(tmp_path / "source.sqlite")
    for call in CALLS[:3]:
        source.keep(call, Reply("x"))
    source.export(tmp_path / "calls.jsonl")
    rows = read_rows(tmp_path / "calls.jsonl")
    lines = [json.dumps(row) for row in (rows[0], rows[1] | change, rows[2])]
    (tmp_path / "calls.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=rf"calls\.jsonl:2: {message}"):
        ledger.take_in(tmp_path / "calls.jsonl")
    assert ledger.totals() == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"key": "a", "te', "not JSON"),
        ("[1]", "list instead of an object"),
        ("{}", "this is not an exported call; give a file that `bundlewise ledger export` wrote"),
    ],
)
def test_what_is_no_line_of_an_export_is_named_too(ledger: CallLedger, tmp_path: Path, line: str, message: str) -> None:
    ledger.keep(ONE, Reply("x"))
    ledger.export(tmp_path / "calls.jsonl")
    with (tmp_path / "calls.jsonl").open("a") as stream:
        stream.write(line)
    elsewhere = CallLedger(tmp_path / "elsewhere.sqlite")
    with pytest.raises(DataError, match=rf"calls\.jsonl:2: {message}"):
        elsewhere.take_in(tmp_path / "calls.jsonl")
    assert elsewhere.totals() == []


def test_a_ledger_is_never_written_over_by_its_own_export(ledger: CallLedger, tmp_path: Path) -> None:
    ledger.keep(ONE, Reply("x"))
    (tmp_path / "link").symlink_to(ledger.path)
    for target in (ledger.path, tmp_path / "link"):
        with pytest.raises(UsageError, match="is the ledger itself; give another file to write its calls to"):
            ledger.export(target)
    assert CallLedger(ledger.path).find(ONE.key) == Reply("x")


if __name__ == "__main__":
    main(*sys.argv[1:])


def test_six_processes_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    for round_ in range(8):
        gate = context.Barrier(6)
        opening = [context.Process(target=open_at, args=(tmp_path / f"{round_}.sqlite", gate)) for _ in range(6)]
        for process in opening:
            process.start()
        for process in opening:
            process.join(60)
        assert [process.exitcode for process in opening] == [0] * 6


def open_at(path: Path, gate: Any) -> None:
    gate.wait()
    CallLedger(path).close()
