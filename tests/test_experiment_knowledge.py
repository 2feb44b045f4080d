"""The knowledge bases of an experiment: their names, what a large teacher's cost, and that each is distilled once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import small
from kb_samples import use_words

from bundlewise.experiment import knowledge
from bundlewise.experiment import teachers as others
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.teachers import baseline_rows
from bundlewise.finetune import kind_tuning
from bundlewise.knowledge_base.kind_reader import tuned_state
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore

LARGE = {"teacher": "openai:gpt-4.1", "student": "tiny"}


def key(folder: Path, settings: dict[str, Any], **payment: Any) -> str:
    """Return the name of the knowledge that a cell's teacher gives under a payment."""
    maker = Maker(small(folder, settings=settings, payment=payment), folder / "cache")
    return maker.knowledge.key(Cell(**settings))


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
    monkeypatch.setattr(knowledge, "distil", slow(knowledge.distil, distilled))
    monkeypatch.setattr(others, "_baselines", slow(others._baselines, baselines))
    experiment, found = small(tmp_path), list[Any]()

    def run() -> None:
        maker = Maker(experiment, tmp_path / "cache")
        counts = maker.knowledge.of(Cell(student="tiny")).counts
        found.append((counts, [row.name for row in baseline_rows(maker)]))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2 and found[0] == found[1]
    assert (len(distilled), len(baselines)) == (1, 1)


def test_readers_are_tuned_once_a_seed_on_a_copy_of_knowledge_that_is_distilled_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minilm: Path
) -> None:
    distilled = list[int]()
    monkeypatch.setattr(knowledge, "distil", slow(knowledge.distil, distilled))
    maker = Maker(small(tmp_path), tmp_path / "cache")
    plain = maker.knowledge.of(Cell(student="tiny"))
    first, second, again = (maker.knowledge.of(Cell(student="tiny", readers=True, seed=seed)) for seed in (0, 1, 0))
    assert len(distilled) == 1 and again == first
    assert plain.counts == first.counts == second.counts and first.seconds > plain.seconds
    states = [_kinds(known.folder) for known in (plain, first, second)]
    assert [state for state, _ in states] == ["untuned", "tuned", "tuned"]
    assert states[1][1] != states[2][1]


def _kinds(kb: Path) -> tuple[str, str]:
    """Return whether a knowledge base's readers are tuned, and what its answers depend on."""
    store = KnowledgeStore.open(kb)
    state = tuned_state(store.vectors_folder, store.thoughts(), store.embedder)
    return state, Retriever(store, Policy()).about["teacher"]


def test_a_stopped_tuning_of_readers_goes_on_with_the_half_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, minilm: Path
) -> None:
    whole, tuned = kind_tuning.tune_kind_reader, list[str]()

    def noted(model: Any, pairs: Any, vectors: Any, config: Any, folder: Path, *rest: Any) -> Any:
        if len(tuned) == 1:
            tuned.append("stopped")
            raise KeyboardInterrupt
        tuned.append(folder.name)
        return whole(model, pairs, vectors, config, folder, *rest)

    monkeypatch.setattr(kind_tuning, "tune_kind_reader", noted)
    maker, cell = Maker(small(tmp_path), tmp_path / "cache"), Cell(student="tiny", readers=True)
    with pytest.raises(KeyboardInterrupt):
        maker.knowledge.of(cell)
    maker.knowledge.of(cell)
    assert tuned == ["half-0", "stopped", "half-1"]
