"""Product numbers of a thought become kinds, quantities and names stay, and the original comes back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.agents.teacher.plain_thoughts import plain
from bundlewise.agents.teacher.session_numbers import general_numbers, session_numbers

TITLES = (
    "Nylon Sleeve Case for iPhone 6",
    "8GB DDR3 Laptop RAM",
    "16 GB USB Flash Drive",
    "Portable External Hard Drive 2 TB",
    "HDMI 2.0 Cable, 6 ft",
    "HDMI 2.0 Cable, 10 ft",
    "Running Shoe size 8 US",
    "Tempered Glass Protector, 3-pack",
)
KINDS = (
    "phone case",
    "laptop memory",
    "usb flash drive",
    "external hard drive",
    *["hdmi cable"] * 2,
    "shoe",
    "protector",
)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("case 1 and protector 8 fit", "case and protector fit"),
        ("1, 2, 3 join", "Phone case, laptop memory and usb flash drive join"),
        ("RAM 2 stays out", "RAM stays out"),
        ("laptop RAM 2 stays out", "laptop RAM stays out"),
        ("data (3 usb stick, 4 portable disk)", "data (usb stick, portable disk)"),
        ("so 3, 4 keep files", "so usb flash drive and external hard drive keep files"),
        ("#2 is alone", "Laptop memory is alone"),
        ("Here products 3 and 5 differ", "Here usb flash drive and the first hdmi cable differ"),
        ("Here items 1-3 differ", "Here phone case, laptop memory and usb flash drive differ"),
        ("items 1 to 8 differ", "All products differ"),
        ("all of 1 to 8 differ", "all of the products differ"),
        ("while 5 and 6 pair", "while the two hdmi cables pair"),
        ("both 5 and 6 pair", "both hdmi cables pair"),
        ("so 6 is long", "so the second hdmi cable is long"),
        ("Cables (5, 6) pair", "Cables pair"),
        (
            "5 with 3 and 6 with 4",
            "The first hdmi cable with usb flash drive and the second hdmi cable with external hard drive",
        ),
        ("Gadgets, 7: a shoe", "Gadgets, a shoe"),
        ("Two cables, 5 and 6, pair", "Two cables pair"),
        ("Accessories 1 and 8 pair", "Accessories (phone case and protector) pair"),
    ],
)
def test_numbers_become_kinds(told: str, shown: str) -> None:
    found = plain(told, KINDS, TITLES)
    assert found.text == shown
    assert found.original == told
    assert session_numbers(told, TITLES) and not session_numbers(shown, TITLES)


@pytest.mark.parametrize(
    "text",
    [
        "A drive of 2 GB",
        "a 3-pack of protectors",
        "a case for the iPhone 6",
        "a shoe of size 8",
        "two bundles",
        "a cable for HDMI 2.0",
        "a shoe of US 7.5",
        "a cable of 6 ft",
        "all 4 items",
        "9 and 12 are no products here",
        "for $5 each",
    ],
)
def test_quantities_and_names_stay(text: str) -> None:
    found = plain(text, KINDS, TITLES)
    assert (found.text, found.changes) == (text, ())
    assert not session_numbers(text, TITLES)


@given(
    st.lists(
        st.sampled_from([*"12345678", "(", ")", "case", "cables", "and", ",", "with", "items", "iPhone", "to", "."])
    )
)
def test_the_original_comes_back(parts: list[str]) -> None:
    text = re.sub(r" ([,.)])", r"\1", " ".join(parts))
    assert plain(text, KINDS, TITLES).original == text


@pytest.mark.parametrize("text", ["Put items 1 and 3 together", "Keep product #2 apart", "#4 goes with cases"])
def test_a_rule_with_product_numbers_is_found(text: str) -> None:
    assert general_numbers(text)


@pytest.mark.parametrize(
    "text", ["With 3 products or fewer take all", "An iPhone 6 case goes with an iPhone 6", "in 2 of 5 cases"]
)
def test_numbers_of_a_rule_that_are_no_products_are_not_found(text: str) -> None:
    assert not general_numbers(text)
