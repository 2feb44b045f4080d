"""A large teacher's rewrites are screened, compared, and kept only beyond doubt; the teacher is a real server."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Handler, TeacherServer

from bundlewise.agents.student.reading import Reading
from bundlewise.data.sessions import load, write_sessions
from bundlewise.errors import UsageError
from bundlewise.pipeline.distil import Payment, asking
from bundlewise.pipeline.student import Student
from bundlewise.prompts.library import SHIPPED, read_library, shipped, using
from bundlewise.workbench.answer_cache import AnswerCache, Bench
from bundlewise.workbench.optimise import Optimiser, Try, numbers

SHORT = [s for s in load("electronics") if s.bundles and len(s.items) <= 5]
TRAIN = SHORT[:8]
VALIDATION = [s.model_copy(update={"session_id": f"{s.session_id}-{n}"}) for n in range(6) for s in SHORT[8:20]]
BETTER = "{% include 'knowledge.jinja' %}{{ session.items | length }} products that shoppers put together:"
BROKEN = "{{ session.items | lenth }} {{ records | length }}"


class Rewriter:
    """Answers with its rewrites one after the other, again the first where a reply is asked for again."""

    def __init__(self, *rewrites: str) -> None:
        self.rewrites = list(rewrites)
        self.asked: list[str] = []

    def __call__(self, handler: Handler, body: dict[str, Any]) -> bool:
        prompt = body["messages"][-1]["content"]
        if "response_format" not in body or body["messages"][0]["role"] != "system":
            return False
        self.asked.append(prompt)
        reply = {"reason": "it is shorter", "template": self.rewrites[min(len(self.asked), len(self.rewrites)) - 1]}
        handler.answer(json.dumps(reply), handler.headers.get("Idempotency-Key") or "")
        return True


@pytest.fixture
def bench(tiny_student: Path, tmp_path: Path) -> Iterator[Bench]:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    bench = Bench(Student.open(student=str(tiny_student)), cache)
    bench.readings[Bench.prompts()] = Reading(student=0.0, bias=-9.0)  # As it ships the student never bundles.
    yield bench
    cache.close()


def optimise(bench: Bench, rewriter: Rewriter, tmp_path: Path, rewrites: int, **payment: Any) -> Optimiser:
    server = TeacherServer(rewriter)
    try:
        with asking(server.spec, Payment(tmp_path / "calls.sqlite", **payment)) as asker:
            run = Optimiser("judge", SHIPPED, bench, asker, TRAIN, VALIDATION, rewrites)
            run.kept = run.run()  # type: ignore[attr-defined]
            return run
    finally:
        server.close()


def read_well(bench: Bench, body: str) -> None:
    """Let the student bundle everything under a wording, which is better than nothing on every session."""
    with using(SHIPPED.replacing(shipped("judge").with_body(body))):
        bench.readings[Bench.prompts()] = Reading(student=0.0, bias=9.0)


def test_a_rewrite_that_is_better_beyond_doubt_is_kept(bench: Bench, tmp_path: Path) -> None:
    read_well(bench, BETTER)
    rewriter = Rewriter(BETTER)
    run = optimise(bench, rewriter, tmp_path, 2)
    first, second = run.tries
    assert (first.verdict, second.verdict) == ("kept", "the same")
    assert first.interval and first.interval[0] > 0 and first.sessions < len(VALIDATION) and first.training
    assert run.kept.body == BETTER + "\n" and run.kept.head == shipped("judge").head  # type: ignore[attr-defined]
    assert "products that shoppers put together" in rewriter.asked[1] and "kept: GJS +" in rewriter.asked[1]


def test_the_teacher_is_told_the_template_what_it_renders_and_what_goes_wrong(bench: Bench, tmp_path: Path) -> None:
    rewriter = Rewriter(BETTER)
    optimise(bench, rewriter, tmp_path, 1)
    asked = rewriter.asked[0]
    assert shipped("judge").body.strip() in asked and "products. Which go together?" in asked
    assert "; it answered " in asked and "; right is " in asked and 0 < asked.count("- products: ") <= 5
    assert all(s.session_id not in asked for s in SHORT)
    assert not any(
        title in asked for s in VALIDATION for title in s.titles if title not in str([t.titles for t in TRAIN])
    )


def test_a_rewrite_that_changes_nothing_is_dropped_on_training_sessions(bench: Bench, tmp_path: Path) -> None:
    with using(SHIPPED.replacing(shipped("judge").with_body(BETTER))):
        bench.readings[Bench.prompts()] = Reading(student=0.0, bias=-9.0)
    (done,) = optimise(bench, Rewriter(BETTER), tmp_path, 1).tries
    assert (done.verdict, done.training, done.validation) == ("not better on training", 0.0, None)


def test_a_broken_rewrite_is_fed_back_and_never_tried(bench: Bench, tmp_path: Path) -> None:
    rewriter = Rewriter(BROKEN)
    (done,) = optimise(bench, rewriter, tmp_path, 1, repairs=1).tries
    assert done.verdict == "invalid" and bench.asked == len(TRAIN)
    assert "no filter 'lenth'; did you mean length?" in rewriter.asked[1]


def test_no_more_calls_are_paid_than_the_cap_allows_and_what_was_found_counts(bench: Bench, tmp_path: Path) -> None:
    read_well(bench, BETTER)
    rewriter = Rewriter(BETTER, BETTER + " ", "{% include 'knowledge.jinja' %}{{ session.items | length }}")
    run = optimise(bench, rewriter, tmp_path, 4, max_calls=2)  # The first call finds out how the server answers.
    assert len(rewriter.asked) == 1 and [each.verdict for each in run.tries] == ["kept"]
    assert "stopped before exceeding --max-calls 2: 2 calls spent" in run.stopped


def test_what_was_paid_for_is_not_asked_again(bench: Bench, tmp_path: Path) -> None:
    first, second = Rewriter(BETTER), Rewriter(BETTER)
    optimise(bench, first, tmp_path, 1)
    optimise(bench, second, tmp_path, 1)
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_only_what_a_student_reads_can_be_optimised(bench: Bench) -> None:
    with pytest.raises(UsageError, match="a rewrite of teacher does not affect a student's answers; choose judge"):
        Optimiser("teacher", SHIPPED, bench, None, TRAIN, VALIDATION)  # type: ignore[arg-type]


def test_the_command_writes_what_is_kept_and_logs_what_was_tried(
    tiny_student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bundlewise.cli import main

    validation = [s.model_copy(update={"split": "validation"}) for s in VALIDATION[:12]]
    write_sessions(tmp_path / "data.jsonl", [*TRAIN, *validation])
    server = TeacherServer(Rewriter(BETTER, BROKEN))
    common = ["--data", tmp_path / "data.jsonl", "--student", tiny_student, "--cache", tmp_path / "kept.sqlite"]
    paying = ["--teacher", server.spec, "--rewrites", "1", "--ledger", tmp_path / "calls.sqlite"]
    try:
        with pytest.raises(SystemExit) as left:
            main([*map(str, ["prompts", "optimise", "judge", *common, *paying, "--to", tmp_path / "mine"])])
    finally:
        server.close()
    out = capsys.readouterr().out
    assert left.value.code == 0
    (row,) = [json.loads(line) for line in (tmp_path / "mine" / "judge.optimise.jsonl").read_text().splitlines()]
    done = Try.model_validate(row)
    assert done.body == BETTER + "\n" and done.reason == "it is shorter" and done.training is not None
    if done.verdict == "kept":
        assert read_library(tmp_path / "mine").fingerprint("judge") == done.fingerprint
    else:
        assert "none of 1 rewrites is significantly better; judge stays as it is" in out


def test_bundles_are_told_by_numbers() -> None:
    assert (numbers(((0, 1), (2, 4))), numbers(())) == ("1, 2; 3, 5", "none")


ENDLESS = "{{ session.items | length }}{{ records | length }}{{ 5 | round(99999999, 'ceil') }}"
LATE = "{{ records | length }}{% if session.items | length == 4 %}{{ 5 | round(99999999, 'ceil') }}{% endif %}"
FAILING = "{{ records | length }}{% if session.items | length == 4 %}{{ 1 / 0 }}{% endif %}"
LONG = "{{ session.items | length }}{{ records | length }}{% for n in range(9999) %}{{ n }}{% endfor %}"


def test_a_rewrite_without_end_is_a_rewrite_that_cannot_be_used(bench: Bench, tmp_path: Path) -> None:
    began = time.monotonic()
    run = optimise(bench, Rewriter(ENDLESS), tmp_path, 1)
    assert [each.verdict for each in run.tries] == ["invalid"] and time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("rewrite", "said"),
    [(LATE, "more than 2 s of work"), (FAILING, "ZeroDivisionError")],
    ids=["late", "failing"],
)
def test_a_rewrite_that_fails_at_a_session_is_told_and_the_next_is_tried(
    bench: Bench, tmp_path: Path, rewrite: str, said: str
) -> None:
    assert any(len(each.items) == 4 for each in TRAIN)
    run = optimise(bench, Rewriter(rewrite, BETTER), tmp_path, 2)
    assert run.tries[0].verdict == "invalid" and said in run.tries[0].note
    assert run.tries[1].verdict != "invalid"


def test_a_rewrite_that_no_session_fits_into_answers_nothing_and_is_not_better(bench: Bench, tmp_path: Path) -> None:
    run = optimise(bench, Rewriter(LONG, BETTER), tmp_path, 2)
    assert run.tries[0].verdict == "not better on training" and run.tries[1].verdict != "invalid"
