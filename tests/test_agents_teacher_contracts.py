"""What a large teacher must answer: a strict schema on its side, and on ours a reading that names every fault."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import session

from bundlewise.agents.teacher.conditions import Condition
from bundlewise.agents.teacher.contracts import (
    MAX_FAULTS,
    Contract,
    Kinds,
    Lessons,
    Proposal,
    ProposedBundle,
    Reasoning,
    RuleDraft,
    Rules,
    as_kind,
    kinds_faults,
    parse,
    proposal_faults,
    rules_faults,
    schema_of,
)
from bundlewise.prompts.render import render

CONTRACTS: list[type[Contract]] = [Kinds, Proposal, Lessons, Rules, Reasoning]
DESK = session("s", ["Glide Mouse", "Foam Pad", "Wool Rug"])
CONDITION = {"first": ["mouse"], "second": ["pad"], "relation": "any", "least": 2, "most": 99}
RULE = {"text": "Put mouse and pad together.", "together": True, "condition": CONDITION, "lessons": [1]}


def shapes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a schema, at whatever level."""
    if isinstance(schema, list):
        for part in schema:
            yield from shapes(part)
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from shapes(part)


def models(contract: Any) -> Iterator[Any]:
    """Yield a contract and the models that its fields hold."""
    yield contract
    for field in contract.model_fields.values():
        for held in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(held, "model_fields"):
                yield from models(held)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_schema_is_strict_at_every_level(contract: type[Contract]) -> None:
    found = list(shapes(schema_of(contract)))
    assert len(found) == len(list(models(contract)))
    for shape in found:
        assert shape["type"] == "object"
        assert shape["additionalProperties"] is False
        assert shape["required"] == list(shape["properties"])


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_schema_keeps_the_description_of_every_field_and_nothing_of_our_own_docstrings(
    contract: type[Contract],
) -> None:
    told = [field["description"] for shape in shapes(schema_of(contract)) for field in shape["properties"].values()]
    meant = [field.description for model in models(contract) for field in model.model_fields.values()]
    assert sorted(told) == sorted(meant)
    assert all(told)
    assert not any({"title", "description"} & shape.keys() for shape in shapes(schema_of(contract)))


def test_a_schema_of_rules_reaches_down_to_their_conditions() -> None:
    assert schema_of(Rules)["$defs"].keys() == {"RuleDraft", "Condition"}
    assert schema_of(Rules) == schema_of(Rules)


ANSWER = '{"kinds": ["mouse", "pad"]}'


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        f"  \n{ANSWER}\n",
        f"Here you are: {ANSWER} I hope it helps.",
        f"```json\n{ANSWER}\n```",
        f"```\n{ANSWER}```",
        f"<think>{{perhaps a mouse}} and {{}}</think>{ANSWER}",
        f"<think>{{not closed</think>{ANSWER}",
        f'First I thought {{"kinds": ["cat", "dog"]}}, but no: {ANSWER}',
        f'First I thought {{"kinds": 2}}, but no: {ANSWER}',
        f'{ANSWER} (the schema was {{"type": "object"}})',
        '{"kinds": ["mouse", "pad"], "comment": {"kinds": ["cat"]}}',
        '{"draft": {"kinds": ["cat"]}, "kinds": ["mouse", "pad"]}',
        f"{{so: {ANSWER}}}",
    ],
)
def test_a_reply_is_read_in_prose_in_fences_and_after_thinking_aloud(text: str) -> None:
    assert parse(text, Kinds) == (Kinds(kinds=["mouse", "pad"]), [])


