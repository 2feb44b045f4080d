"""A kind fits by a word of its title or by the kinds of titles like it, its own session left out."""

import pytest

from bundlewise.agents.teacher.kind_neighbours import settled

TITLES = {f"s{n}": [f"Cinnamon Sticks {n}", f"Canon D{n} Body", f"Wool Rug {n}"] for n in range(4)}
KINDS = {key: ["spice", "camera", "rug"] for key in TITLES}


def kind_of(kind: str, title: str) -> str:
    titles, kinds = {**TITLES, "asked": [title]}, {**KINDS, "asked": [kind]}
    return settled(titles, kinds)[0]["asked"][0]


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("wool rug", "Wool Rug Large"),
        ("spice", "Cinnamon Ground"),
        ("camera", "Canon D9 Kit"),
        ("drone part", "Drone Arm"),
        ("camera", "Quiksilver Revival"),
    ],
)
def test_a_kind_of_its_title_of_titles_like_it_or_of_an_unclear_title_stays(kind: str, title: str) -> None:
    assert kind_of(kind, title) == kind


@pytest.mark.parametrize(
    ("kind", "title", "instead"),
    [
        ("camera", "Wool Rug Large", "rug large"),
        ("tractor", "Cinnamon Ground", "cinnamon ground"),
        ("unicorn", "Quiksilver Revival", "quiksilver revival"),
    ],
)
def test_any_other_kind_gives_way_to_its_title(kind: str, title: str, instead: str) -> None:
    assert kind_of(kind, title) == instead


def test_what_gave_way_is_told_and_the_rest_stays_as_it_is() -> None:
    kinds, misfits = settled(TITLES, {**KINDS, "s0": ["spice", "camera", "tractor"]})
    assert kinds == {key: tuple(each) for key, each in KINDS.items()} | {"s0": ("spice", "camera", "wool rug")}
    assert [(each.kind, each.title, each.instead) for each in misfits] == [("tractor", "Wool Rug 0", "wool rug")]
