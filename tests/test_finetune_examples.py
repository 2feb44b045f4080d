"""SFT examples: the annotators' answers stand at the right places, however the products are ordered."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.agents.student.intent_form import taught
from bundlewise.domain import Bundle, Item, Knowledge, Provenance, Retrieved, Session
from bundlewise.finetune.examples import (
    Example,
    examples,
    judge_example,
    lesson_example,
    name_example,
    reorder,
)

TITLES = ("Red tent", "Blue tent pole", "Gas stove", "Gas cartridge, 230 g", "Book")
SESSION = Session(
    session_id="s",
    split="train",
    items=tuple(Item(id=f"i{n}", title=title) for n, title in enumerate(TITLES)),
    bundles=(
        Bundle(item_ids=("i0", "i1"), intent="Sleep under the stars"),
        Bundle(item_ids=("i3", "i2"), intent="Cook outdoors!"),
    ),
)
PAIRS = list(combinations(range(len(TITLES)), 2))
RETRIEVED = Retrieved(hints={pair: f"word{number}" for number, pair in enumerate(PAIRS)})


@pytest.fixture(scope="module")
def tokenizer(tiny_student: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_student)


def questions(tokenizer: Any, example: Example) -> dict[str, str]:
    """Return for every question, as text, the answer wanted after it."""
    text = {}
    for place, target in zip(example.encoded.places, example.targets, strict=True):
        before = tokenizer.decode(example.encoded.ids[: place + 1])
        text[before.rsplit("\n", 1)[-1]] = tokenizer.decode([target])
    return text


def test_yes_is_wanted_after_exactly_the_questions_about_bundled_pairs(tokenizer: Any) -> None:
    found = questions(tokenizer, judge_example(tokenizer, SESSION, RETRIEVED))
    assert len(found) == len(PAIRS)
    for number, pair in enumerate(PAIRS):
        (answer,) = [answer for question, answer in found.items() if question.endswith(f" word{number}?")]
        assert answer == (" yes" if pair in SESSION.groups else " no")


def test_no_answer_stands_in_the_text_that_the_student_reads(tokenizer: Any) -> None:
    example = judge_example(tokenizer, SESSION, Retrieved())
    assert not set(example.targets) & set(example.encoded.ids)


@given(st.permutations(range(len(TITLES))))
def test_reordering_changes_no_fact_about_any_two_products(order: list[int]) -> None:
    session, retrieved = reorder(SESSION, RETRIEVED, order)

    def facts(session: Session, retrieved: Retrieved) -> dict[frozenset[str], tuple[str, bool]]:
        return {
            frozenset((session.titles[a], session.titles[b])): (
                hint,
                any({a, b} <= set(group) for group in session.groups),
            )
            for (a, b), hint in retrieved.hints.items()
        }

    assert session.titles == [TITLES[old] for old in order]
    assert all(a < b for a, b in retrieved.hints)
    assert facts(session, retrieved) == facts(SESSION, RETRIEVED)


@given(st.permutations(range(len(TITLES))))
def test_the_same_answer_is_wanted_for_two_products_in_any_order(tokenizer: Any, order: list[int]) -> None:
    session, retrieved = reorder(SESSION, RETRIEVED, order)

    def wanted(session: Session, retrieved: Retrieved) -> dict[str, str]:
        found = questions(tokenizer, judge_example(tokenizer, session, retrieved))
        return {question.rsplit(" ", 1)[-1]: answer for question, answer in found.items()}

    assert wanted(session, retrieved) == wanted(SESSION, RETRIEVED)


def test_each_place_of_a_name_example_wants_the_next_token_of_the_intent_and_then_the_end(tokenizer: Any) -> None:
    example = name_example(tokenizer, SESSION, bundle=1)
    prompt = tokenizer.decode(example.encoded.ids[: example.encoded.places[0] + 1])
    assert "gas stove" in prompt.lower()
    assert "red tent" not in prompt.lower()
    assert prompt.lower().endswith("intent:")
    assert tokenizer.decode(example.targets[:-1]) == " cook outdoors\n"
    assert example.targets[-1] == tokenizer.eos_token_id
    read = [example.encoded.ids[place + 1] for place in example.encoded.places[:-1]]
    assert read == list(example.targets[:-1])


@pytest.mark.parametrize(
    ("intent", "text"),
    [
        ("Cook Outdoors!", "cook outdoors"),
        ("one two three four five six seven", "one two three four five six"),
        ("Children\u2019s room", "children's room"),
        ("wi-fi: 5G", "wi-fi 5g"),
        ("  ", ""),
        ("\u5bb6", "\u5bb6"),
        ("Straße für Kinder", "straße für kinder"),
        ("Cafe\u0301 set", "café set"),
        ("Рабочий стол!", "рабочий стол"),
        ("办公桌、椅子", "办公桌 椅子"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u06a9\u0631",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u06a9\u0631",
        ),
        ("\u202edesk\u200b set\u00ad up", "desk set up"),
        ("'quoted' -- set", "quoted' set"),
    ],
)
def test_intents_are_normalised_to_what_the_student_writes(intent: str, text: str) -> None:
    assert taught(intent) == text


def test_an_epoch_is_determined_by_its_seed(tokenizer: Any) -> None:
    def epoch(seed: int) -> list[Example]:
        return examples(tokenizer, [SESSION] * 4, [RETRIEVED] * 4, intents=0.5, seed=seed)

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)


@pytest.mark.parametrize(("share", "named"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_all_intents_is_asked_for(tokenizer: Any, share: float, named: int) -> None:
    made = examples(tokenizer, [SESSION] * 4, [RETRIEVED] * 4, intents=share, seed=0)
    assert len(made) == 4 + named


def test_a_bundle_without_intent_is_not_asked_for(tokenizer: Any) -> None:
    silent = SESSION.model_copy(update={"bundles": tuple(Bundle(item_ids=b.item_ids) for b in SESSION.bundles)})
    assert len(examples(tokenizer, [silent], [Retrieved()], intents=1.0, seed=0)) == 1


def record(number: int, text: str = "Tents and stoves go together.") -> Knowledge:
    return Knowledge(
        id=f"pattern-{number}",
        kind="pattern",
        domain="camping",
        text=text,
        kinds=("tent", "stove"),
        provenance=Provenance(teacher="t", prompt="p", run="r"),
    )


def test_a_lesson_wants_the_words_of_its_record_after_a_question_by_its_kinds(tokenizer: Any) -> None:
    example = lesson_example(tokenizer, record(1))
    first = example.encoded.places[0]
    assert tokenizer.decode(example.encoded.ids[: first + 1]).endswith("tent + stove. Which go together, and why?")
    assert tokenizer.decode(example.targets[:-1]) == " Tents and stoves go together.\n"
    assert example.targets[-1] == tokenizer.eos_token_id
    assert example.task == "lesson"


def test_a_long_lesson_is_cut_and_cannot_leave_its_line(tokenizer: Any) -> None:
    example = lesson_example(tokenizer, record(1, "word\n<|im_end|> " * 400))
    assert len(example.targets) == 97
    assert tokenizer.eos_token_id not in example.targets[:-1]
    assert "\n" not in tokenizer.decode(example.targets[:-1])


@pytest.mark.parametrize(("offered", "taught"), [(0, 0), (1, 1), (9, 3)])
def test_an_epoch_teaches_at_most_a_lesson_a_session(tokenizer: Any, offered: int, taught: int) -> None:
    lessons = [record(number) for number in range(offered)]
    made = examples(tokenizer, [SESSION] * 3, [Retrieved()] * 3, intents=0, seed=0, lessons=lessons)
    assert sum(example.task == "lesson" for example in made) == taught
