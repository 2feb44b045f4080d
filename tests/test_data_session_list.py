"""Sessions in a program: a sequence with its splits, from a starter domain, a file, a table or a dataset."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
from samples import session

from bundlewise.data.session_list import Sessions, load_sessions
from bundlewise.data.sessions import load, to_row, write_sessions
from bundlewise.errors import DataError, UsageError

ROWS = [
    {"session": "a", "title": "Red Mouse", "bundle": 1, "intent": "desk", "split": "train", "price": 12.5},
    {"session": "b", "title": "Tent", "split": "test", "price": 1.299},
    {"session": "a", "title": "Mouse Pad", "bundle": 1, "category": "Office > Pads", "price": "$1,299.00"},
    {"session": "a", "title": "Lamp"},
    {"session": "b", "title": "Tent Pegs"},
]


def dataset(rows: list[dict[str, Any]]) -> Any:
    """Return what looks like a Hugging Face dataset: its names, and its rows filled up with None."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    kind = type("Dataset", (list,), {"__module__": "datasets.arrow_dataset", "column_names": names})
    return kind({name: row.get(name) for name in names} for row in rows)


def test_a_starter_domain_is_a_sequence_with_its_splits() -> None:
    sessions = load_sessions("electronics")
    assert list(sessions) == load("electronics")
    assert len(sessions.train) + len(sessions.validation) + len(sessions.test) == len(sessions)
    assert (
        {s.split for s in sessions.test} == {"test"} and isinstance(sessions[:3], Sessions) and len(sessions[:3]) == 3
    )
    assert repr(sessions[:2].train).startswith("Sessions(") and repr(Sessions([])) == "Sessions(none)"


def test_a_file_and_sessions_themselves_are_taken(tmp_path: Path) -> None:
    sessions = [session("s1", ["A", "B"], ((0, 1),)), session("s2", ["C", "D"], split="test")]
    write_sessions(tmp_path / "s.jsonl", sessions)
    assert list(load_sessions(tmp_path / "s.jsonl")) == list(load_sessions(iter(sessions))) == sessions


@pytest.mark.parametrize("table", [pandas.DataFrame(ROWS), dataset(ROWS)], ids=["pandas", "datasets"])
def test_a_table_has_a_product_in_each_row(table: Any) -> None:
    first, second = load_sessions(table)
    assert (first.session_id, first.split, first.titles) == ("a", "train", ["Red Mouse", "Mouse Pad", "Lamp"])
    assert [bundle.item_ids for bundle in first.bundles] == [("a-1", "a-2")] and first.bundles[0].intent == "desk"
    assert [item.price for item in first.items] == [12.5, 1299.0, None]
    assert first.items[1].category == ("Office", "Pads")
    assert second.split == "test" and second.items[0].price == 1.299 and not second.bundles


def test_columns_are_found_by_usual_names_or_given() -> None:
    usual = pandas.DataFrame({"order_id": [7, 7], "product_name": ["Mouse", "Pad"], "sku": ["m", "p"]})
    (found,) = load_sessions(usual)
    assert (found.session_id, found.titles, found.items[0].id) == ("7", ["Mouse", "Pad"], "m")
    own = usual.rename(columns={"order_id": "Korb", "product_name": "Titel"})
    assert list(load_sessions(own, columns={"session": "Korb", "title": "Titel"})) == [found]


def test_a_table_may_hold_a_session_in_each_row_as_the_file_does() -> None:
    sessions = [session("s1", ["A", "B"], ((0, 1),)), session("s2", ["C", "D"], split="test")]
    rows = [to_row(each) for each in sessions]
    rows[0]["items"][0]["price"] = None
    assert list(load_sessions(dataset(rows))) == list(load_sessions(pandas.DataFrame(rows))) == sessions


