"""Things that a sentence speaks of, told by the words around them."""

import pytest

from bundlewise.agents.teacher.things import Spoken, things

OWN = frozenset(("mouse", "pad", "lens", "sweater"))


def test_the_words_are_things_and_their_licence_stands_with_them() -> None:
    from importlib.resources import files

    assert {"saddle", "leash", "trampoline", "washing machine", "dog", "soap"} <= things()
    assert not {"purpose", "theme", "idea", "go", "item", "device", "accessory", "reason"} & things()
    text = (files("bundlewise.agents.teacher") / "things.txt").read_text("utf-8")
    assert "Copyright 2006 by Princeton University" in text and "benchmarks/thing_words.py" in text
    assert len(text) < 300_000


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("The saddle belongs with the mouse.", ["saddle"]),
        ("The coffee machine stays out.", ["coffee machine"]),
        ("Mouse and leash go together.", ["leash"]),
        ("The shopper wants a mouse, a sofa and a pad.", ["sofa"]),
        ("The mouse pairs naturally with the kettle.", ["kettle"]),
        ("There is a canoe.", ["canoe"]),
        ("The mouse is for a sofa.", []),
        ("The scarf theme is odd.", []),
        ("Kettles go with sweaters.", []),
        ("The mouse belongs to a sofa.", []),
        ("The kettle 3 stays out.", []),
    ],
)
def test_a_thing_is_met_where_something_is_done_with_it(text: str, met: list[str]) -> None:
    assert list(dict.fromkeys(Spoken(text, OWN).met())) == met


def test_a_word_of_one_root_with_the_session_is_its_own() -> None:
    assert Spoken("The lenses and the knit-sweater go with a mousepad.", OWN).mentioned() == []
