"""`bundlewise baselines`: a file of predictions for each, chosen on validation, scored like any other."""

import json
from pathlib import Path

import pytest
from samples import BagOfWords

from bundlewise.cli import main
from bundlewise.data.sessions import load, write_sessions
from bundlewise.experiment.references import References
from bundlewise.knowledge_base.embedding import Embedder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Embedder, "named", lambda *_: BagOfWords())
    sessions = load("electronics")
    kept = [s for s in sessions if s.split == "train"][:40] + [s for s in sessions if s.split != "train"][:60]
    write_sessions(tmp_path / "data.jsonl", kept)
    return tmp_path / "data.jsonl"


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert not left.value.code


def test_each_baseline_is_a_file_that_evaluate_scores(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("distil", "--data", data, "--kb", tmp_path / "kb")
    call("baselines", "--data", data, "--kb", tmp_path / "kb", "-o", tmp_path / "found")
    files = sorted((tmp_path / "found").iterdir())
    names = ["embedding-clusters", "evidence-alone", "lexical-clusters", "whole-session"]
    assert [path.stem for path in files] == names
    assert "threshold 0." in capsys.readouterr().out
    call("evaluate", "--data", data, "--json", "--predictions", *files)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(0 < row["gjs"] < 1 for row in rows)


def test_the_whole_session_is_one_bundle_and_without_a_knowledge_base_three_files_are_written(
    data: Path, tmp_path: Path
) -> None:
    call("baselines", "--data", data, "--split", "validation", "-o", tmp_path / "found")
    assert len(list((tmp_path / "found").iterdir())) == 3
    rows = [json.loads(line) for line in (tmp_path / "found" / "whole-session.jsonl").read_text().splitlines()]
    sizes = {s.session_id: len(s.items) for s in load(str(data), "validation")}
    assert {r["session_id"]: len(r["bundles"][0]["items"]) for r in rows} == sizes


def test_annotations_of_the_sessions_asked_change_nothing(data: Path) -> None:
    validation, asked = load(str(data), "validation"), load(str(data), "test")
    seen = References(validation, asked).lexical()
    assert References(validation, [s.blind() for s in asked]).lexical() == seen


def test_without_validation_sessions_there_is_nothing_to_choose_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [session.blind().model_copy(update={"split": "validation"}) for session in load(str(data), "validation")]
    write_sessions(tmp_path / "less.jsonl", [*bare, *load(str(data), "test")])
    with pytest.raises(SystemExit) as left:
        main(["baselines", "--data", str(tmp_path / "less.jsonl"), "-o", str(tmp_path / "found")])
    assert left.value.code == 2 and "baselines need annotated validation sessions" in capsys.readouterr().err
