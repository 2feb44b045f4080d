"""The payment of a run: caps hold over all its knowledge bases and teachers, and a run that was stopped goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import TRAINING, run_here, small
from teacher_server import TeacherServer

from bundlewise.agents.ledger.calls import Reply
from bundlewise.agents.teacher.caps import CapError
from bundlewise.experiment.maker import Made
from bundlewise.experiment.payment import RunPayment
from bundlewise.experiment.report import write_reports
from bundlewise.experiment.run import Run
from bundlewise.models.prices import Price


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
        CapError, match=rf"cap of payment \(max_calls {paid - 1}\), which holds for all cells and teach"
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
    caps = {"max_cost": 5, "max_tokens": 1000, "prices": "p.toml"}
    run = RunPayment(small(tmp_path, payment=caps), tmp_path / "ledger")
    with run.paying() as (payment, bill):
        assert (payment.max_cost, payment.max_tokens, payment.max_calls) == (5, 1000, None)
        assert payment.prices == Path("p.toml")
        bill.tally.price = Price(input=1e4, output=1e4)
        bill.tally.call("rules", "one", Reply("text", "stop", 100, 20, 1.0), cached=False)
        bill.tally.call("rules", "two", Reply("text", "stop", 30, 5, 1.0), cached=True)
        bill.tally.call("probe", "json", Reply("text", "stop", 3, 1, 1.0), cached=True)
        bill.tally.failed("rules", "two", "no JSON")
    assert (bill.tokens_in, bill.tokens_out, bill.failed) == (130, 25, 1)
    assert bill.dollars == pytest.approx(1.55)
    with run.paying() as (payment, bill):
        assert payment.max_cost == pytest.approx(3.8) and payment.max_tokens == 880
        assert (bill.tokens_in, bill.tokens_out, bill.dollars) == (0, 0, 0.0)
        bill.tally.call("rules", "two", Reply("text", "stop", 30, 5, 1.0), cached=True)
        assert bill.dollars is None  # its price is unknown


def test_what_distilling_took_stands_in_the_rows_and_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, server: TeacherServer
) -> None:
    model = server.spec.removeprefix("openai:").partition("@")[0]
    (tmp_path / "p.toml").write_text(f'[models]\n"{model}" = {{ input = 2.0, output = 8.0 }}\n')
    settings = {"teacher": server.spec, "student": str(tiny_student)}
    prices = {"prices": str(tmp_path / "p.toml")}
    results = run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, settings=settings, payment=prices))
    plain, icl = (row.cost for row in results.rows[:2])
    answers = sum(server.answered.values()) - 1  # less the probe
    assert icl.distil_tokens == 120 * answers  # what the server bills for each
    assert icl.distil_dollars == pytest.approx(answers * (100 * 2.0 + 20 * 8.0) / 1e6)
    assert (plain.distil_tokens, plain.distil_dollars) == (0, 0.0)
    _, markdown = write_reports(results, tmp_path / "run")
    assert f"{icl.distil_tokens:,} | ${icl.distil_dollars:.4f}" in markdown.read_text("utf-8")


@pytest.mark.parametrize(("model", "dollars"), [("gpt-4.1", 1000 * (50 * 2.0 + 5 * 8.0) / 1e6), ("my-own", None)])
def test_a_student_on_a_server_costs_its_tokens_not_this_machines_time(
    tmp_path: Path, model: str, dollars: float | None
) -> None:
    experiment = small(tmp_path, f"openai:{model}@http://x", machine={"dollars_per_hour": 3.6})
    run = Run(experiment, tmp_path / "run", tmp_path / "cache", lambda text: None)
    made = Made(predictions="p", sessions=2, tokens_in=100, tokens_out=10, seconds=4.0)
    found = run._cost(experiment.settings["student"], [made])
    assert found.dollars == (None if dollars is None else pytest.approx(dollars)) and found.seconds == 2.0
    assert run._cost("tiny", [made]).dollars == pytest.approx(2.0)
