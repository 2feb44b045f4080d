"""In a notebook: tables of records that forge no HTML, and a bar that is rewritten in its cell."""

import sys
import time
from types import ModuleType
from typing import Any

import pytest
from samples import record, session

from bundlewise import notebook
from bundlewise.data.session_list import Sessions
from bundlewise.domain import Item, KnowledgeUse, PredictedBundle, Prediction, Session
from bundlewise.evaluation.scores import evaluate
from bundlewise.pipeline.watch import watching
from bundlewise.progress import progress

HOSTILE = "<script>alert(1)</script>\x1b[2J"


class Cell:
    """What a kernel shows: each display with the texts that it held one after the other."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw and display_id
        texts = [data["text/plain"]]
        self.shown.append(texts)
        handle = type("Handle", (), {})()
        handle.update = lambda data, raw: texts.append(data["text/plain"])
        return handle


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Let this process look like a kernel."""
    found, shell = Cell(), type("ZMQInteractiveShell", (), {})()
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    shown: Any = ModuleType("IPython.display")
    shown.display = found.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr("bundlewise.progress.SOON", 0.02)
    return found


def test_long_work_shows_its_bar_in_the_cell(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("finetune", 4) as advance:
        advance(2, "loss 0.610")
        time.sleep(0.2)
        advance(2)
    (texts,) = cell.shown
    assert any(text.startswith(f"finetune: {'█' * 12}{'░' * 12} 2 of 4, loss 0.610, about ") for text in texts)
    assert texts[-1] == f"finetune: {'█' * 24} 4 of 4"
    assert capsys.readouterr().err == ""


def test_a_teacher_at_work_is_told_of_in_the_cell(cell: Cell) -> None:
    from bundlewise.agents.teacher.tally import Tally

    tally = Tally()
    with watching(tally):
        tally.expect("think", 3)
        time.sleep(0.2)
    assert any(text.startswith("think: 0 of 3") for text in cell.shown[0])


def test_a_terminal_and_a_plain_program_are_no_notebook(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook.is_running()
    shell = type("TerminalInteractiveShell", (), {})()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert not notebook.is_running()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.is_running()


PREDICTION = Prediction(
    session_id=HOSTILE,
    bundles=(PredictedBundle(items=(1, 2), item_ids=("a", "b"), intent=HOSTILE, confidence=0.831),),
    knowledge=(KnowledgeUse(id="x", score=1.0),),
)
SESSION = Session(session_id=HOSTILE, items=(Item(id="a", title="<b>", category=(HOSTILE,), price=2.0),))
SHOWN = [SESSION, SESSION.items[0], PREDICTION, PREDICTION.bundles[0], record("thought", HOSTILE), Sessions([SESSION])]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_what_comes_from_data_forges_no_html(shown: Any) -> None:
    html = shown._repr_html_()
    assert html.startswith("<table>") and "<script" not in html and "<b>" not in html and "\x1b" not in html


def test_a_table_shows_the_first_rows_and_says_how_many_more_there_are() -> None:
    html = notebook.table("many", ("n",), ([n] for n in range(50)))
    assert html.count("<tr>") == 1 + notebook.SHOWN and "and 30 more" in html
    assert "x" * notebook.LONGEST + "..." in notebook.table("", ("t",), [["x" * 1000]])
    sessions = Sessions(session(f"s{n}", ["A", "B"]) for n in range(30))
    assert "and 10 more" in sessions._repr_html_()


def test_records_are_printed_in_words() -> None:
    assert str(PREDICTION.bundles[0]) == f"{HOSTILE} (83%): products 1, 2"
    failed = Prediction(session_id="s", bundles=(), outcome="failed", reason="too long")
    assert str(failed) == "s:\n  too long"
    assert str(session("s", ["Mouse", "Pad"])) == "s:\n  1. Mouse\n  2. Pad"
    assert str(record("rule", "Pads go with mice.")) == "rule (electronics): Pads go with mice."


def test_scores_are_a_line_a_table_of_text_and_a_table_of_html() -> None:
    sessions = [session(f"s{n}", ["A", "B", "C"], ((0, 1),)) for n in range(4)]
    right = [
        Prediction(session_id=s.session_id, bundles=(PredictedBundle(items=(1, 2), item_ids=()),)) for s in sessions
    ]
    scores = evaluate(sessions, right, "a <b>")
    assert repr(scores) == "Scores(a <b>: GJS 1.000 [1.000, 1.000] on 4 sessions)"
    assert "GJS" in str(scores) and "1.000" in str(scores)
    assert "<b>" not in scores._repr_html_() and "<td>1.000 1.000-1.000</td>" in scores._repr_html_()
