"""Outputs: what a command reads, or did not write itself, is written over only with --force."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from kb_samples import fill, use_words

from bundlewise.cli import main, root
from bundlewise.data.sessions import load, write_sessions

Run = Callable[..., tuple[int, str, str]]
NOTES = "my notes, kept for years\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Go to a folder with own sessions, a knowledge base and a ledger, and return what calls commands there."""
    from bundlewise.agents.ledger.calls import CallLedger

    monkeypatch.chdir(tmp_path)
    use_words(monkeypatch)
    known = [s for s in load("electronics") if len(s.items) == 3]
    chosen = [next(s for s in known if s.split == split) for split in ("train", "validation", "test")]
    write_sessions(Path("own.jsonl"), chosen)
    fill(tmp_path / "kb")
    CallLedger(Path("bundlewise-calls.sqlite")).close()

    def call(line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(line.replace("STUDENT", str(tiny_student)).split())
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


GENERATE = "generate --data own.jsonl --student STUDENT -o"
WRITING = {
    GENERATE: "p.jsonl",
    "kb export kb -o": "pack.jsonl",
    "kb report kb -o": "page.html",
    "ledger export": "calls.jsonl",
    "distil --draw": "graph.mmd",
}
FORCED = {
    ("generate",),
    ("baselines",),
    ("finetune",),
    ("distil",),
    ("demo",),
    ("ledger", "export"),
    ("kb", "export"),
    ("kb", "import"),
    ("kb", "report"),
    ("data", "convert"),
    ("data", "fetch"),
    ("experiment", "run"),
    ("experiment", "export"),
    ("prompts", "compare"),
    ("prompts", "optimise"),
}
REFUSING = {("models", "publish"), ("prompts", "new")}
"""These never write over what is there."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(click.Context(command)):
        below = command.get_command(click.Context(command), name)
        assert below is not None
        yield from leaves(below, (*path, name))


def test_every_command_with_an_output_guards_it() -> None:
    written = {"-o", "--output", "--pack", "--draw", "--html", "--log", "--log-json", "--runs", "--to"}
    for path, command in leaves(root):
        if path == ("experiment", "validate"):
            continue  # Its --pack is read.
        names = {name for option in command.params for name in option.opts}
        if names & written and path not in REFUSING:
            assert "--force" in names, path
        assert ("--force" in names) == (path in FORCED), path


@pytest.mark.parametrize("command", WRITING)
def test_a_file_of_the_users_own_is_written_over_only_with_force(run: Run, command: str) -> None:
    name = Path(WRITING[command])
    name.write_text(NOTES)
    code, out, err = run(f"{command} {name}")
    assert (code, out) == (2, "") and "overwrite it with --force" in err and str(name) in err
    assert name.read_text() == NOTES
    code, _, err = run(f"{command} {name} --force")
    assert code == 0 and name.read_bytes()[:20] != NOTES[:20].encode(), err


@pytest.mark.parametrize("command", WRITING)
def test_what_the_command_wrote_and_what_is_empty_is_written_again(run: Run, command: str) -> None:
    name = Path(WRITING[command])
    name.touch()
    assert run(f"{command} {name}")[0] == 0
    if name.stat().st_size:
        first = name.read_bytes()
        assert run(f"{command} {name}")[0] == 0
        assert name.read_bytes() == first


@pytest.mark.parametrize("spelt", ["own.jsonl", "./own.jsonl", "../HERE/own.jsonl", "hard.jsonl", "soft.jsonl"])
def test_an_output_that_is_the_input_is_refused_however_it_is_spelt(run: Run, spelt: str) -> None:
    before = Path("own.jsonl").read_bytes()
    os.link("own.jsonl", "hard.jsonl")
    os.symlink("own.jsonl", "soft.jsonl")
    code, _, err = run(f"{GENERATE} {spelt.replace('HERE', Path.cwd().name)}")
    assert code == 2 and "--data names " in err
    assert Path("own.jsonl").read_bytes() == before


@pytest.mark.parametrize("own", ["p.cost.json", ".p.jsonl.partial"])
def test_what_stands_beside_an_output_is_guarded_too(run: Run, own: str) -> None:
    Path("own.jsonl").rename(own)
    before = Path(own).read_bytes()
    code, _, err = run(f"generate --data {own} --student STUDENT -o p.jsonl")
    assert code == 2 and "--data names " in err
    assert Path(own).read_bytes() == before


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ledger export own.jsonl", "is not of the kind that this command writes"),
        ("ledger export bundlewise-calls.sqlite", "--ledger names "),
        ("kb export kb -o own.jsonl", "is not of the kind that this command writes"),
        ("kb export kb -o kb/catalogue.sqlite", "KB names "),
        ("kb report kb -o own.jsonl", "is not of the kind that this command writes"),
        ("distil --data own.jsonl --kb kb --pack own.jsonl", "--data names "),
        ("distil --data own.jsonl --kb kb --log-json own.jsonl", "--data names "),
        ("distil --data electronics --kb kb --log-json own.jsonl", "is not of the kind that this command writes"),
        ("distil --data electronics --teacher recorded:own.jsonl --kb kb --pack own.jsonl", "--teacher names "),
        ("distil --data electronics --kb notes", "holds letter.txt and nothing that this command has written"),
        ("kb import notes own.jsonl", "holds letter.txt"),
        ("finetune --data own.jsonl -o notes", "holds letter.txt"),
        ("finetune --data own.jsonl --kb kb -o kb", "holds "),
        ("experiment run format -o notes", "holds letter.txt"),
        (
            "prompts compare shipped current --data electronics --html own.jsonl",
            "is not of the kind that this command writes",
        ),
        ("data fetch food -o own.jsonl", "exists; choose another with -o or overwrite it with --force"),
    ],
)
def test_no_command_writes_over_what_is_not_its_own(run: Run, command: str, said: str) -> None:
    Path("notes").mkdir()
    Path("notes/letter.txt").write_text(NOTES)
    own = [Path("own.jsonl"), Path("notes/letter.txt"), Path("bundlewise-calls.sqlite")]
    before = [path.read_bytes() for path in own]
    code, out, err = run(command)
    assert (code, out) == (2, "") and said in err, err
    assert [path.read_bytes() for path in own] == before
    assert [path.name for path in Path("notes").iterdir()] == ["letter.txt"]
    assert Path("kb/catalogue.sqlite").read_bytes().startswith(b"SQLite format 3")


def test_an_unfinished_run_of_generate_goes_on(run: Run) -> None:
    assert run(f"{GENERATE} p.jsonl")[0] == 0
    first = Path("p.jsonl").read_bytes()
    Path("p.jsonl").unlink()
    Path(".p.jsonl.partial").write_text(json.dumps({"key": "another"}) + "\n")
    assert run(f"{GENERATE} p.jsonl")[0] == 0 and Path("p.jsonl").read_bytes() == first


@pytest.mark.parametrize("command", [f"{GENERATE} fifo", "kb export kb -o fifo", "kb report kb -o fifo"])
def test_a_fifo_gets_the_content_and_nothing_is_put_beside_it(run: Run, command: str) -> None:
    os.mkfifo("fifo")
    before, found = set(Path().iterdir()), list[bytes]()
    reader = threading.Thread(target=lambda: found.append(Path("fifo").read_bytes()))
    reader.start()
    code, out, err = run(command)
    reader.join(timeout=10)
    assert (code, out) == (0, "") and found[0], err
    assert set(Path().iterdir()) == before and Path("fifo").is_fifo()


@pytest.mark.parametrize("command", [f"{GENERATE} /dev/null", "kb export kb -o /dev/null", "ledger export /dev/null"])
def test_a_device_is_written_to(run: Run, command: str) -> None:
    before = set(Path("/dev").iterdir())
    assert run(command)[0] == 0
    assert set(Path("/dev").iterdir()) == before and Path("/dev/null").is_char_device()


DISTIL = "distil --data own.jsonl --kb new"


@pytest.mark.parametrize("force", ["", " --force"])
@pytest.mark.parametrize(
    "command",
    [
        f"{DISTIL} --pack same --log-json same",
        f"{DISTIL} --pack same --log-json ./x/../same",
        f"{DISTIL} --pack same --log-json link",
        f"{DISTIL} --pack new",
        f"{DISTIL} --pack ./new/catalogue.sqlite",
        f"{DISTIL} --log-json bundlewise-calls.sqlite",
        f"{DISTIL} --ledger same --log-json same",
        "kb export kb -o kb/catalogue.sqlite",
        "kb report kb -o kb/catalogue.sqlite",
        "prompts compare shipped current --data electronics --cache same --html same",
    ],
)
def test_two_outputs_that_are_one_file_are_refused_before_anything_runs(run: Run, command: str, force: str) -> None:
    Path("link").symlink_to("same")
    Path("x").mkdir()
    Path("bundlewise-calls.sqlite").unlink()
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    code, out, err = run(command + force)
    assert (code, out) == (2, "") and " too; give another file" in err, err
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


def test_a_name_of_starter_data_or_a_model_is_no_path(run: Run) -> None:
    assert run("distil --data electronics --kb new --pack electronics")[0] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.mmd", "%% bundlewise is nice, my own"), ("a.svg", "<?xml?><p>bundlewise</p>"), ("a.png", "bundlewise")],
)
def test_a_picture_of_ones_own_that_mentions_bundlewise_stays(run: Run, name: str, content: str) -> None:
    Path(name).write_text(content)
    code, _, err = run(f"distil --draw {name}")
    assert code == 2 and "is not of the kind that this command writes" in err and Path(name).read_text() == content


@pytest.mark.parametrize("name", ["g.mmd", "g.svg", "g.png"])
def test_a_picture_that_was_drawn_is_drawn_again(run: Run, name: str) -> None:
    assert [run(f"distil --draw {name}")[0] for _ in range(2)] == [0, 0]
