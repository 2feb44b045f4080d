"""Answers and intents: the grammar of an intent admits every script, locally and on servers; faults are named."""

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from samples import session

from bundlewise.agents.student import intent_form
from bundlewise.agents.student.answers import (
    INTENT_TOKENS,
    OTHER_TOKENS,
    Answer,
    gbnf,
    intent_grammar,
    intent_tokens,
)
from bundlewise.agents.student.intent_form import INTENT, LONGEST_WORD

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
FIRST_WORDS = st.from_regex("[a-z][a-z'-]{1,23}", fullmatch=True)
WORDS = st.from_regex("[a-z0-9'-]{1,24}", fullmatch=True)
FOREIGN = st.sampled_from(
    [
        "für",
        "подарки",
        "买电脑",
        "โต๊ะทำงาน",
        "إعداد",
        "मेज",
        "책상",
        "σπίτι",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "٣",
    ]
)
FIRST_FOREIGN = FOREIGN.filter(str.isalpha)
PHRASES = st.tuples(FIRST_WORDS | FIRST_FOREIGN, st.lists(WORDS | FOREIGN, min_size=1, max_size=5)).map(
    lambda drawn: " ".join([drawn[0], *drawn[1]])
)
RUNS = st.sampled_from(["组装办公桌", "新しい机", "จัดโต๊ะทำงาน", "买电脑"])
INTENTS = PHRASES | RUNS
LINE = f'start: " " INTENT "\\n"\nINTENT: /{INTENT}/\n'
"""The grammar of one intent without a limit of tokens."""


@cache
def vocabulary(folder: Path) -> Any:
    from llguidance.hf import from_tokenizer
    from transformers import AutoTokenizer

    return from_tokenizer(AutoTokenizer.from_pretrained(folder))


def admits(folder: Path, grammar: str, text: str) -> bool:
    """Say whether a grammar admits a whole text."""
    from llguidance import LLMatcher

    tokenizer = vocabulary(folder)
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar))
    tokens = tokenizer.tokenize_str(text)
    return matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


@given(said=INTENTS)
def test_an_intent_is_two_to_six_words(said: str) -> None:
    assert 2 <= len(said.split(" ")) <= 6 or not said.isascii()
    assert regex.fullmatch(INTENT, said, regex.V1)


@pytest.mark.parametrize(
    "said",
    [
        "подарки для мамы",
        "möbel für den garten",
        "Über den Wolken",
        "组装办公桌",
        "จัดโต๊ะทำงาน",
        f"{PERSIAN} كتب",
        "책상 정리",
    ],
)
def test_an_intent_is_written_sent_to_servers_and_read_in_the_letters_of_any_script(
    tiny_student: Path, said: str
) -> None:
    from llguidance.gbnf_to_lark import any_to_lark

    grammar = intent_grammar(said)
    text = f" {said.replace('W', 'w')}\n"
    assert admits(tiny_student, grammar, text)
    assert admits(tiny_student, any_to_lark(gbnf(grammar)), text)
    assert intent_form.said(text) == said.lower()
    assert intent_form.admitted(f" {said.replace('W', 'w')}.\nmore", cut=False) == said.lower()
    assert intent_form.taught(said) == said.lower()


@pytest.mark.parametrize(
    "said",
    ["a\u202eb c", "a\u200bb c", "fit\u3164 kit", "<b> kit", "fit\u00a0kit", "fit\x1b kit", "组" * 25, "组、装", "ъ"],
)
def test_what_is_not_seen_markup_and_length_stay_out_of_an_intent(tiny_student: Path, said: str) -> None:
    from llguidance.gbnf_to_lark import any_to_lark

    for grammar in (LINE, any_to_lark(gbnf(LINE))):
        assert not admits(tiny_student, grammar, f" {said}\n")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("  <b>Fit</b> a\u202e kit\u200b!", "b fit b a kit"),
        ("<|im_start|>kit now", "im start kit now"),
        ("caf\u0065\u0301 set", "café set"),
        ("a b c d e f g h", "a b c d e f"),
        ("组" * 40, "组" * LONGEST_WORD),
        ("z" + "\u0301" * 50 + " kit", "\u017a\u0301\u0301\u0301 kit"),
        ("-- ' --", ""),
        ("\ufffd\ufffd", ""),
    ],
)
def test_an_intent_that_no_grammar_held_is_read_as_words_of_a_bounded_length(written: str, read: str) -> None:
    answer = Answer.of([((0, 1), intent_form.said(written))])
    assert answer.intents == (read,)
    assert bool(answer.faults) is not bool(read)


