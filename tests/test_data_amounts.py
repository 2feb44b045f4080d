"""Amounts are read as shops of any country write them; what is no price is none."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.data.amounts import currency_of, is_open, proves, value_of, written


def amount_of(text: str) -> float | None:
    """Return the price that a text is; thousands where it reads both ways."""
    found = written(text)
    return found.value(proves(found.figures, found.currency)) if found else None


PRICES = {
    "12.99": 12.99,
    "$12.99": 12.99,
    "12,99": 12.99,
    "12,99 €": 12.99,
    "1,299.00": 1299.0,
    "1.299,00": 1299.0,
    "1,299": 1299.0,
    "1.299": 1299.0,
    "1.299 €": 1299.0,
    "1.299,- €": 1299.0,
    "0.999": 0.999,
    "EUR 5": 5.0,
    "EUR 12,50": 12.5,
    "12,50 eur": 12.5,
    "12,99 Euro": 12.99,
    "€ 12,99 EUR": 12.99,
    "0": 0.0,
    "$.99": 0.99,
    "US$12.99": 12.99,
    "US $12.99": 12.99,
    "$12.99 USD": 12.99,
    "CA$12.99": 12.99,
    "₹1,29,900.00": 129900.0,
    "Rs. 500": 500.0,
    "Rs.500": 500.0,
    "R$ 1.299,00": 1299.0,
    "R 129": 129.0,
    "12,99 zł": 12.99,
    "1 299,00 kr": 1299.0,
    "1\u00a0299,00 €": 1299.0,
    "1\u202f299,00 €": 1299.0,
    "kr. 129": 129.0,
    "129:-": 129.0,
    "12,-": 12.0,
    "12.-": 12.0,
    "12,\u2013 €": 12.0,
    "CHF 45": 45.0,
    "CHF 1\u2019299.00": 1299.0,
    "1'299.-": 1299.0,
    "SFr. 12.50": 12.5,
    "¥1,299": 1299.0,
    "1.299.000 ₫": 1299000.0,
    "KWD 1.299": 1.299,
    "12 99": 12.99,
    "12€99": 12.99,
    "1 234 567,5": 1234567.5,
    "12.99*": 12.99,
    "12.99 USD (incl. VAT)": 12.99,
    "12.99 € pro Stück": 12.99,
    "12.99/pc": 12.99,
    "from 12.99": 12.99,
    "ab 12,99 €": 12.99,
    "10-20": 10.0,
    "€10.00 \u2013 €20.00": 10.0,
    "from $10 to $20": 10.0,
    "Rs 1,29,900/-": 129900.0,
    "12.99 &euro;": 12.99,
    "\u202d12.99\u202c\u200b": 12.99,
    "UVP 12,99 € inkl. 19 % MwSt.": 12.99,
    "free": 0.0,
    "Gratis": 0.0,
    "\u0661\u0662\u066b\u0669\u0669": 12.99,
    "\uffe5\uff11\uff12": 12.0,
    "MRP ₹499": 499.0,
    "M.R.P.: ₹499.00": 499.0,
    "Our price: €12.99": 12.99,
    "99p": 0.99,
    "99¢": 0.99,
    "99 cents": 0.99,
    "50 öre": 0.5,
    "12,99 €/kg": 12.99,
    "12.99 per 100 g": 12.99,
    "12.99 EUR/Stk": 12.99,
    "12.99/each": 12.99,
    "was $15.99 now $12.99": 12.99,
    "was 15.99€ - now €12.99": 12.99,
    "$12.99 (was $15.99)": 12.99,
    "statt 15,99 € nur 12,99 €": 12.99,
    "UVP 15,99 € 12,99 €": 12.99,
    "KSh 1,299": 1299.0,
    "S/.12.99": 12.99,
    "Rs.50": 50.0,
    "12.99 \u062f.\u0625": 12.99,
    "12,99 DH": 12.99,
    "12,99 лв.": 12.99,
    "1.2E+03": 1200.0,
    "5E-01": 0.5,
}
NO_PRICES = [
    *("$5 EUR", "USD 5 CAD", "kr 5 CAD", "$5 £", "$ €5"),
    *("", "cheap", "1.2.3", "1,299,00", "1e5", "-3", "\u22123", "$-3", "-$3", "3.00-", "(12.99)", "+12", "20%", "€"),
    *(
        "2 for 5.00",
        "12 kg",
        "€ 12,99 CHF",
        "$5 EUR",
        "USD 5 CAD",
        "kr 5 CAD",
        "$5 £",
        "$ €5",
        "12.99 12.99",
        "10/20",
        "n/a",
        "-",
        "1_000",
        "9" * 400,
    ),
    *("was 12.99 €", "was 15.99 €, statt 17 €", "was $15 now 12 €", "9.9p", "1080p x", "sold out", "12 kg/piece"),
    *("12.99 plus 4", "<b>12</b>", "12.99 or best offer", "x" * 100_000),
]


@pytest.mark.parametrize(("text", "price"), PRICES.items())
def test_prices_are_read_as_shops_write_them(text: str, price: float) -> None:
    assert amount_of(text) == pytest.approx(price)
    assert amount_of(f"\u00a0 {text} ") == pytest.approx(price)


@pytest.mark.parametrize("text", NO_PRICES)
def test_what_is_no_price_is_none(text: str) -> None:
    assert amount_of(text) is None


@pytest.mark.parametrize(
    ("figures", "point", "comma"),
    [("1.299", 1.299, 1299.0), ("1,299", 1299.0, 1.299), ("999.000", 999.0, 999000.0), ("12.99", 12.99, 12.99)],
)
def test_figures_that_read_both_ways_follow_the_decimal_mark(figures: str, point: float, comma: float) -> None:
    assert (value_of(figures, "."), value_of(figures, ",")) == (point, comma)


@pytest.mark.parametrize(
    ("figures", "currency", "mark"),
    [
        ("39,90", "", ","),
        ("39.90", "", "."),
        ("1.299,00", "", ","),
        ("1.299.000", "", ","),
        ("1 299,00", "", ","),
        ("0.999", "", "."),
        ("1.299", "EUR", None),
        ("1.299", "", None),
        ("1,299", "USD", "."),
        ("1.299", "USD", None),
        ("1.299", "kr", ","),
        ("1.299", "KWD", "."),
        ("1299", "EUR", None),
        ("1 299", "EUR", None),
    ],
)
def test_what_figures_prove_of_their_country(figures: str, currency: str, mark: str | None) -> None:
    assert proves(figures, currency) == mark


@pytest.mark.parametrize(
    ("name", "currency"),
    [
        *(("€", "EUR"), ("euros", "EUR"), ("US $", "USD"), ("Kč", "CZK"), ("AED", "AED"), ("kg", None), ("K", None)),
        *(("CA$", "CAD"), ("C$", "CAD"), ("A$", "AUD"), ("HK$", "HKD"), ("NZ $", "NZD"), ("S$", "SGD"), ("MX$", "MXN")),
    ],
)
def test_a_currency_has_one_name(name: str, currency: str | None) -> None:
    assert currency_of(name) == currency


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        *(("CA$12.99", "CAD"), ("CA $12.99", "CAD"), ("ca. $12.99", "USD"), ("ca 12.99 €", "EUR"), ("A$12", "AUD")),
        *(("$12.99 CAD", "CAD"), ("NZD $5", "NZD"), ("MXN$ 5", "MXN"), ("¥12 CNY", "CNY"), ("129 kr SEK", "SEK")),
        *(("Rs. 5 PKR", "PKR"), ("$5.990 CLP", "CLP"), ("5 Fr. CHF", "CHF"), ("$5 USD", "USD"), ("kr. 5 NOK", "NOK")),
    ],
)
def test_the_dollars_of_a_country_are_its_own(text: str, currency: str) -> None:
    found = written(text)
    assert found is not None and found.currency == currency


def test_a_text_may_say_that_there_is_no_price_or_name_a_least_one() -> None:
    found = [written(text) for text in ("N/A", "from 5", "5")]
    assert [price and price.doubt for price in found] == ["unknown", "least", ""]


@given(st.decimals(0, 9_999_999, places=2), st.sampled_from([",.", ".,", " ,", "'.", " ."]), st.sampled_from(["", "€"]))
def test_amounts_are_read_back_as_any_country_writes_them(number: object, marks: str, currency: str) -> None:
    group, decimal = marks
    text = f"{number:,.2f}".translate({ord(","): group, ord("."): decimal})
    assert amount_of(f"{text} {currency}") == float(str(number))


@given(st.text(st.sampled_from("0123456789.,' -€$fromtoab()/"), max_size=90))
def test_no_text_makes_trouble(text: str) -> None:
    begun = time.process_time()
    value = amount_of(text)
    assert value is None or value >= 0
    assert is_open(text) in (True, False)
    assert time.process_time() - begun < 0.2
