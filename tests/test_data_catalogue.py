"""Catalogues: what is read as a product, and which message each fault gets."""

import re
from pathlib import Path

import pytest

from bundlewise.data.catalogue import read_products
from bundlewise.domain import Item
from bundlewise.errors import BundlewiseError, DataError, UsageError

MOUSE = Item(id="a", title="Red mouse, small", price=12.99, category=("Desk", "Mice"))
PAD = Item(id="b", title="Blue pad")


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "c.csv",
            'id;title;price;category;"a,b,c,d,e|f|g|h|i"\na;Red mouse, small;12,99;Desk > Mice;1\nb;Blue pad;;;2\n',
        ),
        (
            "c.csv",
            'id\t"in stock,\n or, not; at, all"\ttitle\tprice\tcategory\n'
            "a\t1\tRed mouse, small\t12.99\tDesk > Mice\nb\t\tBlue pad\t\t\n",
        ),
        ("c.csv", "sep=;\r\nid;title;price;category\r\na;Red mouse, small;12,99;Desk > Mice\r\nb;Blue pad;;\r\n"),
        ("c.csv", '"id", "title", "price", "category"\na, "Red mouse, small", 12.99, Desk > Mice\nb, Blue pad, , \n'),
        ("c.csv", 'id,title,price,category\na,"Red mouse, small",12.99,Desk > Mice\nb,Blue pad,,\n'),
        ("c.csv", '\n \nid,title,price,category\na,"Red mouse, small",12.99,Desk > Mice\nb,Blue pad,,\n'),
        ("c.csv", "\ufeffID;Title;Price;Category\r\na;Red mouse, small;12,99;Desk > Mice\r\nb;Blue pad;;\r\n"),
        (
            "c.tsv",
            "title\tid\tcategory\tprice\tstock\nRed mouse, small\ta\tDesk > Mice\t$12.99\t7\nBlue pad\tb\t\t\t0\n",
        ),
        ("c.csv", 'id|title|price|category\na|"Red mouse,\n small"|12.99|Desk>Mice\n\nb|Blue pad||\n'),
        ("c.csv", 'id,title,price,category\na,"Red mouse, small",12.99,Desk > Mice\nb,Blue pad,,\n'.encode("utf-16")),
        (
            "c.jsonl",
            '{"id": "a", "title": "Red mouse, small", "price": 12.99, "category": ["Desk", "Mice"], "stock": 3}\n\n'
            '{"id": "b", "title": "Blue pad", "price": null}\n',
        ),
    ],
    ids=[
        "quoted delimiters in the header",
        "a quoted line break in the header",
        "sep=",
        "blanks behind delimiters",
        "comma",
        "blank lines first",
        "semicolon, BOM, CRLF",
        "tab, other order, more columns",
        "bar, broken line",
        "utf-16",
        "json lines",
    ],
)
def test_products_are_read_however_they_are_written(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read_products(written(tmp_path, name, content)) == [MOUSE, PAD]


def test_parquet_is_read_by_its_columns(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(
        {
            "Id": ["a", "b"],
            "title": [MOUSE.title, PAD.title],
            "price": [12.99, None],
            "category": [["Desk", "Mice"], None],
        }
    )
    parquet.write_table(table, tmp_path / "c.parquet")
    assert read_products(str(tmp_path / "c.parquet")) == [MOUSE, PAD]


def test_starter_domains_are_catalogues() -> None:
    products = read_products("electronics")
    assert len(products) == len({p.id for p in products}) > 1000 and all(p.price for p in products)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", "", "empty; the first line names the columns"),
        ("c.csv", "\n \n", "empty; the first line names the columns"),
        ("c.csv", "id,title\n", "holds no products"),
        ("c.csv", 'id,"title\n1,x', "line 1: unexpected end of data; quote fields in pairs"),
        ("c.csv", "\n\nid,name\na,b\n", "line 3: no column 'title' among id, name"),
        ("c.csv", "\nid,title\na,Mouse\nb\n", "line 4: 1 fields under 2 columns"),
        ("c.csv", "id,name\na,b\n", "line 1: no column 'title' among id, name"),
        ("c.csv", "id,title\na,Mouse\nb\n", "line 3: 1 fields under 2 columns"),
        ("c.csv", "id,title\na,Red, small\n", "line 2: 3 fields under 2 columns; put fields that hold ','"),
        ("c.csv", "id,title\na,Mouse\na,Pad\n", "line 3: id 'a' is already in line 2"),
        ("c.csv", "id,title\n,Mouse\n", "line 2: id is empty"),
        ("c.csv", "id,title\na,  \n", "line 2: title is empty"),
        ("c.csv", f"id,title\na,{'x' * 1001}\n", "line 2: title has 1,001 characters; shorten it to 1,000 or fewer"),
        ("c.csv", "id,title,price\na,Mouse,cheap\n", "line 2: price is 'cheap'; write a number"),
        ("c.csv", "id,title,price\na,Mouse,-3\n", "line 2: price is '-3'"),
        ("c.csv", 'id,title\na,Pad\nb,"Mouse\n', "line 3: "),
        ("c.csv", "sep=;\nid;title\na;Mouse;x\n", "line 3: 3 fields under 2 columns"),
        ("c.jsonl", '{"id": "a", "title": "x", "id": "b"}\n', "line 1: the key 'id' occurs twice in one object"),
        ("c.csv", b"id,title\na,Pad\nb,M\xe4use\n", "line 3: not UTF-8 at byte 18"),
        ("c.jsonl", '{"id": "a", "title": "x"}\nnope\n', "line 2: not JSON"),
        ("c.jsonl", "[1]\n", "line 1: list instead of an object"),
        ("c.jsonl", '{"title": "x"}\n', "line 1: id is missing"),
        ("c.jsonl", '{"id": "a", "title": ["x"]}\n', "line 1: title is ['x']"),
        ("c.jsonl", '{"id": "a", "title": "x", "price": true}\n', "line 1: price is 'True'"),
        ("c.jsonl", '{"id": "a", "title": "x", "price": NaN}\n', "line 1: price is 'nan'"),
        ("c.jsonl", '{"id": "a", "title": "x", "category": 3}\n', "line 1: category is '3'"),
        ("c.jsonl", f'{{"id": "a", "title": "{"x" * 3000}"}}\n', "title has 3,000 characters"),
        ("c.parquet", "no parquet", "not a Parquet file"),
    ],
)
def test_a_fault_is_told_with_its_line_and_the_remedy(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(DataError) as told:
        read_products(path)
    assert said in str(told.value) and path in str(told.value)


@pytest.mark.parametrize(("name", "said"), [("none.csv", "no catalogue"), ("c.xlsx", "save the catalogue as CSV")])
def test_what_is_no_catalogue_is_a_usage_error(tmp_path: Path, name: str, said: str) -> None:
    if name == "c.xlsx":
        written(tmp_path, name, "x")
    with pytest.raises(UsageError, match=said):
        read_products(str(tmp_path / name))


def test_hostile_files_end_in_a_message(tmp_path: Path) -> None:
    for number, content in enumerate(
        [b"\x00" * 100, b"id,title\n" + b'"' * 5000, b"\xff\xfeid,title\n", b"{" * 100_000]
    ):
        for suffix in ("csv", "jsonl", "parquet"):
            with pytest.raises(BundlewiseError):
                read_products(written(tmp_path, f"{number}.{suffix}", content))


@pytest.mark.parametrize(
    "content",
    ["\ufeff\ufeffid,title\na,Lamp\n", '"sep=;"\nid;title\na;Lamp\n', "sep=\\t\nid\ttitle\na\tLamp\n"],
    ids=["two BOMs", "sep= in quotes", "sep= with a tab spelt out"],
)
def test_what_stands_before_a_header_is_passed_over(tmp_path: Path, content: str) -> None:
    assert read_products(written(tmp_path, "c.csv", content)) == [Item(id="a", title="Lamp")]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "id,title,title",
            "line 1: column 2, 'title', and column 3, 'title', have one name; rename or remove one of them",
        ),
        ("id,title,price,Price", "line 1: column 3, 'price', and column 4, 'Price', have one name"),
        ("ID,title,id", "line 1: column 1, 'ID', and column 3, 'id', have one name"),
    ],
)
def test_two_columns_of_one_name_are_an_error_that_names_both(tmp_path: Path, header: str, said: str) -> None:
    row = ",".join("a" * (header.count(",") + 1))
    with pytest.raises(DataError, match=re.escape(said)):
        read_products(written(tmp_path, "c.csv", f"{header}\n{row}\n"))


