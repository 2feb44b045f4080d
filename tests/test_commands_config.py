"""The configuration: flag before environment before file before default, and `config show` tells which it was."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bundlewise.cli import main

TOML = """
[all]
student = "own-student"
kb = "shared-kb"

[serve]
port = 8081

[kb.list]
limit = 7

[environment]
BUNDLEWISE_CACHE = "/nowhere/cache"
BUNDLEWISE_COLUMNS = "title=Article"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("BUNDLEWISE_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def shown(capsys: pytest.CaptureFixture[str], *names: str) -> dict[str, tuple[Any, str]]:
    code, out, err = run(capsys, "config", "show", *names, "--json")
    assert (code, err) == (0, "")
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(out)}


def test_a_flag_comes_before_the_environment_the_file_and_the_default(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    default = shown(capsys, "serve")["serve --port"]
    assert default[1] == "default"
    (folder / "bundlewise.toml").write_text("[serve]\nport = 8081\n")
    assert shown(capsys, "serve")["serve --port"] == (8081, "bundlewise.toml")
    monkeypatch.setenv("BUNDLEWISE_SERVE_PORT", "8082")
    assert shown(capsys, "serve")["serve --port"] == ("8082", "environment, BUNDLEWISE_SERVE_PORT")
    monkeypatch.delenv("BUNDLEWISE_SERVE_PORT")
    (folder / "all.csv").write_text("session,title\nfirst,A\nfirst,B\nfile,C\nfile,D\nflag,E\nflag,F\nenvironment,G\n")
    (folder / "bundlewise.toml").write_text('[data.show]\nsession = "file"\n')
    assert run(capsys, "data", "show", "all.csv")[1].startswith("file (")
    monkeypatch.setenv("BUNDLEWISE_DATA_SHOW_SESSION_ID", "environment")
    assert run(capsys, "data", "show", "all.csv")[1].startswith("environment (")
    assert run(capsys, "data", "show", "all.csv", "--session", "flag")[1].startswith("flag (")
    monkeypatch.delenv("BUNDLEWISE_DATA_SHOW_SESSION_ID")
    (folder / "bundlewise.toml").unlink()
    assert run(capsys, "data", "show", "all.csv")[1].startswith("first (")


def test_show_names_what_differs_from_the_defaults_and_its_source(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bundlewise.toml").write_text(TOML)
    (folder / ".env").write_text("OPENAI_API_KEY=sk-very-secret\nBUNDLEWISE_KB_LIST_LIMIT=9\nOTHER=1\n")
    monkeypatch.setenv("BUNDLEWISE_CACHE", "/given")
    found = shown(capsys)
    assert found["serve --port"] == (8081, "bundlewise.toml")
    assert found["generate --student"] == ("own-student", "bundlewise.toml") and "finetune --student" in found
    assert found["kb list --limit"] == ("9", ".env, BUNDLEWISE_KB_LIST_LIMIT")
    assert found["BUNDLEWISE_CACHE"] == ("/given", "environment"), "the environment comes before the file"
    assert found["BUNDLEWISE_COLUMNS"] == ("title=Article", "bundlewise.toml")
    assert found["OPENAI_API_KEY"] == ("(set, not shown)", ".env") and "OTHER" not in found
    assert not [name for name, (_, source) in found.items() if source == "default"]
    _, out, _ = run(capsys, "config", "show")
    assert "serve --port = 8081  (bundlewise.toml)" in out.splitlines() and "very-secret" not in out
    assert "BUNDLEWISE_COLUMNS" not in os.environ and "OPENAI_API_KEY" not in os.environ, "they are set for one command"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (".env", "OPENAI_BASE_URL=http://elsewhere.example/v1\n"),
        ("bundlewise.toml", '[environment]\nOPENAI_BASE_URL = "http://elsewhere.example/v1"\n'),
        (".env", "BUNDLEWISE_EMBEDDER=openai:small@http://elsewhere.example/v1\n"),
    ],
)
def test_a_folder_cannot_send_the_key_of_the_environment_to_its_own_address(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str, content: str
) -> None:
    (folder / file).write_text(content)
    assert run(capsys, "config", "show")[0] == 0
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    code, out, err = run(capsys, "config", "show")
    assert code == 1 and f"{file} sets " in err and "the key would be sent to that address; set both in .env" in err
    assert "very-secret" not in out + err and "OPENAI_BASE_URL" not in os.environ
    monkeypatch.delenv("OPENAI_API_KEY")
    with (folder / ".env").open("a") as more:
        more.write("OPENAI_API_KEY=sk-of-the-folder\n")
    assert run(capsys, "config", "show")[0] == 0


def test_another_file_is_named_by_the_environment(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bundlewise.toml").write_text("[serve]\nport = 1\n")
    (folder / "other.toml").write_text("[serve]\nport = 2\n")
    monkeypatch.setenv("BUNDLEWISE_CONFIG", "other.toml")
    assert shown(capsys, "serve")["serve --port"] == (2, "other.toml")
    monkeypatch.setenv("BUNDLEWISE_CONFIG", "")
    assert shown(capsys, "serve")["serve --port"][1] == "default"
    monkeypatch.setenv("BUNDLEWISE_CONFIG", "gone.toml")
    code, _, err = run(capsys, "data", "list")
    assert code == 2 and "BUNDLEWISE_CONFIG names gone.toml, and there is no such file" in err


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("[serve]\nport =\n", ["data", "list"], "bundlewise.toml: Invalid value (at line 2, column 7)"),
        ("[serve]\nprot = 1", ["serve", "--help"], "bundlewise.toml: [serve] has no option 'prot'; it has port"),
        ("[sevre]\nport = 1", ["config", "show"], "no command 'sevre' for the table [sevre]; see bundlewise --help"),
        ("port = 1", ["data", "list"], "port is in no table; write it under [all], or under a command"),
        ("[all]\nstudnet = 'x'", ["config", "show"], "no command has the option 'studnet'; student"),
        ("[environment]\nX = [1]", ["data", "list"], "[environment] holds names of variables and their texts"),
        ("[environment]\nOPENAI_API_KEY = 'k'", ["data", "list"], "OPENAI_API_KEY is secret; put it into .env"),
        ("[serve]\nport = 'x'", ["serve"], "Invalid value for '--port': 'x' is not a valid integer"),
    ],
)
def test_a_wrong_file_is_an_error_with_its_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], said: str
) -> None:
    (folder / "bundlewise.toml").write_text(text)
    code, _, err = run(capsys, *arguments)
    assert code in (1, 2) and said in err


def test_without_any_setting_show_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "config", "show")
    assert (code, out) == (0, "") and "all settings are the defaults" in err
    code, _, err = run(capsys, "config", "show", "nothing")
    assert code == 2 and "no command 'nothing'; choose from demo" in err
