"""Write sessions in the formats that they are read from: JSON lines, JSON, CSV and Parquet, packed with gzip or not."""

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bundlewise.data.rows import SUFFIXES, Kind, kind_of
from bundlewise.data.sessions import read_sessions, to_row
from bundlewise.domain import Session
from bundlewise.errors import DataError, UsageError
from bundlewise.extras import require
from bundlewise.files import write_bytes
from bundlewise.inputs import GZIP

COLUMNS = ("session", "domain", "split", "item", "title", "category", "price", "bundle", "intent")
"""The columns of a table with a product in each row."""


def write_in_format(path: Path, sessions: Sequence[Session]) -> None:
    """Write sessions in the format that the file's suffix states; `.gz` behind it packs the file.

    Raises:
        UsageError: the suffix states no format, or the package for Parquet is missing.
        DataError: a session cannot be told in the format: read again, it would be another.
    """
    kind = kind_of(path)
    if kind is None:
        raise UsageError(f"{path} is none of {', '.join(SUFFIXES)}; choose one, with .gz behind it or not")
    content = _content(kind, sessions, "\t" if ".tsv" in path.suffixes else ",")
    if path.suffix.lower() == GZIP:
        content = gzip.compress(content, mtime=0)
    _check(content, path, sessions)
    write_bytes(path, content)


def product_rows(session: Session) -> Iterator[dict[str, Any]]:
    """Yield a session as rows with one product each; its bundles are numbered from 1.

    A product in several bundles has a row for each. If the order of products in bundles differs from that in the
    session, the products come first, without bundles, and their bundles in further rows.
    """
    members = [(key, number) for number, bundle in enumerate(session.bundles, 1) for key in bundle.item_ids]
    first: dict[str, int] = {}
    further = [(key, number) for key, number in members if first.setdefault(key, number) != number]
    rows = [*((item.id, first.get(item.id)) for item in session.items), *further]
    if _bundles_of(rows) != _bundles_of(members):
        rows = [*((item.id, None) for item in session.items), *members]
    items = {item.id: item for item in session.items}
    for key, number in rows:
        item, intent = items[key], session.bundles[number - 1].intent if number else ""
        whole = {"session": session.session_id, "domain": session.domain, "split": session.split}
        product = {"item": key, "title": item.title, "category": " > ".join(item.category), "price": item.price}
        yield whole | product | {"bundle": number, "intent": intent}


def _bundles_of(rows: Sequence[tuple[str, int | None]]) -> list[tuple[int, list[str]]]:
    """Return the bundles that rows tell, in their order, each with its products."""
    found: dict[int, list[str]] = {}
    for key, number in rows:
        if number is not None:
            found.setdefault(number, []).append(key)
    return list(found.items())


def _content(kind: Kind, sessions: Sequence[Session], delimiter: str) -> bytes:
    if kind == "csv":
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, COLUMNS, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for session in sessions for row in product_rows(session))
        return stream.getvalue().encode()
    rows = [to_row(session) for session in sessions]
    if kind == "parquet":
        return _parquet(rows)
    if kind == "json":
        return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    require("parquet", "writing Parquet")
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def _check(content: bytes, path: Path, sessions: Sequence[Session]) -> None:
    """Read what is to be written, and compare it with the sessions."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        found = {session.session_id: session for session in read_sessions(copy, {})}
    if lost := next((each for each in sessions if found.get(each.session_id) != each), None):
        raise DataError(
            f"{path}: session {lost.session_id!r} would change in this format, as by a > in a category; "
            "write .jsonl, .json or .parquet"
        )
