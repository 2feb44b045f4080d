"""A text names only products of its session: by number, in quotes of any kind, and by words alone."""

import json
from pathlib import Path

import pytest
from samples import session

from bundlewise.agents.teacher.foreign_products import Vocabulary, foreign, strangers
from bundlewise.data.sessions import load

DESK = session("desk", ["Glide 11 Mouse", "Foam Pad", "Wool Rug"], ((0, 1),))
KINDS = ("mouse", "pad", "rug")
KNOWN = Vocabulary.of([*KINDS, "lava lamp", "espresso machine", "milk frother", "kayak", "paddle"])


@pytest.mark.parametrize(
    "text",
    [
        "Item #99 stays out.",
        "1 & 99 go together.",
        "Products 3-12 fit.",
        "Products 1 \u2013 99 fit.",
        "Number ninety-nine stays out.",
        "The ninety-ninth product is odd.",
        "Items 1 through 9 go together.",
        "Items 1, 2, and 12 go together.",
        "Product no. 99 is odd.",
        "Products (1) and (99) pair.",
        "No. 4 is odd.",
        "#0 is odd.",
        "Item XII stays out.",
        "Items I and IX go together.",
        "Item \u216b is odd.",
        "Item no 0 is odd.",
        "Item zero is odd.",
        "Items -1 and 2 go together.",
        "Items 1 and -2 go together.",
        "Item minus one is odd.",
        "Item \u0669\u0669 is odd.",
        "Item \uff19\uff19 is odd.",
        "Item \u246b is odd.",
        "Item \u4e5d\u5341\u4e5d is odd.",
        "\u7b2c\u5341\u4e8c\u4ef6",
        "\u0442\u043e\u0432\u0430\u0440 99",
        "Artikel 99 passt nicht.",
    ],
)
def test_a_number_of_no_product_is_refused_in_any_writing(text: str) -> None:
    assert foreign(f"A mouse and a pad. {text}", DESK, KINDS, KNOWN).startswith("it speaks of product ")


@pytest.mark.parametrize(
    "text",
    [
        "Products 1, 2 and 3.",
        "1 & 3 go together.",
        "Number two and item three.",
        "A mouse of 35mm and 400 dpi for 99 dollars.",
        "The mouse for Glide 11 and 11 pads.",
        "There are no 12 oz mice.",
        "Items II and III go together.",
        "Item \u4e09 stays out.",
        "The item I like is the rug in size XL.",
        "Items XL and L are sizes.",
    ],
)
def test_other_numbers_are_no_products(text: str) -> None:
    assert foreign(f"A mouse and a pad. {text}", DESK, KINDS, KNOWN) == ""


