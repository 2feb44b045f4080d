"""Records are worded with their numbers; what is not grounded in its source is refused."""

import pytest
from samples import SOURCE, session

from bundlewise.agents.teacher.grounding import (
    MAX_CHARACTERS,
    check,
    fault,
    pattern_record,
    rule_record,
    thought_record,
)
from bundlewise.agents.teacher.protocol import Pattern, Rule, Thought, compare
from bundlewise.domain import Knowledge

TRAIN = session("a", ["Mouse", "Pad", "Rug"], ((0, 1),), domain="electronics")
SESSIONS = {s.session_id: s for s in (TRAIN, session("b", ["x", "y"]), session("v", ["x", "y"], split="validation"))}


def thought_record_of(text: str, lesson: str = "") -> Knowledge:
    return thought_record(Thought(text, ("mouse", "pad", "rug"), lesson), TRAIN, SOURCE)


def test_a_pattern_says_its_numbers() -> None:
    found = pattern_record(Pattern(("mouse", "pad"), ("a", "b", "c"), ("a", "b"), 1.5), "electronics", SOURCE)
    assert found.text == "mouse + pad: bundled in 2 of 3 sessions that hold them"
    assert (found.support, found.confidence, found.lift) == (2, 0.6667, 1.5)
    assert (found.source_session_ids, found.supporters) == (("a", "b", "c"), ("a", "b"))


@pytest.mark.parametrize(
    ("gain", "status", "reason"),
    [
        (-0.01, "quarantined", "held-out GJS -0.0100, 0.0000 lost by the sessions it harms"),
        (0.0, "active", ""),
        (0.02, "active", ""),
        (None, "active", ""),
    ],
)
def test_a_rule_that_harmed_held_out_sessions_is_quarantined(gain: float | None, status: str, reason: str) -> None:
    found = rule_record(Rule("Keep apart rugs", ("a",), 9, 0.1, gain), "electronics", SOURCE)
    assert (found.status, found.reason, found.gain) == (status, reason, gain)


def test_a_thought_keeps_the_evidence_of_its_session() -> None:
    found = thought_record_of("A mouse and a pad.", "Desks need both.")
    assert (found.intents, found.lesson, found.original) == (("set up a desk",), "Desks need both.", "")
    assert (found.kinds, found.titles) == (("mouse", "pad", "rug"), ("Mouse", "Pad", "Rug"))
    assert (found.groups, found.source_session_ids) == (((0, 1),), ("a",))
    assert found.domain == "electronics"
    assert not fault(found, SESSIONS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "the text is empty"),
        ("x" * (MAX_CHARACTERS + 1), f"the text has {MAX_CHARACTERS + 1} characters, more than {MAX_CHARACTERS}"),
        ("Product 4 belongs to it.", "it speaks of product 4 of 3"),
        ("Items 0 and 1 belong together.", "it speaks of product 0 of 3"),
        ("Products 1 and 7 belong together.", "it speaks of product 7 of 3"),
        ("Items 1, 2 and 12 belong together.", "it speaks of product 12 of 3"),
        ('The "Lava Lamp" stays out.', 'it quotes "Lava Lamp", which is no product or intent of its session'),
        ("For \u201ccook a meal\u201d.", 'it quotes "cook a meal", which is no product or intent of its session'),
    ],
)
def test_an_ungrounded_thought_is_refused_with_the_reason(text: str, reason: str) -> None:
    kept, refused = check([thought_record_of(text)], SESSIONS)
    assert kept == []
    assert [refusal.reason for refusal in refused] == [reason]
    assert refused[0].text == text


@pytest.mark.parametrize(
    "text",
    [
        "Products 1, 2 and 3.",
        "item 3 is a 12 oz can",
        "Both products cost 99 dollars.",
        'A "mouse" and "Pads" for "set up a desk".',
        'An 11" and a 13" screen.',
    ],
)
def test_a_thought_about_its_own_products_is_kept(text: str) -> None:
    assert fault(thought_record_of(text), SESSIONS) == ""


def test_a_sentence_about_a_strange_product_is_left_out_of_a_thought_and_told() -> None:
    said = "The mouse works best beside the trampoline."
    record = thought_record_of(f"A mouse and a pad. {said} They form one set. No. 3 is a rug.")
    (kept,), refused = check([record], SESSIONS)
    assert kept.text == "A mouse and a pad. Rug is a rug."
    assert kept.id == Knowledge.content_id("thought", "electronics", kept.text, ("a",))
    reason = "it speaks of trampoline, which no title or kind of its session holds"
    assert [(each.text, each.reason, each.what) for each in refused] == [
        (said, reason, "sentence"),
        ("They form one set.", reason, "sentence"),
    ]


