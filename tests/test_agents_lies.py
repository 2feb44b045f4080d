"""A server that lies: what a run reports is what the server bills, to the cent, stopped, capped, killed or not."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lying_server import BILLED, ESTIMATED, PRICE, UNBILLED, Liar
from samples import BagOfWords
from test_pipeline_distil import lab, start, write_sessions

from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.teacher.caps import CapError
from bundlewise.agents.teacher.tally import Tally
from bundlewise.pipeline.distil import Payment, run_teacher

COUNTED = tuple(name for name in (*BILLED, *UNBILLED) if name not in ESTIMATED)
PRICES = f'[models]\n"lab" = {{ input = {PRICE.input}, output = {PRICE.output} }}\n'


class Run:
    """Runs of one ledger against one liar, and what they report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "prices.toml").write_text(PRICES)

    def distil(self, server: Liar, count: int, name: str = "kb", **fields: Any) -> Tally:
        """Return what a run reports; a cap that is reached ends it."""
        usual = {"ledger": self.folder / "calls.sqlite", "prices": self.folder / "prices.toml", "timeout": 5.0}
        tally = Tally()
        payment = Payment(**usual | {"patience": 30.0, "concurrency": 8} | fields)
        try:
            run_teacher(
                lab(count), server.spec, self.folder / name, embedder=BagOfWords(), payment=payment, tally=tally
            )
        except CapError as error:
            self.capped = str(error)
        return tally

    def kept(self) -> float:
        """Return the dollars of all answers in the ledger."""
        ledger = CallLedger.open_for_reading(self.folder / "calls.sqlite")
        rows = ledger.totals()
        ledger.close()
        return sum(PRICE.cost(row["tokens_in"], row["tokens_out"]) for row in rows)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    yield Run(tmp_path)


@pytest.mark.parametrize(
    ("count", "concurrency"),
    [(40, 8), *(pytest.param(500, concurrency, marks=pytest.mark.slow) for concurrency in (8, 32))],
)
def test_the_report_and_the_ledger_are_the_bill_to_the_cent(run: Run, count: int, concurrency: int) -> None:
    server = Liar(share=0.4)
    tally = run.distil(server, count, concurrency=concurrency)
    assert set(server.told) >= {*BILLED, *UNBILLED}, "every lie was told"
    assert tally.cost() == pytest.approx(server.dollars, abs=1e-9)
    assert run.kept() == pytest.approx(server.dollars, abs=1e-9)
    assert tally.calls == len(server.bill)
    assert sum(stage.estimated for stage in tally.stages.values()) == sum(server.told[name] for name in ESTIMATED)
    assert sum("estimated" in note for note in tally.notes) == 1, "one note a run"
    again = run.distil(server, count, "again", concurrency=concurrency)
    assert again.calls == 0 and tally.calls == len(server.bill), "nothing is paid twice, refusals neither"
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("lie", [*BILLED, *UNBILLED])
def test_of_each_lie_alone_in_15_percent_of_all_calls_the_bill_is_the_report(run: Run, lie: str) -> None:
    server = Liar((lie,))
    tally = run.distil(server, 500, concurrency=16)
    assert server.told[lie] > 100
    assert tally.cost() == pytest.approx(server.dollars, abs=1e-9) == run.kept()
    server.close()


@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_cap_of_the_exact_total_is_used_but_for_one_call(run: Run, tmp_path: Path, concurrency: int) -> None:
    (tmp_path / "whole").mkdir()
    whole = Liar(COUNTED, share=0.2)
    total = Run(tmp_path / "whole").distil(whole, 40).cost()
    assert total is not None
    most = max(PRICE.cost(*each) for each in whole.bill.values())
    whole.close()
    server = Liar(COUNTED, share=0.2)
    tally = run.distil(server, 40, concurrency=concurrency, max_cost=total)
    spent = tally.cost()
    assert spent == pytest.approx(server.dollars, abs=1e-9)
    assert total - most <= spent <= total + 1e-9
    if spent < total - 1e-9:
        assert f"${spent:.4f} spent" in run.capped, "what is said to be spent is the bill"
    rest = run.distil(server, 40, "rest", concurrency=concurrency)
    assert (rest.cost() or 0.0) + spent == pytest.approx(server.dollars, abs=1e-9) == run.kept()
    server.close()


def test_under_a_cap_no_answer_without_a_count_is_taken_for_less_than_the_bill(run: Run) -> None:
    server = Liar(share=0.2)
    tally = run.distil(server, 40, concurrency=8, max_cost=5.0)
    assert server.dollars - 1e-9 <= (tally.cost() or 0.0) <= 5.0
    server.close()


@pytest.mark.parametrize("number", [3, 60])
def test_killed_in_the_middle_two_runs_pay_together_what_the_server_bills(
    run: Run, tmp_path: Path, number: int
) -> None:
    server, running = Liar(share=0.2), list["subprocess.Popen[str]"]()
    lie = server.fault
    assert lie is not None

    def strike(handler: Any, body: dict[str, Any]) -> bool:
        if sum(server.asked.values()) == number:
            running[0].send_signal(signal.SIGKILL)
        return lie(handler, body)

    write_sessions(tmp_path / "data.jsonl", lab(20))
    server.fault = strike
    running.append(start(run_place(server, tmp_path)))
    running[0].communicate(timeout=120)
    assert running[0].returncode == -signal.SIGKILL
    server.fault = lie
    tally = run.distil(server, 20)
    assert run.kept() == pytest.approx(server.dollars, abs=1e-9)
    assert 0 < (tally.cost() or 0.0) <= server.dollars
    server.close()


def run_place(server: Liar, folder: Path) -> Any:
    from test_pipeline_distil import Lab

    return Lab(server, folder)
