"""Read the rows of a file as they stand: CSV, Parquet, JSON and JSON lines, packed with gzip or not."""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bundlewise.errors import DataError
from bundlewise.extras import require
from bundlewise.files import row_object
from bundlewise.inputs import BOM, base_name, local, text_of
from bundlewise.strictly import KEEP_ONE, RepeatedKey, once

Kind = Literal["csv", "parquet", "json", "jsonl"]
SUFFIXES: Mapping[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
DELIMITERS = ",;\t|"
FIELD_LIMIT = 1_000_000
PARQUET = b"PAR1"
HEAD = 4_096
"""The first bytes of a file that are looked at to recognise its format."""

_OPEN_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31})$")

Row = tuple[str, Mapping[str, Any]]
"""The place of a row, for messages, and its fields; a missing value is None or an empty text."""


@dataclass(frozen=True)
class RowTable:
    """The rows of a file.

    `where` is the place of the column names, for messages. `names` are the columns as the file writes them; it is empty
    for JSON, where each row names its own.
    """

    where: str
    names: tuple[str, ...]
    rows: Iterator[Row]


def kind_of(path: Path) -> Kind | None:
    """Return the format that a file's suffix states, before `.gz`; None if it states none."""
    return SUFFIXES.get(Path(base_name(path)).suffix)


def kind_inside(path: Path) -> Kind:
    """Return the format that an input's first bytes show: Parquet, JSON, JSON lines (or nothing), or else CSV.

    Raises:
        DataError: the input cannot be read.
    """
    try:
        with local(path).open("rb") as stream:
            first = stream.read(HEAD)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions") from error
    if first.startswith(PARQUET):
        return "parquet"
    begin = first.decode("utf-8-sig", "replace").lstrip()[:1]
    return "json" if begin == "[" else "jsonl" if begin in ("{", "") else "csv"


def table_of(
    path: Path, kind: Kind, known: Collection[str], columns: str, is_read: Callable[[str], bool] = lambda _: True
) -> RowTable:
    """Return the rows of a file in a format.

    Args:
        path: the file, pipe or `-`.
        kind: its format.
        known: column names in lower case; a CSV's delimiter is the one that gives most of them.
        columns: the needed columns in words, for the message about an empty CSV.
        is_read: says whether a column is needed; the others of a Parquet file stay on the disk.

    Raises:
        DataError: the file, or later a row, cannot be read; the message names the file and the line or row.
    """
    if kind == "csv":
        return _csv_table(path, known, columns)
    if kind == "parquet":
        return _parquet_table(path, is_read)
    return RowTable(str(path), (), _json_rows(path) if kind == "json" else _line_rows(path))


def _csv_table(path: Path, known: Collection[str], columns: str) -> RowTable:
    text = text_of(path)
    if not text.strip():
        raise DataError(f"{path}: empty; the first line names the columns: {columns}")
    csv.field_size_limit(FIELD_LIMIT)
    text, before, delimiter = _layout(text, known)
    rows = _csv_rows(path, _reader(text, delimiter), before)
    where, names = next(rows)
    return RowTable(where, tuple(names), _named(rows, tuple(names), delimiter))


def _csv_rows(path: Path, reader: Any, before: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the cells of each row that is not blank, first the names."""
    start = before + 1
    try:
        for row in reader:
            where, start = f"{path}, line {start}", before + reader.line_num + 1
            if any(cell.strip() for cell in row):
                yield where, row
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: {error}; quote fields in pairs of double quotes") from error


def _named(rows: Iterator[tuple[str, list[str]]], names: tuple[str, ...], delimiter: str) -> Iterator[Row]:
    for where, row in rows:
        cells = _with_whole_entities(row, len(names)) if delimiter == ";" else row
        if len(cells) != len(names):
            count = f"{len(cells)} fields under {len(names)} columns"
            raise DataError(f"{where}: {count}; put fields that hold {delimiter!r} into double quotes")
        yield where, dict(zip(names, cells, strict=True))


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


def _layout(text: str, known: Collection[str]) -> tuple[str, int, str]:
    """Return the table without a `sep=` line, the number of lines removed, and the delimiter.

    A first line `sep=;`, which Excel writes, states the delimiter; else it is the one that gives most known columns.
    """
    if stated := re.match(r"""\s*(?P<quote>"?)sep=(?P<mark>\\t|.)(?P=quote)[ \t]*\r?\n""", text, re.IGNORECASE):
        return text[stated.end() :], stated[0].count("\n"), "\t" if stated["mark"] == "\\t" else stated["mark"]
    return text, 0, max(DELIMITERS, key=lambda delimiter: _fitness(text, delimiter, known))


def _fitness(text: str, delimiter: str, known: Collection[str]) -> tuple[int, int]:
    """Return how many known columns, and how many columns in all, a delimiter gives in the first row."""
    try:
        rows: Iterator[list[str]] = _reader(text, delimiter)
        header = next((row for row in rows if any(cell.strip() for cell in row)), [])
    except csv.Error:
        return 0, text.lstrip().partition("\n")[0].count(delimiter) + 1
    names = {name.strip().lower() for name in header}
    return len(names.intersection(known)), len(header)


def _line_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(text_of(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if line.strip():
            yield where, row_object(line, where)


def _json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a JSON list, or one object; a file of JSON lines is accepted under this name too."""
    text = text_of(path).lstrip(BOM)
    try:
        value = json.loads(text, object_pairs_hook=once)
    except RepeatedKey as error:
        raise DataError(f"{path}: {error}; {KEEP_ONE}") from error
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{"):
            yield from _line_rows(path)
            return
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); write a list of objects") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); write a list of objects") from error
    for number, row in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: {type(row).__name__} instead of an object; write a list of objects")
        yield f"{path}, row {number}", row


def _parquet_table(path: Path, is_read: Callable[[str], bool]) -> RowTable:
    require("parquet", f"reading {path}")
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(local(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from error
    names = tuple(file.schema_arrow.names)
    return RowTable(str(path), names, _parquet_rows(path, file, [name for name in names if is_read(name)]))


def _parquet_rows(path: Path, file: Any, columns: list[str]) -> Iterator[Row]:
    import pyarrow

    number = 0
    try:
        for batch in file.iter_batches(columns=columns):
            for fields in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", fields
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from error


def _not_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]}); write it again")
