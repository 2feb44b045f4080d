"""Whole answers: the grammar admits what is read without a fault, in Lark and in GBNF, and every fault is named."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from chat_families import save_merging_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from bundlewise.agents.student.answer_text import (
    LONGEST_INTENT,
    LONGEST_THOUGHT,
    THOUGHT,
    answer_grammar,
    answer_text,
    grouping_text,
    intent_line,
    intents_grammar,
    most_bundles,
    read_answer,
)
from bundlewise.agents.student.answers import gbnf
from bundlewise.domain import Grouping

INTENTS = (
    st.lists(
        st.sampled_from(
            ["Set", "up", "iPhone", "15", "a", "7-inch", "für", "買", "Déjà", "(2)", "<b>", "a\x0b\u2028b"]
        ),
        min_size=2,
        max_size=5,
    )
    .map(" ".join)
    .filter(lambda said: said[0] not in "(<")
)
PIECES = st.sampled_from(
    ["1", "2", "3", "4", "9", "12", " ", "; ", ";", "\n", "Set up", "a desk 4", "-", "Because: ", ","]
)
ANSWERS = [
    ("1 2\nSet up\n", True),
    ("1 2; 3 4\nSet up\nDesk 4\n", True),
    ("1 2; 1 3\nSet up\nDesk 4\n", True),
    ("1 2; 1 2\nSet up\nDesk 4\n", True),
    ("1 2 3 4\n5G for an iPhone\n", True),
    ("1 2; 1 3; 1 4\n" + "Set up\n" * 3, True),
    ("1 2; 1 3; 1 4; 2 3\n" + "Set up\n" * 4, False),
    ("1\nSet up\n", False),
    ("2 1\nSet up\n", False),
    ("1 1\nSet up\n", False),
    ("1 5\nSet up\n", False),
    ("0 1\nSet up\n", False),
    ("1 2; 3\nSet up\nDesk 4\n", False),
    ("1 2\n", False),
    ("1 2\nSet up\nDesk\n", False),
    ("1 2; 3 4\nSet up\n", False),
    ("1 2\nSet up", False),
    ("1 2\n Set up\n", False),
    ("1 2\n- Set up\n", False),
    ("1 2\n\x00\u200b\n", False),
    ("1 2\n買う\n", True),
    ("1 2\n\u3164\u3164\n", False),
    ("1  2\nSet up\n", False),
    ("1 2\n" + "x" * 60 + "\n", True),
    ("1 2\n" + "x" * 61 + "\n", False),
    ("", False),
]


@cache
def vocabulary(folder: Path) -> Any:
    from llguidance.hf import from_tokenizer
    from transformers import AutoTokenizer

    return from_tokenizer(AutoTokenizer.from_pretrained(folder))


@cache
def compiled(grammar: str) -> Any:
    return LLMatcher.grammar_from_lark(grammar)


@cache
def in_gbnf(grammar: str) -> str:
    found: str = any_to_lark(gbnf(grammar))
    return found


def admits(folder: Path, grammar: str, text: str) -> bool:
    """Say whether a grammar admits a whole text."""
    tokenizer = vocabulary(folder)
    matcher, tokens = LLMatcher(tokenizer, compiled(grammar)), tokenizer.tokenize_str(text)
    return matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, Grouping, tuple[str, ...]]:
    """Draw different bundles, which may overlap, with their intents."""
    products = draw(st.integers(2, 12))
    bundle = st.lists(st.integers(0, products - 1), min_size=2, max_size=6, unique=True).map(lambda g: tuple(sorted(g)))
    groups = tuple(sorted(draw(st.lists(bundle, min_size=1, max_size=min(4, most_bundles(products)), unique=True))))
    return products, groups, tuple(draw(INTENTS) for _ in groups)


@given(drawn=answers(), thought=st.sampled_from(["", "All of them serve an iPhone 15"]))
def test_what_is_written_is_admitted_and_read_back_without_a_fault(
    tiny_student: Path, drawn: tuple[int, Grouping, tuple[str, ...]], thought: str
) -> None:
    products, groups, intents = drawn
    text = answer_text(groups, intents, thought)
    found = read_answer(text, products)
    assert (found.groups, found.intents, found.faults) == (groups, tuple(map(intent_line, intents)), ())
    grammar = answer_grammar(products, reasoning=bool(thought))
    assert admits(tiny_student, grammar, text) and admits(tiny_student, in_gbnf(grammar), text)
    assert not admits(tiny_student, answer_grammar(products, reasoning=not thought), text)


@given(drawn=answers(), order=st.randoms(use_true_random=False))
def test_the_same_bundles_in_any_order_are_one_text(drawn: tuple[int, Grouping, tuple[str, ...]], order: Any) -> None:
    _, groups, intents = drawn
    rows = list(zip(groups, intents, strict=True))
    order.shuffle(rows)
    mixed = tuple(tuple(order.sample(group, len(group))) for group, _ in rows)
    assert grouping_text(mixed).split("; ").sort() == grouping_text(groups).split("; ").sort()
    assert answer_text([g for g, _ in rows], [i for _, i in rows]) == answer_text(groups, intents)  # type: ignore[arg-type]


@given(products=st.integers(2, 12), pieces=st.lists(PIECES, max_size=9))
def test_whatever_the_grammar_admits_is_read_without_a_fault(
    tiny_student: Path, products: int, pieces: list[str]
) -> None:
    text = "".join(pieces)
    grammar = answer_grammar(products)
    admitted = admits(tiny_student, grammar, text)
    assert admits(tiny_student, in_gbnf(grammar), text) is admitted
    found = read_answer(text, products)
    if admitted:
        assert not found.faults and found.groups
    assert len(found.groups) == len(found.intents) and all(len(group) > 1 for group in found.groups)


@pytest.mark.parametrize(("text", "admitted"), ANSWERS)
def test_the_grammar_of_four_products(tiny_student: Path, text: str, admitted: bool) -> None:
    for grammar in (answer_grammar(4), in_gbnf(answer_grammar(4))):
        assert admits(tiny_student, grammar, text) is admitted
    if admitted:
        assert not read_answer(text, 4).faults


@pytest.mark.parametrize(("text", "admitted"), [("3 11; 10 12\nSet up\nDesk\n", True), ("3 13\nSet up\n", False)])
def test_numbers_of_two_digits_are_written_digit_by_digit_or_whole(
    tiny_student: Path, tmp_path: Path, text: str, admitted: bool
) -> None:
    save_merging_tokenizer(tmp_path)
    splitting = vocabulary(tmp_path)
    assert len(splitting.tokenize_str("10 12")) == 5
    for folder in (tiny_student, tmp_path):
        assert admits(folder, answer_grammar(12), text) is admitted


@given(text=st.text(), products=st.integers(2, 30))
def test_any_text_is_read_and_has_bundles_or_a_fault(text: str, products: int) -> None:
    found = read_answer(text, products)
    assert found.groups or found.faults
    assert len(set(found.groups)) == len(found.groups) == len(found.intents)
    assert all(0 <= place < products for group in found.groups for place in group)
    assert all(len(intent) <= LONGEST_INTENT and "\n" not in intent for intent in found.intents)


def test_two_equal_bundles_count_once_with_the_first_intent() -> None:
    found = read_answer("3 4; 1 2; 2 1\nOther\nSet up a desk\nSomething else\n", 4)
    assert found.groups == ((0, 1), (2, 3))
    assert found.intents == ("Set up a desk", "Other")
    assert found.faults == ()


@pytest.mark.parametrize(
    ("text", "groups", "fault"),
    [
        ("", (), "'' is no list of product numbers from 1 to 4"),
        ("I like all of these!", (), "'I like all of these!' is no list of product numbers from 1 to 4"),
        ("1 2; 3 9\nSet up\nOther", ((0, 1),), "'3 9' is no list of product numbers from 1 to 4"),
        ("1 2; 3 4\nSet up\n", ((0, 1), (2, 3)), "bundle of product 3 has no intent"),
        ("1 2\nSet up\nOther\n", ((0, 1),), "2 intents for 1 bundles"),
        ("1\nSet up\n", (), "no two products go together"),
        ("1000 2\nSet up\n", (), "'1000 2' is no list of product numbers from 1 to 4"),
    ],
)
def test_every_fault_is_named_with_product_numbers(text: str, groups: Grouping, fault: str) -> None:
    found = read_answer(text, 4)
    assert found.groups == groups
    assert fault in found.faults


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("iPhone 15 Pro Setup", "iPhone 15 Pro Setup"),
        ("  a\tdesk\u200b &amp; chair ", "a desk & chair"),
        ("<|im_start|>system", "< |im_start| >system"),
        ("x" * 99, "x" * LONGEST_INTENT),
    ],
)
def test_an_intent_keeps_digits_and_capitals_on_one_line_without_marks(said: str, read: str) -> None:
    assert intent_line(said) == read
    assert intent_line(read) == read
    assert read_answer(f"1 2\n{said}\n", 2).intents == (read,)


def test_a_line_of_reasoning_is_written_in_its_length_and_not_read(tiny_student: Path) -> None:
    text = answer_text(((0, 1),), ["Set up"], "a phone and\nits case " * 40)
    thought, _, rest = text.partition("\n")
    assert thought.startswith(f"{THOUGHT}a phone and its case") and len(thought) == len(THOUGHT) + LONGEST_THOUGHT
    assert admits(tiny_student, answer_grammar(2, reasoning=True), text)
    assert read_answer(text, 2) == read_answer(rest, 2)
    assert not read_answer(text, 2).faults


@pytest.mark.parametrize(
    ("text", "admitted"), [("Set up\nDesk 4\n", True), ("Set up\n", False), ("1 2\na b\nc d\n", False)]
)
def test_intents_alone_are_a_line_for_each_bundle(tiny_student: Path, text: str, admitted: bool) -> None:
    grammar = intents_grammar(2)
    assert admits(tiny_student, grammar, text) is admits(tiny_student, in_gbnf(grammar), text) is admitted


def test_the_line_of_bundles_is_in_the_order_of_first_products() -> None:
    assert grouping_text(((3, 2), (0, 4, 1))) == "1 2 5; 3 4\n"
    assert re.fullmatch(r"1 2; 1 3\n", grouping_text(((0, 2), (0, 1))))


def test_a_written_answer_has_at_most_a_bundle_for_two_products_and_one_more(tiny_student: Path) -> None:
    most, pairs = most_bundles(4), ["1 2", "1 3", "1 4", "2 3"]
    for count in range(1, 5):
        text = "; ".join(pairs[:count]) + "\n" + "Set up\n" * count
        assert admits(tiny_student, answer_grammar(4), text) is (count <= most == 3)


def test_a_long_intent_ends_after_a_word() -> None:
    assert intent_line("set up a desk " * 9) == "set up a desk set up a desk set up a desk set up a desk set"
    assert intent_line("a" * 59 + " bc") == "a" * 59 and intent_line("a" * 58 + " b c") == "a" * 58 + " b"
    assert intent_line("m" * 99) == "m" * 60


@pytest.mark.parametrize(
    "row", ["1, 3; 2 4", "1 3; 2 4.", "Bundles: 1 3; 2,4", "**Bundles:** 1 3 | 2 4", "Bundles:\n1 3; 2 4"]
)
def test_answers_of_servers_without_a_grammar_are_read_kindly(row: str) -> None:
    found = read_answer(f"{row}\nSet up a desk\nListen\n", 4)
    assert (found.groups, found.intents, found.faults) == (((0, 2), (1, 3)), ("Set up a desk", "Listen"), ())


def test_a_line_of_signs_is_no_intent() -> None:
    assert read_answer("1 2\n---\n", 2).faults == ("bundle of product 1 has no intent",)
