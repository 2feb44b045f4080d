"""Which products are meant by words of their titles, in any script; a cart of long titles takes no more time."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.agents.assistant.mentions import FILLER, called, called_each, called_wholly, numbers_in
from bundlewise.agents.assistant.title_words import TitleWords, slip, words_of
from bundlewise.domain import Item

WORD = st.text(st.sampled_from("abcx1"), min_size=1, max_size=6)
TITLE = st.lists(WORD, max_size=6).map(" ".join)
SHOP = [
    Item(id=str(n), title=title)
    for n, title in enumerate(
        [
            "Jäger Müsli, 750 g",
            "Настольная лампа",
            "Корм для собак",
            "便携式蓝牙音箱 防水",
            "หูฟังไร้สาย สีดำ",
            "אוזניות אלחוטיות",
            "ワイヤレスマウス 黒",
        ]
    )
]


def items(titles: Sequence[str]) -> list[Item]:
    return [Item(id=str(n), title=title) for n, title in enumerate(titles)]


def meets(word: str, title: Sequence[str]) -> float:
    """Return what the rule says, one word of a title after the other."""
    if word in title:
        return 1.0
    if len(word) >= 3 and any(other.startswith(word) for other in title):
        return 0.9
    return 0.8 if len(word) >= 4 and any(slip(word, other) for other in title) else 0.0


@given(WORD, st.lists(TITLE, max_size=5))
def test_a_word_is_met_as_the_rule_says(word: str, titles: list[str]) -> None:
    expected = {place: score for place, title in enumerate(titles) if (score := meets(word, words_of(title)))}
    assert TitleWords(titles).meets(word) == expected


@given(TITLE, st.lists(TITLE, max_size=5))
def test_the_products_with_most_of_the_words_are_called(text: str, titles: list[str]) -> None:
    asked = list(dict.fromkeys(word for word in words_of(text) if word not in FILLER))
    scores = [sum(meets(word, words_of(title)) for word in asked) for title in titles]
    best = max(scores, default=0)
    wanted = [str(n) for n, score in enumerate(scores) if score == best] if best and best >= len(asked) / 2 else []
    found = called(text, items(titles))
    assert [item.id for item in found] == wanted
    wholly = {item.id for item in called_wholly(text, items(titles))}
    assert wholly == {key for key in wanted if all(meets(word, words_of(titles[int(key)])) for word in asked)}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("müsli", "0"),
        ("MÜSLI", "0"),
        ("mu\u0308sli", "0"),
        ("лампу", "1"),
        ("настольная лампа", "1"),
        ("корм", "2"),
        ("音箱", "3"),
        ("蓝牙音箱", "3"),
        ("หูฟัง", "4"),
        ("אוזניות", "5"),
        ("マウス", "6"),
    ],
)
def test_products_are_called_in_any_script(text: str, key: str) -> None:
    assert [item.id for item in called(text, SHOP)] == [key]


def test_a_list_in_other_scripts_names_each_of_its_products() -> None:
    assert [item.id for item in called_each("лампа, müsli and 音箱", SHOP)] == ["1", "0", "3"]


TEXTS = {
    "a hundred words that no title has": " ".join(f"zz{n}" for n in range(100)),
    "near-misses": " ".join(f"abc{n}q" for n in range(600)),
    "beginnings": " ".join("abcdefgh"[:n] + str(n % 10) * n for n in range(1, 80)),
    "single letters": " ".join("abcdefghij" * 200),
    "one long word": "abc" * 1300,
    "a long list": "abc1, " * 600,
    "without spaces": "蓝牙音箱" * 900,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("kind", ["many words", "one word", "without spaces"])
def test_naming_among_thirty_long_titles_takes_no_time(text: str, kind: str) -> None:
    words = {
        "many words": [" ".join(f"abc{n * 30 + k}x" for k in range(120))[:1000] for n in range(30)],
        "one word": [("abc" * 400)[n : n + 1000] for n in range(30)],
        "without spaces": [("便携式蓝牙音箱" * 200)[n : n + 1000] for n in range(30)],
    }
    cart, start = items(words[kind]), time.process_time()
    called(text[:4000], cart), called_each(text[:4000], cart), called_wholly(text[:4000], cart)
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize(
    "text", ["item " * 800 + "x", "1 " * 2000, "the " * 1000, "ones" * 1000, "1,and" * 800, " " * 4000]
)
def test_numbers_are_read_in_no_time(text: str) -> None:
    start = time.process_time()
    numbers_in(text)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1 and 2 items", (1, 2)), ("the first one", (1,)), ("2 ones", (2,)), ("items 2-4", (2, 3, 4)), ("2 of them", ())],
)
def test_nouns_behind_numbers_say_nothing(text: str, numbers: tuple[int, ...]) -> None:
    assert numbers_in(text) == numbers
