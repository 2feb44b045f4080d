"""A catalogue's prices are read together: the others show what one leaves open, and what stays in doubt is told."""

import csv
import json
import time
from pathlib import Path

import pytest

from bundlewise.data.catalogue import read_products
from bundlewise.errors import DataError


def read(folder: Path, *prices: str, currency: str = "") -> tuple[list[float | None], list[str]]:
    """Return the prices of a catalogue as they are read, and what is told of them."""
    path, told = folder / "c.csv", list[str]()
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "title", "price", "currency"])
        rows.writerows([n, f"Lamp {n}", price, currency] for n, price in enumerate(prices, 2))
    products = read_products(str(path), told.append)
    return [product.price for product in products], [row.removeprefix(f"{path}: ") for row in told]


@pytest.mark.parametrize(
    ("prices", "values"),
    [
        (["39,90 €", "1.299 €"], [39.9, 1299.0]),
        (["1.299 €", "2.499 €", "39,90 €"], [1299.0, 2499.0, 39.9]),
        (["39.90", "1,299"], [39.9, 1299.0]),
        (["1.299,00", "1.299"], [1299.0, 1299.0]),
        (["1.299.000", "1.299"], [1299000.0, 1299.0]),
        (["1 299,50 kr", "1.299 kr", "5 kr"], [1299.5, 1299.0, 5.0]),
        (["$1,299", "$5"], [1299.0, 5.0]),
        (["₹1,29,900.00", "₹1,299", ""], [129900.0, 1299.0, None]),
        (["KWD 1.299", "KWD 12.500"], [1.299, 12.5]),
    ],
)
def test_what_the_column_shows_is_read_without_a_word(
    tmp_path: Path, prices: list[str], values: list[float | None]
) -> None:
    assert read(tmp_path, *prices) == (values, [])


@pytest.mark.parametrize(
    ("prices", "values", "said"),
    [
        (
            ["5 €", "1.299 €", "2.499 €"],
            [5.0, 1299.0, 2499.0],
            "2 prices that may be thousands or a fraction, no other price shows which: '1.299 €' (line 3) is read as "
            "1,299.00; write prices with two decimals, like 1299.00, if that is wrong",
        ),
        (
            ["39.90", "1.299", "5.00"],
            [39.9, 1.299, 5.0],
            "1 price that may be thousands or a fraction, the others show 2 with decimal '.': '1.299' (line 3) is read",
        ),
        (
            ["39,90", "5,00", "7.50", "1.299"],
            [39.9, 5.0, 7.5, 1299.0],
            "1 price that may be thousands or a fraction, the others show 2 with decimal ',' and 1 with decimal '.': ",
        ),
        (
            ["$5", "7 €", "7 €"],
            [5.0, 7.0, 7.0],
            "prices are in 2 currencies, EUR (2), USD (1); their numbers are compared as they are; convert them to one",
        ),
        (["12 99", "5.00"], [12.99, 5.0], "1 price with a blank before the last two figures: '12 99' (line 2)"),
        (["from 5.00", "7-9"], [5.0, 7.0], "2 prices with a least price or a span: 'from 5.00' (line 2) is read"),
        (["N/A", "5"], [None, 5.0], "1 price without an amount: 'N/A' (line 2) is read as no price; leave them empty"),
    ],
)
def test_what_is_in_doubt_is_told_with_an_example_and_what_to_do(
    tmp_path: Path, prices: list[str], values: list[float | None], said: str
) -> None:
    found, (told,) = read(tmp_path, *prices)
    assert found == values and told.startswith(said)


def test_a_column_of_currencies_counts(tmp_path: Path) -> None:
    assert read(tmp_path, "1,299", "5", currency="usd") == ([1299.0, 5.0], [])
    assert "2 currencies, EUR (1), USD (1)" in read(tmp_path, "5 €", "5", currency="USD")[1][0]


@pytest.mark.parametrize("price", ["cheap", "2 for 5.00", "-3", "1,299,00", "20%"])
def test_a_product_whose_price_cannot_be_read_has_none_and_it_is_told(tmp_path: Path, price: str) -> None:
    found, (told,) = read(tmp_path, "5.00", price)
    assert found == [5.0, None]
    what = f"1 price cannot be read, so the product has none: {price!r} (line 3)"
    assert told == f"{what}; write a number like 12.99, or leave it empty"


def test_a_column_of_which_most_is_no_price_is_an_error_with_row_value_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read(tmp_path, "5.00", "cheap", "dear", "")
    said = "c.csv, line 3: price is 'cheap'; 2 of 3prices cannot be read; write a number like 12.99, or leave it empty"
    assert str(refused.value).endswith(said)


def test_cents_show_no_decimal_mark(tmp_path: Path) -> None:
    assert read(tmp_path, "99p", "£1.50", "£1,299") == ([0.99, 1.5, 1299.0], [])


def test_the_dollars_of_two_countries_are_two_currencies(tmp_path: Path) -> None:
    _, (told,) = read(tmp_path, "CA$12.99", "$12.99")
    assert told.startswith("prices are in 2 currencies, CAD (1), USD (1)")


def test_the_price_of_a_measure_is_told(tmp_path: Path) -> None:
    found, (told,) = read(tmp_path, "12,99 €/kg", "3,99 €")
    assert found == [12.99, 3.99] and told.startswith("1 price per unit, as per kilogram: '12,99 €/kg' (line 2)")


@pytest.mark.parametrize("price", [True, -5, [5], {"amount": 5}])
def test_what_is_no_number_in_json_is_no_price(tmp_path: Path, price: object) -> None:
    rows = [{"id": "a", "title": "A", "price": price}, {"id": "b", "title": "B", "price": 5}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told: list[str] = []
    assert [product.price for product in read_products(str(tmp_path / "c.jsonl"), told.append)] == [None, 5.0]
    assert len(told) == 1 and "cannot be read" in told[0]


def test_numbers_of_json_lines_are_what_they_are(tmp_path: Path) -> None:
    rows = [{"id": "a", "title": "A", "price": 1.299}, {"id": "b", "title": "B", "price": "1.299"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told: list[str] = []
    assert [p.price for p in read_products(str(tmp_path / "c.jsonl"), told.append)] == [1.299, 1299.0]
    assert len(told) == 1


def test_doubts_are_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.csv").write_text("id;title;price\na;Lamp;1.299\n")
    read_products(str(tmp_path / "c.csv"))
    assert "c.csv: 1 price that may be thousands" in capsys.readouterr().err


def test_fifty_thousand_prices_are_read_in_seconds(tmp_path: Path) -> None:
    begun = time.process_time()
    read(tmp_path, *(f"{n % 900 + 1}.{n % 1000:03} €" for n in range(50_000)))
    assert time.process_time() - begun < 20
