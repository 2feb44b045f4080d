"""Fingerprints of code: words may change, constants may not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlewise.source import ANSWERING, ROOT, SILENT, code_fingerprint, fingerprints_below, syntax_fingerprint

PROGRAM = '''"""Say hello."""

LIMIT = 3
"""Greetings at most."""


class Greeter:
    """Greets."""

    def greet(self, name: str = "you") -> str:
        """Return a greeting."""
        return f"Hello {name}"  # Polite.
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package's source, links followed."""
    copy = tmp_path_factory.mktemp("copy") / "bundlewise"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl", "web"))
    return copy


@pytest.fixture
def changed(package: Path) -> Callable[[str, str, str], set[str]]:
    """Return a function that replaces a text in a file, and returns the files whose fingerprints have changed."""

    def change(name: str, old: str, new: str) -> set[str]:
        path, before = package / name, fingerprints_below(package)
        whole = path.read_text("utf-8")
        assert old in whole
        path.write_text(whole.replace(old, new, 1), "utf-8")
        after = fingerprints_below(package)
        path.write_text(whole, "utf-8")
        return {each for each in before if before[each] != after[each]}

    return change


def test_a_constant_of_the_decoder_counts(changed: Callable[[str, str, str], set[str]]) -> None:
    name = "agents/student/decoder.py"
    constant = next(row for row in (ROOT / name).read_text("utf-8").splitlines() if row[:1].isupper() and " = " in row)
    assert changed(name, constant, f"{constant.partition(' = ')[0]} = 7919") == {name}


def test_a_word_for_a_thing_counts(changed: Callable[[str, str, str], set[str]]) -> None:
    assert changed("agents/teacher/things.txt", "\nabacus\n", "\n") == {"agents/teacher/things.txt"}


def test_a_reworded_docstring_or_comment_does_not_count(changed: Callable[[str, str, str], set[str]]) -> None:
    name = "agents/student/decoder.py"
    assert changed(name, '"""', '"""Put in other words: ') == set()
    assert changed(name, "\nimport", "\n# A remark.\n\nimport") == set()


def test_a_reworded_greeting_of_the_assistant_does_not_count(changed: Callable[[str, str, str], set[str]]) -> None:
    for name in ("agents/assistant/wording.py", "agents/assistant/phrases.py", "graphs/assistant.py"):
        assert changed(name, "\n\n\n", "\n\n\nGREETING = 'Hi'\n") == set()


def test_a_file_in_a_folder_further_down_counts(package: Path) -> None:
    before = fingerprints_below(package)
    deep = package / "agents" / "deep" / "deeper" / "thoughts.py"
    deep.parent.mkdir(parents=True)
    deep.write_text("ANSWER = 42\n", "utf-8")
    after = fingerprints_below(package)
    shutil.rmtree(deep.parents[1])
    assert after.keys() - before.keys() == {"agents/deep/deeper/thoughts.py"}


def test_what_decides_on_answers_is_there_and_the_rest_is_not() -> None:
    found = fingerprints_below(ROOT).keys()
    assert {
        "agents/student/decoder.py",
        "finetune/training.py",
        "graphs/student.py",
        "prompts/render.py",
        "text.py",
        "agents/chat/completions.py",
        "experiment/knowledge.py",
        "pipeline/kind_readers.py",
        "data/tables.py",
        "data/columns.py",
    } <= found
    assistant = {"agents/assistant/router.py", "graphs/assistant.py", "pipeline/product_search.py"}
    silent = {"agents/ledger/calls.py", "finetune/publish.py", "finetune/card.py", "finetune/push.py", "cli.py"}
    assert not found & (assistant | silent)


def test_no_name_of_a_file_that_counts_or_does_not_is_out_of_date() -> None:
    assert not [place for place in (*ANSWERING, *SILENT) if not (ROOT / place).exists()]


def test_the_fingerprint_of_the_code_is_the_same_in_every_process() -> None:
    code = "from bundlewise.source import code_fingerprint; print(code_fingerprint())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert there.stdout.strip() == code_fingerprint() and len(code_fingerprint()) == 12


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("Say hello.", "Bid welcome.", False),
        ("Greetings at most.", "At most so many.", False),
        ("Return a greeting.", "Greet.", False),
        ("  # Polite.", "", False),
        ("\n\n\nclass", "\n\nclass", False),
        ("LIMIT = 3", "LIMIT = (3)", False),
        ("LIMIT = 3", "LIMIT = 4", True),
        ("LIMIT = 3", "LIMIT = 3.0", True),
        ("Hello {name}", "Hello  {name}", True),
        ('"you"', "None", True),
        ("def greet", "async def greet", True),
        ("name: str", "nom: str", True),
    ],
)
def test_the_syntax_counts_and_the_words_do_not(tmp_path: Path, old: str, new: str, counts: bool) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    assert old in PROGRAM
    first.write_text(PROGRAM, "utf-8")
    second.write_text(PROGRAM.replace(old, new), "utf-8")
    assert (syntax_fingerprint(first) != syntax_fingerprint(second)) is counts
