"""A large teacher's whole run against a real server: nothing lost, nothing paid twice, whatever happens."""

import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BagOfWords, session
from teacher_server import Handler, TeacherServer, completion

from bundlewise.agents.teacher.caps import CapError
from bundlewise.agents.teacher.failures import StageError
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.large import LargeTeacher
from bundlewise.agents.teacher.recorded import RecordedTeacher
from bundlewise.agents.teacher.samplers import SAMPLERS
from bundlewise.data.sessions import starter_pack_path, write_sessions
from bundlewise.domain import SPLITS, Session
from bundlewise.errors import BundlewiseError, DataError, KnowledgeError, ModelError, UsageError
from bundlewise.files import read_rows
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.distil import Payment, dials_of, endpoint_of, plan, run_teacher, teacher_named

KEY = "sk-planted-9876543210"
STAGES = ("describe", "propose", "reflect", "formalise", "think")
WORDS = ["Mouse", "Pad", "Cable", "Case", "Lamp", "Stand", "Rug", "Mug"]


def lab(count: int, start: int = 0) -> list[Session]:
    """Return sessions that a proposal by kind always gets wrong, so that every stage has work."""
    rows = []
    for n in range(start, start + count):
        first, second = WORDS[n % 8], WORDS[(n + 1 + n % 3) % 8]
        titles = [f"Brand{n} Red {first}", f"Other{n} Blue {second}", f"Third{n} Green {first}"]
        rows.append(session(f"s{n}", titles, ((0, 1),), domain="lab"))
    return rows


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = TeacherServer()
    yield running
    running.close()


