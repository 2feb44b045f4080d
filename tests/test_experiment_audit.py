"""The leakage audit: five kinds of planted leaks are caught and named, and clean data pass."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import session

from bundlewise.agents.student import compose
from bundlewise.data.sessions import STARTERS, load, starter_pack_path
from bundlewise.domain import Item, Retrieved, Session
from bundlewise.errors import DataError
from bundlewise.experiment.audit import SHOWN, Leak, audit, require_clean

TRAIN = session("train-1", ["Wireless Mouse", "Mechanical Keyboard"], ((0, 1),), split="train")
HELD = session("valid-1", ["Laptop Sleeve", "Laptop Bag for Long Journeys"], ((0, 1),), split="validation")
TEST = session("test-1", ["Padmoor Glide 11 Tablet with Pen", "Car Cassette Adapter"], ((0, 1),), split="test")
CLEAN = [TRAIN, HELD, TEST]


def leaks(
    sessions: Sequence[Session] = CLEAN, pack: Path | None = None, other: Sequence[Session] = ()
) -> list[tuple[str, str]]:
    data = {"shop": sessions} | ({"other": other} if other else {})
    return [(leak.kind, leak.case) for leak in audit(data, "shop", {"shop": pack} if pack else {})]


def write_pack(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "pack.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_clean_data_pass(tmp_path: Path) -> None:
    rule = {"kind": "rule", "text": "A mouse and a keyboard go together.", "evidence": None}
    pack = write_pack(tmp_path, rule, {"kind": "thought", "source_session": "train-1", "text": "A desk."})
    assert leaks(pack=pack) == []
    require_clean([])


@pytest.mark.parametrize("name", STARTERS)
def test_the_starter_data_with_their_packs_pass(name: str) -> None:
    assert audit({name: load(name)}, name, {name: starter_pack_path(name)}) == []


@pytest.mark.parametrize("domain", ["electronic", "clothing", "food"])
def test_the_real_data_with_their_packs_pass(shared: Path, domain: str) -> None:
    data, pack = shared / "datasets" / f"{domain}.jsonl", shared / "packs" / f"{domain}.jsonl"
    if not (data.is_file() and pack.is_file()):
        pytest.skip(f"{data} or {pack} is not here")
    assert audit({domain: load(str(data))}, domain, {domain: pack}) == []


def test_an_id_in_two_domains_is_a_leak() -> None:
    other = session("train-1", ["Socks", "Shoes"], ((0, 1),), split="test")
    assert leaks(other=[other]) == [("a session id twice", "train-1 in shop train and in other test")]


def test_an_id_in_two_splits_is_a_leak() -> None:
    assert leaks([*CLEAN, session("train-1", ["Socks", "Shoes"], split="test")]) == [
        ("a session id twice", "train-1 in shop train and in shop test")
    ]


@pytest.mark.parametrize(
    "titles",
    [
        ["Wireless Mouse", "Mechanical Keyboard"],
        ["Mechanical Keyboard", "Wireless Mouse"],
        ["wireless  MOUSE", "mechanical keyboard"],
    ],
    ids=["the same", "another order", "another case"],
)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_equal_products_in_two_splits_are_a_leak(titles: list[str], split: str) -> None:
    found = leaks([*CLEAN, session("twin", titles, ((0, 1),), split=split)])
    assert found == [("equal products in two splits", f"train-1 (train) and twin ({split})")]


def test_equal_products_in_two_domains_are_a_leak_too() -> None:
    found = leaks(other=[session("twin", HELD.titles, ((0, 1),), split="train")])
    assert found == [("equal products in two splits", "twin (train) and valid-1 (validation)")]


def test_equal_products_in_one_split_are_none() -> None:
    assert leaks([*CLEAN, session("twin", TRAIN.titles, ((0, 1),), split="train")]) == []


@pytest.mark.parametrize(
    "row",
    [
        {"source_session": "test-1"},
        {"source_session_ids": ["train-1", "test-1"]},
        {"supporters": ["test-1"]},
        {"evidence": {"sessions": [{"id": "test-1"}]}},
    ],
    ids=lambda row: next(iter(row)),
)
def test_knowledge_of_a_held_out_session_is_a_leak_in_whatever_field(tmp_path: Path, row: dict[str, object]) -> None:
    pack = write_pack(tmp_path, {"kind": "rule", "text": "x"}, {"kind": "thought", "text": "y"} | row)
    assert leaks(pack=pack) == [("knowledge from outside train", "shop pack, line 2: test-1 (test)")]


@pytest.mark.parametrize("field", ["text", "lesson", "titles"])
def test_knowledge_that_quotes_a_held_out_title_is_a_leak(tmp_path: Path, field: str) -> None:
    quoted = "The padmoor glide 11 tablet, with pen, goes with its folio."
    pack = write_pack(tmp_path, {"kind": "rule", field: [quoted] if field == "titles" else quoted})
    case = "shop pack, line 1: 'padmoor glide 11 tablet with pen' of test-1 (test)"
    assert leaks(pack=pack) == [("knowledge that quotes a held-out title", case)]


@pytest.mark.parametrize(
    ("text", "also_in_train"),
    [
        ("A car cassette adapter is for old cars.", False),
        ("The Padmoor Glide 11 Tablet with Pencils is another.", False),
        ("The Padmoor Glide 11 Tablet with Pen.", True),
    ],
    ids=["a short title", "a longer word", "within a title of train"],
)
def test_a_likeness_to_a_held_out_title_is_none(tmp_path: Path, text: str, also_in_train: bool) -> None:
    more = [session("train-2", [f"{TEST.titles[0]} and Case, Black", "Pen"], ((0, 1),))] if also_in_train else []
    assert leaks([*CLEAN, *more], write_pack(tmp_path, {"kind": "rule", "text": text})) == []


def test_a_category_that_reaches_the_prompt_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(session: Session, retrieved: Retrieved) -> str:
        return " / ".join(" > ".join(item.category) for item in session.items)

    monkeypatch.setattr(Session, "blind", lambda self: self)
    monkeypatch.setattr(compose, "judge_prompt", telling)
    items = tuple(item.model_copy(update={"category": ("Bags", "Sleeves")}) for item in HELD.items)
    found = leaks([TRAIN, HELD.model_copy(update={"items": items})])
    assert found == [("categories at prediction time", "the prompt of valid-1 changes with them")]


def test_an_annotation_that_reaches_the_prompt_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "blind", lambda self: self)
    monkeypatch.setattr(compose, "name_prompt", lambda session, group: str(session.groups))
    session_of_three = session("valid-2", ["Tea", "Cup", "Pot"], ((1, 2),), split="validation")
    assert leaks([TRAIN, session_of_three]) == [
        ("categories at prediction time", "the prompt of valid-2 changes with them")
    ]


def test_titles_made_of_categories_are_a_leak() -> None:
    items = tuple(
        Item(id=name, title=f"Home, Kitchen & Dining - {name}", category=("Home", "Kitchen & Dining"))
        for name in ("tea", "cup")
    )
    held = HELD.model_copy(update={"items": items, "bundles": ()})
    assert leaks([TRAIN, held]) == [
        (
            "categories at prediction time",
            "titles spell out their category, such as 'Home, Kitchen & Dining - tea' in valid-1",
        )
    ]


def test_a_session_the_student_cannot_read_is_no_reason_to_stop() -> None:
    assert leaks([TRAIN, session("valid-2", ["Alone"], split="validation")]) == []


def test_the_refusal_counts_by_kind_and_names_the_first_cases() -> None:
    many = [Leak("a session id twice", f"s{number}") for number in range(SHOWN + 2)]
    with pytest.raises(DataError) as raised:
        require_clean([*many, Leak("equal products in two splits", "x and y")])
    assert str(raised.value) == (
        "the data leak, so no cell was run. a session id twice (5): s0; s1; s2 and 2 more | "
        "equal products in two splits (1): x and y. Correct the data, then run again"
    )
