"""`bundlewise chat`: a conversation line by line from a pipe, kept, gone on with, and rated."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundlewise.agents.assistant.conversation import TextEvent
from bundlewise.cli import main
from bundlewise.commands import chat
from bundlewise.data.feedback import read_feedback
from bundlewise.pipeline.assistant import Assistant

SHOP = "id,title,price\nt1,Padmoor Glide 11 Tablet,219.99\nc1,Red Folio Case for Glide 11,27.99\nr1,Green Wool Rug,60\n"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Talk = Callable[..., Done]


@pytest.fixture
def options(tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "shop.csv").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    given = ["--student", str(tiny_student), "--catalogue", "shop.csv", "--threads", "t.sqlite"]
    return ["chat", *given, "--feedback", "f.jsonl"]


@pytest.fixture
def talk(options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    def call(*lines: str, more: Sequence[str] = ()) -> Done:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        with pytest.raises(SystemExit) as left:
            main([*options, *more])
        out, err = capsys.readouterr()
        return Done(int(left.value.code or 0), out, err)

    return call


def test_a_piped_conversation_is_answered_kept_and_rated(talk: Talk, tmp_path: Path, minilm: Path) -> None:
    first = talk(
        "find glide", "add all", "", "bundle this", "/good 1 fits", "/bad 9", "/bad \u00b2", "/goodbye", "quit", "clear"
    )
    assert (first.returncode, first.stderr) == (0, "")
    rows = first.stdout.splitlines()
    assert "  1. Padmoor Glide 11 Tablet · 219.99" in rows and "I see one bundle among 2 products." in rows
    assert any(row.startswith("  Bundle 1: ") and "247.98 together" in row for row in rows)
    assert "Thank you. Saved: bundle 1 is good." in rows and any("there is no bundle 9" in row for row in rows)
    assert "Unknown command /goodbye; type /good or /bad, or quit to leave." in rows
    rating, other = read_feedback(tmp_path / "f.jsonl")
    assert (other.what, other.note) == ("reply", "\u00b2")
    assert (rating.up, rating.note, set(rating.bundle)) == (True, "fits", {"t1", "c1"})
    again = talk("show cart", "what is the meaning of life", more=["--json"])
    events = [json.loads(row) for row in again.stdout.splitlines()]
    assert [item["id"] for item in next(e for e in events if e["type"] == "cart")["items"]] == ["t1", "c1"]
    assert [e["type"] for e in events if e["type"] == "done"] == ["done", "done"]


def test_stopped_by_ctrl_c_the_same_command_goes_on(
    talk: Talk, options: list[str], tmp_path: Path, minilm: Path
) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "bundlewise", *options]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("find rug and add 1\n")
    process.stdin.flush()
    while "The cart holds 1 product" not in process.stdout.readline():
        pass
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip() == "bundlewise: stopped; the same command goes on where it stopped"
    assert "  1. Green Wool Rug · 60.00" in talk("show cart").stdout.splitlines()


def test_a_stopped_turn_ends_before_the_place_of_its_thread_is_closed(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, minilm: Path
) -> None:
    order = list[str]()
    leave = Assistant.__exit__

    def send(*_: object, **__: object) -> Iterator[TextEvent]:
        try:
            yield TextEvent(text="one")
            yield TextEvent(text="two")
        finally:
            order.append("turn")

    def left(self: Assistant, *error: object) -> None:
        order.append("place")
        leave(self, *error)

    def show(events: Iterator[TextEvent]) -> None:
        next(events)
        raise KeyboardInterrupt

    monkeypatch.setattr(Assistant, "send", send)
    monkeypatch.setattr(Assistant, "__exit__", left)
    monkeypatch.setattr(chat, "_show", show)
    assert talk("hello").returncode == 130
    assert order == ["turn", "place"]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--catalogue", "none.csv"], 2, "no catalogue none.csv"),
        (["--chat-model", "gpt"], 2, "'gpt' is not a model on a server"),
        (["--kb", "nowhere"], 2, "nowhere"),
        (["--patterns", "3"], 2, "--patterns needs a knowledge base"),
        (["--threads", "."], 1, "cannot keep threads in"),
        (["--thread", "a b"], 2, "a thread is named by 1 to 100 letters"),
    ],
)
def test_a_mistake_gets_a_line(talk: Talk, minilm: Path, more: list[str], code: int, said: str) -> None:
    done = talk("hello", more=more)
    assert done.returncode == code and said in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_titles_cannot_paint_on_the_terminal(talk: Talk, tmp_path: Path, minilm: Path) -> None:
    evil = "[bold red]x[/] \x1b[2J\x1b]0;title\x07 <b>&lt; :boom:"
    (tmp_path / "shop.csv").write_text(f"id,title\ne1,{evil} lamp\n")
    out = talk("find lamp").stdout
    assert "\x1b" not in out and "\x07" not in out and "[bold red]x[/]" in out and ":boom:" in out
