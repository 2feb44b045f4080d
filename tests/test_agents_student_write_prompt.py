"""Prompts for whole answers: knowledge as text, cut before the question is; nothing retrieved is the plain prompt."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import HOSTILE, record, session, thought

from bundlewise.agents.student.answer_text import answer_text
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import MAX_PRODUCTS, fitting, size_of, write_prompt
from bundlewise.domain import Bundle, Item, Knowledge, Retrieved, Session
from bundlewise.errors import UsageError

TITLES = ["Wireless mouse, black", "Mechanical keyboard", "Foam roller"]
ASKED = session("s", TITLES)
SOLVED = [
    session(
        f"d{n}",
        [f"Tent {n}", f"Stove {n}", f"Lamp {n}", f"Rug {n}"],
        bundles=(
            Bundle(item_ids=(f"d{n}-3", f"d{n}-4"), intent=f"Light a room {n}"),
            Bundle(item_ids=(f"d{n}-1", f"d{n}-2"), intent=f"Camp with 2 kids {n}"),
        ),
    )
    for n in (1, 2)
]
THOUGHTS = [thought(each, ["tent", "stove", "lamp", "rug"]) for each in SOLVED]
RULE = record("rule", "Put a mouse and a keyboard together")
PATTERN = record("pattern", "mouse + keyboard: bundled in 3 of 4 sessions", kinds=("mouse", "keyboard"))
LESSON = record("thought", "A desk needs both.")
KNOWN = Retrieved(
    records=tuple((each, 0.5) for each in (LESSON, RULE, PATTERN)),
    demonstrations=tuple((each, 0.5) for each in THOUGHTS),
)
PLAIN = "Products:\n1. Wireless mouse, black\n2. Mechanical keyboard\n3. Foam roller\nBundles:"
NOTES = (
    "Rules:\n- Put a mouse and a keyboard together\n\n"
    "Patterns of other shoppers:\n- mouse + keyboard: bundled in 3 of 4 sessions\n\n"
    "Lessons from similar sessions:\n- A desk needs both.\n\n"
)


def shown(each: Session) -> str:
    """Return a demonstration: the question about a session with the answer that would be taught."""
    question = write_prompt(each, Retrieved()).user
    return question + "\n" + answer_text(each.groups, [bundle.intent for bundle in each.bundles]) + "\n"


def test_knowledge_comes_in_sections_then_solved_sessions_the_nearest_first_then_the_question() -> None:
    assert write_prompt(ASKED, KNOWN).user == NOTES + shown(SOLVED[0]) + shown(SOLVED[1]) + PLAIN
    assert "Bundles:\n1 2; 3 4\nCamp with 2 kids 1\nLight a room 1\n\nProducts:" in write_prompt(ASKED, KNOWN).user


def test_nothing_retrieved_is_exactly_the_plain_prompt() -> None:
    plain = write_prompt(ASKED, Retrieved())
    assert plain.user == PLAIN and plain.opening == ""
    assert write_prompt(ASKED, KNOWN).system == plain.system
    hints = Retrieved(hints={(0, 1): "often"}, affinity={(0, 1): 2.0}, evidence=((LESSON, 0.5),))
    assert write_prompt(ASKED, hints) == plain
    assert size_of(plain) == len(plain.system.encode()) + len(plain.user.encode())


def test_a_line_of_reasoning_and_feedback_are_asked_for_only_if_wanted() -> None:
    plain, told = (
        write_prompt(ASKED, Retrieved()),
        write_prompt(ASKED, Retrieved(), reasoning=True, feedback="no\nlabel"),
    )
    assert "Because:" not in plain.system and '"Because:"' in told.system
    assert told.user == PLAIN.replace("Bundles:", "Your last answer could not be used: no label.\nBundles:")


@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_changes_nothing_but_its_own_line(title: str) -> None:
    harmless, hostile = (write_prompt(session("s", [first, *TITLES[1:]]), KNOWN) for first in ("Plain case", title))
    assert harmless.system == hostile.system
    rows = list(zip(harmless.user.split("\n"), hostile.user.split("\n"), strict=True))
    assert [a for a, b in rows if a != b] == ["1. Plain case"]
    assert "49" not in hostile.user and "<|" not in hostile.user


def hostile_knowledge(text: str) -> Retrieved:
    source = session("d", [text, "Stove"], bundles=(Bundle(item_ids=("d-1", "d-2"), intent=text),))
    return Retrieved(records=((record("rule", text), 0.5),), demonstrations=((thought(source, ["a", "b"]), 0.5),))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_knowledge_stays_on_its_own_lines(text: str) -> None:
    harmless, hostile = (write_prompt(ASKED, hostile_knowledge(said)).user for said in ("harmless case", text))
    rows = list(zip(harmless.split("\n"), hostile.split("\n"), strict=True))
    changed = [a for a, b in rows if a != b]
    assert changed == ["- harmless case", "1. harmless case", "harmless case"]
    assert "49" not in hostile and "<|" not in hostile


@given(
    st.lists(st.none() | st.floats(0, 99), min_size=3, max_size=3),
    st.sampled_from([((0, 1),), ((0, 1, 2),), ()]),
    st.sampled_from(["train", "validation", "test"]),
)
def test_category_price_annotation_and_split_never_reach_the_student(
    prices: list[float | None], groups: tuple[tuple[int, ...], ...], split: str
) -> None:
    items = tuple(
        Item(id=f"id{n}", title=title, category=("xyzzy",), price=price)
        for n, (title, price) in enumerate(zip(TITLES, prices, strict=True))
    )
    bundles = tuple(Bundle(item_ids=tuple(items[p].id for p in group), intent="xyzzy") for group in groups)
    told = session("s", TITLES, items=items, bundles=bundles, split=split)
    assert write_prompt(told.blind(), KNOWN) == write_prompt(ASKED.blind(), KNOWN)


@pytest.mark.parametrize("count", [0, 1, MAX_PRODUCTS + 1])
def test_too_few_or_too_many_products_are_a_usage_error(count: int) -> None:
    with pytest.raises(UsageError, match=f"session s has {count} products; the student reads 2 to {MAX_PRODUCTS}"):
        write_prompt(session("s", ["Mouse"] * count), Retrieved())


def within(limit: int) -> Callable[[ChatPrompt], bool]:
    return lambda prompt: len(prompt.user) <= limit


def cut(limit: int) -> tuple[str, str]:
    prompt, note = fitting(ASKED, KNOWN, write_prompt, within(limit))
    return prompt.user, note


def left(*records: Knowledge) -> str:
    return write_prompt(ASKED, Retrieved(records=tuple((each, 0.5) for each in records))).user


def test_demonstrations_go_first_from_the_last_then_records_then_words_of_titles() -> None:
    whole = write_prompt(ASKED, KNOWN).user
    steps = [
        (whole, ""),
        (NOTES + shown(SOLVED[0]) + PLAIN, "1 of 5 knowledge records left out"),
        (NOTES + PLAIN, "2 of 5 knowledge records left out"),
        (left(LESSON, RULE), "3 of 5 knowledge records left out"),
        (left(LESSON), "4 of 5 knowledge records left out"),
        (PLAIN, "5 of 5 knowledge records left out"),
    ]
    for step, (wanted, note) in enumerate(steps):
        assert cut(len(wanted)) == (wanted, note)
        longer = steps[step - 1][0] if step else wanted + "x"
        assert cut(len(longer) - 1) == (wanted, note)


def test_the_question_is_cut_last_and_keeps_every_product() -> None:
    prompt, note = cut(len(PLAIN) - 1)
    assert note == "5 of 5 knowledge records left out, titles cut to 2 words"
    assert prompt == "Products:\n1. Wireless mouse,\n2. Mechanical keyboard\n3. Foam roller\nBundles:"
    prompt, note = cut(0)
    assert note.endswith("titles cut to a word") and prompt.startswith("Products:\n1. ") and "\n3. " in prompt
