"""What a title says: one safe line, its words, its kind."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bundlewise.text import head_noun, kind, line, shared_words, short, words

ANY = st.text(max_size=80)
ENDLESS = [
    "q" * 900 + " " + "c" * 40,
    "Lamp " + "A1b2" * 240,
    "a" + "\u0301" * 950,
    "a\u0301" * 490,
    "e\u0301\u0302\u0303\u0304\u0305\u0306" * 140,
    "\u706f\u684c" * 490,
    "\u0e01" * 990,
    "\u0f40\u0fb5" * 490,
    "\u00df" * 990,
]


def has_heaps_of_marks(text: str) -> bool:
    kinds = "".join(unicodedata.category(letter)[0] for letter in text)
    return "MMMMM" in kinds


@given(ANY)
def test_a_line_is_one_line_without_control_characters_or_special_tokens(text: str) -> None:
    safe = line(text)
    assert len(safe.splitlines()) <= 1
    assert safe.isprintable()
    assert "<|" not in safe
    assert "|>" not in safe
    assert line(safe) == safe


@pytest.mark.parametrize("text", ["Case, 11-inch", "Café crème 12 oz", "A < B | C > D", "日本茶"])
def test_an_ordinary_line_stays_as_it_is(text: str) -> None:
    assert line(text) == text


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Treskell FoldLite Case for Padmoor Glide 11 (11-inch), Navy", "foldlite case"),
        ("[2-Pack] Wireless Mouse with USB Receiver", "wireless mouse"),
        ("Almond Milk, 32 oz", "almond milk"),
        ("USB-C Cable 6 ft - Black", "usb-c cable"),
        ("12345", "product"),
        ("", "product"),
        ("128 GB, microSD card", "microsd card"),
    ],
)
def test_the_kind_is_the_head_of_the_first_phrase(title: str, expected: str) -> None:
    assert kind(title) == expected


@pytest.mark.parametrize(
    "end",
    [
        " - ",
        " \u2013 ",
        " \u2014 ",
        "\u2014",
        " \u2012 ",
        " \u2015 ",
        " \u2212 ",
        " \u2022 ",
        "\u2022",
        " \u00b7 ",
        " \u25aa ",
        " | ",
    ],
)
def test_any_dash_or_bullet_between_words_ends_a_phrase(end: str) -> None:
    assert kind(f"Desk Lamp{end}Black Metal") == "desk lamp"
    assert kind(f"Dog Bowl{end}Black Metal") == "dog bowl"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Buty dla dzieci czarne", "buty"),
        ("Lampe de bureau pour enfants", "lampe"),
        ("Zapatos de cuero para hombre", "zapatos"),
        ("Schuhe mit Absatz", "schuhe"),
        ("Boty pro d\u011bti", "boty"),
        ("Skor f\u00f6r barn", "skor"),
        ("Mesa de caf\u00e9 redonda", "mesa"),
        ("Eau de Toilette Spray", "toilette spray"),
        ("MacBook Pro Sleeve", "pro sleeve"),
        ("Cafe de Paris Coffee with Milk", "paris coffee"),
        ("Nestl\u00e9 Coffee Pro Pods", "pro pods"),
        ("Para Cord Bracelet for Men", "cord bracelet"),
    ],
)
def test_what_joins_words_in_other_languages_ends_a_phrase_of_theirs_only(title: str, expected: str) -> None:
    assert kind(title) == expected


def test_a_hyphen_that_does_not_break_is_a_hyphen() -> None:
    assert (kind("USB\u2011C Cable"), words("USB\u2011C Cable")) == (kind("USB-C Cable"), words("USB-C Cable"))


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=80))
def test_every_text_has_a_kind_of_one_or_two_plain_words(text: str) -> None:
    found = kind(text).split(" ")
    assert 1 <= len(found) <= 2
    assert all(any(unicodedata.category(c)[0] in "LN" for c in word) for word in found)
    assert all(c in "'&+-" or unicodedata.category(c)[0] in "LMN" for word in found for c in word)


@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_the_kind_of_an_english_title_has_letters_that_grammars_and_prompts_know(text: str) -> None:
    assert not set(kind(text)) - set("abcdefghijklmnopqrstuvwxyz'&+- ")


@pytest.mark.parametrize(
    ("words_", "expected"),
    [
        ("phone cases", "case"),
        ("batteries", "battery"),
        ("watches", "watch"),
        ("boxes", "box"),
        ("glass", "glass"),
        ("gas", "gas"),
        ("", "product"),
    ],
)
def test_the_head_noun_is_the_last_word_in_the_singular(words_: str, expected: str) -> None:
    assert head_noun(words_) == expected


def test_words_leave_out_stop_words_and_single_letters() -> None:
    assert words("The Case for A 7-inch Tab-10.5 and B") == ["case", "7-inch", "tab-10.5"]


def test_shared_words_are_few_distinct_and_in_the_order_of_the_first_title() -> None:
    assert shared_words("glide case glide navy 11 slim", "slim 11 navy case glide") == ["glide", "case", "navy"]
    assert shared_words("mouse", "keyboard") == []


@given(ANY, st.integers(1, 12))
def test_a_short_title_has_no_more_words_than_asked_for(text: str, limit: int) -> None:
    assume(not has_heaps_of_marks(text))
    assert len(short(text, limit).split()) <= limit
    assert "".join(line(text).split()).startswith("".join(short(text, limit).split()))


@given(st.text(st.characters(max_codepoint=0x2000), max_size=80), st.integers(1, 12))
def test_a_short_title_ends_between_words(text: str, limit: int) -> None:
    assume(not has_heaps_of_marks(text))
    words_of_line = line(text).split()
    if not any("\u0e00" <= letter <= "\u0eff" or "\u1000" <= letter <= "\u17ff" for letter in text):
        assert short(text, limit).split() == words_of_line[:limit]


@pytest.mark.parametrize("title", ENDLESS)
def test_no_word_of_a_title_is_endless(title: str) -> None:
    for found in (words(title), shared_words(title, title), kind(title).split()):
        assert all(0 < len(word) <= 40 for word in found)
    assert all(len(word) <= 160 for word in short(title).split())
    assert not any(has_heaps_of_marks(text) for text in (*words(title), kind(title), short(title)))


def test_words_of_ordinary_length_stay_whole() -> None:
    models = ",".join(f"HDR-CX{n}" for n in range(100, 115))
    assert short(f"Battery for {models}") == f"Battery for {models}"
    assert words("Macadamia-Almond-Hazelnut-Butter 250g")[0] == "macadamia-almond-hazelnut-butter"
