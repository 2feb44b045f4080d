"""Read the prices of a catalogue: the whole column shows the decimal mark, and doubts are reported."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache, cached_property

from bundlewise.data.amounts import MARKS, Mark, WrittenAmount, currency_of, is_open, proves, value_of, written
from bundlewise.errors import DataError

REMEDY = "write a number like 12.99, or leave it empty"
READ = frozenset({"id", "title", "price", "currency", "category"})
"""The columns of a catalogue that are read."""
_PRICE_NAME = re.compile(r"price(?P<about>(?:[\s(\[/_,.-].*|[^\w\s].*))")
_PARTS = re.compile(r"[\s()\[\]/_,;:-]+")
_TAXES = frozenset(
    ["in", "incl", "incl.", "inc", "inc.", "including", "excl", "excl.", "ex", "net", "gross", "vat", "tax", "gst"]
)
_LIKE_PRICE = re.compile(r"price|preis|prix|precio|prezzo|preco|cena|pris|cost", re.IGNORECASE)


@dataclass(frozen=True)
class _Cell:
    """A price as text, and its place."""

    where: str
    text: str
    price: WrittenAmount

    @property
    def proof(self) -> Mark | None:
        """The decimal mark that the cell proves; None if it proves none."""
        return None if self.price.in_cents else proves(self.price.figures, self.price.currency)

    @property
    def is_open(self) -> bool:
        """Whether the cell is ambiguous by itself."""
        return is_open(self.price.figures) and self.proof is None


@dataclass(frozen=True)
class _Unread:
    """A text in the price column that is not a price, and its place."""

    where: str
    text: str


@dataclass
class PriceColumn:
    """The prices of a column in the order of its rows; add all of them before asking for values."""

    name: str
    _cells: "list[_Cell | _Unread | float | None]" = field(default_factory=list)
    _currencies: Counter[str] = field(default_factory=Counter)

    def add(self, value: object, where: str, currency: str = "") -> None:
        """Add a row's price: a number, a text, or nothing for a product without a price.

        Args:
            value: the price; with a value that is not a price the product has none.
            where: the place of the row, for messages.
            currency: the currency from another column of the row.
        """
        beside = (currency_of(currency.strip()) or currency.strip()[:10]) if currency else ""
        cell = _cell(value, where, beside)
        self._cells.append(cell)
        name = cell.price.currency if isinstance(cell, _Cell) else beside
        if name and not isinstance(cell, _Unread):
            self._currencies[name] += 1

    @property
    def currency(self) -> str:
        """The one currency that the column names, as a code or a sign; empty if it names none or several."""
        return next(iter(self._currencies)) if len(self._currencies) == 1 else ""

    def values(self) -> list[float | None]:
        """Return the prices as numbers; None for products without a price.

        Raises:
            DataError: most values are not prices, so the column holds something else.
        """
        unread, all_ = self._unread, sum(cell is not None for cell in self._cells)
        if 2 * len(unread) > all_:
            most = f"; {len(unread):,} of {all_:,}prices cannot be read" if len(unread) > 1 else ""
            raise DataError(f"{unread[0].where}: price is {unread[0].text!r}{most}; {REMEDY}")
        return self.read()

    def read(self) -> list[float | None]:
        """Return the prices as numbers; None for products without a price, and where a value is not a price."""
        return [self._value(cell) if isinstance(cell, _Cell) else _number_in(cell) for cell in self._cells]

    @property
    def _unread(self) -> list["_Unread"]:
        return [cell for cell in self._cells if isinstance(cell, _Unread)]

    def told(self) -> Iterator[str]:
        """Yield a note on each kind of doubt: how often it occurs, an example, how it was read, and the remedy."""
        texts = [cell for cell in self._cells if isinstance(cell, _Cell)]
        open_ = [cell for cell in texts if cell.is_open]
        if len(self._proofs) == 1:  # All proofs agree, so only prices read with thousandths remain doubtful.
            open_ = [cell for cell in open_ if self._decimal(cell) in cell.price.figures]
        if open_:
            seen = " and ".join(f"{count:,} with decimal {mark!r}" for mark, count in sorted(self._proofs.items()))
            others = f"the others show {seen}" if seen else "no other price shows which"
            what = f"that may be thousands or a fraction, {others}"
            yield self._said(open_, what, "write prices with two decimals, like 1299.00, if that is wrong")
        spaced = [cell for cell in texts if " " in cell.price.figures and cell.price.figures[-3:-2] == " "]
        if spaced:
            yield self._said(spaced, "with a blank before the last two figures", "write 12.99 if that is right")
        least = [cell for cell in texts if cell.price.doubt == "least"]
        if least:
            yield self._said(least, "with a least price or a span", "write one price if another is meant")
        if measured := [cell for cell in texts if cell.price.doubt == "measure"]:
            remedy = "write the price of the product if it differs"
            yield self._said(measured, "per unit, as per kilogram", remedy)
        if unread := self._unread:
            first, count = unread[0], _count(unread)
            product = "product has" if len(unread) == 1 else "products have"
            what = f"{count} cannot be read, so the {product} none: {first.text!r} ({_place(first)})"
            yield f"{self.name}: {what}; {REMEDY}"
        if unknown := [cell for cell in texts if cell.price.doubt == "unknown"]:
            yield self._said(unknown, "without an amount", "leave them empty, or write a number")
        if len(self._currencies) > 1:
            shown = ", ".join(f"{name} ({count:,})" for name, count in self._currencies.most_common(5))
            remedy = "their numbers are compared as they are; convert them to one"
            yield f"{self.name}: prices are in {len(self._currencies)} currencies, {shown}; {remedy}"

    @cached_property
    def _proofs(self) -> Counter[Mark]:
        """The number of prices that prove each decimal mark."""
        proofs = (cell.proof for cell in self._cells if isinstance(cell, _Cell))
        return Counter(proof for proof in proofs if proof)

    def _decimal(self, cell: _Cell) -> Mark:
        """Return the decimal mark that most prices prove; without proofs, the one that reads the cell as thousands."""
        counts = self._proofs
        first, second = (counts[mark] for mark in MARKS)
        if first != second:
            return MARKS[0] if first > second else MARKS[1]
        return "," if "." in cell.price.figures else "."

    def _value(self, cell: _Cell) -> float | None:
        return cell.price.value(self._decimal(cell) if cell.is_open else cell.proof)

    def _said(self, cells: list[_Cell], what: str, remedy: str) -> str:
        first, value, count = cells[0], self._value(cells[0]), _count(cells)
        read = "no price" if value is None else f"{value:,.3f}".removesuffix("0")
        return f"{self.name}: {count} {what}: {first.text[:40]!r} ({_place(first)}) is read as {read}; {remedy}"


def _cell(value: object, where: str, beside: str) -> _Cell | _Unread | float | None:
    """Return the cell for a row's price."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        price = written(value)
        if price is None or (price.figures and value_of(price.figures) is None):
            return _Unread(where, value[:40])
        return _Cell(where, value, replace(price, currency=price.currency or beside))
    number = math.nan
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    return number if math.isfinite(number) and number >= 0 else _Unread(where, str(value)[:40])


