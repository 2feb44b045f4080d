"""A plan tells answers that could not be used apart from those that answer; with a retry they are calls to make."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Handler, TeacherServer

from bundlewise.agents.chat.client import ChatEndpoint
from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.teacher.ask import Asker
from bundlewise.agents.teacher.contracts import Kinds
from bundlewise.agents.teacher.plan import Planner
from bundlewise.agents.teacher.tally import Tally

GOOD = '{"kinds": ["mouse", "pad"]}'
OVERLOADED = "overloaded, try later"


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    opened = TeacherServer()
    yield opened
    opened.close()


@pytest.fixture
def endpoint(server: TeacherServer) -> Iterator[ChatEndpoint]:
    opened = ChatEndpoint("lab", server.spec.partition("@")[2], timeout=5, patience=5)
    yield opened
    opened.close()


def say(server: TeacherServer, text: str) -> None:
    def answer(handler: Handler, body: dict[str, Any]) -> bool:
        handler.answer(text, handler.headers["Idempotency-Key"])
        return True

    server.fault = answer


def kinds(asker: Any, subject: str) -> list[str] | None:
    titles = [f"Mouse {subject}", f"Pad {subject}"]
    wrong = lambda reply: [] if len(reply.kinds) == 2 else ["there must be 2 kinds"]  # noqa: E731
    usual = Kinds(kinds=["usual", "usual"])
    found = asker.ask("describe", subject, "teacher_kinds", Kinds, wrong, lambda: usual, titles=titles)
    return None if found is None else found.kinds


@pytest.fixture
def path(server: TeacherServer, endpoint: ChatEndpoint, tmp_path: Path) -> Path:
    """Return a ledger in which the question about `a` is answered, and that about `b` in no way that can be used."""
    ledger = CallLedger(tmp_path / "calls.sqlite")
    asker = Asker(endpoint, ledger, Tally(), repairs=0)
    say(server, GOOD)
    assert kinds(asker, "a") == ["mouse", "pad"]
    say(server, OVERLOADED)
    assert kinds(asker, "b") is None
    ledger.close()
    return ledger.path


def planned(path: Path, endpoint: ChatEndpoint, **fields: Any) -> dict[str, Any]:
    ledger = CallLedger.open_for_reading(path)
    plan = Planner(endpoint, ledger, repairs=0, **fields)
    for subject in ("a", "b", "c"):
        kinds(plan, subject)
    ledger.close()
    (row,) = plan.rows(None)
    return {name: row[name] for name in ("cached", "failed", "calls", "why")}


def test_failed_answers_are_counted_apart_and_asked_for_again_on_a_retry(path: Path, endpoint: ChatEndpoint) -> None:
    assert planned(path, endpoint) == {"cached": 1, "failed": 1, "calls": 1, "why": {"new": 1}}
    again = {"cached": 1, "failed": 0, "calls": 2, "why": {"failed before": 1, "new": 1}}
    assert planned(path, endpoint, retry_failed=True) == again


def test_answers_that_no_run_has_judged_yet_are_judged_by_the_plan_and_stay_as_they_are(
    path: Path, endpoint: ChatEndpoint
) -> None:
    unjudged(path)
    before = path.read_bytes()
    assert planned(path, endpoint) == {"cached": 1, "failed": 1, "calls": 1, "why": {"new": 1}}
    assert path.read_bytes() == before


def unjudged(path: Path) -> None:
    """Let no answer of a ledger be judged yet, as in one of the first format."""
    ledger = CallLedger(path)
    ledger._base.execute("UPDATE calls SET verdict = 'good'")
    ledger.close()


@pytest.mark.parametrize("judged", [True, False], ids=["judged before", "of the first format"])
def test_a_retry_does_what_was_planned_and_a_run_after_it_nothing(
    path: Path, endpoint: ChatEndpoint, server: TeacherServer, judged: bool
) -> None:
    say(server, GOOD)
    if not judged:
        unjudged(path)
    again = {"cached": 1, "failed": 0, "calls": 2, "why": {"failed before": 1, "new": 1}}
    assert planned(path, endpoint, retry_failed=True) == again
    asked = sum(server.asked.values())
    for retry, calls in ((True, 1), (True, 1), (False, 1)):
        ledger = CallLedger(path)
        asker = Asker(endpoint, ledger, Tally(), repairs=0, retry_failed=retry)
        assert kinds(asker, "a") == ["mouse", "pad"]
        assert kinds(asker, "b") == ["mouse", "pad"]
        assert sum(server.asked.values()) - asked == calls
        ledger.close()
    assert planned(path, endpoint) == {"cached": 2, "failed": 0, "calls": 1, "why": {"new": 1}}
    keys = [headers["idempotency-key"] for headers in server.headers]
    assert keys[-1] == f"{keys[1]}-1", "a provider would give the same answer to the same key"


def test_without_a_retry_a_failed_answer_is_neither_asked_for_again_nor_paid(
    path: Path, endpoint: ChatEndpoint, server: TeacherServer
) -> None:
    say(server, GOOD)
    asked, ledger = sum(server.asked.values()), CallLedger(path)
    assert kinds(Asker(endpoint, ledger, Tally(), repairs=0), "b") is None
    assert sum(server.asked.values()) == asked
    ledger.close()


def test_a_retry_that_fails_again_is_paid_once_a_run(path: Path, endpoint: ChatEndpoint, server: TeacherServer) -> None:
    unjudged(path)
    asked = sum(server.asked.values())
    for calls in (1, 2):
        ledger = CallLedger(path)
        assert kinds(Asker(endpoint, ledger, Tally(), repairs=0, retry_failed=True), "b") is None
        assert kinds(Asker(endpoint, ledger, Tally(), repairs=0, retry_failed=True), "b") is None
        assert sum(server.asked.values()) - asked == calls
        ledger.close()
