"""A Chroma server holds a knowledge base for many machines; whoever has only Chroma has it whole."""

import gc
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from samples import BagOfWords, record, session, thought

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.database import FILE, Change
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.mirror import Mirror, is_served, recover
from bundlewise.knowledge_base.place import Place
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.reindex import reindex, roll_back
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import verify

DESK = session("desk", ["Wireless mouse", "Mouse pad", "Green tea"], ((0, 1),))
QUERY = session("query", ["Mouse, wired", "Pad for a mouse"], split="test")
KNOWN = [KnownSession.of(DESK), KnownSession.of(QUERY)]
RULES = [record("rule", text) for text in ("mouse with pad", "milk with tea", "rug apart")]
OFF = record("rule", "out of use", status="retired", reason="wrong")
RECORDS = [*RULES, OFF, thought(DESK, ["mouse", "pad", "tea"])]
Machines = Callable[[str], None]


class Otherwise(BagOfWords):
    fingerprint = "otherwise"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Chroma server; return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder), "--port", str(port)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    except OSError as error:
        pytest.skip(f"chroma cannot be started: {error}")
    address = f"http://127.0.0.1:{port}"
    if not answers(address, process):
        process.kill()
        pytest.skip("chroma does not answer")
    yield address
    process.terminate()
    process.wait(30)


