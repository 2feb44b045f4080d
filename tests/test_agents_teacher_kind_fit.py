"""A kind fits by the words of its title, or of titles like it; one that does not is told to the teacher once."""

import pytest
from samples import session

from bundlewise.agents.teacher.kind_fit import AlikeTitles, KindsCheck

DESK = session("desk", ["Canon D3100 Body", "Foam Pads for Mice", "Wool Rug"])
SHOP = [DESK, *(session(f"s{n}", [f"Canon D{n} Camera", "Oat Milk"]) for n in range(3))]


@pytest.mark.parametrize(
    ("kind", "title", "fits"),
    [
        ("mouse pad", "Foam Pads for Mice", True),
        ("headphones", "Klang Headphone Set", True),
        ("camcorder case", "Case for Camcorders", True),
        ("camera", "Canon D3100 Body", True),
        ("milk", "Canon D3100 Body", False),
        ("tractor tyre", "Foam Pads for Mice", False),
        ("women's watch", "Women's Wool Coat", False),
        ("phone accessory", "Phone Grip", True),
    ],
)
def test_a_kind_is_a_word_of_its_title_or_of_titles_like_it(kind: str, title: str, fits: bool) -> None:
    assert AlikeTitles(SHOP).fits(kind, title) is fits


def test_what_does_not_fit_is_told_once_and_gives_way_to_the_title() -> None:
    check = KindsCheck(DESK, AlikeTitles(SHOP))
    kinds = ["Camera", "pad", "unicorn"]
    assert check.faults(kinds) == [
        "kind 3, 'unicorn', has no word of its title 'Wool Rug', nor of titles like it; say what the title says it is"
    ]
    assert check.faults(kinds) == []
    assert check.settled(kinds) == ("camera", "pad", "wool rug")


def test_a_teacher_that_is_mostly_wrong_is_not_believed() -> None:
    check = KindsCheck(DESK, AlikeTitles(SHOP))
    assert len(check.faults(["tractor", "tyre", "rug"])) == len(check.faults(["tractor", "tyre", "rug"])) == 2
    assert check.faults(["rug"]) == ["there must be 3 kinds, one per product, not 1"]