@pytest.mark.parametrize(
    ("text", "contract", "faults"),
    [
        ("", Kinds, ["there is no JSON object in it"]),
        ("mouse, pad", Kinds, ["there is no JSON object in it"]),
        ('["mouse"]', Kinds, ["there is no JSON object in it"]),
        ('{"kinds": ["mouse", "pa', Kinds, ["there is no JSON object in it"]),
        ("{'kinds': ['mouse']}", Kinds, ["there is no JSON object in it"]),
        ("{}", Kinds, ["kinds: field required"]),
        ('{"kinds": "mouse"}', Kinds, ["kinds: input should be a valid array"]),
        ('{"kinds": ["mouse", 2]}', Kinds, ["kinds.1: input should be a valid string"]),
        ('{"kinds": [1]} {"kind": "mouse"}', Kinds, ["kinds: field required"]),
        ('{"bundles": [{"items": [1, 2]}]}', Proposal, ["bundles.0.intent: field required"]),
        (
            '{"bundles": [{"items": ["one"], "intent": "x"}]}',
            Proposal,
            ["bundles.0.items.0: input should be a valid integer, unable to parse string as an integer"],
        ),
        (
            '{"bundles": [{"items": [1e400], "intent": "x"}]}',
            Proposal,
            ["bundles.0.items.0: input should be a finite number"],
        ),
        (
            json.dumps({"rules": [RULE | {"condition": CONDITION | {"colour": "red"}}]}),
            Rules,
            ["rules.0.condition.colour: extra inputs are not permitted"],
        ),
        (
            json.dumps({"rules": [RULE | {"condition": CONDITION | {"least": 1}}]}),
            Rules,
            ["rules.0.condition.least: input should be greater than or equal to 2"],
        ),
    ],
)
def test_what_is_wrong_with_a_reply_is_named_with_its_place(
    text: str, contract: type[Contract], faults: list[str]
) -> None:
    assert parse(text, contract) == (None, faults)


def test_a_reply_with_many_faults_is_told_the_first_few() -> None:
    assert len(parse(json.dumps({"kinds": [0] * 50}), Kinds)[1]) == MAX_FAULTS


@pytest.mark.parametrize("text", [r'{"kinds": ["\ud83d"]}', '{"kinds": ["\ud83d"]}', r'{"k\udc00": 1}'])
def test_half_a_character_is_a_fault_as_no_file_could_hold_it(text: str) -> None:
    found, faults = parse(text, Kinds)
    assert found is None
    assert re.match("the object: (invalid json|.* unicode)", faults[0])


# Braces, brackets and numbers beyond all bounds, and halves of characters too.
PIECES = st.sampled_from(
    [*'{}[]",:\\', "{" * 99, '{"kinds":', '{"a":' * 99, "[" * 99999, "9" * 5000, "\\ud800", "null"]
)
REPLIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kinds", "bundles", "rules", "condition", "items", "x\ud800"]), inner)
    ),
)


@pytest.mark.parametrize("contract", CONTRACTS)
@given(
    st.text(st.characters())
    | st.lists(PIECES | st.text(st.characters(), max_size=5), max_size=6).map("".join)
    | st.tuples(REPLIES, st.booleans()).map(lambda made: json.dumps(made[0], ensure_ascii=made[1]))
)
def test_whatever_text_comes_is_either_a_reply_or_has_faults_that_can_be_told(
    contract: type[Contract], text: str
) -> None:
    found, faults = parse(text, contract)
    assert (found is None) == bool(faults)
    assert len(faults) <= MAX_FAULTS
    assert render("teacher_repair", faults=faults).encode()
    assert found is None or found.model_dump_json().encode()


@pytest.mark.parametrize("contract", CONTRACTS)
@given(st.data())
def test_what_keeps_the_contract_is_read_back_as_it_was_written(contract: type[Contract], data: st.DataObject) -> None:
    words = st.text(max_size=20)
    numbers = st.lists(st.integers(-3, 9), max_size=3)
    condition = st.builds(
        Condition,
        first=st.lists(words, max_size=2),
        second=st.just(()),
        least=st.integers(2, 9),
        most=st.integers(2, 99),
    )
    made = {
        Kinds: st.builds(Kinds, kinds=st.lists(words)),
        Proposal: st.builds(
            Proposal, bundles=st.lists(st.builds(ProposedBundle, items=numbers, intent=words), max_size=3)
        ),
        Lessons: st.builds(Lessons),
        Rules: st.builds(
            Rules,
            rules=st.lists(st.builds(RuleDraft, text=words, condition=condition, lessons=numbers), max_size=3),
        ),
        Reasoning: st.builds(Reasoning),
    }
    reply = data.draw(made[contract])
    assert parse(f"Well:\n{reply.model_dump_json()}", contract) == (reply, [])