def answers(address: str, process: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            return httpx.get(f"{address}/api/v2/heartbeat", timeout=5).is_success
        except httpx.HTTPError:
            time.sleep(0.2)
    return False


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Return how to go to another machine: one with a cache of its own."""

    def go(name: str) -> None:
        monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / name))

    go("first")
    return go


NAMES = count(1)


@pytest.fixture
def team(server: str, machine: Machines) -> str:
    """Return the address of a knowledge base that the first machine made."""
    address = f"{server}/team-{next(NAMES)}"
    KnowledgeStore.create(address, BagOfWords()).replace(RECORDS, KNOWN)
    return address


def opened(address: str) -> KnowledgeStore:
    return KnowledgeStore.open(address, BagOfWords())


def held(store: KnowledgeStore) -> dict[str, Knowledge]:
    return {found.id: found for found in store.records.select(status=None)}


def test_a_second_machine_has_equal_records_sessions_and_answers(team: str, machine: Machines) -> None:
    first = opened(team)
    assert verify(first) == []
    machine("second")
    second = opened(team)
    assert verify(second) == []
    assert second.folder != first.folder
    assert held(second) == held(first) == {r.id: r for r in RECORDS}
    assert second.records.sessions() == first.records.sessions() == sorted(KNOWN, key=lambda known: known.id)
    assert {**second.meta, "published": 0, "told": 0} == {**first.meta, "published": 0, "told": 0}
    policy = Policy(rules=2, thoughts=1)
    assert Retriever(second, policy).retrieve([QUERY]) == Retriever(first, policy).retrieve([QUERY])


def test_a_change_on_one_machine_is_seen_on_the_other(team: str, machine: Machines) -> None:
    machine("second")
    store = opened(team)
    new, known = record("rule", "new here"), KnownSession(id="later", split="test", items="0" * 16)
    store.change(Change("more", [new], remove=[RULES[0].id], sessions=[known]))
    machine("first")
    again = opened(team)
    assert held(again) == held(store)
    assert known in again.records.sessions()
    assert again.meta["digest"] == store.meta["digest"]
    assert verify(again) == []


def test_who_has_not_seen_the_last_change_is_refused_and_told_to_run_again(team: str, machine: Machines) -> None:
    stale = opened(team)
    machine("second")
    opened(team).change(Change("more", [record("rule", "new here")]))
    machine("first")
    mine = record("rule", "of the first")
    for act in (lambda: stale.change(Change("mine", [mine])), stale.undo):
        with pytest.raises(KnowledgeError, match=r"another machine has changed the knowledge base at .*; run again"):
            act()
    opened(team).change(Change("mine", [mine]))
    machine("second")
    assert {"new here", "of the first"} <= {found.text for found in held(opened(team)).values()}
    assert verify(opened(team)) == []


def test_a_machine_takes_its_own_change_back(team: str, machine: Machines) -> None:
    store = opened(team)
    store.change(Change("more", [record("rule", "new here")], remove=[OFF.id]))
    store.undo()
    machine("second")
    assert held(opened(team)) == {r.id: r for r in RECORDS}
    with pytest.raises(UsageError, match="nothing to undo"):
        opened(team).undo()


def test_what_another_machine_did_and_took_back_stops_nobody(team: str, machine: Machines) -> None:
    machine("second")
    store = opened(team)
    store.change(Change("more", [record("rule", "new here")]))
    store.undo()
    machine("first")
    opened(team).change(Change("mine", [record("rule", "of the first")]))
    assert verify(opened(team)) == []
    assert len(held(opened(team))) == len(RECORDS) + 1


def test_sessions_that_another_machine_learnt_are_known(team: str, machine: Machines) -> None:
    later = KnownSession(id="later", split="test", items="0" * 16)
    machine("second")
    opened(team).change(Change("sessions", sessions=[later]))
    machine("first")
    assert later in opened(team).records.sessions()


def test_a_change_that_was_cut_off_is_finished_by_its_machine(
    team: str, machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(team)
    new = record("rule", "new here")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            store.change(Change("more", [new]))
    assert new.id in held(opened(team))
    machine("second")
    assert new.id in held(opened(team))
    assert verify(opened(team)) == []


def test_names_on_a_server_are_apart(server: str, team: str) -> None:
    other = f"{team}-2"
    KnowledgeStore.create(other, BagOfWords()).replace(RULES[:1])
    assert held(opened(other)) == {RULES[0].id: RULES[0]}
    assert len(held(opened(team))) == len(RECORDS)
    assert verify(opened(team)) == verify(opened(other)) == []


def test_asking_for_a_name_that_is_not_there_makes_nothing(server: str, machine: Machines) -> None:
    place = Place(f"{server}/nobody")
    with pytest.raises(UsageError, match=r"no knowledge base at .*nobody; make one: bundlewise distil"):
        opened(str(place))
    assert not is_served(place)
    assert not [c for c in place.client(1).list_collections() if c.name.startswith("nobody")]


def test_a_newer_schema_is_refused(team: str, machine: Machines) -> None:
    place = Place(team)
    mirror = Mirror(place, place.client(1))
    mirror.publish(mirror.meta() | {"schema": 99, "digest": "0"}, [])
    machine("second")
    with pytest.raises(KnowledgeError, match="has schema 99; update bundlewise"):
        opened(team)


def test_without_a_server_the_error_says_how_to_start_one(machine: Machines) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for act in (KnowledgeStore.open, KnowledgeStore.create):
        with pytest.raises(KnowledgeError, match=rf"cannot reach .*; start one: chroma run --port {port}"):
            act(f"http://127.0.0.1:{port}/team", BagOfWords())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_of_something_else_is_an_error(machine: Machines, tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(KnowledgeError, match=r"cannot reach the vectors of http://127.0.0.1:.*; start one"):
            opened(f"http://127.0.0.1:{other.server_address[1]}/team")
        other.shutdown()
    # The connections of a client that could not be made are closed by nobody.
    gc.collect()


def test_reindexing_and_rolling_back_reach_the_other_machine(
    team: str, machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedders = {"bag-of-words": BagOfWords, "otherwise": Otherwise}
    for name in ("named", "of_store"):
        monkeypatch.setattr(Embedder, name, staticmethod(lambda spec: embedders[spec]()))
    other = Otherwise()
    other.name = "otherwise"
    machine("second")
    opened(team)
    machine("first")
    assert reindex(team, other) == len(RECORDS)
    machine("second")
    with pytest.raises(KnowledgeError, match="not of bag-of-words"):
        opened(team)
    store = KnowledgeStore.open(team, other)
    assert verify(store) == []
    assert held(store) == {r.id: r for r in RECORDS}
    store.change(Change("more", [record("rule", "new here")]))
    machine("first")
    KnowledgeStore.open(team, other)
    assert roll_back(team) == "bag-of-words"
    machine("second")
    assert verify(opened(team)) == []
    assert len(held(opened(team))) == len(RECORDS) + 1


def test_a_lost_database_is_made_anew_from_a_folder_of_chroma(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    store = KnowledgeStore.create(folder, BagOfWords())
    store.replace(RECORDS, KNOWN)
    before = store.meta
    store.database.close()
    (folder / FILE).write_bytes(b"garbage" * 1000)
    (folder / "recovery").mkdir()
    (folder / "recovery" / f"{FILE}-wal").write_bytes(b"of a recovery that was cut off")
    with pytest.raises(KnowledgeError, match="bundlewise kb recover"):
        opened(str(folder))
    assert recover(Place(folder)) == len(RECORDS)
    again = opened(str(folder))
    assert held(again) == {r.id: r for r in RECORDS}
    assert again.records.sessions() == sorted(KNOWN, key=lambda known: known.id)
    assert again.meta["digest"] == before["digest"]
    assert verify(again) == []
    assert again.database.history() == []
    assert not (folder / "recovery").exists()


def test_after_reindexing_the_new_vectors_know_the_sessions_too(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    KnowledgeStore.create(folder, BagOfWords()).replace(RECORDS, KNOWN)
    reindex(folder, Otherwise())
    (folder / FILE).unlink()
    assert recover(Place(folder), 2) == len(RECORDS)
    again = KnowledgeStore.open(folder, Otherwise())
    assert len(again.records.sessions()) == len(KNOWN)
    assert verify(again) == []


def test_without_anything_in_chroma_there_is_nothing_to_recover(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="say nothing of their knowledge base; import it from a pack"):
        recover(Place(tmp_path))
    assert not (tmp_path / FILE).exists()