def test_columns_of_one_name_that_are_not_read_are_no_error(tmp_path: Path) -> None:
    assert read_products(written(tmp_path, "c.csv", "id,title,tag,tag\na,Lamp,x,y\n")) == [Item(id="a", title="Lamp")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("price (EUR, incl. VAT)", "prices are read from the column 'price (eur, incl. vat)', in EUR"),
        ("Price [US$]", "prices are read from the column 'price [us$]', in USD"),
        ("price_eur", "prices are read from the column 'price_eur', in EUR"),
        ("price incl. VAT", "prices are read from the column 'price incl. vat'"),
    ],
)
def test_a_price_column_may_name_its_currency_and_that_is_told(tmp_path: Path, name: str, said: str) -> None:
    told: list[str] = []
    path = written(tmp_path, "c.csv", f'id,title,"{name}"\na,Lamp,"12,99"\n')
    assert [product.price for product in read_products(path, told.append)] == [12.99]
    assert told == [f"{path}: {said}"]


@pytest.mark.parametrize("names", ["price_eur,price_usd", "sale price,old_price", "price per kg,x"])
def test_columns_that_may_hold_prices_and_are_not_read_are_told(tmp_path: Path, names: str) -> None:
    told: list[str] = []
    path = written(tmp_path, "c.csv", f"id,title,{names}\na,Lamp,12,13\n")
    assert [product.price for product in read_products(path, told.append)] == [None]
    assert len(told) == 1 and f"no column is called price, and '{names.split(',')[0]}'" in told[0]
