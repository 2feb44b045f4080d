"""Threads are kept: each for its owner, many at once, through a kill in mid-answer, in SQLite or in Postgres."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from assistant_samples import SHOP, WordStudent, said
from langgraph.checkpoint.sqlite import SqliteSaver
from samples import BagOfWords

from bundlewise.agents.assistant.conversation import Action
from bundlewise.domain import Prediction
from bundlewise.errors import BundlewiseError, ModelError, UsageError
from bundlewise.graphs.threads import config_for, thread_saver
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.product_search import ProductFinder
from bundlewise.pipeline.student import Student

POSTGRES = os.environ.get("BUNDLEWISE_TEST_POSTGRES")
PLACES = [None, "threads.sqlite", "postgres"]


def opened(place: Path | str | None) -> Assistant:
    return Assistant(WordStudent(), ProductFinder(SHOP, BagOfWords()), place)


@pytest.fixture(params=PLACES, ids=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str | None:
    if request.param == "postgres":
        return POSTGRES or pytest.skip("BUNDLEWISE_TEST_POSTGRES names no server")
    return tmp_path / request.param if request.param else None


def test_a_thread_is_as_it_was_left_and_is_forgotten_for_good(place: Path | str | None) -> None:
    with opened(place) as assistant:
        list(assistant.send("t-1", "find glide 11 tablet", "anna"))
        list(assistant.send("t-1", "add 1", "anna"))
        (row,) = assistant.threads("anna")
        assert (row.thread, row.title, row.messages, row.cart) == ("t-1", "find glide 11 tablet", 4, 1)
        assistant.forget("t-1", "anna")
        assert assistant.threads("anna") == []
        with pytest.raises(UsageError, match="no such thread: t-1"):
            assistant.view("t-1", "anna")


def test_what_is_kept_in_a_file_is_there_for_the_next_process(tmp_path: Path) -> None:
    with opened(tmp_path / "t.sqlite") as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1"))))
        list(assistant.send("t", "bundle this, only one bundle"))
        before = assistant.view("t")
    with opened(tmp_path / "t.sqlite") as assistant:
        assert assistant.view("t") == before and before.bundles and before.cart.limits.bundles == 1


@pytest.mark.parametrize("thief", ["", "bert", "Anna", "anna/t", "../anna", "%", "anna\x00"])
def test_nobody_else_reaches_a_thread(place: Path | str | None, thief: str) -> None:
    with opened(place) as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1",)), "anna"))
        for call in (assistant.view, assistant.forget):
            with pytest.raises(UsageError, match="no such thread"):
                call("t", thief)
        list(assistant.send("t", "show cart", thief))
        assert assistant.view("t", thief).cart.items == ()
        assert [item.id for item in assistant.view("t", "anna").cart.items] == ["t1"]
        assert [row.cart for row in assistant.threads(thief)] == [0]
        assistant.forget("t", thief)
        assert [row.cart for row in assistant.threads("anna")] == [1]
        assistant.forget("t", "anna")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x" * 101, "a b", "a\x00", "é\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with opened(None) as assistant, pytest.raises(UsageError, match="a thread is named by"):
        assistant.send(name, "hello")


def test_many_threads_at_once_and_two_at_one_thread_mix_nothing_up(tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def talk(assistant: Assistant, thread: str) -> None:
        try:
            for number in range(5):
                list(assistant.send(thread, f"add {['tablet', 'rug', 'mouse', 'pen', 'batteries'][number]}"))
        except BaseException as error:
            faults.append(error)

    with opened(tmp_path / "t.sqlite") as assistant:
        names = [f"t{n % 8}" for n in range(16)]
        workers = [threading.Thread(target=talk, args=(assistant, name)) for name in names]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not faults
        for name in set(names):
            messages = assistant.view(name).messages
            assert [m.role for m in messages] == ["user", "assistant"] * 10
        assert len(assistant.threads()) == 8


def test_a_long_thread_does_not_grow_with_every_step(tmp_path: Path) -> None:
    with opened(tmp_path / "t.sqlite") as assistant:
        for _ in range(12):
            list(assistant.send("t", "show cart"))
    with sqlite3.connect(tmp_path / "t.sqlite") as db:
        assert db.execute("SELECT count(*) FROM checkpoints").fetchone()[0] <= 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from assistant_samples import SHOP, WordStudent
from langgraph.checkpoint.sqlite import SqliteSaver
from samples import BagOfWords
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.product_search import ProductFinder

class Slow(WordStudent):
    def answer(self, sessions, limits={{}}):
        print("asked", flush=True)
        time.sleep(60)

a = Assistant(Slow(), ProductFinder(SHOP, BagOfWords()), {path!r})
for message in ("find folio case", "add 1 and 2", "bundle this"):
    list(a.send("t", message, "anna"))
"""


