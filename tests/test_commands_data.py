"""`bundlewise data` validates, shows, lists and fetches sessions."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from bundlewise.cli import main, root
from bundlewise.data.sessions import load, starter_names, write_sessions
from bundlewise.domain import Bundle, Item, Session

KITE = Session(
    session_id="s-1",
    domain="toys",
    split="train",
    items=(Item(id="a", title="[red]Kite[/red] \x1b[31m", price=9.5), Item(id="b", title="String")),
    bundles=(Bundle(item_ids=("b", "a"), intent="fly a kite"),),
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_sessions(Path("toys.jsonl"), [KITE])
    return Path("toys.jsonl")


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["data", *arguments])
    return left.value.code


def test_validate_counts_what_good_datasets_hold(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "grocery", str(file)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "grocery: 200 sessions (140 train, 20 validation, 40 test), 1,125 products, 303 bundles",
        "toys.jsonl: 1 sessions (1 train, 0 validation, 0 test), 2 products, 1 bundles",
    ]


def test_validate_names_every_bad_line_and_goes_on_with_the_next_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.jsonl").write_text("[]\n{}\n")
    assert run("validate", "bad.jsonl", str(file)) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("toys.jsonl: 1 sessions")
    assert printed.err.splitlines() == [
        "bad.jsonl, line 1: a line must be an object in { }, got []",
        "bad.jsonl, line 2: session_id is missing; add it",
        "bundlewise: 1 of 2 datasets cannot be used; see above",
    ]


def test_validate_stops_printing_when_a_file_is_wrong_throughout(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[]\n" * 25)
    assert run("validate", str(file)) == 1
    assert capsys.readouterr().err.splitlines()[-2] == "toys.jsonl: and 5 more problems"


def test_show_numbers_products_and_prints_titles_as_they_are_with_control_characters_escaped(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", str(file), "--session", "s-1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "s-1 (toys, train)",
        "  1  [red]Kite[/red] [31m  9.50",
        "  2  String",
        "bundle 1, 2: fly a kite",
    ]


def test_show_prints_json_that_validates_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", str(file), "--json") == 0
    assert Session.model_validate_json(capsys.readouterr().out) == KITE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "grocery", "--session", "grocery-1"], "no session 'grocery-1' in grocery; it has grocery-"),
        (["show", "grocry"], "did you mean grocery?"),
        (["validate", "zebra"], "starter domains are electronics, clothing, grocery"),
        (["validate"], "Missing argument 'DATASET...'"),
        (["fetch", "toys"], "'toys' is not one of 'electronic', 'clothing', 'food'"),
        (["fetch", "food", "--from", "nowhere"], "'nowhere' does not exist"),
        (
            ["fetch", "food", "--from", ".", "-o", "toys.jsonl"],
            "toys.jsonl exists; choose another with -o or",
        ),
    ],
)
def test_a_wrong_name_or_option_leaves_with_2_and_the_choices(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert (message in printed.err, printed.out) == (True, "")


def test_list_says_what_the_starter_holds_and_who_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == starter_names()
    assert "large language model" in printed.err


def test_list_as_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert Path(first.pop("path")).is_file()
    assert first == {
        "name": "electronics",
        "train": 200,
        "validation": 30,
        "test": 60,
        "products": 1571,
        "bundles": 437,
    }


def test_fetch_writes_a_domain_from_a_folder_and_overwrites_only_when_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {
        "training_set": {1: "Kite|String"},
        "test_set": {},
        "session_items": {1: "a,b"},
        "session_bundles_deduplication": {1: [("fly", "a,b")]},
        "item_titles": {"a": "Kite", "b": "String"},
    }
    for name, table in tables.items():
        np.save(f"{name}.npy", np.array(table, dtype=object), allow_pickle=True)
    assert run("fetch", "food", "--from", ".") == 0
    assert capsys.readouterr().out.startswith("food.jsonl: 1 sessions (1 train, 0 validation, 0 test)")
    assert run("fetch", "food", "--from", ".") == 2
    assert run("fetch", "food", "--from", ".", "--force") == 0


def test_convert_writes_another_format_that_holds_equal_sessions(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", str(file), "-o", "toys.csv.gz") == 0
    assert "toys.csv.gz: 1 sessions (1 train, 0 validation, 0 test), 2 products, 1 bundles" in capsys.readouterr().out
    assert load("toys.csv.gz") == [KITE]
    assert run("convert", str(file), "-o", "toys.csv.gz") == 2
    assert "toys.csv.gz exists; choose another with -o or overwrite it with --force" in capsys.readouterr().err
    assert run("convert", str(file), "-o", "toys.csv.gz", "--force") == 0


def test_columns_are_given_for_one_command(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUNDLEWISE_COLUMNS", raising=False)
    Path("orders.csv").write_text("Korb;Titel\n1;Mouse\n1;Pad\n")
    assert run("validate", "orders.csv", "--columns", "session=Korb,title=Titel") == 0
    assert "orders.csv: 1 sessions" in capsys.readouterr().out
    assert run("validate", "orders.csv") == 2
    assert "no column for the session among Korb, Titel; name it: --columns session=COLUMN" in capsys.readouterr().err
    assert run("show", "orders.csv", "--columns", "session") == 2
    assert "'session' is not MEANING=COLUMN; write session=order_id,title=name" in capsys.readouterr().err


def test_validate_names_every_fault_of_a_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_text("session,title\n1,\n1,Pad\n,Mouse\n")
    assert run("validate", "bad.csv") == 1
    assert capsys.readouterr().err.splitlines()[:2] == [
        "bad.csv, line 2, column 'title': is empty; fill it in or remove the row",
        "bad.csv, line 4, column 'session': is empty; fill it in or remove the row",
    ]


def commands_below(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for key in command.list_commands(context):
            below = command.get_command(context, key)
            assert below is not None
            yield from commands_below(below, f"{name} {key}".strip())
    else:
        yield name, command


def test_every_command_that_takes_sessions_takes_their_columns() -> None:
    takes = {name: {option.name for option in each.params} for name, each in commands_below(root)}
    reading = {name for name, options in takes.items() if options & {"data", "calibrate", "datasets"}}
    reading |= {"data show"}
    assert {"generate", "finetune", "distil", "evaluate", "baselines", "serve", "experiment run"} <= reading
    assert not {name for name in reading if "columns" not in takes[name]}
