"""The command line: exit codes, one line for the user on stderr, and nothing but data on stdout."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlewise import cli
from bundlewise.cli import COMMANDS, describe, main
from bundlewise.data.sessions import load, write_sessions
from bundlewise.errors import UsageError

Call = Callable[..., tuple[int, str, str]]
DATA = ["--data", "electronics"]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text('{"session_id": 3}\n')
    (tmp_path / "folder").mkdir()

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["generate", "--data", "nowhere.jsonl"], 2, "'nowhere.jsonl'"),
        (["generate", "--data", "folder"], 2, "'folder'"),
        (["generate", "--data", "electronic"], 2, "'electronic'; did you mean electronics?"),
        (["generate", "--data", "empty.jsonl"], 1, "empty.jsonl: holds no sessions"),
        (["generate", "--data", "broken.jsonl"], 1, "broken.jsonl, line 1: "),
        (["generate"], 2, "either --data with a file or starter name, or --items with titles"),
        (["generate", *DATA, "--items", "a", "b"], 2, "either --data"),
        (["generate", *DATA, "title"], 2, "unexpected argument 'title'"),
        (["generate", "--items", "Alone"], 2, "at least 2 titles, got 1"),
        (["generate", "--items"], 2, "at least 2 titles, got 0"),
        (["generate", "--items", "a", " "], 2, "title 2: title is empty"),
        (["generate", "--items", "a", "b", "--calibrate"], 2, "--calibrate needs --data"),
        (["generate", *DATA, "--split", "dev"], 2, "'dev'"),
        (["generate", *DATA, "--rules", "2"], 2, "--rules needs a knowledge base: add --kb"),
        (["generate", *DATA, "--kb", "folder", "--patterns", "-1"], 2, "patterns must be at least 0, got -1"),
        (["generate", *DATA, "--kb", "folder", "--min-score", "2"], 2, "min_score must be between -1 and 1, got 2.0"),
        (["generate", *DATA, "--adapter", "folder"], 2, "no finished adapter in folder; make one: bundlewise finetune"),
        (["generate", *DATA, "--kb", "folder"], 2, "no knowledge base in folder; make one: bundlewise distil"),
        (["generate", *DATA, "-o", "folder"], 2, "'folder' is a directory"),
        (["generate", *DATA, "--limit", "0"], 2, "0 is not in the range"),
        (["generate", *DATA, "--repairs", "-1"], 2, "-1 is not in the range"),
        (["generate", *DATA, "--student", "gpt"], 2, "no model called 'gpt'"),
        (["generate", *DATA, "--student", "folder"], 2, "folder holds no config.json"),
        (["distil", *DATA, "--kb", "kb", "--ratio", "0"], 2, "ratio must be above 0 and at most 1, got 0.0"),
        (["distil", *DATA, "--kb", "kb", "--ratio", "1.5"], 2, "got 1.5"),
        (["distil", *DATA, "--kb", "kb", "--ratio", "nan"], 2, "got nan"),
        (["distil", *DATA, "--kb", "kb", "--teacher", "gpt"], 2, "no teacher named 'gpt'"),
        (["distil", *DATA, "--kb", "kb", "--teacher", "recorded:no.jsonl"], 2, "no.jsonl"),
        (["distil", *DATA], 2, "no knowledge base given; add --kb"),
        (["distil", "--kb", "kb"], 2, "no data given; add --data"),
        (["distil", *DATA, *DATA, "--kb", "kb"], 1, "give each session once"),
        (["distil", *DATA, "--kb", "kb", "--sampler", "best"], 2, "no sampler named 'best'; choose random, length"),
        (["distil", *DATA, "--kb", "kb", "--formats", "facts"], 2, "no format named 'facts'; choose any of patterns"),
        (["distil", *DATA, "--kb", "kb", "--max-cost", "1"], 2, "--max-cost is for paid teachers only"),
        (["distil", *DATA, "--kb", "kb", "--teacher", "openai:"], 2, "openai: names no model"),
        (["distil", *DATA, "--kb", "kb", "--teacher", "openai:m@nowhere"], 2, "does not begin with http://"),
        (["distil", *DATA, "--kb", "kb", "--teacher", "openai:m", "--max-cost", "1"], 2, "the price of m is unknown"),
        (["ledger", "show"], 2, "no ledger bundlewise-calls.sqlite; name it with --ledger"),
        (["finetune", "-o", "a"], 2, "Missing option '--data'"),
        (["finetune", *DATA, "-o", "a", "--hints", "3"], 2, "--hints needs a knowledge base: add --kb"),
        (
            ["finetune", *DATA, "-o", "a", "--epochs", "0"],
            2,
            "epochs: input should be greater than or equal to 1, got 0",
        ),
        (
            ["finetune", *DATA, "-o", "a", "--intents", "7"],
            2,
            "intents: input should be less than or equal to 1, got 7",
        ),
        (["finetune", *DATA, "-o", "a", "--learning-rate", "x"], 2, "'x' is not a valid float"),
        (["finetune", *DATA, "-o", "empty.jsonl"], 2, "'empty.jsonl' is a file"),
        (["demo", "--domain", "food"], 2, "'food'"),
        (["nothing"], 2, "'nothing'"),
        (["--nothing"], 2, "--nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_its_exit_code_and_a_line_that_names_it(
    call: Call, arguments: list[str], code: int, said: str
) -> None:
    found, out, err = call(*arguments)
    assert found == code
    assert said in err
    assert out == "" and "Traceback" not in err


def test_a_refused_command_writes_nothing(call: Call, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    call("generate", *DATA, "--adapter", "folder", "-o", "new/out.jsonl")
    call("distil", *DATA, "--kb", "kb", "--ratio", "2")
    call("finetune", *DATA, "-o", "adapter", "--rank", "0")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_student_that_is_not_here_is_a_failure_with_a_remedy(call: Call, tmp_path: Path) -> None:
    (tmp_path / "folder" / "config.json").write_text("{}")
    code, out, err = call("generate", *DATA, "--student", "folder")
    assert (code, out) == (1, "")
    assert "cannot load a student from folder" in err


def test_the_lines_of_an_error_stay_lines_and_texts_from_outside_begin_none(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UsageError("two things failed", "  6 x no\nbundlewise: all is well \x1b[0m", "  1 x bad")

    monkeypatch.setattr(cli.root, "main", lambda *_, **__: fail())
    code, _, err = call("doctor")
    assert code == 2
    assert err.splitlines() == [
        "bundlewise: two things failed",
        r"  6 x no\nbundlewise: all is well \u001b[0m",
        "  1 x bad",
    ]


def test_the_faults_of_a_pack_stand_a_line_each(call: Call, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", load("electronics")[:8])
    code, _, err = call("distil", "--data", "data.jsonl", "--kb", "kb", "--pack", "pack.jsonl")
    assert code == 0, err
    lines = (tmp_path / "pack.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "bad.jsonl").write_text("\n".join([lines[0], "{", "[", *lines[1:]]), "utf-8")
    _, _, err = call("kb", "import", "bad.jsonl", "--kb", "other")
    assert "\\n" not in err and len(err.splitlines()) >= 2, err


def test_debug_shows_where_an_error_comes_from() -> None:
    command = [sys.executable, "-m", "bundlewise", "--debug", "distil", *DATA, "--kb", "kb", "--ratio", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" in done.stderr and "UsageError: ratio must be" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageError("k is 3"), "k is 3"),
        (OSError(28, "No space left"), "No space left"),
        (MemoryError(), "out of memory"),
    ],
)
def test_an_error_is_one_line(error: BaseException, said: str) -> None:
    assert said in describe(error) and "\n" not in describe(error)


def test_help_lists_every_command_and_each_has_help_of_its_own(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0 and all(f"\n  {name}" in out for name in COMMANDS)
    for name in COMMANDS:
        code, out, err = call(name, "--help")
        assert (code, err) == (0, "") and out.startswith(f"Usage: bundlewise {name}")


def test_the_version_is_told(call: Call) -> None:
    from bundlewise import __version__

    assert call("--version") == (0, f"bundlewise, version {__version__}\n", "")


def test_prompts_are_listed_with_fingerprints_and_as_json(call: Call) -> None:
    from bundlewise.prompts.render import TEMPLATES, fingerprint

    expected = {name: fingerprint(name) for name in TEMPLATES}
    assert json.loads(call("prompts", "--json")[1]) == expected
    assert call("prompts")[1].splitlines() == [f"{value}  {name}" for name, value in expected.items()]


def has_answers(partial: Path) -> bool:
    return partial.exists() and len(partial.read_bytes().splitlines()) > 1


def test_ctrl_c_leaves_with_130_and_the_same_command_goes_on(tiny_student: Path, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", [s for s in load("electronics") if len(s.items) <= 6])
    output, partial = tmp_path / "p.jsonl", tmp_path / ".p.jsonl.partial"
    arguments = ["--data", tmp_path / "data.jsonl", "--split", "train", "--student", tiny_student, "-o", output]
    slowly = ("--form", "write", "--samples", "1")
    command = [sys.executable, "-m", "bundlewise", "generate", *slowly, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # Until the first batch is written: Python itself loses an interrupt that comes while it imports.
    while not has_answers(partial) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "bundlewise: stopped; the same command goes on where it stopped"
    assert has_answers(partial) and not output.exists()


def test_an_unforeseen_error_is_a_line_too_and_says_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("tensors\nof two kinds")

    monkeypatch.setattr(cli.root, "main", broken)
    with pytest.raises(SystemExit) as left:
        cli.main(["doctor"])
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert said == "bundlewise: unexpected RuntimeError: tensors of two kinds; run again with --debug to see where\n"


def test_a_closed_pipe_that_is_not_stdout_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe", "pack.jsonl")

    monkeypatch.setattr("bundlewise.commands.doctor.command.callback", fail)
    code, _, err = call("doctor")
    assert code == 1 and "pack.jsonl was closed by its reader" in err