@given(st.text())
def test_what_is_read_or_taught_as_an_intent_stays_as_it_is(text: str) -> None:
    for form in (intent_form.said, intent_form.taught):
        found = form(text)
        assert form(found) == found
        assert unicodedata.is_normalized("NFC", found)
        assert len(found) <= (LONGEST_WORD + 1) * 6
        assert regex.fullmatch("[\\p{L}\\p{M}\\p{Nd} '\u200c\u200d-]*", found)


@pytest.mark.parametrize(
    ("text", "admitted"),
    [(" fit kit\n", True), ("fit kit\n", False), (" fit kit", False), (" fit\n", False), (" Fit kit\n", False)],
)
def test_an_intent_stands_on_a_line_of_its_own(tiny_student: Path, text: str, admitted: bool) -> None:
    assert admits(tiny_student, intent_grammar(), text) is admitted


def test_letters_beyond_ascii_have_more_tokens() -> None:
    assert intent_tokens(intent_grammar("Shopping for desk. Intent:")) == INTENT_TOKENS
    assert intent_tokens(intent_grammar("Shopping for стол. Intent:")) == OTHER_TOKENS > INTENT_TOKENS
    assert intent_tokens(LINE) is None


def test_an_intent_ends_after_its_tokens_however_short_they_are(tiny_student: Path) -> None:
    assert not admits(tiny_student, intent_grammar(), " " + "q" * 3 + " z" * (INTENT_TOKENS + 1) + "\n")


def test_bundles_carry_numbers_from_one_and_the_products_ids() -> None:
    answer = Answer(groups=((0, 2),), intents=("set up a desk",))
    (bundle,) = answer.bundles(session("s", ["a", "b", "c"]))
    assert (bundle.items, bundle.item_ids, bundle.intent) == ((1, 3), ("s-1", "s-3"), "set up a desk")


def test_an_answer_of_bundles_is_in_the_order_of_their_first_products_and_names_its_faults() -> None:
    answer = Answer.of([((2, 3), "for the road"), ((0, 4), "")])
    assert answer == Answer(((0, 4), (2, 3)), ("", "for the road"), ("bundle of product 1 has no intent",))
    assert Answer.of([]) == Answer((), (), ("no two products go together",))


@given(said=INTENTS)
def test_in_gbnf_the_intents_of_all_scripts_are_admitted(tiny_student: Path, said: str) -> None:
    from llguidance.gbnf_to_lark import any_to_lark

    for grammar in (LINE, any_to_lark(gbnf(LINE))):
        assert admits(tiny_student, grammar, f" {said}\n")


def test_a_rule_that_gbnf_cannot_say_is_an_error_and_not_left_out() -> None:
    with pytest.raises(ValueError, match="not a rule that can be written in GBNF: '%ignore x'"):
        gbnf('start: "a"\n%ignore x')


@pytest.mark.parametrize("text", [" fit kit\n", " a-b c'd 3\n", " fit\n", " fit  kit\n", "fit kit\n", " Fit kit\n"])
def test_in_gbnf_an_intent_is_the_same_line(tiny_student: Path, text: str) -> None:
    from llguidance.gbnf_to_lark import any_to_lark

    grammar = intent_grammar()
    assert admits(tiny_student, any_to_lark(gbnf(grammar)), text) is admits(tiny_student, grammar, text)
