"""The whole chain through the command line: distil, finetune, generate, evaluate."""

import json
from pathlib import Path
from typing import Any

import pytest

from bundlewise.cli import main
from bundlewise.data.sessions import load, write_sessions

SMALL = {"train": 8, "validation": 2, "test": 2}
MEDIUM = {"train": 16, "validation": 6, "test": 8}


def subset(name: str, counts: dict[str, int], products: int) -> list[Any]:
    """Return the first sessions of each split that are no longer than so many products."""
    known = [s for s in load(name) if 3 <= len(s.items) <= products and s.bundles]
    return [s for split, count in counts.items() for s in [s for s in known if s.split == split][:count]]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """Run a command with --json and return what it printed, a line each."""
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def chain(capsys: pytest.CaptureFixture[str], folder: Path, student: Path, *dials: object) -> dict[str, Any]:
    """Run the chain on `data.jsonl` in a folder; return the tuned student's scores, and its predictions."""
    data, kb, adapter, output = (folder / name for name in ("data.jsonl", "kb", "adapter", "p.jsonl"))
    (distilled,) = run(capsys, "distil", "--data", data, "--kb", kb)
    assert {row["kind"] for row in distilled["records"]} >= {"thought"}
    known = ("--data", data, "--kb", kb, "--student", student)
    (manifest,) = run(capsys, "finetune", *known, "-o", adapter, *dials)
    assert manifest["policy"]["hints"] > 0 and manifest["teacher"].startswith("grounded ")
    predictions = run(capsys, "generate", *known, "--adapter", adapter, "-o", output)
    scores, gold = run(capsys, "evaluate", "--data", data, "--predictions", output, write_gold(folder))
    assert gold["gjs"] == 1.0
    return {"scores": scores, "predictions": predictions, "manifest": manifest}


def write_gold(folder: Path) -> Path:
    """Write the annotated bundles as predictions."""
    rows = [
        {"session_id": s.session_id, "bundles": [{"item_ids": list(b.item_ids)} for b in s.bundles]}
        for s in load(str(folder / "data.jsonl"), "test")
    ]
    path = folder / "gold.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_twelve_starter_sessions_go_through_the_whole_chain(
    capsys: pytest.CaptureFixture[str], tiny_student: Path, minilm: Path, tmp_path: Path
) -> None:
    sessions = subset("electronics", SMALL, products=6)
    write_sessions(tmp_path / "data.jsonl", sessions)
    found = chain(capsys, tmp_path, tiny_student, "--layers", 1, "--rank", 2)
    assert found["manifest"]["sessions"] == SMALL["train"]
    assert [p["session_id"] for p in found["predictions"]] == [s.session_id for s in sessions if s.split == "test"]
    own = {s.session_id: {item.id for item in s.items} for s in sessions}
    for prediction in found["predictions"]:
        assert prediction["outcome"] == "ok" and prediction["knowledge"]
        for bundle in prediction["bundles"]:
            assert bundle["intent"] and set(bundle["item_ids"]) <= own[prediction["session_id"]]
    assert 0 <= found["scores"]["gjs"] <= 1


@pytest.mark.slow
def test_real_sessions_go_through_the_chain_with_the_real_student(
    capsys: pytest.CaptureFixture[str], smollm2: Path, minilm: Path, shared: Path, tmp_path: Path
) -> None:
    """Thirty of the public electronic sessions of at most 6 products; too few to claim more than that it learns."""
    write_sessions(tmp_path / "data.jsonl", subset(str(shared / "datasets" / "electronic.jsonl"), MEDIUM, products=6))
    found = chain(capsys, tmp_path, smollm2, "--epochs", 2)
    assert all(p["outcome"] != "failed" for p in found["predictions"])
    losses = [json.loads(row)["loss"] for row in (tmp_path / "adapter" / "loss.jsonl").read_text().splitlines()]
    assert min(losses[len(losses) // 2 :]) < losses[0]
    assert found["scores"]["gjs"] > 0.2
