"""The purse of a run: caps hold over all its knowledge bases and teachers, and a run that was stopped goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import TRAINING, run_here, small
from teacher_server import TeacherServer

from bundlewise.agents.asking import CapError
from bundlewise.agents.calls import Reply
from bundlewise.experiment.purse import Purse
from bundlewise.prices import Price


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    server = TeacherServer()
    yield server
    server.close()


def test_caps_hold_over_a_whole_run_and_with_a_higher_one_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, server: TeacherServer
) -> None:
    known: dict[str, Any] = {
        "settings": {"teacher": server.spec, "student": str(tiny_student), "training": TRAINING},
        "teachers": [{"name": "live", "endpoint": server.spec}],
    }
    run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, **known))
    paid = sum(server.answered.values())
    (tmp_path / "cache").rename(tmp_path / "unlimited")

    # The knowledge base alone stays below this cap, and so do the teacher's rows.
    capped = small(tmp_path, tiny_student, **known, payment={"max_calls": paid - 1})
    with pytest.raises(
        CapError, match=rf"cap of payment \(max_calls {paid - 1}\), which holds over all cells and teach"
    ):
        run_here(monkeypatch, tmp_path, capped, "capped")
    assert sum(server.answered.values()) == 2 * paid - 1
    assert len(list((tmp_path / "cache" / "cells").glob("*.json"))) == 2

    raised = small(tmp_path, tiny_student, **known, payment={"max_calls": paid})
    assert run_here(monkeypatch, tmp_path, raised, "capped").failures == ()
    assert sum(server.answered.values()) == 2 * paid


def test_a_cap_that_a_cell_meets_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, server: TeacherServer
) -> None:
    settings = {"teacher": server.spec, "student": str(tiny_student)}
    experiment = small(tmp_path, tiny_student, settings=settings, payment={"max_calls": 2})
    with pytest.raises(CapError, match=r"in this run: 2 calls, \d+ tokens, cost unknown; the"):
        run_here(monkeypatch, tmp_path, experiment)
    assert sum(server.answered.values()) == 2


def test_each_teacher_gets_what_is_left_and_a_bill(tmp_path: Path) -> None:
    purse = Purse(small(tmp_path, payment={"max_cost": 5, "max_tokens": 1000, "prices": "p.toml"}), tmp_path / "ledger")
    with purse.paying() as (payment, bill):
        assert (payment.max_cost, payment.max_tokens, payment.max_calls) == (5, 1000, None)
        assert payment.prices == Path("p.toml")
        bill.tally.price = Price(input=1e4, output=1e4)
        bill.tally.call("rules", "one", Reply("text", "stop", 100, 20, 1.0), cached=False)
        bill.tally.call("rules", "two", Reply("text", "stop", 30, 5, 1.0), cached=True)
        bill.tally.call("probe", "json", Reply("text", "stop", 3, 1, 1.0), cached=True)
    assert (bill.tokens_in, bill.tokens_out) == (130, 25)
    with purse.paying() as (payment, bill):
        assert payment.max_cost == pytest.approx(3.8) and payment.max_tokens == 880
        assert (bill.tokens_in, bill.tokens_out) == (0, 0)
