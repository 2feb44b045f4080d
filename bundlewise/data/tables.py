"""Sessions from tables: a pandas table or a Hugging Face dataset, with a product or a whole session in each row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from bundlewise.data.amounts import proves, written
from bundlewise.data.sessions import explain, problems
from bundlewise.domain import SPLITS, Bundle, Item, Session
from bundlewise.errors import DataError, UsageError

USUAL = {
    "session": ("session", "session_id", "order_id", "basket_id", "cart_id"),
    "title": ("title", "item_title", "product_title", "product_name", "name"),
    "item": ("item", "item_id", "product_id", "id", "sku", "asin"),
    "bundle": ("bundle", "bundle_id"),
    "intent": ("intent", "bundle_intent"),
    "split": ("split",),
    "price": ("price",),
    "category": ("category",),
    "domain": ("domain",),
}
"""The names by which each column is known, the likeliest first."""
Row = tuple[str, Mapping[str, Any]]
"""The name of a row for messages, and its cells by column; a missing cell is None."""


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
    if library == "datasets" and isinstance(source, Mapping):
        return [s for split, part in source.items() for s in _of_dataset(part, columns, str(split))]
    return _of_dataset(source, columns) if library == "datasets" else None


def _of_dataset(source: Any, columns: Mapping[str, str], split: str = "") -> list[Session]:
    names, given = list(source.column_names), {"split": split} if split else {}
    begin = f"{split} row" if split else "row"
    rows = [(f"{begin} {number}", {**row, **given}) for number, row in enumerate(source)]
    return _sessions(list(dict.fromkeys([*names, *given])), rows, columns)


def _sessions(names: Sequence[str], rows: Sequence[Row], columns: Mapping[str, str]) -> list[Session]:
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UsageError(f"the table has two columns named {twice[0]!r}; rename or drop one")
    nested = "items" in names and not columns
    found = list(_nested(rows)) if nested else list(_grouped(rows, _columns(names, columns)))
    if not found:
        raise DataError("the table holds no sessions; give one with a row")
    seen: set[str] = set()
    for where, session in found:
        if session.session_id in seen:
            raise DataError(f"{where}: session {session.session_id!r} stands in an earlier row; make its id unique")
        seen.add(session.session_id)
        if problem := next(problems(session), None):
            raise DataError(f"{where}: {problem}")
    return [session for _, session in found]


def _nested(rows: Sequence[Row]) -> Iterator[tuple[str, Session]]:
    for where, row in rows:
        try:
            yield where, Session.model_validate(_known(row))
        except ValidationError as error:
            raise DataError(f"{where}: {explain(error)}") from error


def _known(value: Any) -> Any:
    """Return a value without its missing parts, which a dataset fills with None."""
    if isinstance(value, Mapping):
        return {name: _known(part) for name, part in value.items() if not _is_missing(part)}
    return [_known(part) for part in value] if isinstance(value, list | tuple) else value


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _columns(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the table's own name of each column that it has."""
    if unknown := [name for name in given if name not in USUAL]:
        raise UsageError(f"no column named {unknown[0]!r} is read; choose from {', '.join(USUAL)}")
    if gone := [name for name in given.values() if name not in names]:
        raise UsageError(f"the table has no column {gone[0]!r}; it has {', '.join(names)[:200]}")
    usual = {name: next((known for known in same if known in names), None) for name, same in USUAL.items()}
    found = {name: column for name, column in (usual | dict(given)).items() if column is not None}
    if missing := [name for name in ("session", "title") if name not in found]:
        remedy = f"name it: columns={{{missing[0]!r}: ...}}"
        raise UsageError(f"no column for the {missing[0]} among {', '.join(names)[:200]}; {remedy}")
    return found


@dataclass
class _Draft:
    """A session whose rows are being read: its products, and the product ids of each bundle."""

    key: str
    where: str
    items: list[Item] = field(default_factory=list)
    bundles: dict[str, list[str]] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, cells: "_Cells") -> None:
        """Read a row of it."""
        key = cells.text("item") or f"{self.key}-{len(self.items) + 1}"
        category = tuple(part.strip() for part in cells.text("category").split(">") if part.strip())
        self.items.append(Item(id=key, title=cells.text("title"), price=cells.price(), category=category))
        for name in ("split", "domain"):
            self._agree(self.told, name, cells.text(name), f"{where}, column {cells.columns.get(name)!r}")
        if bundle := cells.text("bundle"):
            self.bundles.setdefault(bundle, []).append(key)
            self._agree(self.intents, bundle, cells.text("intent"), f"{where}, column {cells.columns.get('intent')!r}")

    def _agree(self, told: dict[str, str], name: str, value: str, where: str) -> None:
        """Remember a value of the session or bundle, and check that all rows have the same; empty cells are skipped."""
        if value and told.setdefault(name, value) != value:
            raise DataError(f"{where}: {value!r}, but an earlier row says {told[name]!r}; write one of them in all")

    def session(self) -> Session:
        """Return the session."""
        bundles = tuple(Bundle(item_ids=tuple(ids), intent=self.intents.get(b, "")) for b, ids in self.bundles.items())
        return Session.model_validate(
            {"session_id": self.key, "items": tuple(self.items), "bundles": bundles, **self.told}
        )


@dataclass(frozen=True)
class _Cells:
    """The cells of a row, found by the meaning of their columns."""

    where: str
    row: Mapping[str, Any]
    columns: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return a cell as text, empty where it is missing."""
        value = self.row.get(self.columns.get(name, ""))
        if _is_missing(value):
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.fault(name, f"must be a text, got {str(value)[:40]!r}")
        # A column of whole numbers with gaps is one of decimals in pandas.
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return str(whole).strip()

    def price(self) -> float | None:
        """Return the price, None where it is missing."""
        value = self.row.get(self.columns.get("price", ""))
        if isinstance(value, int | float) and not isinstance(value, bool) and not _is_missing(value):
            return float(value)
        text = self.text("price")
        found = written(text) if text else None
        value = found.value(proves(found.figures, found.currency)) if found else None
        if text and value is None:
            raise self.fault("price", f"must be a number, got {text[:40]!r}; leave unknown prices empty")
        return value

    def fault(self, name: str, what: str) -> DataError:
        """Return the error about a cell."""
        return DataError(f"{self.where}, column {self.columns.get(name, name)!r}: {what}")


def _grouped(rows: Sequence[Row], columns: Mapping[str, str]) -> Iterator[tuple[str, Session]]:
    """Yield the sessions of rows with one product each, in the order of their first rows."""
    drafts: dict[str, _Draft] = {}
    for where, row in rows:
        cells = _Cells(where, row, columns)
        for name in ("session", "title"):
            if not cells.text(name):
                raise cells.fault(name, "is empty; fill it in or remove the row")
        if (split := cells.text("split")) and split not in SPLITS:
            raise cells.fault("split", f"must be {', '.join(SPLITS)}, got {split[:40]!r}")
        key = cells.text("session")
        drafts.setdefault(key, _Draft(key, where)).add(where, cells)
    yield from ((draft.where, draft.session()) for draft in drafts.values())
