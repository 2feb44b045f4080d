"""The way out to the user: nothing from outside drives a terminal, in no command, and any stream ends plainly."""

import io
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kb_samples import fill, record, use_words

from bundlewise.cli import COMMANDS, main, root
from bundlewise.data.sessions import write_sessions
from bundlewise.domain import Bundle, Item, Session
from bundlewise.terminal import PrintableStream, one_line, printable, styled

EVIL = "Tab\x1b]0;x\x07let \x1b[31m\x9b2J \u202eevil\u2066 \u200b\u200d\ufeff\u2028 \r\x7f\x08"
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def drives(text: str) -> list[str]:
    """Return the characters of a text that a terminal would not show as they are."""
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN]


@given(st.text())
def test_what_is_printable_holds_nothing_that_drives_a_terminal(text: str) -> None:
    assert not drives(printable(text))
    assert not set(one_line(text)) & {"\n", "\t"}


@given(st.text(st.characters(exclude_categories=sorted(HIDDEN))))
def test_letters_of_all_scripts_and_blanks_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@given(st.dictionaries(st.text(), st.text()))
def test_json_stays_the_same_json(value: dict[str, str]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert json.loads(printable(text)) == value
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    PrintableStream(raw).write(text)
    raw.seek(0)
    assert json.loads(raw.read()) == value


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "cp437"])
def test_what_an_encoding_lacks_is_escaped(encoding: str) -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    PrintableStream(raw).write("Müesli, Лампа, 灯, 😀")
    raw.seek(0)
    assert "M" in raw.read()


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command of the tree that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, (*path, name))


LEAVES = dict(leaves(root))


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert not drives(out) and not drives(err), (out, err)
    assert "Traceback" not in err and "unexpected" not in err, err
    return int(left.value.code or 0), out + err


def test_every_command_is_walked_over() -> None:
    assert {path[0] for path in LEAVES} == set(COMMANDS)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_tells_of_its_arguments_printably(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = LEAVES[path]
    texts = [p for p in command.params if isinstance(p, click.Argument)]
    code, said = call(capsys, *path, "--x\x1b[2J\u202e")
    assert code == 2 and "x1b" in said
    if texts:
        code, said = call(capsys, *path, *[f"{EVIL}{number}" for number, _ in enumerate(texts)])
        assert code


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with sessions, a knowledge base, predictions and templates that are full of controls."""
    monkeypatch.chdir(tmp_path)
    use_words(monkeypatch)
    items = tuple(Item(id=f"{EVIL}{n}", title=f"{EVIL}mouse\nforged: line{n}", category=(EVIL,)) for n in range(3))
    bundles = (Bundle(item_ids=(items[0].id, items[1].id), intent=EVIL),)
    session = Session(session_id=f"s{EVIL}", domain=EVIL, split="test", items=items, bundles=bundles)
    write_sessions(Path("data.jsonl"), [session])
    fill(tmp_path / "kb", [record("rule", f"mouse {EVIL}"), record("pattern", f"mouse {EVIL}")])
    row = {"session_id": session.session_id, "bundles": [{"items": [1, 2], "intent": EVIL}]}
    Path(f"p{EVIL.replace('/', '')}.jsonl").write_text(json.dumps(row) + "\n")
    Path("broken.jsonl").write_text(json.dumps({"session_id": EVIL, "items": [], EVIL: 1}) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        "data show data.jsonl",
        "data show data.jsonl --json",
        "data show data.jsonl --session nowhere",
        "data validate data.jsonl broken.jsonl",
        "kb list kb",
        "kb list kb --json",
        "kb info kb",
        "kb search kb mouse",
        "kb search kb mouse --json",
        "kb explain kb --data data.jsonl",
        "kb conflicts kb",
        "kb dedup kb",
        "kb history kb",
        "kb verify kb",
        "kb diff kb kb",
        "prompts render pair --data data.jsonl --student STUDENT",
        "prompts diff --data data.jsonl --student STUDENT",
        "generate --data data.jsonl --student STUDENT",
        "generate --data data.jsonl --student STUDENT --json",
        "generate --data broken.jsonl --student STUDENT",
    ],
)
def test_what_files_hold_is_printed_printably(
    arguments: str, evil: Path, tiny_student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = call(capsys, *[tiny_student if word == "STUDENT" else word for word in arguments.split()])[1]
    assert "\nforged" not in said or "prompts" in arguments


def test_a_table_of_scores_names_files_printably(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = next(evil.glob("p*.jsonl"))
    assert call(capsys, "evaluate", "--data", "data.jsonl", "--predictions", predictions.name)[0] == 0


def test_titles_on_the_command_line_are_printed_printably(
    tiny_student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = call(capsys, "generate", "--student", tiny_student, "--items", f"{EVIL}\nforged: 9 products", "Lamp")
    assert code == 0 and "1. Tab" in said and "\nforged" not in said
    assert not any(ord(letter) < 32 and letter != "\n" for letter in said)


def test_only_what_this_program_styles_reaches_a_terminal_as_a_style(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.StringIO()
    monkeypatch.setattr(raw, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", PrintableStream(raw))
    styled((EVIL, {"fg": "red"}), (" plain", {}))
    assert raw.getvalue().startswith("\x1b[31mTab\\u001b]0;x") and raw.getvalue().count("\x1b") == 3


PROGRAM = f"{sys.executable} -m bundlewise"


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), **variables}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, timeout=120)


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">&-", 0, ""),
        ("2>&-", 0, None),
        (">&- 2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("> /dev/full", 1, "bundlewise: cannot write to stdout: No space left on device; free space, or send it"),
        ("2> /dev/full", 0, None),
        ("> /dev/full 2> /dev/full", 1, ""),
        ("| head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 1, ""),
    ],
)
def test_a_stream_that_takes_nothing_ends_the_command_plainly(
    redirected: str, code: int, said: str | None, tmp_path: Path
) -> None:
    done = shell(f"{PROGRAM} data show electronics --json {redirected}", tmp_path)
    # What is short may be in the pipe before its reader has gone.
    assert done.returncode == code or ("head" in redirected and done.returncode == 0), done
    errors = done.stderr.decode()
    assert "Traceback" not in errors and "Exception ignored" not in errors
    assert said is None or (errors.startswith(said) and bool(errors) == bool(said))


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "> /dev/full", "2> /dev/full"])
def test_an_error_ends_plainly_too(redirected: str, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} data show nowhere {redirected}", tmp_path)
    assert done.returncode == 2 and b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"PYTHONIOENCODING": "utf-16"}, {"LC_ALL": "C"}],
)
def test_a_terminal_of_few_letters_gets_the_others_escaped(variables: dict[str, str], tmp_path: Path) -> None:
    items = tuple(Item(id=str(n), title=f"Müesli Лампа 灯 😀 {n}") for n in range(2))
    write_sessions(tmp_path / "d.jsonl", [Session(session_id="ü", split="test", items=items)])
    plain = shell(f"{PROGRAM} data show d.jsonl", tmp_path, **variables)
    assert plain.returncode == 0 and b"Traceback" not in plain.stderr
    told = shell(f"{PROGRAM} data show d.jsonl --json", tmp_path, **variables)
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    assert json.loads(told.stdout.decode(encoding))["items"][0]["title"] == items[0].title
    if encoding == "ascii":
        assert b"M\\u00fcesli \\u041b" in plain.stdout
