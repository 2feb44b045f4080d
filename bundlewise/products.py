"""Products on disk: a shop's own catalogue as CSV, Parquet or JSON lines, or a starter domain's, read strictly."""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundlewise.dataset import STARTERS, load
from bundlewise.domain import Item
from bundlewise.errors import DataError, UsageError
from bundlewise.files import row_object
from bundlewise.text import title_fault

COLUMNS = "id and title are needed, price and category are read where they are"
DELIMITERS = ",;\t|"
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FIELD_LIMIT = 1_000_000
_PRICE = re.compile(r"(?:[A-Z]{3}|[$€£¥])?\s*([0-9][0-9.,' ]*)\s*(?:[A-Z]{3}|[$€£¥])?")
_GROUPED = re.compile(r"[0-9]{1,3}([,' ])[0-9]{3}(?:\1[0-9]{3})*(?:\.[0-9]+)?")

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands, for messages, and its fields."""


def read_products(name_or_path: str) -> list[Item]:
    """Read the products of a file or a starter domain, each id once.

    Raises:
        UsageError: there is no such file or domain, or its name does not say what it is.
        DataError: a row cannot be used; the message names file, line and remedy.
    """
    if name_or_path in STARTERS:
        sessions = load(name_or_path)
        return list({item.id: item for session in sessions for item in session.items}.values())
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(f"no catalogue {name_or_path}; give a file, or one of {', '.join(STARTERS)}")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path} is none of {', '.join(SUFFIXES)}; save the catalogue as CSV, Parquet or JSON lines")
    rows = {"csv": _csv_rows, "parquet": _parquet_rows, "jsonl": _json_rows}[kind]
    products: dict[str, Item] = {}
    places: dict[str, str] = {}
    for where, fields in rows(path):
        item = _item(fields, where)
        if earlier := places.get(item.id):
            raise DataError(f"{where}: id {item.id!r} stands already in {earlier}; give every product an id of its own")
        products[item.id], places[item.id] = item, where.removeprefix(f"{path}, ")
    if not products:
        raise DataError(f"{path}: holds no products; write one a line")
    return list(products.values())


def _csv_rows(path: Path) -> Iterator[Row]:
    text = _text(path)
    header = next((row for row in text.splitlines() if row.strip()), "")
    if not header:
        raise DataError(f"{path}: empty; the first line names the columns: {COLUMNS}")
    delimiter = max(DELIMITERS, key=header.count)
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    start = 1
    try:
        for row in reader:
            where, start = f"{path}, line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not names:
                names = _columns(row, where)
                continue
            if len(row) != len(names):
                count = f"{len(row)} fields under {len(names)} columns"
                raise DataError(f"{where}: {count}; put fields that hold {delimiter!r} into double quotes")
            yield where, dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: {error}; quote fields in pairs of double quotes") from error


def _columns(row: list[str], where: str) -> list[str]:
    names = [name.strip().lower() for name in row]
    if missing := [name for name in ("id", "title") if name not in names]:
        raise DataError(f"{where}: no column {missing[0]!r} among {', '.join(names)[:120]}; {COLUMNS}")
    return names


def _text(path: Path) -> str:
    """Return a file's text, whichever Unicode it says it is in."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if line.strip():
            yield where, row_object(line, where)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path)
        names = {name.lower(): name for name in table.schema_arrow.names}
        if missing := [name for name in ("id", "title") if name not in names]:
            raise DataError(f"{path}: no column {missing[0]!r} among {', '.join(names)[:120]}; {COLUMNS}")
        wanted = [names[name] for name in ("id", "title", "price", "category") if name in names]
        number = 0
        for batch in table.iter_batches(columns=wanted):
            for fields in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", {name.lower(): value for name, value in fields.items()}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: no Parquet file ({str(error).splitlines()[0]}); write it again") from error


def _item(fields: Mapping[str, Any], where: str) -> Item:
    key, title = (_word(fields.get(name), name, where) for name in ("id", "title"))
    if fault := title_fault(title):
        raise DataError(f"{where}: {fault}")
    return Item(id=key, title=title, price=_price(fields.get("price"), where), category=_category(fields, where))


def _word(value: Any, name: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        found = "is missing" if value is None else f"is {value!r}"
        raise DataError(f"{where}: {name} {found}; write a text")
    text = " ".join(whole(str(value)).split())
    if not text:
        raise DataError(f"{where}: {name} is empty; fill it in or remove the row")
    return text


def whole(text: str) -> str:
    """Return text that can be written down: JSON may hold halves of characters, which become question marks."""
    return text.encode("utf-8", "replace").decode()


def _price(value: Any, where: str) -> float | None:
    """Return a price as a number; nothing, or a field left empty, is an unknown price."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    number = price_of(value) if isinstance(value, str) else value
    try:
        amount = math.nan if number is None or isinstance(number, bool) else float(number)
    except (TypeError, ValueError):
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise DataError(f"{where}: price is {str(value)[:40]!r}; write a number like 12.99, or leave it empty")
    return amount


def price_of(text: str) -> float | None:
    """Return the price that a text is: `12.99`, `$1,299.00`, `12,99 €`; None if it is none."""
    found = _PRICE.fullmatch(text.strip())
    if not found:
        return None
    digits = found[1].strip()
    if grouped := _GROUPED.fullmatch(digits):
        digits = digits.replace(grouped[1], "")
    elif digits.count(",") == 1 and len(digits) - digits.index(",") <= 3:
        digits = digits.replace(".", "").replace(",", ".")
    try:
        return float(digits.replace(" ", ""))
    except ValueError:
        return None


def _category(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = fields.get("category")
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(">") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise DataError(f"{where}: category is {str(value)[:40]!r}; write a text like Power > Batteries, or a list")
