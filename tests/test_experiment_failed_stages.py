"""An experiment in which a whole stage of a teacher fails: the reason is told, the other cells stay, and it goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from experiment_samples import TRAINING, run_here, small, write_file
from kb_samples import use_words
from lying_server import BILLED
from teacher_server import Handler, TeacherServer
from test_pipeline_distil import stage_of

from bundlewise.cli import main


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    server = TeacherServer()
    yield server
    server.close()


def lying(stage: str, lie: str) -> Any:
    """Answer every question of a stage by a lie."""

    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        if stage_of(body) != stage:
            return False
        if lie == "refused by the server":
            handler.send(400, b'{"error": {"message": "no such parameter"}}')
        else:
            handler.answer(BILLED[lie]("").content or "", handler.headers["Idempotency-Key"])
        return True

    return fault


def settings(server: TeacherServer, student: Path, **changes: Any) -> dict[str, Any]:
    return {"settings": {"teacher": server.spec, "student": str(student), "training": TRAINING}, **changes}


@pytest.mark.parametrize(
    ("stage", "lie"),
    [
        ("describe", "empty"),
        ("propose", "refused by the server"),
        ("reflect", "filtered"),
        ("formalise", "blank"),
        ("think", "empty"),
    ],
)
def test_a_failed_stage_costs_its_cells_alone_and_the_next_run_makes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, server: TeacherServer, stage: str, lie: str
) -> None:
    experiment = small(tmp_path, tiny_student, **settings(server, tiny_student))
    server.fault = lying(stage, lie)
    results = run_here(monkeypatch, tmp_path, experiment)
    (failure,) = results.failures
    assert failure.name == "icl" and f"stage {stage} failed for " in failure.reason and "all of it" in failure.reason
    names = {row.name for row in results.rows}
    assert {"plain student", "whole session"} <= names and "icl" not in names
    server.fault = None
    asked = set(server.answered)
    again = run_here(monkeypatch, tmp_path, experiment)
    assert again.failures == () and names < {row.name for row in again.rows}
    good = [key for key in asked if server.answered[key] > 1]
    assert len(good) <= 6, "what was answered well is not asked for again"
    assert not list((tmp_path / "cache" / "kb").glob("*.failed"))


def test_cells_of_one_knowledge_fail_together_without_asking_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_student: Path, server: TeacherServer
) -> None:
    grid = [{"utilisation": ["icl"], "hints": [1, 2]}]
    server.fault = lying("think", "empty")
    experiment = small(tmp_path, tiny_student, **settings(server, tiny_student, grid=grid))
    for runs in (1, 2):
        results = run_here(monkeypatch, tmp_path, experiment)
        assert len(results.failures) == 2 and len({failure.reason for failure in results.failures}) == 1
        thoughts = [body for body in server.bodies if stage_of(body) == "think"]
        assert len(thoughts) == runs * 18, "a question of each session and what follows an empty answer, once a run"


def test_the_command_tells_the_reason_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_student: Path,
    server: TeacherServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_words(monkeypatch)
    path = write_file(tmp_path, tiny_student, **settings(server, tiny_student))
    command = ["experiment", "run", str(path), "-o", str(tmp_path / "run"), "--cache", str(tmp_path / "cache")]
    server.fault = lying("think", "empty")
    for code, told in ((1, "1 failed, the rest is in the report. icl: stage think failed for 6 of 6"), (0, "")):
        with pytest.raises(SystemExit) as left:
            main(command)
        assert (left.value.code or 0) == code and told in " ".join(capsys.readouterr().err.split())
        assert (tmp_path / "run" / "report.md").is_file()
        server.fault = None
