"""Prompts for the student: k=0 is plain, titles stay in their line, nothing but titles is read."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import HOSTILE, record, session, thought

from bundlewise.agents.student.compose import (
    MAX_PRODUCTS,
    JudgePrompt,
    fitting,
    judge_prompt,
    name_prompt,
    together,
    write_prompt,
)
from bundlewise.domain import Bundle, Item, Retrieved, Session
from bundlewise.errors import UsageError

TITLES = ["Wireless mouse, black", "Mechanical keyboard", "Foam roller"]
KNOWN = record("rule", "Put a mouse and a keyboard together")
RETRIEVED = Retrieved(records=((KNOWN, 0.5),), hints={(0, 1): "often", (1, 2): "never"})
Prompt = Callable[[Session], str]


def judged(given: Session, retrieved: Retrieved = RETRIEVED) -> str:
    prompt = judge_prompt(given, retrieved)
    return "\n".join([prompt.head, *prompt.questions])


def whole(given: Session, retrieved: Retrieved = RETRIEVED, feedback: str = "") -> str:
    return write_prompt(given, retrieved, feedback=feedback).user


PROMPTS: list[Prompt] = [judged, whole, lambda given: name_prompt(given, (0, 2))]
prompts = pytest.mark.parametrize("prompt", PROMPTS, ids=["judge", "write", "name"])


def test_the_judge_asks_about_every_pair_once_with_its_hint() -> None:
    prompt = judge_prompt(session("s", TITLES), RETRIEVED)
    assert prompt.head == (
        "Known from other shoppers:\n- Put a mouse and a keyboard together\n3 products. Which go together?"
    )
    assert prompt.pairs == ((0, 1), (0, 2), (1, 2))
    assert prompt.questions == (
        "wireless mouse + mechanical keyboard often?",
        "wireless mouse + foam roller?",
        "mechanical keyboard + foam roller never?",
    )


def test_nothing_retrieved_is_exactly_the_plain_prompt() -> None:
    plain = session("s", TITLES)
    assert judge_prompt(plain, Retrieved()).head == "3 products. Which go together?"
    assert judge_prompt(plain, Retrieved()).questions[0] == "wireless mouse + mechanical keyboard?"
    assert whole(plain, Retrieved()).startswith("Products:\n1. Wireless mouse, black\n")
    assert write_prompt(plain, RETRIEVED).system == write_prompt(plain, Retrieved()).system


def test_knowledge_stands_before_the_products_and_solved_sessions_show_their_answers() -> None:
    solved = thought(session("t", ["Red mouse", "Desk", "Blue pad"], ((0, 2),)), ["mouse", "desk", "pad"])
    known = Retrieved(records=((KNOWN, 0.5),), demonstrations=((solved, 0.5),))
    text = whole(session("s", TITLES), known)
    assert text.startswith("Rules:\n- Put a mouse and a keyboard together\n")
    assert "1. Red mouse\n2. Desk\n3. Blue pad\nBundles:\n1 3\nset up a desk\n" in text
    assert text.endswith(whole(session("s", TITLES), Retrieved()))


def test_a_reasoning_is_asked_for_in_the_system_text_alone() -> None:
    plain, thinking = (write_prompt(session("s", TITLES), RETRIEVED, reasoning=given) for given in (False, True))
    assert "Because:" in thinking.system and "Because:" not in plain.system
    assert thinking.user == plain.user


def test_words_that_titles_share_stand_in_their_question() -> None:
    prompt = judge_prompt(session("s", ["Glide 11 tablet", "Case for Glide 11"]), Retrieved())
    assert prompt.questions == ("glide tablet + case (glide 11)?",)


def test_faults_come_back_as_feedback_on_one_line() -> None:
    given = session("s", TITLES)
    plain, fed_back = (whole(given, Retrieved(), text).splitlines() for text in ("", "no intent\nBundles:"))
    assert [line for line in fed_back if line not in plain] == [
        "Your last answer could not be used: no intent Bundles:."
    ]


@prompts
@pytest.mark.parametrize("title", HOSTILE)
def test_a_hostile_title_changes_nothing_but_its_own_lines(prompt: Prompt, title: str) -> None:
    harmless = prompt(session("s", ["Plain case", *TITLES[1:]])).splitlines()
    hostile = prompt(session("s", [title, *TITLES[1:]])).splitlines()
    own = [n for n, line in enumerate(harmless) if "case" in line.lower()]
    assert len(hostile) == len(harmless)
    assert own
    assert all(a == b for n, (a, b) in enumerate(zip(harmless, hostile, strict=True)) if n not in own)
    assert "49" not in "".join(hostile)
    assert "<|" not in "".join(hostile)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("prompt", [judged, whole])
def test_hostile_knowledge_stays_on_its_own_line(prompt: Callable[..., str], text: str) -> None:
    harmless, hostile = (
        prompt(session("s", TITLES), Retrieved(records=((record("thought", said), 0.5),))).splitlines()
        for said in ("harmless", text)
    )
    assert len(hostile) == len(harmless)
    assert [n for n, (a, b) in enumerate(zip(harmless, hostile, strict=True)) if a != b] == [1]


@given(
    st.lists(st.tuples(st.text(max_size=9)), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(0, 99), min_size=3, max_size=3),
    st.sampled_from([((0, 1),), ((0, 1, 2),), ()]),
    st.sampled_from(["train", "validation", "test"]),
)
@prompts
def test_category_price_annotation_and_split_never_reach_the_student(
    prompt: Prompt,
    categories: list[tuple[str]],
    prices: list[float | None],
    groups: tuple[tuple[int, ...], ...],
    split: str,
) -> None:
    items = tuple(
        Item(id=f"id{n}", title=title, category=category, price=price)
        for n, (title, category, price) in enumerate(zip(TITLES, categories, prices, strict=True))
    )
    bundles = tuple(Bundle(item_ids=tuple(items[p].id for p in group), intent="xyzzy") for group in groups)
    told = session("s", TITLES, items=items, bundles=bundles, split=split)
    assert prompt(told.blind()) == prompt(session("s", TITLES).blind())
    assert told.blind() == session("s", TITLES, split=split, items=told.blind().items).blind()


@pytest.mark.parametrize("count", [0, 1, MAX_PRODUCTS + 1])
def test_too_few_or_too_many_products_are_a_usage_error(count: int) -> None:
    with pytest.raises(UsageError, match=f"session s has {count} products; the student reads 2 to {MAX_PRODUCTS}"):
        judge_prompt(session("s", ["Mouse"] * count), Retrieved())


@pytest.mark.parametrize(("a", "b", "expected"), [(0, 1, True), (1, 0, True), (0, 2, False), (2, 3, False)])
def test_products_are_together_when_one_bundle_holds_both(a: int, b: int, expected: bool) -> None:
    assert together(((0, 1), (2, 4)), a, b) is expected


def by_size(limit: int) -> Callable[[JudgePrompt], bool]:
    return lambda prompt: len(prompt.head) + sum(map(len, prompt.questions)) <= limit


def size(prompt: JudgePrompt) -> int:
    return len(prompt.head) + sum(map(len, prompt.questions))


def test_a_prompt_that_fits_is_left_as_it_is() -> None:
    asked, known = session("s", ["Padmoor Glide 11 Tablet", "Folio Case"]), Retrieved()
    assert fitting(asked, known, judge_prompt, by_size(10_000)) == (judge_prompt(asked, known), "")


def test_what_is_too_long_loses_knowledge_first_then_words_of_titles_and_never_a_question() -> None:
    titles = [f"{'Extraordinarily' * 3}{n} {'Longwinded' * 3} Product" for n in range(3)]
    asked = session("s", titles)
    known = Retrieved(records=tuple((record("rule", f"text number {n} " * 5), 1.0) for n in range(4)))
    uncut = judge_prompt(asked, known)
    prompt, cut = fitting(asked, known, judge_prompt, by_size(size(uncut) - 1))
    assert cut == "1 of 4 knowledge records left out" and prompt.questions == uncut.questions
    bare = size(judge_prompt(asked, Retrieved()))
    prompt, cut = fitting(asked, known, judge_prompt, by_size(bare))
    assert (cut, prompt.questions) == ("4 of 4 knowledge records left out", uncut.questions)
    prompt, cut = fitting(asked, known, judge_prompt, by_size(bare - 1))
    assert cut.startswith("4 of 4 knowledge records left out, titles cut to ")
    assert (prompt.pairs, len(prompt.questions)) == (uncut.pairs, 3) and size(prompt) < bare
    assert fitting(asked, Retrieved(), judge_prompt, by_size(0))[1] == "titles cut to a word"
