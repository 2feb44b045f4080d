"""Sessions from tables, with a product or a whole session in each row: of files, pandas and Hugging Face datasets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.data.amounts import written
from bundlewise.data.columns import NEEDED, NamedTable, find_columns, usual_columns, usual_names
from bundlewise.data.price_column import PriceColumn
from bundlewise.data.rows import Kind, Row, table_of
from bundlewise.data.session_faults import explain, problems
from bundlewise.domain import SPLITS, Bundle, Item, Session
from bundlewise.errors import DataError

WANTED = "session and title are required; item, bundle, intent, split, price, category and domain are optional"


def scan_table(path: Path, kind: Kind, columns: Mapping[str, str]) -> Iterator[Session | DataError]:
    """Yield the sessions of a file in a format, and its faults with file, line or row, and column.

    Raises:
        UsageError: a column that is needed or given is missing.
    """
    known = usual_names() | {name.lower() for name in columns.values()}
    try:
        table = table_of(path, kind, known, WANTED)
        rows = [(where, {name.strip(): value for name, value in row.items()}) for where, row in table.rows]
    except DataError as error:
        yield error
        return
    names = [name.strip() for name in table.names] or _names_in(rows)
    yield from _scan(NamedTable(str(path), names, "--columns {0}=COLUMN"), rows, columns)


def sessions_of(source: Any, columns: Mapping[str, str]) -> list[Session] | None:
    """Return the sessions of a pandas table or a dataset; None for anything else.

    Raises:
        UsageError: a column that is needed is missing.
        DataError: a row has a fault; the message names row and column as the table counts them.
    """
    library, kind = type(source).__module__.partition(".")[0], type(source).__name__
    if library == "pandas" and kind == "DataFrame":
        names = [str(name) for name in source.columns]
        known = source.astype(object).where(source.notna(), None).itertuples(index=False, name=None)
        cells = (dict(zip(names, row, strict=True)) for row in known)
        return _sessions(names, list(zip((f"row {label}" for label in source.index), cells, strict=True)), columns)
    if library != "datasets":
        return None
    parts = source if isinstance(source, Mapping) else {"": source}
    rows = list(chain.from_iterable(_rows_of(part, str(split)) for split, part in parts.items()))
    return _sessions(_names_in(rows), rows, columns)


def _rows_of(dataset: Iterable[Mapping[str, Any]], split: str) -> Iterator[Row]:
    """Yield the rows of a dataset, or of one of its splits, whose name each row then holds."""
    begin, given = (f"{split} row", {"split": split}) if split else ("row", {})
    for number, row in enumerate(dataset):
        yield f"{begin} {number}", {**row, **given}


def _names_in(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(name) for _, row in rows for name in row))


def _sessions(names: Sequence[str], rows: Sequence[Row], columns: Mapping[str, str]) -> list[Session]:
    found = []
    for result in _scan(NamedTable("the table", names, "columns={{{0!r}: ...}}"), rows, columns):
        if isinstance(result, DataError):
            raise result
        found.append(result)
    return found


def _scan(table: NamedTable, rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[Session | DataError]:
    if not rows:
        yield DataError(f"{table.name} holds no sessions; give one with a row")
        return
    is_nested = holds_session(rows[0][1], table.columns, columns)
    found = _nested(rows) if is_nested else _grouped(rows, find_columns(table, columns))
    seen: set[str] = set()
    for result in found:
        if isinstance(result, DataError):
            yield result
            continue
        where, session = result
        if session.session_id in seen:
            yield DataError(f"{where}: session {session.session_id!r} stands in an earlier row; make its id unique")
        elif problem := next(problems(session), None):
            yield DataError(f"{where}: {problem}")
        else:
            yield session
        seen.add(session.session_id)


def holds_session(row: Mapping[str, Any], names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Say whether a row of a table with such names holds a whole session; otherwise it holds one product."""
    is_number = isinstance(row.get("items"), str | int | float)
    return "items" in names and not (is_number and has_titles(names, columns))


