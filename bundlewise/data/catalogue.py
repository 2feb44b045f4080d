"""Read products strictly, from a shop's catalogue (CSV, Parquet, JSON, a shop's export) or from a starter domain."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bundlewise.data.price_column import READ, PriceColumn, price_in, refuse_twins, told_of
from bundlewise.data.rows import SUFFIXES, Kind, Row, kind_inside, kind_of, table_of
from bundlewise.data.sessions import STARTERS, load
from bundlewise.data.shop_exports import SHOP_COLUMNS, reader_of
from bundlewise.domain import Item
from bundlewise.errors import DataError, UsageError
from bundlewise.inputs import is_input, is_plain
from bundlewise.terminal import note
from bundlewise.titles import title_fault

COLUMNS = "id and title are required, price and category are optional"
NEEDED = ("id", "title")


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
    products: dict[str, Item] = {}
    places: dict[str, str] = {}
    prices, columns = PriceColumn(str(path)), dict[str, None]()
    for where, fields in _rows_of(path, tell):
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


def _kind(path: Path) -> Kind:
    """Return the format of a catalogue from its suffix; for pipes and standard input, from its first bytes."""
    if kind := kind_of(path):
        return kind
    if is_plain(path):
        raise UsageError(f"{path} is none of {', '.join(SUFFIXES)}; save the catalogue as CSV, Parquet or JSON lines")
    return kind_inside(path)


def _rows_of(path: Path, tell: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of a catalogue with the columns that are read, in lower case; JSON names its fields exactly."""
    table = table_of(path, _kind(path), {*NEEDED, *SHOP_COLUMNS}, COLUMNS, _is_read)
    if not table.names:
        yield from table.rows
        return
    names = [name.strip().lower() for name in table.names]
    refuse_twins(table.names, table.where)
    rows = ((where, {name.strip().lower(): value for name, value in row.items()}) for where, row in table.rows)
    if read := reader_of(names):
        yield from read(rows, str(path), tell)
        return
    if missing := [name for name in NEEDED if name not in names]:
        raise DataError(f"{table.where}: no column {missing[0]!r} among {', '.join(names)[:120]}; {COLUMNS}")
    yield from rows


def _is_read(column: str) -> bool:
    name = column.strip().lower()
    return name in READ or name in SHOP_COLUMNS or "price" in name


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