@pytest.mark.parametrize("marks", ['""', "''", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb", "``"])
def test_what_is_quoted_must_be_of_the_session(marks: str) -> None:
    for quoted, wrong in (("Foam Pad", False), ("Lava Lamp", True), ("unicorn saddle", True)):
        text = f"A mouse. The {marks[0]}{quoted}{marks[1]} stays out."
        assert bool(foreign(text, DESK, KINDS, KNOWN)) is wrong


def test_an_apostrophe_quotes_nothing() -> None:
    assert foreign("The shopper's mouse and the girls' pads aren't apart.", DESK, KINDS, KNOWN) == ""


@pytest.mark.parametrize(
    "text",
    [
        "The espresso machine and the milk frother go together.",
        "The mouse and the pad go together. The lava lamp stays out.",
        "The mouse goes with the kayak.",
        "Lava lamp and mouse go together.",
        "Mouse and kayak go together.",
        "Kayaks go with paddles, and frothers with lamps.",
        "The unicorn saddle and the dragon bridle go together.",
    ],
)
def test_products_that_no_title_or_kind_of_the_session_holds_are_refused_without_quotes(text: str) -> None:
    assert foreign(text, DESK, KINDS, KNOWN).startswith("it speaks of ")


UNKNOWN_TO_THE_DATA = [
    "The unicorn saddle belongs with the mouse.",
    "The dog leash and the mouse go together.",
    "Dog leash and mouse go together.",
    "The coffee machine and the pad serve the same room.",
    "The trampoline goes with the mouse.",
    "Trampoline, sofa and guitar go together.",
    "A hammock completes the set.",
    "A toaster is left out.",
    "The shopper buys the mouse with a trampoline.",
    "The shopper adds trampolines to the mouse.",
    "The chandelier would round off the rug.",
]


@pytest.mark.parametrize("text", UNKNOWN_TO_THE_DATA)
def test_a_thing_that_no_data_holds_is_refused_where_it_is_spoken_of_as_there(text: str) -> None:
    assert foreign(text, DESK, KINDS, KNOWN).startswith("it speaks of ")
    assert foreign(f"A mouse 1 and a pad 2 on a rug 3. {text}", DESK, KINDS, KNOWN).startswith("it speaks of ")


@pytest.mark.parametrize(
    "text",
    [
        "The mouse works best beside the trampoline.",
        "With the mouse, guitars.",
        "I keep the guitar with the mouse.",
        "The mouse goes into the canoe.",
        "A guitar looks odd.",
        "The hoodie looks good with the mouse.",
        "The phone case is odd beside the mouse.",
    ],
)
def test_a_thing_that_is_merely_mentioned_is_told_to_a_teacher(text: str) -> None:
    assert foreign(text, DESK, KINDS, KNOWN) == ""
    assert strangers(text, DESK, KINDS, KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "The mouse pad and the rug go together.",
        "The mouse device and the wool item go together.",
        "The mouse is good for camping.",
        "The mousepads and the rugs go together.",
        "There is no trampoline.",
        "The mouse has a scarf theme.",
        "The mouse is for a tent and a canoe.",
        "The trampoline 1 is odd.",
    ],
)
def test_things_at_large_purposes_and_words_of_one_root_are_fine(text: str) -> None:
    assert foreign(text, DESK, KINDS, KNOWN) == strangers(text, DESK, KINDS, KNOWN) == ""


@pytest.mark.parametrize(
    "text",
    [
        "A mouse and more. They serve one purpose.",
        "Both products cost 99 dollars.",
        "The mouse and the pads go together on a desk; the lamp is missing.",
        "The rug would suit a kayak trip.",
        "Set up a desk with the mouse.",
    ],
)
def test_its_own_products_and_ordinary_words_are_fine(text: str) -> None:
    assert foreign(text, DESK, KINDS, KNOWN) == ""


@pytest.mark.parametrize("name", ["electronic", "clothing", "food"])
def test_of_real_thoughts_none_is_refused_and_of_those_about_another_session_most_are(shared: Path, name: str) -> None:
    sessions = {s.session_id: s for s in load(str(shared / "datasets" / f"{name}.jsonl"))}
    rows = [json.loads(row) for row in (shared / "packs" / f"{name}.jsonl").read_text("utf-8").splitlines()]
    thoughts = [row for row in rows if row["kind"] == "thought"]
    known = Vocabulary.of(kind for row in thoughts for kind in row["item_kinds"])
    texts = [f"{row['text']} {row['lesson']}" for row in thoughts]

    def refused(shift: int, step: int) -> float:
        moved = texts[shift:] + texts[:shift]
        pairs = list(zip(moved, thoughts, strict=True))[::step]
        found = [bool(foreign(t, sessions[row["source_session"]], row["item_kinds"], known)) for t, row in pairs]
        return sum(found) / len(found)

    assert refused(0, step=1) == 0
    assert refused(7, step=4) > 0.8


@pytest.mark.parametrize(
    ("text", "told"), [("It suits a shoe or a shirt.", "shoe and shirt"), ("Both fit any case.", "")]
)
def test_a_shelf_that_the_data_do_not_hold_is_strange_and_a_word_for_products_at_large_is_not(
    text: str, told: str
) -> None:
    assert strangers(f"A mouse and a pad. {text}", DESK, KINDS, KNOWN) == told
    shops = Vocabulary.of([*KINDS, "running shoe", "linen shirt"])
    assert strangers(f"A mouse and a pad. {text}", DESK, KINDS, shops) == ""


def test_other_words_that_titles_of_the_same_kind_share_are_no_strangers() -> None:
    text = "A mouse and a pad. I keep the trackball here."
    assert strangers(text, DESK, KINDS, KNOWN) == "trackball"
    titled = [("mouse", f"Klang Trackball {n}") for n in range(2)]
    assert strangers(text, DESK, KINDS, Vocabulary.of(KINDS, titled)) == ""
