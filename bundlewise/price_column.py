"""The prices of a catalogue: the column as a whole shows which mark is decimal; what stays in doubt is told."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from bundlewise.amounts import MARKS, Mark, Written, currency_of, is_open, proves, value_of, written
from bundlewise.errors import DataError

REMEDY = "write a number like 12.99, or leave it empty"


@dataclass(frozen=True)
class _Cell:
    """A price as text, and where it stands."""

    where: str
    text: str
    price: Written

    @property
    def proof(self) -> Mark | None:
        """The decimal mark that the cell shows beyond doubt."""
        return proves(self.price.figures, self.price.currency)

    @property
    def is_open(self) -> bool:
        """Whether the cell reads both ways by itself."""
        return is_open(self.price.figures) and self.proof is None


@dataclass
class PriceColumn:
    """Prices in the order of their rows; read all of them before the first value is asked for."""

    name: str
    _cells: list[_Cell | float | None] = field(default_factory=list)
    _currencies: Counter[str] = field(default_factory=Counter)

    def add(self, value: str | float | None, where: str, currency: str = "") -> None:
        """Take a row's price: a number as it is, a text to be read with the others; an empty text is no price.

        Args:
            value: the price.
            where: where it stands, for messages.
            currency: what the row says of it apart from the price.

        Raises:
            DataError: a text is no price.
        """
        beside = (currency_of(currency.strip()) or currency.strip()[:10]) if currency else ""
        price = written(value) if isinstance(value, str) and value.strip() else None
        if isinstance(value, str) and value.strip() and (price is None or _is_odd(price.figures)):
            raise DataError(f"{where}: price is {value[:40]!r}; {REMEDY}")
        if price is not None:
            price = replace(price, currency=price.currency or beside)
            self._cells.append(_Cell(where, str(value), price))
        else:
            self._cells.append(None if isinstance(value, str) else value)
        if name := price.currency if price else beside:
            self._currencies[name] += 1

    def values(self) -> list[float | None]:
        """Return the prices as numbers; None where there is none."""
        return [self._value(cell) if isinstance(cell, _Cell) else cell for cell in self._cells]

    def told(self) -> Iterator[str]:
        """Yield what was in doubt: how often, an example, how it was read, and what to do."""
        texts = [cell for cell in self._cells if isinstance(cell, _Cell)]
        open_ = [cell for cell in texts if cell.is_open]
        if len(self._proofs) == 1:  # All others agree: only thousandths are strange for a price.
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
            yield self._said(least, "with a least price or a span", "write one price where another is meant")
        if unknown := [cell for cell in texts if cell.price.doubt == "unknown"]:
            yield self._said(unknown, "without an amount", "leave them empty, or write a number")
        if len(self._currencies) > 1:
            shown = ", ".join(f"{name} ({count:,})" for name, count in self._currencies.most_common(5))
            remedy = "their numbers are compared as they are; convert them to one"
            yield f"{self.name}: prices are in {len(self._currencies)} currencies, {shown}; {remedy}"

    @cached_property
    def _proofs(self) -> Counter[Mark]:
        """How many prices show which decimal mark beyond doubt."""
        proofs = (cell.proof for cell in self._cells if isinstance(cell, _Cell))
        return Counter(proof for proof in proofs if proof)

    def _decimal(self, cell: _Cell) -> Mark:
        """Return the mark that most prices show; without any, the one that makes thousands of an open price."""
        counts = self._proofs
        first, second = (counts[mark] for mark in MARKS)
        if first != second:
            return MARKS[0] if first > second else MARKS[1]
        return "," if "." in cell.price.figures else "."

    def _value(self, cell: _Cell) -> float | None:
        if not cell.price.figures:
            return None
        return value_of(cell.price.figures, self._decimal(cell) if cell.is_open else cell.proof)

    def _said(self, cells: list[_Cell], what: str, remedy: str) -> str:
        first, value = cells[0], self._value(cells[0])
        count = f"{len(cells):,} prices" if len(cells) > 1 else "1 price"
        read = "no price" if value is None else f"{value:,.3f}".removesuffix("0")
        return f"{self.name}: {count} {what}: {first.text[:40]!r} ({_place(first)}) is read as {read}; {remedy}"


def _is_odd(figures: str) -> bool:
    return bool(figures) and value_of(figures) is None


def _place(cell: _Cell) -> str:
    return cell.where.rpartition(", ")[2]
