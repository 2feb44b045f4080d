"""Read products strictly, from a shop's catalogue (CSV, Parquet or JSON lines) or from a starter domain."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bundlewise.data.price_column import READ, PriceColumn, price_in, refuse_twins, told_of
from bundlewise.data.sessions import STARTERS, load
from bundlewise.domain import Item
from bundlewise.errors import DataError, UsageError
from bundlewise.extras import require
from bundlewise.files import row_object
from bundlewise.inputs import base_name, is_input, is_plain, local, text_of
from bundlewise.terminal import note
from bundlewise.titles import title_fault

COLUMNS = "id and title are required, price and category are optional"
DELIMITERS = ",;\t|"
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FIELD_LIMIT = 1_000_000
NEEDED = ("id", "title")
PARQUET = b"PAR1"

_OPEN_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31})$")

Row = tuple[str, Mapping[str, Any]]
"""The place of a row, for messages, and its fields."""


def read_products(name_or_path: str, tell: Callable[[str], None] = note) -> list[Item]:
    """Read the products of a catalogue, as `read_catalogue` does, without their currency."""
    return read_catalogue(name_or_path, tell)[0]


def read_catalogue(name_or_path: str, tell: Callable[[str], None] = note) -> tuple[list[Item], str]:
    """Read the products of a file, a pipe, or a starter domain, each id once, and the one currency of the prices.

    Args:
        name_or_path: the file, pipe or domain; `-` is standard input.
        tell: called with each note about doubtful prices.

    Raises:
        UsageError: there is no such file or domain, or its name has no known suffix.
        DataError: a row cannot be used; the message names file, line and remedy.
    """
    if name_or_path in STARTERS:
        sessions = load(name_or_path)
        return list({item.id: item for session in sessions for item in session.items}.values()), ""
    path = Path(name_or_path)
    if not is_input(path):
        raise UsageError(f"no catalogue {name_or_path}; give a file, or one of {', '.join(STARTERS)}")
    rows = {"csv": _csv_rows, "parquet": _parquet_rows, "jsonl": _json_rows}[_kind(path)]
    products: dict[str, Item] = {}
    places: dict[str, str] = {}
    prices, columns = PriceColumn(str(path)), dict[str, None]()
    for where, fields in rows(path):
        item = _item(fields, where)
        if earlier := places.get(item.id):
            raise DataError(f"{where}: id {item.id!r} is already in {earlier}; give every product an id of its own")
        products[item.id], places[item.id] = item, where.removeprefix(f"{path}, ")
        columns.update(dict.fromkeys(fields))
        column, currency = price_in(tuple(fields))
        prices.add(fields.get(column), where, str(fields.get("currency") or currency))
    if not products:
        raise DataError(f"{path}: holds no products; write one per line")
    pairs = list(zip(products.values(), prices.values(), strict=True))
    for said in (*told_of(tuple(columns), str(path)), *prices.told()):
        tell(said)
    return [item.model_copy(update={"price": price}) for item, price in pairs], prices.currency


def _kind(path: Path) -> str:
    """Return the format of a catalogue from its suffix; for pipes and standard input, from its first bytes."""
    if kind := SUFFIXES.get(Path(base_name(path)).suffix):
        return kind
    if is_plain(path):
        raise UsageError(f"{path} is none of {', '.join(SUFFIXES)}; save the catalogue as CSV, Parquet or JSON lines")
    with local(path).open("rb") as stream:
        first = stream.read(1000)
    if first.startswith(PARQUET):
        return "parquet"
    return "jsonl" if first.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{" else "csv"


def _csv_rows(path: Path) -> Iterator[Row]:
    text = text_of(path)
    if not text.strip():
        raise DataError(f"{path}: empty; the first line names the columns: {COLUMNS}")
    csv.field_size_limit(FIELD_LIMIT)
    text, before, delimiter = _layout(text)
    reader = _reader(text, delimiter)
    names: list[str] = []
    start = before + 1
    try:
        for row in reader:
            where, start = f"{path}, line {start}", before + reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not names:
                names = _columns(row, where)
                continue
            row = _with_whole_entities(row, len(names)) if delimiter == ";" else row
            if len(row) != len(names):
                count = f"{len(row)} fields under {len(names)} columns"
                raise DataError(f"{where}: {count}; put fields that hold {delimiter!r} into double quotes")
            yield where, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: {error}; quote fields in pairs of double quotes") from error


def _with_whole_entities(row: list[str], count: int) -> list[str]:
    """Return a row with the fields joined that a semicolon of an HTML entity (`Black &amp; Decker`) has split."""
    if len(row) <= count:
        return row
    whole: list[str] = []
    for cell in row:
        if whole and _OPEN_ENTITY.search(whole[-1]):
            whole[-1] += f";{cell}"
        else:
            whole.append(cell)
    return whole if len(whole) == count else row


def _reader(text: str, delimiter: str) -> Any:
    # A blank before a quoted field is skipped, but a blank after the semicolon of an entity belongs to the title.
    skips = f'{delimiter} "' in text
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=skips)


def _layout(text: str) -> tuple[str, int, str]:
    """Return the table without a `sep=` line, the number of lines removed, and the delimiter.

    A first line `sep=;`, which Excel writes, states the delimiter; else it is the one that gives the needed columns.
    """
    if stated := re.match(r"""\s*(?P<quote>"?)sep=(?P<mark>\\t|.)(?P=quote)[ \t]*\r?\n""", text, re.IGNORECASE):
        return text[stated.end() :], stated[0].count("\n"), "\t" if stated["mark"] == "\\t" else stated["mark"]
    return text, 0, max(DELIMITERS, key=lambda delimiter: _fitness(text, delimiter))


