"""Kinds in words: plurals, ordinals and counted lists."""

import pytest

from bundlewise.prompts.kind_lists import counted, in_words, listed, ordinal, plural


@pytest.mark.parametrize(
    ("kind", "many"),
    [
        ("tablet case", "tablet cases"),
        ("socks", "socks"),
        ("battery", "batteries"),
        ("key", "keys"),
        ("watch", "watches"),
        ("dress", "dresses"),
        ("black tea", "black tea products"),
    ],
)
def test_kinds_have_a_plural(kind: str, many: str) -> None:
    assert plural(kind) == many


def test_equal_kinds_are_counted_in_the_order_of_the_first() -> None:
    assert counted(["case", "cable", "case", "mouse"]) == "two cases, cable and mouse"
    assert counted([]) == ""


def test_numbers_are_words_as_far_as_words_are_short() -> None:
    assert (in_words(2), in_words(12), in_words(13)) == ("two", "twelve", "13")
    assert (ordinal(2), ordinal(11)) == ("second", "11th")
    assert listed(["a"]) == "a"
