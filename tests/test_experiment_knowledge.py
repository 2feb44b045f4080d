"""The knowledge bases of an experiment: their names, what a large teacher's cost, and that each is distilled once."""

from pathlib import Path
from typing import Any

import pytest
from experiment_samples import small
from kb_samples import use_words

from bundlewise.experiment.cells import Cell
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