@pytest.mark.parametrize(
    ("kinds", "faults"),
    [
        (["mouse", "pad", "rug"], []),
        (["wireless usb mouse", "pad", "rug for the floor"], []),
        (["mouse", "pad"], ["there must be 3 kinds, one per product, not 2"]),
        ([], ["there must be 3 kinds, one per product, not 0"]),
        (["mouse"] * 4, ["there must be 3 kinds, one per product, not 4"]),
        (["mouse", "", "rug"], ["kind 2 must be one to three words, not ''"]),
        (["mouse", " ... ", "rug"], ["kind 2 must be one to three words, not ' ... '"]),
        (
            ["a mouse that has five words", "pad", "x" * 61],
            [
                "kind 1 must be one to three words, not 'a mouse that has five words'",
                f"kind 3 must be one to three words, not '{'x' * 61}'",
            ],
        ),
    ],
)
def test_there_is_one_short_kind_for_every_product(kinds: list[str], faults: list[str]) -> None:
    assert kinds_faults(kinds, DESK) == faults


@pytest.mark.parametrize(
    ("bundles", "faults"),
    [
        ([], []),
        ([([1, 2], "set up a desk")], []),
        ([([3, 1, 2], "set up a desk")], []),
        ([([0, 1], "x")], ["there is no product 0, only 1 to 3"]),
        ([([3, 4, -1], "x")], ["there is no product -1, only 1 to 3", "there is no product 4, only 1 to 3"]),
        ([([1, 2], "x"), ([2, 3], "y")], ["product 2 stands in two bundles"]),
        ([([1, 1], "x")], ["a bundle needs at least two products"]),
        ([([], "x")], ["a bundle needs at least two products"]),
        ([([1, 2], " ")], ["an intent has two to six words"]),
        ([([1, 2], "word " * 41)], ["an intent has two to six words"]),
        (
            [([4], ""), ([4], "")],
            [
                "there is no product 4, only 1 to 3",
                "a bundle needs at least two products",
                "an intent has two to six words",
                "there is no product 4, only 1 to 3",
            ],
        ),
    ],
)
def test_bundles_hold_products_that_are_there_each_once(
    bundles: list[tuple[list[int], str]], faults: list[str]
) -> None:
    proposal = Proposal(bundles=[ProposedBundle(items=items, intent=intent) for items, intent in bundles])
    assert proposal_faults(proposal, DESK) == faults


EVERYTHING = {"first": [], "second": [], "relation": "any", "least": 2, "most": 99}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, []),
        ({"lessons": [1, 2, 2]}, []),
        ({"text": " \n"}, ["rule 2 has no text"]),
        (
            {"condition": EVERYTHING},
            ["the condition of rule 2 holds for all products; say for which ones it speaks"],
        ),
        (
            {"condition": EVERYTHING | {"first": ["", "of"]}},
            ["the condition of rule 2 holds for all products; say for which ones it speaks"],
        ),
        ({"lessons": []}, ["rule 2 rests on no lesson"]),
        ({"lessons": [0, 2, 3]}, ["rule 2: there is no lesson 0", "rule 2: there is no lesson 3"]),
        ({"lessons": [9] * 9}, ["rule 2: there is no lesson 9"] * MAX_FAULTS),
    ],
)
def test_a_rule_has_words_a_condition_and_lessons_that_it_rests_on(changes: dict[str, Any], faults: list[str]) -> None:
    rules = Rules.model_validate({"rules": [RULE, RULE | changes]})
    assert rules_faults(rules, lessons=2) == faults


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("usb cable", "usb cable"),
        ("  USB\tCable. ", "usb cable"),
        ("usb\n\u2028cable", "usb cable"),
        ("'Mouse', ", "mouse"),
        ('"t-shirt";', "t-shirt"),
        ("men's shoe", "men's shoe"),
        (" .,;", ""),
    ],
)
def test_a_kind_is_compared_in_lower_case_on_one_line_without_marks_at_its_ends(words: str, kind: str) -> None:
    assert as_kind(words) == kind
    assert as_kind(kind) == kind


@pytest.mark.parametrize("spelt", ["sk-verysecret\\u002bkey", "\\u0073k-verysecret+key", "sk-very\\nsecret+key"])
def test_a_reply_holds_no_key_however_its_json_spells_it(monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret+key")
    found, faults = parse(f'{{"kinds": ["mouse", "seen with {spelt}"]}}', Kinds)
    assert found is not None and not faults
    assert found.kinds == ["mouse", "seen with ***"]
