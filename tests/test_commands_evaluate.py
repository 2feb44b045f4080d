"""`bundlewise evaluate`: its table, its JSON and its refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlewise.cli import main
from bundlewise.data.sessions import load
from bundlewise.domain import Session

SHARED = Path(__file__).parents[2] / "shared"
Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def written(path: Path, sessions: list[Session], *, annotated: bool) -> Path:
    """Write for each session its annotated bundles, or all its products as one."""
    lines = []
    for session in sessions:
        whole = [{"items": list(range(1, len(session.items) + 1))}]
        known = [{"item_ids": list(bundle.item_ids)} for bundle in session.bundles]
        lines.append(json.dumps({"session_id": session.session_id, "bundles": known if annotated else whole}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return written(tmp_path / "whole.jsonl", load("grocery", "test"), annotated=False)


@pytest.fixture
def oracle(tmp_path: Path) -> Path:
    return written(tmp_path / "oracle.jsonl", load("grocery", "test"), annotated=True)


def test_one_file_prints_a_table_on_stdout_and_nothing_else(evaluate: Evaluate, whole: Path) -> None:
    code, out, err = evaluate("--data", "grocery", "--predictions", whole)
    assert (code, err) == (0, "")
    assert "GJS" in out and "difference" not in out and ".401" in out


def test_json_has_the_published_shape(evaluate: Evaluate, whole: Path) -> None:
    code, out, _ = evaluate("--data", "grocery", "--split", "test", "--predictions", whole, "--json")
    published = json.loads(out)
    assert code == 0
    assert list(published) == ["file", "n", "answered", "v1", "v2", "exact", "gjs", "ci95"]
    assert (published["file"], published["n"], published["answered"]) == (str(whole), 40, 40)
    assert published["ci95"]["gjs"][0] < published["gjs"] < published["ci95"]["gjs"][1]


@pytest.mark.parametrize("repeated", [True, False], ids=["option repeated", "several files"])
def test_several_files_are_compared_with_the_first(
    evaluate: Evaluate, whole: Path, oracle: Path, repeated: bool
) -> None:
    files = ["--predictions", whole, *["--predictions"] * repeated, oracle]
    code, out, _ = evaluate("--data", "grocery", *files, "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert [first["file"], second["file"]] == [str(whole), str(oracle)]
    assert "difference" not in first
    assert second["difference"]["to"] == str(whole)
    assert second["difference"]["gjs"] == pytest.approx(1 - first["gjs"])
    assert second["difference"]["ci95"] == pytest.approx([1 - first["ci95"]["gjs"][1], 1 - first["ci95"]["gjs"][0]])


def test_several_files_share_one_table_with_differences(evaluate: Evaluate, whole: Path, oracle: Path) -> None:
    code, out, _ = evaluate("--data", "grocery", "--predictions", whole, oracle)
    assert code == 0
    assert "difference" in out and "+.599" in out


def test_missing_sessions_count_as_zero_and_are_told(evaluate: Evaluate, tmp_path: Path) -> None:
    half = written(tmp_path / "half.jsonl", load("grocery", "test")[:20], annotated=True)
    code, out, err = evaluate("--data", "grocery", "--predictions", half, "--json")
    published = json.loads(out)
    assert (code, err) == (0, f"{half}: 20 of 40 sessions are missing and count as zero\n")
    assert (published["n"], published["answered"], published["gjs"]) == (40, 20, 0.5)


def test_sessions_without_annotated_bundles_are_told_and_not_scored(evaluate: Evaluate, tmp_path: Path) -> None:
    first, second = load("grocery", "test")[:2]
    data = tmp_path / "some.jsonl"
    bare = second.model_copy(update={"bundles": ()})
    data.write_text("\n".join(s.model_dump_json(exclude_defaults=True) for s in (first, bare)), encoding="utf-8")
    predictions = written(tmp_path / "p.jsonl", [first], annotated=True)
    code, out, err = evaluate("--data", data, "--predictions", predictions, "--json")
    assert (code, json.loads(out)["n"]) == (0, 1)
    assert "1 of 2 sessions have no annotated bundles and are not scored" in err

    data.write_text(bare.model_dump_json(exclude_defaults=True), encoding="utf-8")
    code, out, err = evaluate("--data", data, "--predictions", predictions)
    assert (code, out) == (1, "")
    assert "none of 1 sessions has annotated bundles; choose another dataset or split" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "grocery"], 2, "Missing option '--predictions'"),
        (["--predictions", "{whole}"], 2, "Missing option '--data'"),
        (["--data", "grocery", "--predictions", "absent.jsonl"], 2, "'absent.jsonl' does not exist"),
        (["--data", "grocery", "--predictions", "{whole}", "absent.jsonl"], 2, "does not exist"),
        (["--data", "grocer", "--predictions", "{whole}"], 2, "no starter domain 'grocer'"),
        (["--data", "grocery", "--split", "dev", "--predictions", "{whole}"], 2, "'dev' is not one of"),
        (
            ["--data", "grocery", "--predictions", "{whole}", "--predictions", "{empty}"],
            1,
            "holds no predictions",
        ),
        (["--data", "clothing", "--predictions", "{whole}"], 1, "line 1: session 'grocery-"),
        (["--data", "grocery", "--predictions", "{negative}"], 1, "line 1: no item -2"),
    ],
)
def test_what_cannot_be_scored_is_explained_on_stderr(
    evaluate: Evaluate, tmp_path: Path, whole: Path, arguments: list[str], code: int, message: str
) -> None:
    empty, negative = tmp_path / "empty.jsonl", tmp_path / "negative.jsonl"
    empty.touch()
    name = load("grocery", "test")[0].session_id
    negative.write_text(json.dumps({"session_id": name, "bundles": [{"items": [-2, 1]}]}), encoding="utf-8")
    given = [text.format(whole=whole, empty=empty, negative=negative) for text in arguments]

    found, out, err = evaluate(*given)
    assert (found, out) == (code, "")
    assert message in err and "Traceback" not in err


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared electronic sessions are not here")
def test_the_large_teacher_scores_as_published(evaluate: Evaluate) -> None:
    files = [SHARED / "teacher" / f"electronic-test-{name}.jsonl" for name in ("zero", "informed")]
    code, out, err = evaluate("--data", SHARED / "datasets" / "electronic.jsonl", "--predictions", *files, "--json")
    assert (code, err) == (0, "")
    assert [round(json.loads(line)["gjs"], 3) for line in out.splitlines()] == [0.658, 0.679]
