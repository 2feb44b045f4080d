"""Options that several commands share."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from samples import session

from bundlewise.cli import root
from bundlewise.data.sessions import write_sessions
from bundlewise.errors import UsageError
from bundlewise.pipeline import student


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["chat"], ["mcp"]], ids=lambda given: given[0])
def test_an_untuned_student_is_calibrated_wherever_it_is_live(
    tiny_student: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sessions(tmp_path / "d.jsonl", [session("s", ["a mouse", "a pad"], ((0, 1),))])
    monkeypatch.setattr(student, "open_model", lambda *_: pytest.fail("a wrong name is told before this"))
    given = ["--student", str(tiny_student), "--calibrate", str(tmp_path / "d.jsonl")]
    found = CliRunner().invoke(root, [*command, *given])
    assert isinstance(found.exception, UsageError) and "leave out --calibrate" in str(found.exception)
