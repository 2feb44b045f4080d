"""What stands on the command line: numbers are refused by name, texts that begin with a dash are texts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from bundlewise.cli import main, root
from bundlewise.commands.arguments import NUMBERS, TakesTexts

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def numeric(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Yield every option that takes a number: the words that call its command, its name, whether it is a whole one."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from numeric(below, (*path, name))
        return
    for option in command.params:
        if isinstance(option.type, NUMBERS):
            yield path, option.opts[0], isinstance(option.type, click.types.IntParamType)


OPTIONS = list(numeric(root))


def test_there_are_numbers_in_many_commands() -> None:
    assert len({path for path, _, _ in OPTIONS}) > 10 and any(not whole for _, _, whole in OPTIONS)


@pytest.mark.parametrize(("path", "option", "whole"), OPTIONS, ids=str)
def test_a_number_that_no_computation_takes_is_refused_by_the_options_name(
    run: Run, path: tuple[str, ...], option: str, whole: bool
) -> None:
    values = ["9" * 30, f"-{'9' * 30}"] if whole else ["inf", "-inf", "nan", "1e309", "Infinity"]
    for value in values:
        code, out, err = run(*path, f"{option}={value}")
        assert (code, out) == (2, "") and ("Missing argument" in err or option.lstrip("-") in err), err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e309"])
def test_a_learning_rate_that_is_none_is_refused(run: Run, value: str) -> None:
    code, _, err = run("finetune", "--data", "electronics", "-o", "a", "--learning-rate", value)
    assert code == 2 and "learning" in err and "unexpected" not in err


@pytest.mark.parametrize(
    "title", ["-20% Bulb", "--20% off", "-5W", "- dash", "-o ring", "--data cable", "-1", "--- x", "-ö"]
)
def test_a_title_that_begins_with_a_dash_is_a_title(run: Run, tiny_student: Path, title: str) -> None:
    for words in ([title, "Lamp"], ["Lamp", title], ["--", title, "Lamp"]):
        code, out, err = run("generate", "--student", tiny_student, "--json", "--items", *words)
        assert code == 0 and '"items":' in out, err


def test_options_may_follow_the_titles_and_keep_their_values(run: Run, tiny_student: Path) -> None:
    words = ["-20% Bulb", "Lamp", "--student", tiny_student, "--repairs", "0", "--json"]
    assert run("generate", "--items", *words)[0] == 0


def test_a_mistyped_option_is_told_of_and_how_to_write_a_text(run: Run) -> None:
    code, _, err = run("generate", "--items", "--limt", "Lamp")
    assert code == 2 and "No such option '--limt'" in err and "--limit" in err
    assert "Put a text that begins with - after all options and after --." in err


def test_what_stands_behind_two_dashes_is_never_an_option(run: Run, tiny_student: Path) -> None:
    code, out, _ = run("generate", "--student", tiny_student, "--items", "--", "--json", "-o")
    assert code == 0 and "1. --json" in out and "2. -o" in out


def test_help_is_still_help(run: Run) -> None:
    for word in ("-h", "--help"):
        code, out, _ = run("generate", "--items", word)
        assert code == 0 and "after all options and after --" in out


def test_every_command_that_takes_titles_takes_such_ones() -> None:
    from bundlewise.commands import generate, kb_explain, kb_look

    assert all(isinstance(each, TakesTexts) for each in (generate.command, kb_explain.explain, kb_look.search))
