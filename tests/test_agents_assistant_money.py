"""Amounts in what shoppers say: figures of any country, number words, currencies; what measures is no price."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.agents.assistant.conversation import Action
from bundlewise.agents.assistant.money import NUMBER_WORDS, amounts_in
from bundlewise.agents.assistant.router import Seen, understand
from bundlewise.agents.assistant.wishes import is_money, wish_in
from bundlewise.agents.student.limits import Limits

SAID = {
    "1.000": 1000.0,
    "1,000": 1000.0,
    "1 000": 1000.0,
    "1'299.-": 1299.0,
    "1.299,50": 1299.5,
    "1,299.50": 1299.5,
    "1,29,900": 129900.0,
    "1,5": 1.5,
    "12 99": 12.99,
    "12€99": 12.99,
    "12,-": 12.0,
    "1.5k": 1500.0,
    "a hundred and fifty": 150.0,
    "hundred fifty": 150.0,
    "twenty-five": 25.0,
    "two hundred and forty-nine": 249.0,
    "one and a half thousand": 1500.0,
    "two and a half grand": 2500.0,
    "half a grand": 500.0,
    "a grand": 1000.0,
    "a couple of hundred": 200.0,
    "fifteen hundred": 1500.0,
    "one thousand two hundred and fifty": 1250.0,
    "twelve ninety-nine": 12.99,
    "a tenner": 10.0,
    "two tenners": 20.0,
    "1.5 k": 1500.0,
    "2 grand": 2000.0,
    "3 hundred": 300.0,
    "3 hundred and fifty": 350.0,
    "2.5 thousand": 2500.0,
    "1 million": 1_000_000.0,
    "9000 million": 1e9,
    "a hundred and a half": 150.0,
    "three-fifty": 3.5,
    "one fifty": 1.5,
    "a dollar": 1.0,
    "a buck": 1.0,
    "99¢": 0.99,
    "99p": 0.99,
    "fifty cents": 0.5,
    "12 dollars and 50 cents": 12.5,
    "twelve dollars and fifty cents": 12.5,
    "12 pounds 50": 12.5,
    "£3.50p": 3.5,
    "500/-": 500.0,
    "rs.1,299/-": 1299.0,
    "eur50": 50.0,
    "usd50": 50.0,
    "r500": 500.0,
    "45 us dollars": 45.0,
    "45 swiss francs": 45.0,
    "500 pesos": 500.0,
    "500 złotych": 500.0,
    "500 \u0440\u0443\u0431": 500.0,
    "10 pounds sterling": 10.0,
    "3000円": 3000.0,
    "12,800원": 12800.0,
    "50 ₸": 50.0,
    "\uff11\uff12\uff19": 129.0,
    "\u0661\u0662\u0669": 129.0,
}


@pytest.mark.parametrize(("said", "value"), SAID.items())
def test_an_amount_is_meant_as_it_is_said(said: str, value: float) -> None:
    assert [(each.start, each.value) for each in amounts_in(said)] == [(0, value)]
    wish, rest = wish_in(f"headphones under {said}")
    assert wish is not None and (wish.max_price, rest) == (value, "headphones")


@pytest.mark.parametrize("said", ["1,299,00", "a", "", "thing", "1.2.3"])
def test_what_is_no_amount_is_none(said: str) -> None:
    assert list(amounts_in(said)) == []


@pytest.mark.parametrize(
    "money",
    [
        *("1.000 €", "€1.000", "€ 1,000", "1\u202f000 €", "1\u00a0000 euros", "US$1,000", "us $1000", "R$ 1.000,00"),
        *("CHF 1'000.-", "1000 CHF", "₹1,000", "rs 1000", "1 000,00 kr", "1.000 zł", "EUR 1.000", "a thousand dollars"),
        *("1000 quid", "£1k", "AED 1000", "ten hundred bucks"),
    ],
)
def test_a_currency_is_passed_over(money: str) -> None:
    seen = Seen(knows=lambda word: word == "headphones")
    wanted = [Action(name="search", text="headphones", max_price=1000.0)]
    assert understand(f"headphones under {money}", seen) == understand(f"headphones for {money}", seen) == wanted
    assert understand(money, seen) == [Action(name="search", max_price=1000.0)]


@pytest.mark.parametrize(
    "said",
    [
        *(
            "20-60 euros",
            "for 20 \u2013 60 €",
            "€20-€60",
            "from twenty to sixty",
            "between 20 and 60",
            "20 to 60 dollars",
        ),
        *("between 60 and 20 euros", "between twenty and sixty dollars", "$20 - 60"),
    ],
)
def test_a_span_has_two_ends(said: str) -> None:
    seen = Seen(knows=lambda word: word == "headphones")
    wanted = [Action(name="search", text="headphones", least_price=20.0, max_price=60.0)]
    assert understand(f"headphones {said}", seen) == wanted


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("bundles under a hundred and fifty", Limits(total=150.0)),
        ("my budget is two hundred and fifty euros", Limits(total=250.0)),
        ("don't spend more than a grand", Limits(total=1000.0)),
        ("I have 1.200,50 € to spend", Limits(total=1200.5)),
        ("under a hundred and two items each", Limits(most=2, total=100.0)),
        ("at most two items under twenty-five", Limits(most=2, total=25.0)),
    ],
)
def test_a_budget_is_read_alike(said: str, limits: Limits) -> None:
    assert understand(said, Seen()) == [Action(name="limit", limits=limits)]


@pytest.mark.parametrize(
    "said",
    [
        *("cable under 6 ft", "charger up to 100 watt", "hub with at least 4 ports", "screen up to 4k"),
        *("drive over 64 gb", "hub with at least two ports", "cable of at least 1,5 m"),
        *('tablet under 10"', "tablet under 10%", "tablet under 10 % off", "screw under 6'", "lens under 5°"),
        *("screen up to 8k", "screen under 1080p", "case under 1/2", "case under 50 ct", "lamp under -5"),
    ],
)
def test_what_is_measured_or_counted_is_no_price(said: str) -> None:
    assert wish_in(said) == (None, said)


def test_two_prices_in_a_sentence_are_no_span() -> None:
    wish, rest = wish_in("a lamp for $20 and 3 mice")
    assert wish is not None and (wish.least_price, wish.max_price, rest) == (None, 20.0, "a lamp 3 mice")


def test_money_says_its_currency() -> None:
    assert is_money("twenty-five dollars") and is_money("1.299,50 €") and not is_money("twenty-five")


@pytest.mark.parametrize(
    ("said", "prices", "query"),
    [
        ("tablet (under $50)", (None, 50.0), "tablet"),
        ("tablet (max. 50 €) for kids", (None, 50.0), "tablet for kids"),
        ("tablet for 50 dollars max", (None, 50.0), "tablet"),
        ("tablet for one thousand dollars or less", (None, 1000.0), "tablet"),
        ("tablet around $30", (24.0, 36.0), "tablet"),
        ("tablet for about 30 dollars", (24.0, 36.0), "tablet"),
        ("tablet under 50 or 60", (None, 60.0), "tablet"),
        ("tablet under $20 each", (None, 20.0), "tablet"),
        ("tablet 50€-100€", (50.0, 100.0), "tablet"),
        ("tablet between a thousand and two thousand", (1000.0, 2000.0), "tablet"),
        ("tablet under 25 dollars and 50 cents, please", (None, 25.5), "tablet"),
    ],
)
def test_nothing_of_a_price_is_left_in_what_is_looked_for(
    said: str, prices: tuple[float | None, float], query: str
) -> None:
    wish, rest = wish_in(said.removesuffix(", please"))
    assert wish is not None and ((wish.least_price, wish.max_price), rest) == (prices, query)


def test_a_price_of_each_product_is_no_limit_of_bundles() -> None:
    found = understand("only two items under fifty each", Seen())
    assert found == [Action(name="limit", limits=Limits(most=2)), Action(name="search", max_price=50.0)]


def test_an_amount_of_k_is_a_screen_unless_a_price_is_asked_for() -> None:
    assert wish_in("screen up to 4k") == (None, "screen up to 4k")
    for said, value in (("screen under 4k", 4000.0), ("screen under 2k", 2000.0)):
        wish, rest = wish_in(said)
        assert wish is not None and (wish.max_price, rest) == (value, "screen")


@given(
    st.lists(
        st.sampled_from(
            [*sorted(NUMBER_WORDS), *["and", "a", "-", "under", "€", "$", "12", "1.299", ",", "to", "k", "half"]]
        ),
        max_size=400,
    )
)
def test_no_message_of_numbers_takes_long(parts: list[str]) -> None:
    said = " ".join(parts)[:2000]
    begun = time.process_time()
    wish_in(said)
    assert time.process_time() - begun < 0.2


@pytest.mark.parametrize("part", ["a hundred and ", "twenty-", "12 99 ", "under $ ", "1,29,", "us $", "9"])
def test_repetition_takes_no_longer(part: str) -> None:
    begun = time.process_time()
    wish_in((part * 2000)[:2000])
    assert time.process_time() - begun < 0.2
