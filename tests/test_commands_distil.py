"""`bundlewise distil`: training sessions become a knowledge base and a pack, the same ones every time."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlewise.cli import main
from bundlewise.data.sessions import load, starter_pack_path, write_sessions
from bundlewise.domain import Session
from bundlewise.files import read_rows, write_jsonl
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.store import KnowledgeStore

Distil = Callable[..., tuple[int, str, str]]


def small() -> list[Session]:
    return [s for s in load("electronics", "train") if len(s.items) <= 4][:10]


@pytest.fixture
def distil(capsys: pytest.CaptureFixture[str], minilm: Path, tmp_path: Path) -> Distil:
    test = [s for s in load("electronics", "test") if len(s.items) <= 4][:2]
    write_sessions(tmp_path / "data.jsonl", [*small(), *test])

    def call(*arguments: object) -> tuple[int, str, str]:
        folders = ["--data", tmp_path / "data.jsonl", "--kb", tmp_path / "kb", "--pack", tmp_path / "pack.jsonl"]
        with pytest.raises(SystemExit) as left:
            main(["distil", *map(str, (*folders, *arguments))])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_what_is_told_is_what_is_in_the_knowledge_base_and_in_the_pack(
    distil: Distil, minilm: Path, tmp_path: Path
) -> None:
    code, out, _ = distil("--json")
    assert code == 0
    told = {(row["kind"], row["status"]): row["records"] for row in json.loads(out)["records"]}
    pack = read_rows(tmp_path / "pack.jsonl")[1:]
    assert told == Counter((row["kind"], row.get("status", "active")) for row in pack)
    assert told["thought", "active"] == len(small())
    store = KnowledgeStore.open(tmp_path / "kb", Embedder.named(str(minilm)))
    assert store.records.counts().total() == sum(told.values())
    active = {record.id for record in store.records.select()}
    assert active == {row["id"] for row in pack if row.get("status", "active") == "active"}


def test_only_training_sessions_are_learnt_from(distil: Distil, tmp_path: Path) -> None:
    distil()
    sources = {s for row in read_rows(tmp_path / "pack.jsonl")[1:] for s in row["source_session_ids"]}
    assert sources and sources <= {session.session_id for session in small()}


def test_the_table_is_data_and_the_next_step_a_message(distil: Distil, tmp_path: Path) -> None:
    _, out, err = distil()
    assert f"{len(small()):6} thoughts" in out.splitlines()
    assert f"knowledge base in {tmp_path / 'kb'}; next: bundlewise finetune" in err


def test_distilling_twice_gives_the_same_pack_to_the_byte(distil: Distil, tmp_path: Path) -> None:
    distil()
    first = (tmp_path / "pack.jsonl").read_bytes()
    distil()
    assert (tmp_path / "pack.jsonl").read_bytes() == first


def test_a_ratio_reads_that_share_of_the_sessions_chosen_by_seed(distil: Distil, tmp_path: Path) -> None:
    def thoughts(seed: int) -> list[str]:
        distil("--ratio", 0.3, "--seed", seed)
        rows = read_rows(tmp_path / "pack.jsonl")[1:]
        return [row["source_session_ids"][0] for row in rows if row["kind"] == "thought"]

    drawn = {tuple(thoughts(seed)) for seed in (0, 1, 2)}
    assert {len(ids) for ids in drawn} == {3}
    assert len(drawn) > 1


def test_a_recorded_teacher_gives_what_a_large_model_wrote(distil: Distil, tmp_path: Path) -> None:
    known = {session.session_id for session in small()}
    whole = read_rows(starter_pack_path("electronics"))
    recorded = tmp_path / "recorded.jsonl"
    write_jsonl(recorded, [row for row in whole if row["kind"] == "rule" or row["source_session"] in known])
    code, out, _ = distil("--teacher", f"recorded:{recorded}", "--json")
    assert code == 0
    rows = [row for row in read_rows(tmp_path / "pack.jsonl")[1:] if row["kind"] == "thought"]
    assert rows and all(
        any(row.get("original", row["text"]).endswith(said["text"].strip()) for said in whole) for row in rows
    )
    assert {row["provenance"]["teacher"] for row in rows} == {json.loads(out)["teacher"]}


def test_distilling_is_not_spread_and_says_why(distil: Distil, tmp_path: Path) -> None:
    code, _, err = distil("--engine", "ray")
    assert code == 2 and "go through one ledger" in err and "leave out --engine ray" in err
    assert not (tmp_path / "kb").exists()


def test_the_graph_is_written_as_mermaid_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["distil", "--draw", str(tmp_path / "graph.mmd")])
    drawn = (tmp_path / "graph.mmd").read_text("utf-8")
    assert not left.value.code and capsys.readouterr().out == f"{tmp_path / 'graph.mmd'}\n"
    assert "graph TD;" in drawn and all(stage in drawn for stage in ("describe", "study", "prove", "think"))
