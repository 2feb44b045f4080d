"""Exports of shops as catalogues: the product files of Shopify and WooCommerce, with variants in rows of their own."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundlewise.data.rows import Row
from bundlewise.errors import DataError

Tell = Callable[[str], None]
SHOPIFY = (("handle", "url handle"), ("title",), ("variant price", "price"))
WOOCOMMERCE = (("id", "sku"), ("name",), ("type",), ("regular price",))
"""The columns that an export is known by, in lower case; of each group, one must be there."""
OTHERS = (
    *("product category", "published", "published on online store", "status"),
    *("categories", "parent", "sale price", "date sale price starts", "date sale price ends"),
)
SHOP_COLUMNS = frozenset(OTHERS).union(*SHOPIFY, *WOOCOMMERCE)
"""All columns of exports that are read."""
_COMMA = re.compile(r"(?<!\\),")


@dataclass
class _Product:
    """A product of an export: the place of its first row, its fields, and the prices of its variants in order."""

    where: str
    key: str
    title: str
    category: str
    is_sold: bool
    prices: list[str] = field(default_factory=list)

    @property
    def row(self) -> Row:
        """The product as a row of a catalogue."""
        price = self.prices[0] if self.prices else ""
        return self.where, {"id": self.key, "title": self.title, "price": price, "category": self.category}


def reader_of(names: Collection[str]) -> Callable[[Iterator[Row], str, Tell], Iterator[Row]] | None:
    """Return the function that reads an export with such columns (in lower case); None for any other table.

    The function takes the rows, the file's name and the receiver of notes, and yields rows with `id`, `title`, `price`
    and `category`. It raises a DataError for a row without a key or a title.
    """
    if _is(SHOPIFY, names):
        return _shopify
    # A table that has a title is a catalogue of its own form.
    return _woocommerce if _is(WOOCOMMERCE, names) and "title" not in names else None


def _is(groups: Sequence[Sequence[str]], names: Collection[str]) -> bool:
    return all(any(name in names for name in group) for group in groups)


def _shopify(rows: Iterator[Row], path: str, tell: Tell) -> Iterator[Row]:
    """Yield a product for each handle; further rows of a handle hold variants or pictures."""
    products: dict[str, _Product] = {}
    for where, row in rows:
        key = _needed(row, where, *SHOPIFY[0])
        if key not in products:
            title = _needed(row, where, "title")
            category = _cell(row, "product category") or _cell(row, "type")
            hidden = _cell(row, "published", "published on online store").lower() == "false"
            is_sold = not hidden and _cell(row, "status").lower() in ("", "active")
            products[key] = _Product(where, key, title, category, is_sold)
        if price := _cell(row, *SHOPIFY[2]):
            products[key].prices.append(price)
    yield from _sold(products.values(), f"{path}: read as an export of Shopify", tell)


def _woocommerce(rows: Iterator[Row], path: str, tell: Tell) -> Iterator[Row]:
    """Yield the products that are not variations; a product without a price has that of its first variation."""
    products: dict[str, _Product] = {}
    by_name: dict[str, _Product] = {}
    variations: list[tuple[str, str]] = []
    for where, row in rows:
        price = _current_price(row)
        if "variation" in [each.strip() for each in _cell(row, "type").lower().split(",")]:
            variations.append((_cell(row, "parent"), price))
            continue
        key = _needed(row, where, "id", "sku")
        if key in products:
            raise DataError(f"{where}: the id {key!r} is already in {products[key].where}; give each product its own")
        category = _COMMA.split(_cell(row, "categories"))[0].replace("\\,", ",")
        is_sold = _cell(row, "published") in ("", "1")
        product = _Product(where, key, _needed(row, where, "name"), category, is_sold, [price] if price else [])
        products[key] = by_name[f"id:{key}"] = product
        by_name.setdefault(_cell(row, "sku"), product)
    for parent, price in variations:
        if price and parent in by_name:
            by_name[parent].prices.append(price)
    yield from _sold(products.values(), f"{path}: read as an export of WooCommerce", tell)


def _current_price(row: Mapping[str, Any]) -> str:
    """Return the price of today: the sale price, unless it holds only between dates."""
    has_dates = _cell(row, "date sale price starts") or _cell(row, "date sale price ends")
    return ("" if has_dates else _cell(row, "sale price")) or _cell(row, "regular price")


def _sold(products: Collection[_Product], begin: str, tell: Tell) -> Iterator[Row]:
    """Yield the products that are for sale, and tell what was left out and which prices were chosen."""
    sold = [product for product in products if product.is_sold]
    told = [f"{begin}, {len(sold):,} products"]
    if left := len(products) - len(sold):
        told.append(f"{left:,} more are drafts or hidden and left out")
    if several := sum(len(set(product.prices)) > 1 for product in sold):
        told.append(f"{several:,} have variants with different prices, and the first price is read")
    tell("; ".join(told))
    yield from (product.row for product in sold)


def _needed(row: Mapping[str, Any], where: str, *names: str) -> str:
    if not (found := _cell(row, *names)):
        column = next((name for name in names if name in row), names[0])
        raise DataError(f"{where}, column {column!r}: is empty; fill it in or remove the row")
    return found


def _cell(row: Mapping[str, Any], *names: str) -> str:
    """Return the first cell of these columns that is not empty, as text."""
    found = (row.get(name) for name in names)
    return next((text for value in found if value is not None and (text := str(value).strip())), "")