def has_titles(names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Say whether a table with such names has a column of titles, by a usual name or a given one."""
    return "title" in usual_columns(list(names)) or columns.get("title") in set(names)


def _nested(rows: Sequence[Row]) -> Iterator[tuple[str, Session] | DataError]:
    for where, row in rows:
        try:
            yield where, Session.model_validate(without_missing(_with_lists(row)))
        except ValidationError as error:
            yield DataError(f"{where}: {explain(error)}")


def _with_lists(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose items and bundles are lists; some datasets keep a list for each of their fields instead."""
    return {name: _turned(value) if name in ("items", "bundles") else value for name, value in row.items()}


def _turned(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(part, list) for part in value.values()):
        return value
    count = max(map(len, value.values()), default=0)
    return [{name: part[place] for name, part in value.items() if place < len(part)} for place in range(count)]


def without_missing(value: Any) -> Any:
    """Return a value without its missing parts: None, which datasets fill in, and NaN; arrays become lists."""
    if isinstance(value, Mapping):
        return {name: without_missing(part) for name, part in value.items() if not _is_missing(part)}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [without_missing(part) for part in value] if isinstance(value, list | tuple) else value


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


@dataclass
class _Draft:
    """A session whose rows are being read: its products, and the product ids of each bundle."""

    key: str
    where: str
    items: dict[str, Item] = field(default_factory=dict)
    bundles: dict[str, list[str]] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def add(self, cells: "_Cells", price: float | None) -> None:
        """Read a row of it; a product that is there already joins one more bundle."""
        key = cells.text("item") or f"{self.key}-{len(self.items) + 1}"
        category = tuple(part.strip() for part in cells.text("category").split(">") if part.strip())
        item = Item(id=key, title=cells.text("title"), price=price, category=category)
        bundle = cells.text("bundle")
        if self.items.setdefault(key, item).title != item.title:
            raise cells.fault("item", f"{key!r} is already the id of {self.items[key].title[:40]!r}; give each its own")
        if self.items[key] is not item and (not bundle or key in self.bundles.get(bundle, ())):
            raise cells.fault("item", f"{key!r} is already in session {self.key!r}; list each product once")
        for name in ("split", "domain"):
            self._agree(self.told, name, cells.text(name), cells, name)
        if bundle:
            self.bundles.setdefault(bundle, []).append(key)
            self._agree(self.intents, bundle, cells.text("intent"), cells, "intent")

    def _agree(self, told: dict[str, str], key: str, value: str, cells: "_Cells", name: str) -> None:
        """Remember a value of the session or bundle, and check that all rows have the same; empty cells are skipped."""
        if value and told.setdefault(key, value) != value:
            raise cells.fault(name, f"{value!r}, but an earlier row says {told[key]!r}; write one of them in all")

    def session(self) -> Session:
        """Return the session."""
        bundles = tuple(Bundle(item_ids=tuple(ids), intent=self.intents.get(b, "")) for b, ids in self.bundles.items())
        items = tuple(self.items.values())
        return Session.model_validate({"session_id": self.key, "items": items, "bundles": bundles, **self.told})


@dataclass(frozen=True)
class _Cells:
    """The cells of a row, found by the meaning of their columns."""

    where: str
    row: Mapping[str, Any]
    columns: Mapping[str, str]

    def value(self, name: str) -> Any:
        """Return a cell, None where it is missing."""
        value = self.row.get(self.columns.get(name, ""))
        return None if _is_missing(value) else value

    def text(self, name: str) -> str:
        """Return a cell as text, empty where it is missing; parts of a list are joined by `>`."""
        value = self.value(name)
        if value is None:
            return ""
        if name == "category" and not isinstance(value, str):
            value = without_missing(value)
            value = " > ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.fault(name, f"must be a text, got {str(value)[:40]!r}")
        # A column of whole numbers with gaps is one of decimals in pandas.
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return str(whole).strip()

    def check(self) -> None:
        """Check what every row needs; raise a DataError otherwise."""
        for name in NEEDED:
            if not self.text(name):
                raise self.fault(name, "is empty; fill it in or remove the row")
        if (split := self.text("split")) and split not in SPLITS:
            raise self.fault("split", f"must be {', '.join(SPLITS)}, got {split[:40]!r}")

    def check_price(self, read: float | None) -> None:
        """Check that a price that is given could be read; a text such as `n/a` says that there is none."""
        value = self.value("price")
        if read is not None or value is None or (isinstance(value, str) and not value.strip()):
            return
        amount = written(value) if isinstance(value, str) else None
        if amount is None or amount.doubt != "unknown":
            raise self.fault("price", f"must be a number, got {str(value)[:40]!r}; leave unknown prices empty")

    def fault(self, name: str, what: str) -> DataError:
        """Return the error about a cell."""
        return DataError(f"{self.where}, column {self.columns.get(name, name)!r}: {what}")


def _grouped(rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[tuple[str, Session] | DataError]:
    """Yield the sessions of rows with one product each, in the order of their first rows; or all faults of the rows."""
    drafts: dict[str, _Draft] = {}
    faults = 0
    all_cells = [_Cells(where, row, columns) for where, row in rows]
    for cells, price in zip(all_cells, _prices(all_cells), strict=True):
        try:
            cells.check()
            cells.check_price(price)
            key = cells.text("session")
            drafts.setdefault(key, _Draft(key, cells.where)).add(cells, price)
        except DataError as error:
            faults += 1
            yield error
    if not faults:
        yield from ((draft.where, draft.session()) for draft in drafts.values())


def _prices(rows: Sequence[_Cells]) -> list[float | None]:
    """Return the price of each row; the whole column shows the decimal mark. A price that cannot be read is None."""
    column = PriceColumn("price")
    for cells in rows:
        column.add(cells.value("price"), cells.where)
    return column.read()