def test_the_parts_of_a_dataset_are_splits() -> None:
    parts = type("DatasetDict", (dict,), {"__module__": "datasets.dataset_dict"})
    rows = [{"session": "x", "title": "A"}, {"session": "x", "title": "B"}]
    other = [{"session": "y", "title": "A"}, {"session": "y", "title": "B"}]
    found = load_sessions(parts(train=dataset(rows), test=dataset(other)))
    assert [(s.session_id, s.split) for s in found] == [("x", "train"), ("y", "test")]


def test_a_real_dataset_is_read() -> None:
    datasets = pytest.importorskip("datasets")
    names = dict.fromkeys(name for row in ROWS for name in row)
    rows = [{name: None if row.get(name) is None else str(row[name]) for name in names} for row in ROWS]
    found = load_sessions(datasets.Dataset.from_list(rows))
    assert len(found) == 2
    turned = [{"session_id": "a", "items": {"id": ["x", "y"], "title": ["A", "B"], "price": [None, 2.0]}}]
    (whole,) = load_sessions(datasets.Dataset.from_list(turned))
    assert [(item.id, item.title, item.price) for item in whole.items] == [("x", "A", None), ("y", "B", 2.0)]
    streamed = datasets.IterableDataset.from_generator(lambda: iter(rows))
    assert load_sessions(streamed) == found, "a dataset that is streamed names its columns only in its rows"
    parts = datasets.DatasetDict(validation=datasets.Dataset.from_list([r for r in rows if r["session"] == "b"]))
    assert [s.split for s in load_sessions(parts)] == ["validation"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"title": None}, "row 2, column 'title': is empty; fill it in"),
        ({"title": ["a"]}, r"row 2, column 'title': must be a text, got .\['a'\]"),
        ({"session": float("nan")}, "row 2, column 'session': is empty"),
        ({"split": "dev"}, "row 2, column 'split': must be train, validation, test, got 'dev'"),
        ({"split": "test"}, "row 2, column 'split': 'test', but an earlier row says 'train'"),
        ({"intent": "travel"}, "row 2, column 'intent': 'travel', but an earlier row says 'desk'"),
        ({"price": "cheap"}, "row 2, column 'price': must be a number, got 'cheap'"),
    ],
)
def test_a_fault_is_named_by_row_and_column(change: dict[str, Any], said: str) -> None:
    rows = [dict(row) for row in ROWS]
    rows[2] |= change
    for table in (pandas.DataFrame(rows), dataset(rows)):
        with pytest.raises(DataError, match=said):
            load_sessions(table)


def test_a_row_is_named_as_the_table_names_it() -> None:
    table = pandas.DataFrame(ROWS, index=list("vwxyz"))
    table.loc["y", "title"] = " "
    with pytest.raises(DataError, match="row y, column 'title'"):
        load_sessions(table)
    rows = [{"session_id": "s", "items": [{"id": "a", "title": "A"}]}, {"session_id": "t", "items": [{"id": "b"}]}]
    with pytest.raises(DataError, match=r"row 1: items\[0\]\.title is missing"):
        load_sessions(dataset(rows))


@pytest.mark.parametrize(
    ("source", "columns", "said"),
    [
        (pandas.DataFrame({"title": ["A"]}), None, "no column for the session among title; name it: columns="),
        (pandas.DataFrame(ROWS), {"session": "cart"}, "the table has no column 'cart'; it has session, title"),
        (pandas.DataFrame(ROWS), {"colour": "title"}, "no column named 'colour' is read; choose from session, title"),
        ("electronics", {"title": "name"}, "columns are for tables and files, got 'electronics'; leave them out"),
        (SimpleNamespace(), None, "no sessions in a SimpleNamespace; give a starter domain, a file, a pandas table"),
        ("electronic", None, "did you mean electronics"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_the_remedy(source: Any, columns: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_sessions(source, columns=columns)


def test_an_empty_table_holds_no_sessions() -> None:
    with pytest.raises(DataError, match="the table holds no sessions"):
        load_sessions(pandas.DataFrame(columns=["session", "title"]))
