"""The knowledge bases of an experiment: their names, what a large teacher's cost, and that each is distilled once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import small
from kb_samples import use_words

from bundlewise import distilling
from bundlewise.experiment import others
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.others import baseline_rows
from bundlewise.experiment.workshop import Workshop

LARGE = {"teacher": "openai:gpt-4.1", "student": "tiny"}


def key(folder: Path, settings: dict[str, Any], **payment: Any) -> str:
    """Return the name of the knowledge that a cell's teacher gives under a payment."""
    workshop = Workshop(small(folder, settings=settings, payment=payment), folder / "cache")
    return workshop._knowledge_key(Cell(**settings))


def test_what_changes_a_large_teachers_answers_names_its_knowledge_and_caps_and_pace_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_words(monkeypatch)
    usual = key(tmp_path, LARGE)
    assert key(tmp_path, LARGE, max_cost=5, concurrency=2, rpm=9, temperature=0.0) == usual
    others: list[dict[str, Any]] = [{"temperature": 0.5}, {"effort": "low"}, {"max_output": 900}, {"repairs": 0}]
    assert len({usual, *(key(tmp_path, LARGE, **payment) for payment in others)}) == 5
    grounded = {"teacher": "grounded", "student": "tiny"}
    assert key(tmp_path, grounded) == key(tmp_path, grounded, temperature=0.5)


def slow(work: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """Return a function that counts its calls, and that a second caller has time to overtake."""

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        threading.Event().wait(0.5)
        return work(*arguments, **named)

    return counted


def test_two_runs_that_want_one_knowledge_base_and_the_baselines_make_them_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_words(monkeypatch)
    distilled, baselines = list[int](), list[int]()
    monkeypatch.setattr(distilling, "distil", slow(distilling.distil, distilled))
    monkeypatch.setattr(others, "_baselines", slow(others._baselines, baselines))
    experiment, found = small(tmp_path), list[Any]()

    def run() -> None:
        workshop = Workshop(experiment, tmp_path / "cache")
        counts = workshop._distilled(Cell(student="tiny")).counts
        found.append((counts, [row.name for row in baseline_rows(workshop)]))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2 and found[0] == found[1]
    assert (len(distilled), len(baselines)) == (1, 1)
