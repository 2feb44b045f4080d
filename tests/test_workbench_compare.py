"""Prompts are compared on the same sessions through the student's own path; a second look is free."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import session

from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.reading import Reading
from bundlewise.data.sessions import load, write_sessions
from bundlewise.domain import Session
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.pipeline.student import Student
from bundlewise.prompts.library import SHIPPED, shipped, using
from bundlewise.workbench.answer_cache import AnswerCache, Bench
from bundlewise.workbench.compare import check_student_reads, compare, sample
from bundlewise.workbench.page import write_page
from bundlewise.workbench.preview import World
from bundlewise.workbench.variants import Variant, variant_named, variants_named

SHORT = [s for s in load("electronics") if s.bundles and len(s.items) <= 5]
VALIDATION = [s for s in SHORT if s.split == "train"][:12]
BODY = "Which of these {{ session.items | length }} would one buy together?{% if records %}{% endif %}"
NOW = Variant("now", SHIPPED)
OTHER = Variant("other", SHIPPED.replacing(shipped("judge").with_body(BODY)))
WRITING = Variant("writing", SHIPPED.replacing(shipped("notes").with_body("{% for each in records %}{% endfor %}")))


@pytest.fixture(scope="module")
def student(tiny_student: Path) -> Student:
    return Student.open(student=str(tiny_student))


@pytest.fixture
def bench(student: Student, tmp_path: Path) -> Iterator[Bench]:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    yield Bench(student, cache)
    cache.close()


def test_answers_are_those_of_serving_under_the_prompts_given(bench: Bench) -> None:
    with using(OTHER.library):
        expected = bench.student.answer(VALIDATION)
    found = bench.answers(OTHER.library, VALIDATION)
    assert [p.model_dump(exclude={"seconds"}) for p in found] == [p.model_dump(exclude={"seconds"}) for p in expected]
    plain = bench.answers(SHIPPED, VALIDATION)
    assert [p.tokens_in for p in plain] != [p.tokens_in for p in found]


def test_a_second_look_is_free_and_only_what_determines_an_answer_asks_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.answers(SHIPPED, VALIDATION)
    assert bench.asked == len(VALIDATION)
    again = Bench(bench.student, bench.cache)
    assert again.answers(SHIPPED, VALIDATION[::-1]) == bench.answers(SHIPPED, VALIDATION)[::-1] and again.asked == 0
    same = shipped("teacher_kinds").with_body("Other {{ titles | length }}")
    again.answers(SHIPPED.replacing(same), VALIDATION)
    assert again.asked == 0
    writing = Student(bench.student.model, dials=AnswerDials(form="write", samples=1))
    for changed in (
        Bench(writing, bench.cache),
        Bench(bench.student, bench.cache, readings={Bench.prompts(): Reading(bias=1.0)}),
    ):
        changed.answers(SHIPPED, VALIDATION[:1])
        assert changed.asked == 1
    monkeypatch.setattr("bundlewise.workbench.answer_cache.code_fingerprint", lambda: "other code")
    again.answers(SHIPPED, VALIDATION[:1])
    assert again.asked == 1


def test_a_comparison_is_paired_over_the_same_sessions_and_says_what_flips(bench: Bench) -> None:
    seen: list[int] = []
    found = compare([NOW, OTHER], VALIDATION, bench, look=5, watch=lambda each: seen.append(each.seen))
    first, second = found.entries
    assert seen == [5, 10, 12] and found.planned == 12
    assert [look.sessions for look in second.looks] == [5, 10, 12] and first.looks == []
    mean = sum(b.gjs - a.gjs for a, b in zip(first.scores, second.scores, strict=True)) / 12
    assert second.looks[-1].difference == pytest.approx(mean)
    flips = found.flips(second)
    assert flips == sorted(flips, key=lambda n: (-abs(second.scores[n].gjs - first.scores[n].gjs), n))
    assert all(first.scores[n].gjs != second.scores[n].gjs for n in flips)
    assert second.row.tokens_in == sum(p.tokens_in for p in second.predictions) > 0


def test_a_comparison_ends_once_all_are_decided_and_shares_its_error(bench: Bench) -> None:
    """One that never bundles is worse on every session, so that the first looks decide."""
    sessions = [s.model_copy(update={"session_id": f"{s.session_id}-{n}"}) for n in range(6) for s in VALIDATION]
    with using(OTHER.library):
        bench.readings[Bench.prompts()] = Reading(student=0.0, bias=-9.0)
    bench.readings[Bench.prompts()] = Reading(student=0.0, bias=9.0)
    found = compare([NOW, OTHER], sessions, bench, look=12)
    assert found.entries[1].decided and found.entries[1].looks[-1].high < 0
    assert found.seen < found.planned == 72
    assert found.level == pytest.approx(0.05)


def test_the_sample_depends_on_the_seed_alone_and_grows_at_its_end() -> None:
    ids = [s.session_id for s in sample(SHORT, 10, 0)]
    assert (
        ids == [s.session_id for s in sample(SHORT[::-1], 20, 0)][:10] != [s.session_id for s in sample(SHORT, 10, 1)]
    )
    with pytest.raises(UsageError, match="0 annotated sessions are too few"):
        sample([], 10, 0)


def test_calibration_is_on_training_sessions_for_each_prompt_and_kept(bench: Bench) -> None:
    training = [s for s in SHORT if s.split == "train"][:10]
    first = bench.calibrate(OTHER.library, training)
    with using(OTHER.library):
        assert bench.readings[Bench.prompts()] == first
    again = Bench(bench.student, bench.cache)
    assert again.calibrate(OTHER.library, training) == first
    with pytest.raises(UsageError, match="no training session is annotated"):
        bench.calibrate(SHIPPED, [s for s in SHORT if s.split == "test"])


def test_prompts_that_the_student_never_reads_are_not_compared() -> None:
    teacher = Variant("t", SHIPPED.replacing(shipped("teacher_kinds").with_body("{{ titles | length }}?")))
    with pytest.raises(UsageError, match="now and t differ in teacher_kinds alone, which the student does not read"):
        check_student_reads([NOW, teacher], "pairs")
    check_student_reads([NOW, OTHER], "pairs")
    with pytest.raises(UsageError, match="differ in judge alone"):
        check_student_reads([NOW, OTHER], "write")
    check_student_reads([NOW, WRITING], "write")
    check_student_reads([NOW, WRITING], "pairs")  # Repairs are written.


def test_prompts_are_named_in_every_way_the_help_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judge.terse.jinja").write_text(BODY, encoding="utf-8")
    (tmp_path / "pair.jinja").write_text(shipped("pair").body + "!", encoding="utf-8")
    with using(variant_named(str(tmp_path)).library):
        assert variant_named("judge.terse").differs(variant_named("judge")) == ["judge"]
        assert variant_named("current").differs(variant_named("shipped")) == ["pair"]
        assert variant_named(str(tmp_path / "judge.terse.jinja")).differs(variant_named("shipped")) == ["judge", "pair"]
    with pytest.raises(UsageError, match="no prompts named 'nothing'; give shipped, current"):
        variant_named("nothing")
    with pytest.raises(UsageError, match="shipped and current are the same prompts"):
        variants_named(["shipped", "current"])


def test_the_page_stands_alone_is_the_same_twice_and_escapes_titles(bench: Bench, tmp_path: Path) -> None:
    hostile = session("evil", ["<script>alert(1)</script> mouse", "{{ 7*7 }} pad", "Glide 11"], ((0, 1),))
    sessions: list[Session] = [hostile, *VALIDATION[:7]]
    found = compare([NOW, OTHER], sessions, bench, look=4)
    for name in ("a.html", "b.html"):
        write_page(tmp_path / name, found, [World()] * len(sessions), {"data": "<b>"})
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<b>" not in text and "http" not in text.replace("http-equiv", "")
    assert "GJS to now" in text and f"Sessions with different scores: {len(found.flips(found.entries[1]))} of 8" in text
    assert text.count("<circle") == 2 and "+Which of these {{ session.items | length }}" in text


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a database, and longer than its header of a hundred bytes" * 9, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=r"cannot use the answers in .*x: file is not a database; give another"):
        AnswerCache(tmp_path / "x")


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on_with_what_is_kept(tiny_student: Path, tmp_path: Path) -> None:
    sessions = [s.model_copy(update={"split": "validation"}) for s in SHORT if len(s.items) <= 4][:24]
    write_sessions(tmp_path / "data.jsonl", sessions)
    (tmp_path / "judge.other.jinja").write_text(BODY, encoding="utf-8")
    specs = ["shipped", str(tmp_path / "judge.other.jinja")]
    given = ["--data", str(tmp_path / "data.jsonl"), "--student", str(tiny_student), "--look", "4"]
    command = [sys.executable, "-m", "bundlewise", "prompts", "compare", *specs, *given, "--json"]
    command += ["--cache", str(tmp_path / "kept.sqlite")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < until and kept(tmp_path / "kept.sqlite") < 8:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    before = kept(tmp_path / "kept.sqlite")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert before >= 8 and found["asked"] + before == 2 * found["seen"]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["asked"] == 0


def test_a_ledger_of_paid_calls_given_for_the_answers_is_refused_and_stays_one(tmp_path: Path) -> None:
    CallLedger(tmp_path / "calls.sqlite").close()
    with pytest.raises(KnowledgeError, match=r"calls\.sqlite holds no answers but is another database; give another"):
        AnswerCache(tmp_path / "calls.sqlite")
    CallLedger(tmp_path / "calls.sqlite").close()


def kept(path: Path) -> int:
    import sqlite3

    if not path.is_file():
        return 0
    try:
        with sqlite3.connect(path) as base:
            return int(base.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