def test_a_trimmed_thought_keeps_its_original_and_loses_a_foreign_lesson() -> None:
    lesson = "The mouse works best beside the trampoline."
    (found,), _ = check([thought_record_of(f"A mouse and a pad. {lesson}", lesson)], SESSIONS)
    assert (found.text, found.lesson) == ("A mouse and a pad.", "")
    assert found.original == f"A mouse and a pad. {lesson}"


def test_the_numbers_of_a_thought_become_kinds_and_its_original_is_kept() -> None:
    text = "Pads join mice. 1 and 2 serve a desk; rug 3 stays out."
    (found,), refused = check([thought_record_of(text, "Pads, such as 2, join mice.")], SESSIONS)
    assert found.text == "Pads join mice. Mouse and pad serve a desk; rug stays out."
    assert (found.lesson, found.original) == ("Pads, such as pad, join mice.", text)
    assert found.id == Knowledge.content_id("thought", "electronics", found.text, ("a",))
    assert not refused


def test_a_thought_that_keeps_a_number_is_worded_from_its_fields() -> None:
    text = "Both 3s are rugs."
    (found,), _ = check([thought_record_of(text, "Pads join mice.")], SESSIONS)
    expected = 'Pads join mice. Products: mouse, pad and rug. Together for "set up a desk": mouse and pad.'
    assert (found.text, found.original) == (f"{expected} Left out: rug.", text)


def test_a_thought_without_numbers_keeps_its_text_and_id() -> None:
    record = thought_record_of("A mouse and a pad.", "Desks need both.")
    assert check([record], SESSIONS) == ([record], [])


def test_a_rule_that_names_products_by_number_is_refused() -> None:
    record = rule_record(Rule("Put items 1 and 3 together", ("a",)), "electronics", SOURCE)
    kept, (refusal,) = check([record], SESSIONS)
    assert not kept
    assert refusal.reason == "it names a product by number (items 1), which says nothing in another session"


def test_a_thought_that_loses_every_sentence_is_refused_as_a_whole() -> None:
    kept, (refusal,) = check([thought_record_of("The mouse works best beside the trampoline.")], SESSIONS)
    assert (kept, refusal.what) == ([], "record")


def test_a_recorded_kind_that_fits_nothing_gives_way_to_its_title_and_is_told() -> None:
    record = thought_record(Thought("A mouse and a pad.", ("mouse", "pad", "tractor")), TRAIN, SOURCE)
    (kept,), (refusal,) = check([record], SESSIONS)
    assert kept.kinds == ("mouse", "pad", "rug")
    assert (refusal.text, refusal.what) == ("tractor (of Rug)", "kind")


@pytest.mark.parametrize(
    ("source", "reason"),
    [("nowhere", "its source nowhere is not among the sessions read"), ("v", "its source v is a validation session")],
)
def test_a_source_outside_the_training_sessions_is_refused(source: str, reason: str) -> None:
    assert fault(rule_record(Rule("Keep apart", ("a", source)), "", SOURCE), SESSIONS) == reason


@pytest.mark.parametrize(
    "text",
    ["In session a the mouse goes with the pad.", "As session 12 shows, pads stay out.", "This shopper wants a mouse."],
)
def test_a_rule_that_speaks_of_a_single_session_is_refused(text: str) -> None:
    source = "a" if " a " in text else "b"
    rule = Rule(text.replace("session a", "session-7"), ("session-7",)) if source == "a" else Rule(text, ("b",))
    known = {**SESSIONS, "session-7": session("session-7", ["x", "y"])}
    assert fault(rule_record(rule, "electronics", SOURCE), known).startswith("it speaks of a single session (")


def test_a_rule_about_sessions_in_general_is_kept() -> None:
    rule = Rule("In a session of two products put both together; sessions of 3 are alike.", ("a",))
    assert fault(rule_record(rule, "electronics", SOURCE), SESSIONS) == ""


def test_each_content_is_kept_once() -> None:
    rules = [rule_record(Rule(text, ("a",)), "", SOURCE) for text in ("one", "two", "one")]
    kept, refused = check(rules, SESSIONS)
    assert [record.text for record in kept] == ["one", "two"]
    assert refused == []


def test_a_reflection_names_what_was_missed_and_what_was_wrong() -> None:
    found = compare(session("s", ["a", "b", "c", "d"], ((0, 1, 2),)), ((3, 2), (0, 1)))
    assert found.missed == {(0, 2), (1, 2)}
    assert found.wrong == {(2, 3)}
