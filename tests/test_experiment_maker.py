"""The maker: knowledge bases, adapters and cells are made once, and named by all that determines them."""

from pathlib import Path
from typing import Any

import pytest
from experiment_samples import run_here, small, steady
from kb_samples import use_words

from bundlewise.data.sessions import read_sessions, write_sessions
from bundlewise.experiment.grid import cells_of
from bundlewise.experiment.knowledge import KnowledgeBases
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.run import Run
from bundlewise.experiment.workers import locally


def folders(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.is_dir()) if path.is_dir() else []


@pytest.mark.slow
def test_cells_share_one_knowledge_base_and_equal_adapters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    grid = [{"utilisation": ["icl", "sft", "icl+sft"], "formats": ["thoughts", "rules"]}, {"k": [1, 3]}]
    run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, grid=grid))
    assert len(folders(tmp_path / "cache" / "kb")) == 1
    assert len(folders(tmp_path / "cache" / "adapters")) == 4
    on_test = small(tmp_path, tiny_student, grid=grid, split="test")
    found = run_here(monkeypatch, tmp_path, on_test, "on-test")
    assert found.rows[0].sessions == 3
    assert len(folders(tmp_path / "cache" / "kb")) == 1
    assert len(folders(tmp_path / "cache" / "adapters")) == 4


@pytest.mark.parametrize(
    ("dials", "count"),
    [
        ({"ratio": [0.5, 1.0]}, 2),
        ({"ratio": [0.5], "sampler": ["length", "diversity"]}, 2),
        ({"domains": [1, 2]}, 2),
        ({"teacher": ["grounded", "recorded"]}, 2),
    ],
)
def test_other_sessions_or_teachers_give_another_knowledge_base(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, dials: dict[str, Any], count: int
) -> None:
    experiment = small(tmp_path, tiny_student, grid=[dials], domains=["electronics", "clothing"])
    results = run_here(monkeypatch, tmp_path, experiment)
    assert len(folders(tmp_path / "cache" / "kb")) == count
    if "domains" in dials:
        assert [row.teaching_sessions for row in results.rows[1:3]] == [6, 12]
    if "ratio" in dials:
        assert results.rows[1].teaching_sessions == 3


def test_a_share_of_the_sessions_gets_a_share_of_the_recorded_rules_by_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"ratio": 0.5, "sampler": "length"}], seeds=[0, 1])
    run_here(monkeypatch, tmp_path, experiment)
    packs = [path.read_text().splitlines() for path in sorted((tmp_path / "cache" / "packs").iterdir())]
    rules = [{line for line in pack if '"rule"' in line} for pack in packs]
    assert [len(found) for found in rules] == [2, 2] and rules[0] != rules[1]


def test_a_pack_without_rules_or_without_thoughts_is_fine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student)
    pack = tmp_path / "electronics-pack.jsonl"
    pack.write_text("".join(line for line in pack.read_text().splitlines(True) if '"rule"' not in line))
    assert run_here(monkeypatch, tmp_path, experiment).failures == ()


def test_a_second_run_makes_nothing_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"utilisation": "icl+sft"}])
    first = run_here(monkeypatch, tmp_path, experiment)
    monkeypatch.setattr(Maker, "_make", None)
    again = run_here(monkeypatch, tmp_path, experiment)
    assert again.model_dump_json() == first.model_dump_json()


def test_the_cache_may_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path) -> None:
    experiment = small(tmp_path, tiny_student)
    first = run_here(monkeypatch, tmp_path, experiment)
    (tmp_path / "cache").rename(tmp_path / "moved")
    monkeypatch.setattr(Maker, "_make", None)
    again = Run(experiment, tmp_path / "run", tmp_path / "moved", lambda text: None).run(locally)
    assert again.model_dump_json() == first.model_dump_json()


def test_lost_predictions_are_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path) -> None:
    experiment = small(tmp_path, tiny_student)
    first = run_here(monkeypatch, tmp_path, experiment)
    for path in (tmp_path / "cache" / "predictions").glob("*.jsonl"):
        path.unlink()
    assert steady(run_here(monkeypatch, tmp_path, experiment)) == steady(first)


def test_what_determines_a_cell_is_in_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    use_words(monkeypatch)
    experiment = small(tmp_path, tiny_student)
    (_, icl) = cells_of(experiment)
    keys = {"first": Maker(experiment, tmp_path).key(icl.cell)}
    assert Maker(experiment, tmp_path / "elsewhere").key(icl.cell) == keys["first"]
    keys["limit"] = Maker(small(tmp_path, tiny_student, limit=2), tmp_path).key(icl.cell)
    with (tmp_path / "electronics-pack.jsonl").open("a") as stream:
        stream.write('{"kind": "rule", "domain": "electronics", "text": "One more."}\n')
    keys["pack"] = Maker(experiment, tmp_path).key(icl.cell)
    sessions = read_sessions(tmp_path / "electronics.jsonl")
    write_sessions(tmp_path / "electronics.jsonl", sessions[1:])
    keys["data"] = Maker(experiment, tmp_path).key(icl.cell)
    monkeypatch.setattr("bundlewise.experiment.inputs.code_fingerprint", lambda: "other code")
    keys["code"] = Maker(experiment, tmp_path).key(icl.cell)
    assert len(set(keys.values())) == len(keys)


def test_two_names_of_one_base_have_two_adapters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    (tmp_path / "alias").symlink_to(tiny_student)
    grid = [{"student": [str(tiny_student), str(tmp_path / "alias")], "utilisation": ["sft"], "formats": ["none"]}]
    assert run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, grid=grid)).failures == ()


def test_a_cell_with_tuned_readers_of_an_embedder_that_cannot_be_tuned_is_recorded_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path
) -> None:
    experiment = small(tmp_path, tiny_student, grid=[{"readers": [False, True]}])
    results = run_here(monkeypatch, tmp_path, experiment)
    assert [row.name for row in results.rows[:2]] == ["plain student", "untuned readers"]
    (failure,) = results.failures
    assert failure.name == "tuned readers" and "cannot be tuned" in failure.reason


def test_an_adapter_is_of_its_readers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path) -> None:
    grid = [{"utilisation": "icl+sft", "readers": [False, True]}]
    monkeypatch.setattr(KnowledgeBases, "_with_readers", lambda self, known, seed: known)
    assert run_here(monkeypatch, tmp_path, small(tmp_path, tiny_student, grid=grid)).failures == ()
    assert len(folders(tmp_path / "cache" / "adapters")) == 2
