"""Sessions in the formats that people have: what is written in a format is read from it as equal sessions."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from pyarrow import parquet
from samples import session

from bundlewise.data.session_files import product_rows, write_in_format
from bundlewise.data.session_list import load_sessions
from bundlewise.data.sessions import STARTERS, load, read_sessions, scan, to_row
from bundlewise.domain import Item, Session
from bundlewise.errors import DataError, UsageError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def products(domain: str) -> list[dict[str, Any]]:
    return [row for each in load(domain) for row in product_rows(each)]


def hugging_face(rows: list[dict[str, Any]], **_: Any) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows)


WAYS: dict[str, Callable[[Path, str], Any]] = {
    "products in pandas": lambda _, domain: pandas.DataFrame(products(domain)),
    "sessions in pandas": lambda _, domain: pandas.DataFrame(map(to_row, load(domain))),
    "sessions in pandas from parquet": lambda folder, domain: pandas.read_parquet(
        written(folder / "s.parquet", load(domain))
    ),
    "products in a dataset": lambda _, domain: hugging_face(products(domain)),
    "sessions in a dataset": lambda _, domain: hugging_face([to_row(each) for each in load(domain)]),
    "products in JSON lines": lambda folder, domain: saved(
        folder / "p.jsonl", "".join(json.dumps(row) + "\n" for row in products(domain))
    ),
    "products in JSON": lambda folder, domain: saved(folder / "p.json", json.dumps(products(domain))),
    "products in JSON by pandas": lambda folder, domain: saved(
        folder / "p.json", pandas.DataFrame(products(domain)).to_json(orient="records")
    ),
    "products in CSV by pandas": lambda folder, domain: saved(
        folder / "p.csv", pandas.DataFrame(products(domain)).to_csv(index=False)
    ),
    "products in CSV by Excel": lambda folder, domain: saved(
        folder / "p.csv", "\ufeff" + pandas.DataFrame(products(domain)).to_csv(index=False, sep=";", decimal=",")
    ),
    "products in Parquet": lambda folder, domain: parquet_of(folder / "p.parquet", products(domain)),
}


def saved(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def written(path: Path, sessions: list[Session]) -> Path:
    write_in_format(path, sessions)
    return path


def parquet_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("domain", STARTERS)
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".csv.gz", ".parquet.gz", ".jsonl.gz"])
def test_a_starter_domain_written_in_a_format_is_read_from_it(tmp_path: Path, suffix: str, domain: str) -> None:
    path = written(tmp_path / f"s{suffix}", load(domain))
    assert load(str(path)) == list(load_sessions(path)) == load(domain)


@pytest.mark.parametrize("domain", STARTERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_starter_domain_is_read_from_what_other_programs_hold_or_write(tmp_path: Path, way: str, domain: str) -> None:
    assert list(load_sessions(WAYS[way](tmp_path, domain))) == load(domain)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzip"])
def test_standard_input_is_read_in_each_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, is_packed: bool
) -> None:
    content = written(tmp_path / f"s{suffix}", load("grocery")).read_bytes()
    piped = io.BytesIO(gzip.compress(content) if is_packed else content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    assert load("-") == load("grocery")


@pytest.mark.parametrize("name", ["s", "s.dat", "s.txt"])
def test_a_file_whose_name_tells_no_format_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    for suffix in (".jsonl", ".json", ".csv", ".parquet"):
        written(tmp_path / f"made{suffix}", load("grocery")).replace(tmp_path / name)
        assert load(str(tmp_path / name)) == load("grocery")


def test_a_product_in_several_bundles_has_a_row_for_each(tmp_path: Path) -> None:
    twice = session("s", ["A", "B", "C"], ((0, 1), (0, 2)))
    rows = list(product_rows(twice))
    assert [(row["title"], row["bundle"]) for row in rows] == [("A", 1), ("B", 1), ("C", 2), ("A", 2)] or len(rows) > 3
    write_in_format(tmp_path / "s.csv", [twice])
    assert load(str(tmp_path / "s.csv")) == [twice]


def test_what_a_format_cannot_tell_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    odd = Session(session_id="s", items=(Item(id="a", title="A", category=("Bags > Cases",)), Item(id="b", title="B")))
    with pytest.raises(DataError, match=r"session 's' would change in this format, .*; write \.jsonl"):
        write_in_format(tmp_path / "s.csv", [odd])
    assert not (tmp_path / "s.csv").exists()
    with pytest.raises(UsageError, match=r"s\.xlsx is none of \.csv"):
        write_in_format(tmp_path / "s.xlsx", [odd])


def test_null_is_as_if_the_field_were_absent(tmp_path: Path) -> None:
    items = [{"id": "a", "title": "A", "price": None, "category": None}, {"id": "b", "title": "B"}]
    row = {"session_id": "s", "domain": None, "split": None, "items": items, "bundles": None}
    plain = Session(session_id="s", items=(Item(id="a", title="A"), Item(id="b", title="B")))
    for path in (saved(tmp_path / "s.jsonl", json.dumps(row)), saved(tmp_path / "s.json", json.dumps([row]))):
        assert load(str(path)) == [plain]
    lost = saved(tmp_path / "t.jsonl", json.dumps(row | {"items": [{"id": "a", "title": None}]}))
    with pytest.raises(DataError, match=r"line 1: items\[0\]\.title is missing; add it"):
        load(str(lost))
    product = {"session": "s", "title": "A", "item": "a", "price": None, "split": None, "bundle": None}
    rows = [product, product | {"title": "B", "item": "b"}]
    assert load(str(saved(tmp_path / "p.json", json.dumps(rows)))) == [plain]


ORDERS = 'Order ID,Product,Stock\n17,"Mouse, red",3\n17,Pad,1\n18,Tent,2\n18,Pegs,9\n'


def test_columns_of_a_file_are_found_by_usual_names_or_given(tmp_path: Path) -> None:
    path = saved(tmp_path / "orders.csv", ORDERS)
    with pytest.raises(UsageError, match=r"no column for the title among Order ID, .*: --columns title=COLUMN"):
        load(str(path))
    found = load_sessions(path, columns={"title": "Product"})
    assert [(each.session_id, each.titles) for each in found] == [
        ("17", ["Mouse, red", "Pad"]),
        ("18", ["Tent", "Pegs"]),
    ]
    with pytest.raises(UsageError, match="has no column 'Titel'; it has Order ID, Product, Stock"):
        load_sessions(path, columns={"title": "Titel"})
    assert found == load_sessions(saved(tmp_path / "o.csv", ORDERS.replace("Product", "Item_Name")))


def test_the_environment_gives_columns_of_tables_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLEWISE_COLUMNS", 'session=Order ID, "title=Name, long"')
    path = saved(tmp_path / "orders.csv", ORDERS.replace("Product", '"Name, long"'))
    assert load(str(path))[0].titles == ["Mouse, red", "Pad"]
    assert load("grocery")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("session", "'session' is not MEANING=COLUMN; write session=order_id,title=name"),
        ("basket=x", "no column named 'basket' is read; choose from session, title"),
        ("title=a,title=b", "title is given twice; name one column for it"),
    ],
)
def test_columns_that_cannot_be_understood_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("BUNDLEWISE_COLUMNS", text)
    with pytest.raises(UsageError, match=said):
        load(str(saved(tmp_path / "o.csv", ORDERS)))


FAULTS = """session,title,item,split,price,bundle
a,Mouse,m,train,9.99,1
a,,p,train,,1
a,Lamp,m,train,,
b,Tent,t,dev,,
b,Pegs,g,,cheap,
b,Bag,x,,n/a,
b,Bag,x,,,
"""


def test_each_fault_of_a_table_is_named_by_line_and_column(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.csv", FAULTS)
    assert [str(fault).removeprefix(f"{path}, ") for fault in scan(path)] == [
        "line 3, column 'title': is empty; fill it in or remove the row",
        "line 4, column 'item': 'm' is already the id of 'Mouse'; give each its own",
        "line 5, column 'split': must be train, validation, test, got 'dev'",
        "line 6, column 'price': must be a number, got 'cheap'; leave unknown prices empty",
        "line 8, column 'item': 'x' is already in session 'b'; list each product once",
    ]
    rows = [{"session": "a", "title": "A"}, {"session": "a", "title": ["B"]}]
    with pytest.raises(DataError, match=r"f\.json, row 2, column 'title': must be a text, got .\['B'\]"):
        read_sessions(saved(tmp_path / "f.json", json.dumps(rows)))
    with pytest.raises(DataError, match=r"f\.jsonl, line 2, column 'title': must be a text"):
        read_sessions(saved(tmp_path / "f.jsonl", "\n".join(map(json.dumps, rows))))
    nested = [to_row(session("s", ["A", "B"])), {"session_id": "t", "items": [{"id": "x"}]}]
    with pytest.raises(DataError, match=r"n\.parquet, row 2: items\[0\]\.title is missing; add it"):
        read_sessions(parquet_of(tmp_path / "n.parquet", nested))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.json", "[1]", "row 1: int instead of an object; write a list of objects"),
        ("s.json", '[{"session_id": "s"},\n', "line 2: not JSON"),
        ("s.json", '[{"a": 1, "a": 2}]', "the key 'a' occurs twice in one object; keep one of them"),
        ("s.json", "[]", "holds no sessions"),
        ("s.csv", "session,title\n", "holds no sessions"),
        ("s.csv", "", "holds no sessions"),
        ("s.csv", "session,title\na,b,c\n", "line 2: 3 fields under 2 columns"),
        ("s.parquet", "session,title\n", "not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_place(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_sessions(saved(tmp_path / name, content))


def test_the_price_column_as_a_whole_shows_the_decimal_mark(tmp_path: Path) -> None:
    text = "session,title,price\na,A,1.299\na,B,0.5\na,C,\n"
    (found,) = load(str(saved(tmp_path / "s.csv", text)))
    assert [item.price for item in found.items] == [1.299, 0.5, None]