def test_killed_in_mid_answer_a_thread_is_all_there_and_the_answer_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    code = KILLED.format(tests=str(Path(__file__).parent), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "asked\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with opened(path) as assistant:
        cut = assistant.view("t", "anna")
        assert cut.pending and cut.messages[-1].text == "bundle this" and len(cut.cart.items) == 2
        assert "one bundle" in said(assistant.resume("t", "anna"))
        assert list(assistant.resume("t", "anna")) == []
        after = assistant.view("t", "anna")
        assert not after.pending and len(after.bundles) == 1
        assert [m.role for m in after.messages] == ["user", "assistant"] * 3


def test_stopped_while_the_real_student_thinks_the_answer_is_finished(
    tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    live = Student.open(student=str(tiny_student))
    with Assistant(live, ProductFinder(SHOP, BagOfWords()), tmp_path / "t.sqlite") as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1"))))
        with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
            stopped.setattr(live.model.engine, "judge", interrupted)
            list(assistant.send("t", "bundle this"))
        with sqlite3.connect(tmp_path / "t.sqlite") as db:
            assert db.execute("SELECT count(*) FROM checkpoints WHERE checkpoint_ns != ''").fetchone() == (0,)
    with Assistant(live, ProductFinder(SHOP, BagOfWords()), tmp_path / "t.sqlite") as assistant:
        assert "one bundle" in said(assistant.resume("t")) and len(assistant.view("t").bundles) == 1


def test_the_next_message_finishes_a_turn_that_was_left(tmp_path: Path) -> None:
    with opened(tmp_path / "t.sqlite") as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1"))))
        left = assistant.send("t", "only two items")
        next(left)
        left.close()  # type: ignore[attr-defined]
        assert assistant.view("t").pending
        list(assistant.send("t", "show cart"))
        view = assistant.view("t")
        assert [m.role for m in view.messages] == ["assistant", "user", "assistant", "user", "assistant"]
        assert view.cart.limits.most == 2 and not view.pending


@pytest.mark.parametrize("fault", [ModelError("it is ill"), RuntimeError("out of memory")])
def test_a_turn_that_fails_each_time_leaves_its_thread_usable(tmp_path: Path, fault: Exception) -> None:
    class Ill(WordStudent):
        def answer(self, *_: object, **__: object) -> list[Prediction]:
            raise fault

    with Assistant(Ill(), ProductFinder(SHOP, BagOfWords()), tmp_path / "t.sqlite") as assistant:
        list(assistant.act("t", Action(name="add", ids=("t1", "c1"))))
        for call in (assistant.send("t", "only two items"), assistant.resume("t")):
            with pytest.raises(type(fault), match=str(fault)):
                list(call)
        assert assistant.view("t").pending and assistant.view("t").cart.limits.most == 2
        assert "Removed Red" in said(assistant.send("t", "remove the red one"))
        view = assistant.view("t")
        assert not view.pending and [item.id for item in view.cart.items] == ["t1"]
        assert [m.text for m in view.messages if m.role == "user"] == ["only two items", "remove the red one"]
        list(assistant.send("t", "undo and undo"))
        assert assistant.view("t").cart.limits.most is None


def test_a_checkpoint_with_foreign_classes_runs_nothing(tmp_path: Path) -> None:
    import ormsgpack
    from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_POS_ARGS

    with thread_saver(tmp_path / "t.sqlite") as saver:
        marker = tmp_path / "ran"
        call = ormsgpack.packb(("os", "system", (f"touch {marker}",)))
        foreign = ormsgpack.packb(ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, call))
        saver.serde.loads_typed(("msgpack", foreign))
        assert not marker.exists()


@pytest.mark.parametrize("content", [b"not a database at all, not even nearly", b""])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.sqlite").write_bytes(content)
    if content:
        with pytest.raises(BundlewiseError, match="cannot keep threads in"):
            opened(tmp_path / "t.sqlite")
    else:
        opened(tmp_path / "t.sqlite").close()


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    pytest.importorskip("psycopg_pool")
    with pytest.raises(BundlewiseError) as told:
        opened("postgresql://anna:geheim@127.0.0.1:1/threads?connect_timeout=1")
    assert "Postgres" in str(told.value) and "geheim" not in str(told.value)


def test_the_owner_is_not_written_down(tmp_path: Path) -> None:
    with opened(tmp_path / "t.sqlite") as assistant:
        list(assistant.send("t", "hello", "sk-very-secret-key"))
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"sk-very-secret-key" not in kept
    assert config_for("a", "t") != config_for("b", "t")


def test_time_is_not_spent_waiting_for_other_threads() -> None:
    class Slow(WordStudent):
        def companions(self, session: object, limit: int = 6) -> list[str]:
            time.sleep(1.0)
            return []

    with Assistant(Slow(), ProductFinder(SHOP, BagOfWords())) as assistant:
        list(assistant.act("slow", Action(name="add", ids=("t1",))))
        worker = threading.Thread(target=lambda: list(assistant.send("slow", "what goes with this?")))
        worker.start()
        started = time.monotonic()
        list(assistant.send("quick", "show cart"))
        assert time.monotonic() - started < 0.9
        worker.join()


def test_a_file_is_not_closed_under_a_thread_that_is_writing(tmp_path: Path) -> None:
    read = list[object]()

    def write() -> None:
        read.append(saver.conn.execute("SELECT 1").fetchone())
        saver.lock.release()

    with thread_saver(tmp_path / "t.sqlite") as saver:
        assert isinstance(saver, SqliteSaver)
        saver.lock.acquire()
        threading.Timer(0.3, write).start()
    assert read == [(1,)]