def _number_in(cell: _Unread | float | None) -> float | None:
    return None if isinstance(cell, _Unread) else cell


def _count(cells: Sequence[_Cell | _Unread]) -> str:
    return f"{len(cells):,} prices" if len(cells) > 1 else "1 price"


def _place(cell: _Cell | _Unread) -> str:
    return cell.where.rpartition(", ")[2]


def refuse_twins(names: Sequence[str], where: str) -> None:
    """Refuse two columns with the same name, ignoring case, if that column is read.

    Raises:
        DataError: there are two such columns; the message names both.
    """
    seen: dict[str, tuple[int, str]] = {}
    for place, name in enumerate((name.strip() for name in names), 1):
        if name.lower() in seen and name.lower() in READ:
            first, other = seen[name.lower()]
            twice = f"column {first}, {other!r}, and column {place}, {name!r}, have one name"
            raise DataError(f"{where}: {twice}; rename or remove one of them")
        seen.setdefault(name.lower(), (place, name))


@cache
def price_in(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the column that holds prices, and the currency in its name, as in `price (EUR, incl. VAT)`.

    Both are empty if no column, or more than one, may hold prices.
    """
    if "price" in names:
        return "price", ""
    found = {name: about for name in names if (about := _about(name)) is not None}
    if len(found) != 1:
        return "", ""
    (name, currency), *_ = found.items()
    return name, currency


def _about(name: str) -> str | None:
    """Return the currency in a column's name after `price`; None if it has words other than currency and taxes."""
    found = _PRICE_NAME.fullmatch(" ".join(name.lower().split()))
    if found is None:
        return None
    parts = [part for part in _PARTS.split(found["about"]) if part and part not in _TAXES]
    currencies = [currency_of(part) for part in parts]
    return None if None in currencies or len(currencies) > 1 else (currencies[0] or "" if currencies else "")


def told_of(names: tuple[str, ...], path: str) -> Iterator[str]:
    """Yield a note about a table without a column called price."""
    name, currency = price_in(names)
    if name == "price":
        return
    if name:
        yield f"{path}: prices are read from the column {name!r}{f', in {currency}' if currency else ''}"
    elif near := [repr(name[:40]) for name in names if _LIKE_PRICE.search(name)]:
        are = "is" if len(near) == 1 else "are"
        yield f"{path}: no column is called price, and {', '.join(near[:5])} {are} not read; call the right one price"