class Lab:
    """One place for runs of one teacher on one ledger."""

    def __init__(self, server: TeacherServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    def run(self, sessions: list[Session], name: str = "a", **fields: Any) -> bytes:
        pay = {"ledger": self.folder / "calls.sqlite", "concurrency": 8, "patience": 30.0, "timeout": 5.0} | fields
        run_teacher(
            sessions,
            self.server.spec,
            self.folder / name,
            embedder=BagOfWords(),
            pack=self.folder / f"{name}.jsonl",
            payment=Payment(**pay),
            log=self.folder / "log.jsonl",
        )
        return (self.folder / f"{name}.jsonl").read_bytes()


@pytest.fixture
def place(server: TeacherServer, tmp_path: Path) -> Lab:
    return Lab(server, tmp_path)


def stage_of(body: dict[str, Any]) -> str:
    told = body["messages"][-1]["content"] if len(body["messages"]) == 2 else ""
    marks = {
        "describe": "What is each of them?",
        "propose": "Which bundles are in it",
        "reflect": "What caused them",
        "formalise": "Put lessons that say the same together",
        "think": "Think it through",
    }
    return next((stage for stage, mark in marks.items() if mark in told), "probe")


def faulty(share: float) -> Any:
    """Return faults for a share of all requests, of every kind, drawn by the call and how often it came."""
    kinds = [
        lambda h: h.send(429, b"{}", retry_after="0.05"),
        lambda h: h.send(500, b"{}"),
        lambda h: h.send(503, b"<html>"),
        lambda h: h.cut(completion("{}")),
        lambda h: h.answer(" ", h.headers["Idempotency-Key"]),
        lambda h: h.send(200, b"not json"),
        lambda h: h.answer("Well, let me think.", h.headers["Idempotency-Key"]),
        lambda h: h.answer('{"kinds": ["a', h.headers["Idempotency-Key"], "length"),
        lambda h: h.answer(f"```json\n{h.text(h.body)}\n``` is my answer.", h.headers["Idempotency-Key"]),
    ]

    def hit(handler: Handler, body: dict[str, Any]) -> bool:
        key = handler.headers["Idempotency-Key"]
        with handler.server.guard:
            drawn = zlib.crc32(f"{key} {handler.server.asked[key]}".encode())
        # Repairs are answered well: three bad answers in a row would be a failure, which is another matter.
        if drawn % 1000 >= 1000 * share or len(body["messages"]) > 2 or stage_of(body) == "probe":
            return False
        handler.body = body
        kinds[drawn // 1000 % len(kinds)](handler)
        return True

    return hit


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_with_faults_in_15_percent_of_all_calls_nothing_is_lost_and_nothing_paid_twice(
    place: Lab, tmp_path: Path, count: int
) -> None:
    sessions = lab(count)
    calm = place.run(sessions, "calm")
    wanted = set(place.server.answered)
    (tmp_path / "storm").mkdir()
    storm = Lab(TeacherServer(faulty(0.15)), tmp_path / "storm")
    assert storm.run(sessions, "storm") == calm
    assert set(storm.server.answered) >= wanted
    assert set(storm.server.answered.values()) == {1}, "an answer that came whole is never asked for again"
    assert sum(storm.server.asked.values()) > sum(storm.server.answered.values())
    assert thought_about(storm, "storm") == {s.session_id for s in sessions}
    storm.server.close()


def rows_of(place: Lab, name: str, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(place.folder / f"{name}.jsonl")[1:] if row["kind"] == kind]


def thought_about(place: Lab, name: str) -> set[str]:
    return {row["source_session_ids"][0] for row in rows_of(place, name, "thought")}


def test_running_again_costs_nothing_and_gives_the_same_bytes(place: Lab) -> None:
    first = place.run(lab(6), "one")
    paid = sum(place.server.asked.values())
    assert place.run(lab(6), "two") == first
    assert sum(place.server.asked.values()) == paid


def test_a_recording_answers_on_another_machine_without_a_network(place: Lab, tmp_path: Path) -> None:
    from bundlewise.agents.ledger.calls import CallLedger

    first = place.run(lab(6), "here")
    CallLedger(tmp_path / "calls.sqlite").export(tmp_path / "calls.jsonl")
    place.server.close()
    (tmp_path / "there").mkdir()
    CallLedger(tmp_path / "there" / "calls.sqlite").take_in(tmp_path / "calls.jsonl")
    assert Lab(place.server, tmp_path / "there").run(lab(6), "there") == first


COMMAND = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from samples import BagOfWords
from bundlewise.data.sessions import read_sessions
from bundlewise.pipeline.distil import Payment, run_teacher
from bundlewise.errors import BundlewiseError
folder = Path({folder!r})
pay = Payment(ledger=folder / "calls.sqlite", concurrency=4, timeout=20.0)
try:
    run_teacher(read_sessions(folder / "data.jsonl"), {spec!r}, folder / {name!r}, embedder=BagOfWords(),
           pack=folder / ({name!r} + ".jsonl"), payment=pay)
except KeyboardInterrupt:
    sys.exit(130)
except BundlewiseError as error:
    sys.exit(str(error))
"""


def start(place: Lab, name: str = "run") -> "subprocess.Popen[str]":
    """Start a run in a process of its own, which has the default reaction to signals."""
    code = COMMAND.format(tests=str(Path(__file__).parent), folder=str(place.folder), spec=place.server.spec, name=name)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def interrupted(place: Lab, stage: str, number: int, *signals: signal.Signals, apart: float = 0.7) -> tuple[int, str]:
    """Run until the server gets the given request of a stage, and send the process signals then, some time apart.

    Return its exit code and what it said.
    """
    running: list[subprocess.Popen[str]] = []
    seen = [0]

    def strike(handler: Handler, body: dict[str, Any]) -> bool:
        seen[0] += stage_of(body) == stage
        if seen[0] == number:
            seen[0] += 1
            for turn, how in enumerate(signals):
                threading.Timer(apart * turn, running[0].send_signal, [how]).start()
            time.sleep(place.server.delay)
        return False

    place.server.fault = strike
    running.append(start(place))
    said = running[0].communicate(timeout=120)[1]
    place.server.fault = None
    return running[0].returncode, said


@pytest.mark.parametrize(
    "stage", [s if s in ("reflect", "think") else pytest.param(s, marks=pytest.mark.slow) for s in STAGES]
)
def test_killed_in_any_stage_the_next_run_pays_only_for_what_is_missing(place: Lab, tmp_path: Path, stage: str) -> None:
    sessions = lab(9)
    write_sessions(tmp_path / "data.jsonl", sessions)
    code, _ = interrupted(place, stage, 1 if stage == "formalise" else 6, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "run.jsonl").exists()
    again = start(place)
    assert again.communicate(timeout=120)[1] == "" and again.returncode == 0
    billed = dict(place.server.answered)
    (tmp_path / "whole").mkdir()
    whole = Lab(TeacherServer(), tmp_path / "whole")
    assert (tmp_path / "run.jsonl").read_bytes() == whole.run(sessions, "whole")
    assert set(billed) == set(whole.server.answered), "by idempotency key, what a run without a kill pays"
    assert sum(billed.values()) - len(billed) <= 4, "no more than was on its way is even asked for again"
    whole.server.close()


def finish(place: Lab) -> None:
    """Let another run go on to the end."""
    place.server.delay = 0.0
    again = start(place)
    assert again.communicate(timeout=120)[1] == "" and again.returncode == 0


def test_two_runs_on_one_ledger_share_their_answers(place: Lab, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", lab(12))
    place.server.delay = 0.03
    both = [start(place, "one"), start(place, "two")]
    told = [run.communicate(timeout=180)[1] for run in both]
    # A slow machine has time for a line of progress.
    assert [line for said in told for line in said.splitlines() if " of " not in line] == []
    assert [run.returncode for run in both] == [0, 0]
    assert set(place.server.answered.values()) == {1}
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_a_full_disk_under_the_ledger_stops_the_run_and_loses_nothing(
    place: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundlewise.agents.ledger import calls

    opened = calls.CallLedger.__init__

    def small(self: Any, path: Path) -> None:
        opened(self, path)
        self._base.execute("PRAGMA max_page_count = 9")

    monkeypatch.setattr(calls.CallLedger, "__init__", small)
    with pytest.raises(KnowledgeError, match=r"cannot use the ledger of calls .*full; free space"):
        place.run(lab(30))
    kept = sum(place.server.answered.values())
    monkeypatch.setattr(calls.CallLedger, "__init__", opened)
    place.run(lab(30))
    assert kept > 8
    assert sum(count - 1 for count in place.server.answered.values()) <= 8, "only what could not be written"


def test_a_wrong_key_stops_at_once_and_is_never_shown(place: Lab) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        handler.send(401, f'{{"error": {{"message": "{KEY} is wrong"}}}}'.encode())
        return True

    place.server.fault = refuse
    with pytest.raises(ModelError, match=r"refused \(401\).*set OPENAI_API_KEY") as told:
        place.run(lab(6))
    assert KEY not in str(told.value) and sum(place.server.asked.values()) == 1


def test_a_server_that_is_not_there_is_told_of_and_given_up_before_anything_is_made(
    place: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.server.close()
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"lab at http://127.* cannot be reached \(.*refused\); start it, or correct"):
        place.run(lab(6), patience=600.0)
    assert time.monotonic() - begun < 20
    assert "gives no answer" in capsys.readouterr().err
    assert [row["event"] for row in read_rows(tmp_path / "log.jsonl")] == ["waiting"]
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.jsonl").exists()


def test_the_key_is_in_nothing_that_is_written(place: Lab, tmp_path: Path) -> None:
    place.server.fault = faulty(0.3)
    place.run(lab(6))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"calls.sqlite", "log.jsonl", "a.jsonl"} <= {path.name for path in written}
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_a_cap_stops_between_calls_and_a_higher_one_goes_on(place: Lab) -> None:
    with pytest.raises(CapError, match="--max-tokens"):
        place.run(lab(6), max_tokens=2500, max_output=100, concurrency=2)
    paid = sum(place.server.asked.values())
    assert 18 <= paid <= 20, "it ends within a call of the cap"
    place.run(lab(6), max_output=100)
    assert set(place.server.answered.values()) == {1}


def test_a_session_whose_answers_are_no_use_is_left_out_and_counted(place: Lab) -> None:
    def stubborn(handler: Handler, body: dict[str, Any]) -> bool:
        if "Brand3 " not in str(body["messages"][1:]):
            return False
        handler.answer("I would rather not.")
        return True

    place.server.fault = stubborn
    place.run(lab(6))
    assert thought_about(place, "a") == {f"s{n}" for n in (0, 1, 2, 4, 5)}
    failed = [row for row in read_rows(place.folder / "log.jsonl") if row["event"] == "failed"]
    assert [(row["stage"], row["subject"]) for row in failed] == [("describe", "s3")]
    assert failed[0]["reason"] == "there is no JSON object in it (the same answer came again)"


def test_rules_are_tested_on_validation_sessions_and_what_harms_is_quarantined(place: Lab) -> None:
    validation = [s.model_copy(update={"split": "validation"}) for s in lab(5, start=100)]
    place.run([*lab(6), *validation])
    (rule,) = rows_of(place, "a", "rule")
    assert rule["gain"] is not None and rule["harm"] is not None
    assert thought_about(place, "a") == {f"s{n}" for n in range(6)}


def test_several_domains_are_mined_and_formalised_each_by_itself(place: Lab) -> None:
    other = [s.model_copy(update={"session_id": f"o{n}", "domain": "other"}) for n, s in enumerate(lab(6, start=50))]
    place.run([*lab(6), *other])
    assert {row["domain"] for row in rows_of(place, "a", "rule")} == {"lab", "other"}
    assert {row["domain"] for row in rows_of(place, "a", "thought")} == {"lab", "other"}


@pytest.mark.parametrize(
    ("formats", "stages"),
    [("patterns", {"describe"}), ("patterns,thoughts", {"describe", "think"}), ("rules", {*STAGES} - {"think"})],
)
def test_only_the_formats_wanted_are_paid_for(place: Lab, formats: str, stages: set[str]) -> None:
    found = run_teacher(
        lab(6),
        place.server.spec,
        place.folder / "kb",
        embedder=BagOfWords(),
        dials=dials_of("random", 1.0, 0, formats),
        payment=Payment(ledger=place.folder / "calls.sqlite"),
    )
    assert {row["stage"] for row in found.stages if row["calls"]} - {"probe"} == stages
    assert {record.kind for record in found.records} <= {name.strip("s") for name in formats.split(",")}


def test_an_edited_template_is_paid_for_again_with_what_builds_on_it_and_nothing_else(
    place: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundlewise.prompts.library import VARIABLE, shipped

    place.run(lab(6))
    before = set(place.server.answered)
    (place.folder / "mine").mkdir()
    (place.folder / "mine" / "teacher_reflect.jinja").write_text(shipped("teacher_reflect").body + "Be brief.")
    monkeypatch.setenv(VARIABLE, str(place.folder / "mine"))
    pay = Payment(ledger=place.folder / "calls.sqlite")
    planned = {
        row["stage"]: row["calls"] for row in plan(lab(6), place.server.spec, embedder=BagOfWords(), payment=pay)
    }
    assert planned["describe"] == planned["propose"] == 0 and planned["reflect"] == 6
    place.run(lab(6))
    new = set(place.server.answered) - before
    assert {stage_of(body) for body in place.server.bodies[-len(new) :]} <= {"reflect", "formalise", "think"}
    assert len(new) < len(before)


def test_a_plan_makes_no_call_and_writes_no_knowledge_base(place: Lab, tmp_path: Path) -> None:
    rows = plan(lab(6), place.server.spec, embedder=BagOfWords(), payment=Payment(ledger=tmp_path / "calls.sqlite"))
    assert {row["stage"]: row["calls"] for row in rows} | {"formalise": 1} == dict.fromkeys(STAGES, 6) | {
        "formalise": 1
    }
    assert not place.server.asked
    with pytest.raises(UsageError, match="grounded makes no calls and costs nothing"):
        plan(lab(6), "grounded")


def test_teachers_are_known_by_name(place: Lab) -> None:
    assert isinstance(teacher_named("grounded", []), GroundedTeacher)
    pack = starter_pack_path("electronics")
    with pytest.raises(DataError, match="not in the data"):
        teacher_named(f"recorded:{pack}", [])
    assert RecordedTeacher and LargeTeacher
    with pytest.raises(UsageError, match="no teacher named 'gpt'; choose grounded, recorded:FILE, or openai:MODEL"):
        teacher_named("gpt", [])
    with pytest.raises(UsageError, match="openai: names no model"):
        endpoint_of("openai:", Payment())


@pytest.mark.parametrize(
    ("dials", "told"),
    [
        (("random", 0.0, 0, None), "ratio must be above 0 and at most 1, got 0.0"),
        (("hardest", 1.0, 0, None), "no sampler named 'hardest'; choose random, length, diversity, difficulty"),
        (("random", 1.0, 0, "patterns,facts"), "no format named 'facts'; choose any of patterns, rules, thoughts"),
    ],
)
def test_dials_out_of_range_are_named(dials: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        dials_of(*dials)


def test_formalising_is_told_of_while_it_runs_and_its_lessons_are_counted(
    place: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(_: Handler, body: dict[str, Any]) -> bool:
        if stage_of(body) == "formalise":
            time.sleep(0.5)
        return False

    monkeypatch.setattr("bundlewise.progress.EVERY", 0.05)
    place.server.fault = slow
    place.run(lab(6))
    assert "formalise: 0 of 6\n" in capsys.readouterr().err
    (told,) = (
        row for row in read_rows(place.folder / "log.jsonl") if row["event"] == "stage" and row["stage"] == "formalise"
    )
    done = [
        row for row in read_rows(place.folder / "log.jsonl") if row["event"] == "done" and row["stage"] == "formalise"
    ]
    assert (told["total"], len(done)) == (6, 6)


def refusing(*stages: str) -> Callable[[Handler, dict[str, Any]], bool]:
    """Refuse every question of some stages."""

    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        if hit := stage_of(body) in stages:
            handler.send(400, b'{"error": {"message": "no such parameter"}}')
        return hit

    return fault


@pytest.mark.parametrize("stage", ["describe", "propose", "reflect", "formalise", "think"])
def test_a_stage_that_fails_as_a_whole_ends_the_run_and_leaves_knowledge_base_and_pack_as_they_were(
    place: Lab, stage: str
) -> None:
    before = place.run(lab(6))
    store = KnowledgeStore.open(place.folder / "a", BagOfWords())
    held = [record.id for record in store.records.select(status=None)]
    (place.folder / "calls.sqlite").unlink()
    place.server.fault = refusing(stage)
    with pytest.raises(StageError, match=f"stage {stage} failed for .* all of it") as raised:
        place.run(lab(6), repairs=0)
    assert "x refused (400): no such parameter (such as " in str(raised.value)
    assert (place.folder / "a.jsonl").read_bytes() == before
    assert [record.id for record in store.records.select(status=None)] == held
    place.server.fault = None
    paid = set(place.server.answered)
    place.run(lab(6))
    assert all(place.server.answered[key] <= 2 for key in paid), "what was paid in the failed run is not paid again"


def test_a_share_of_a_stage_may_fail_and_is_told(place: Lab) -> None:
    def some(handler: Handler, body: dict[str, Any]) -> bool:
        hit = stage_of(body) == "describe" and any(f"Brand{n} " in str(body["messages"][1:]) for n in (1, 2))
        if hit:
            handler.send(400, b'{"error": {"message": "no"}}')
        return hit

    place.server.fault = some
    with pytest.raises(
        StageError, match=r"describe failed for 2 of 6, more than --max-failed 0\.2; nothing was replaced"
    ):
        place.run(lab(6), max_failed=0.2)
    found = run_teacher(
        lab(6),
        place.server.spec,
        place.folder / "kb",
        embedder=BagOfWords(),
        payment=Payment(ledger=place.folder / "calls.sqlite"),
    )
    (row,) = found.failures["describe"]
    assert (row["count"], row["example"], row["reason"]) == (2, "s1", "refused (400): no")


def test_where_the_pack_cannot_be_written_the_knowledge_base_stays_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [session(f"s{n}", ["Red Mouse", "Mouse Pad"], ((0, 1),)) for n in range(4)]
    kb, pack = tmp_path / "kb", tmp_path / "a.pack"
    run_teacher(sessions, "grounded", kb, embedder=BagOfWords(), pack=pack)
    before = pack.read_bytes()

    def fails(*_: Any) -> None:
        raise KnowledgeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(KnowledgeStore, "replace", fails)
        with pytest.raises(KnowledgeError):
            run_teacher(sessions[:3], "grounded", kb, embedder=BagOfWords(), pack=pack)
    assert pack.read_bytes() == before
    held = [record.id for record in KnowledgeStore.open(kb, BagOfWords()).records.select()]
    with pytest.raises(BundlewiseError):
        run_teacher(
            sessions[:3], "grounded", kb, embedder=BagOfWords(), pack=tmp_path / "kb" / "catalogue.sqlite" / "x"
        )
    assert [record.id for record in KnowledgeStore.open(kb, BagOfWords()).records.select()] == held


TITLES = ["Red Mouse", "Mouse Pad", "Wool Rug", "Oat Milk 2 l", "Red Wool Rug", "USB-C Cable"]


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(TITLES), min_size=2, max_size=5), st.booleans(), st.sampled_from(SPLITS)),
        max_size=6,
    ),
    st.sampled_from(SAMPLERS),
    st.floats(0.01, 1.0),
    st.sets(st.sampled_from(["patterns", "rules", "thoughts"]), min_size=1),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_plan_never_crashes(
    drawn: list[tuple[list[str], bool, Any]], sampler: str, ratio: float, formats: set[str], several: bool
) -> None:
    sessions = [
        session(f"s{n}", titles, ((0, 1),) if bundled else (), split=split, domain=f"d{n % 2}" if several else "d")
        for n, (titles, bundled, split) in enumerate(drawn)
    ]
    with TemporaryDirectory() as folder:
        dials, payment = dials_of(sampler, ratio, 0, ",".join(formats)), Payment(ledger=Path(folder) / "calls.sqlite")
        if any(s.split == "train" and s.bundles for s in sessions):
            rows = plan(
                sessions, "openai:lab@http://127.0.0.1:9/v1", embedder=BagOfWords(), dials=dials, payment=payment
            )
            assert {row["stage"] for row in rows} <= {*STAGES} | {"probe"}
        else:
            with pytest.raises(UsageError, match="no annotated training session"):
                plan(sessions, "openai:lab@http://127.0.0.1:9/v1", embedder=BagOfWords(), dials=dials, payment=payment)


def test_a_log_is_opened_once_for_a_reader_who_comes_once(place: Lab) -> None:
    pipe = place.folder / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        payment = Payment(ledger=place.folder / "calls.sqlite")
        run_teacher(lab(2), place.server.spec, place.folder / "kb", embedder=BagOfWords(), payment=payment, log=pipe)
        events = reader.communicate(timeout=20)[0].splitlines()
    assert '"stage": "probe"' in events[0] and len(events) > 5
