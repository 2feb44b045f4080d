"""The columns of a table of sessions: found by usual names, or given by the user."""

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bundlewise.errors import UsageError

VARIABLE = "BUNDLEWISE_COLUMNS"
"""The environment variable with the columns in force, as `--columns` writes them."""
USUAL: Mapping[str, tuple[str, ...]] = {
    "session": (
        *("session", "session_id", "order_id", "basket_id", "cart_id"),
        *("order", "order_number", "transaction_id", "invoice_number"),
    ),
    "title": ("title", "item_title", "product_title", "product_name", "item_name", "lineitem_name", "name"),
    "item": ("item", "item_id", "product_id", "id", "sku", "asin", "lineitem_sku"),
    "bundle": ("bundle", "bundle_id"),
    "intent": ("intent", "bundle_intent"),
    "split": ("split",),
    "price": ("price", "lineitem_price"),
    "category": ("category",),
    "domain": ("domain",),
}
"""The names by which each column is known, the likeliest first; capitals, blanks and underscores do not matter."""
NEEDED = ("session", "title")
FORM = "session=order_id,title=name"
_MARKS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class NamedTable:
    """What messages about a table's columns need: its name, its columns, and how the user gives a column.

    `given_by` holds a place for the meaning of a column: `--columns {0}=COLUMN`.
    """

    name: str
    columns: Sequence[str]
    given_by: str

    @property
    def shown(self) -> str:
        """The names of the columns, cut to a length that fits in a message."""
        return ", ".join(self.columns)[:200]


def parse_columns(text: str, source: str = "--columns") -> dict[str, str]:
    """Return the table's own name of each column, from `session=order_id,title=name`.

    A name that holds a comma stands in double quotes: `"title=Name, long"`.

    Raises:
        UsageError: a part is not MEANING=COLUMN, or a meaning is unknown or given twice.
    """
    found: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        meaning, sign, column = (each.strip() for each in part.partition("="))
        if not (meaning and sign and column):
            raise UsageError(f"{source}: {part.strip()!r} is not MEANING=COLUMN; write {FORM}")
        check_meanings([meaning])
        if meaning in found:
            raise UsageError(f"{source}: {meaning} is given twice; name one column for it")
        found[meaning] = column
    return found


def check_meanings(meanings: Iterable[str]) -> None:
    """Check that columns of such meanings are read; raise a UsageError otherwise."""
    if unknown := [name for name in meanings if name not in USUAL]:
        raise UsageError(f"no column named {unknown[0]!r} is read; choose from {', '.join(USUAL)}")


def columns_in_force() -> dict[str, str]:
    """Return the columns that `--columns` or the environment gives; empty without them."""
    return parse_columns(os.environ.get(VARIABLE, ""), VARIABLE)


def find_columns(table: NamedTable, given: Mapping[str, str]) -> dict[str, str]:
    """Return the table's own name of each column that it has, by meaning.

    Raises:
        UsageError: a given or needed column is missing, or occurs twice.
    """
    check_meanings(given)
    if gone := [name for name in given.values() if name not in table.columns]:
        raise UsageError(f"{table.name} has no column {gone[0]!r}; it has {table.shown}")
    found = usual_columns(table.columns) | dict(given)
    if missing := [name for name in NEEDED if name not in found]:
        remedy = f"name it: {table.given_by.format(missing[0])}"
        raise UsageError(f"{table.name}: no column for the {missing[0]} among {table.shown}; {remedy}")
    if twice := [name for name in found.values() if table.columns.count(name) > 1]:
        raise UsageError(f"{table.name} has two columns named {twice[0]!r}; rename or drop one")
    return found


def usual_columns(names: Sequence[str]) -> dict[str, str]:
    """Return the columns that have a usual name, by meaning."""
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    found = {}
    for meaning, same in USUAL.items():
        if known := [plain[_plain(name)] for name in same if _plain(name) in plain]:
            found[meaning] = known[0]
    return found


def usual_names() -> set[str]:
    """Return all names by which columns are known, in lower case, with blanks and with underscores."""
    names = {name for same in USUAL.values() for name in same}
    return names | {name.replace("_", " ") for name in names}


def _plain(name: str) -> str:
    return _MARKS.sub("", name.casefold())
