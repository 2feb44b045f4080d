"""`bundlewise kb`: help in the order of the work, and a mistake gets its exit code and a line that names it."""

import json
from pathlib import Path

import pytest
from kb_samples import Call, caller, fill, use_words

from bundlewise.commands.kb import SECTIONS
from bundlewise.knowledge_base import conflicts, duplicates


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    use_words(monkeypatch)
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "kb")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("{}\n")
    return caller(capsys)


NONE = "no knowledge base in nowhere; make one: bundlewise distil"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stats"], 2, "Missing argument 'KB'"),
        (["stats", "nowhere"], 2, NONE),
        (["stats", "folder"], 2, "no knowledge base in folder; make one: bundlewise distil"),
        (["stats", "file"], 2, "file is a file, not a knowledge base; import a pack: bundlewise kb import KB file"),
        (["search", "kb"], 2, "Missing argument 'TEXT...'"),
        (["search", "kb", " "], 2, "the text to search for is empty"),
        (["search", "kb", "mouse", "--kind", "thoughts"], 2, "'thoughts' is not one of"),
        (["search", "kb", "mouse", "--count", "0"], 2, "0 is not in the range"),
        (["explain", "kb"], 2, "either --items with titles, or --data"),
        (["explain", "kb", "--items"], 2, "a title is missing"),
        (["explain", "kb", "--items", "a", " "], 2, "title is empty"),
        (["explain", "kb", "--items", "a", "--session", "s"], 2, "--session needs --data"),
        (["explain", "kb", "a", "--data", "electronics"], 2, "unexpected argument 'a'; titles go with --items"),
        (["explain", "kb", "--data", "electronics", "--session", "no"], 2, "no session 'no' in electronics"),
        (["explain", "kb", "--items", "a", "--rules", "-1"], 2, "rules must be at least 0, got -1"),
        (["explain", "kb", "--items", "a", "--budget", "9", "--student", "gpt"], 2, "no model called 'gpt'"),
        (["show", "kb", "no"], 2, "no record of kb has an id that begins with 'no'"),
        (["show", "kb", "rule"], 2, "'rule' begins several ids (rule-"),
        (["list", "kb", "--status", "gone"], 2, "'gone' is not one of"),
        (["export", "kb", "-o", "folder"], 2, "'folder' is a directory"),
        (["import", "new", "folder"], 2, "'folder' is a directory"),
        (["import", "new", "nothing"], 2, "no file nothing"),
        (["import", "new", "file"], 1, "file:1: no manifest"),
        (["import", "file", "file"], 2, "file is a file, not a knowledge base"),
        (["diff", "kb", "nowhere"], 2, NONE),
        (["diff", "file", "kb"], 1, "file:1: no manifest"),
        (["retire", "kb", "rule"], 2, "Missing option '--reason'"),
        (["retire", "kb", "rule", "--reason", " "], 2, "the reason is empty"),
        (["retire", "kb", "no", "--reason", "x"], 2, "begins with 'no'"),
        (["merge", "kb", "--apply", "--threshold", "1"], 2, "nothing to merge: kb has no near-duplicates of cosine 1"),
        (["merge", "kb", "--threshold", "nan"], 2, "threshold must be between 0 and 1, got nan"),
        (["conflicts", "kb", "--threshold", "2"], 2, "threshold must be between 0 and 1, got 2.0"),
        (["undo", "nowhere"], 2, NONE),
        (["verify", "nowhere"], 2, NONE),
        (["reindex", "nowhere"], 2, NONE),
        (["reindex", "kb", "--roll-back"], 2, "nothing to roll back in kb"),
        (["reindex", "kb", "--roll-back", "--embedder", "minilm"], 2, "leave out --embedder"),
        (["recover", "kb"], 2, "nothing to recover: the database of kb is sound"),
        (["recover", "nowhere"], 2, "no vectors in nowhere to recover from"),
        (["report", "kb", "-o", "folder"], 2, "'folder' is a directory"),
        (["stats", "http://"], 2, "http:// is not a server address"),
        (["nothing"], 2, "No such command 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_its_exit_code_and_a_line_that_names_it(
    call: Call, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    before = sorted(tmp_path.iterdir())
    found, out, err = call(*arguments)
    assert found == code
    assert said in err
    assert out == "" and "Traceback" not in err and "unexpected" not in err.replace("unexpected argument", "")
    assert sorted(tmp_path.iterdir()) == before


def test_help_has_the_commands_in_the_order_of_the_work_and_each_has_help_of_its_own(call: Call) -> None:
    code, out, err = call("--help")
    names = [str(command.name) for commands in SECTIONS.values() for command in commands]
    places = [out.index(f"\n  {name} ") for name in names]
    assert (code, err) == (0, "") and places == sorted(places)
    for name in names:
        code, out, err = call(name, "--help")
        assert (code, err) == (0, "") and out.startswith(f"Usage: bundlewise kb {name}")


@pytest.mark.parametrize(("name", "threshold"), [("merge", duplicates.THRESHOLD), ("conflicts", conflicts.THRESHOLD)])
def test_the_help_tells_the_threshold_there_is(call: Call, name: str, threshold: float) -> None:
    assert f"[default: ({threshold})]" in " ".join(call(name, "--help")[1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "kb"],
        ["search", "kb", "mouse"],
        ["explain", "kb", "--items", "Wireless Mouse"],
        ["show", "kb", "pattern"],
        ["list", "kb"],
        ["merge", "kb"],
        ["conflicts", "kb"],
        ["history", "kb"],
        ["diff", "kb", "kb2"],
        ["verify", "kb"],
    ],
    ids=lambda value: value[0],
)
def test_reading_commands_print_json_one_object_a_line(call: Call, tmp_path: Path, arguments: list[str]) -> None:
    fill(tmp_path / "kb2", [])
    code, out, _ = call(*arguments, "--json")
    assert code == 0
    assert out and all(isinstance(json.loads(row), dict) for row in out.splitlines())