def _fitness(text: str, delimiter: str) -> tuple[int, int]:
    """Return how many of the needed columns, and how many columns in all, a delimiter gives in the first row."""
    try:
        rows: Iterator[list[str]] = _reader(text, delimiter)
        header = next((row for row in rows if any(cell.strip() for cell in row)), [])
    except csv.Error:
        return 0, text.lstrip().partition("\n")[0].count(delimiter) + 1
    names = [name.strip().lower() for name in header]
    return sum(need in names for need in NEEDED), len(names)


def _columns(row: list[str], where: str) -> list[str]:
    names = [name.strip().lower() for name in row]
    refuse_twins(row, where)
    if missing := [name for name in NEEDED if name not in names]:
        raise DataError(f"{where}: no column {missing[0]!r} among {', '.join(names)[:120]}; {COLUMNS}")
    return names


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(text_of(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if line.strip():
            yield where, row_object(line, where)


def _parquet_rows(path: Path) -> Iterator[Row]:
    require("parquet", f"reading {path}")
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(local(path))
        refuse_twins(table.schema_arrow.names, str(path))
        names = {name.lower(): name for name in table.schema_arrow.names}
        if missing := [name for name in NEEDED if name not in names]:
            raise DataError(f"{path}: no column {missing[0]!r} among {', '.join(names)[:120]}; {COLUMNS}")
        wanted = [name for low, name in names.items() if low in READ or "price" in low]
        number = 0
        for batch in table.iter_batches(columns=wanted):
            for fields in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", {name.lower(): value for name, value in fields.items()}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}); write it again") from error


def _item(fields: Mapping[str, Any], where: str) -> Item:
    key, title = (_word(fields.get(name), name, where) for name in ("id", "title"))
    if fault := title_fault(title):
        raise DataError(f"{where}: {fault}")
    return Item(id=key, title=title, category=_category(fields, where))


def _word(value: Any, name: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        found = "is missing" if value is None else f"is {value!r}"
        raise DataError(f"{where}: {name} {found}; write a text")
    text = " ".join(whole(str(value)).split())
    if not text:
        raise DataError(f"{where}: {name} is empty; fill it in or remove the row")
    return text


def whole(text: str) -> str:
    """Return text that can be encoded: halves of characters (lone surrogates) from JSON become question marks."""
    return text.encode("utf-8", "replace").decode()


def _category(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = fields.get("category")
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(">") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise DataError(f"{where}: category is {str(value)[:40]!r}; write a text like Power > Batteries, or a list")
