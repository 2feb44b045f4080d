"""The grounded teacher: rules from one half, tested on the other; thoughts from their own products."""

import pytest
from samples import session

from bundlewise.agents.teacher import patterns
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, compare
from bundlewise.domain import Grouping, Session

BOTH: Grouping = ((0, 1), (2, 3))
RUGS: Grouping = ((2, 3),)


def desks(*groups: Grouping) -> list[Session]:
    """Return sessions in which word overlap finds the rugs, and never that a mouse goes with a pad."""
    titles = ["Glide Mouse", "Foam Pad", "Wool Rug", "Red Wool Rug"]
    return [session(f"d{n}", titles, found) for n, found in enumerate(groups)]


def learnt(sessions: list[Session]) -> tuple[list[Rule], list[Reflection], GroundedTeacher]:
    teacher = GroundedTeacher()
    kinds = {s.session_id: teacher.kinds(s) for s in sessions}
    teacher.begin(sessions)
    reflections = [compare(s, teacher.propose(s, ()) or ()) for s in sessions]
    return teacher.formalise(reflections, patterns.mine(sessions, kinds)), reflections, teacher


def test_kinds_are_head_nouns_of_all_titles_bundled_or_not() -> None:
    (desk,) = desks(RUGS)
    assert GroundedTeacher().kinds(desk) == ("mouse", "pad", "rug", "rug")
    assert GroundedTeacher().kinds(desk.blind()) == ("mouse", "pad", "rug", "rug")


def test_a_proposal_joins_what_shares_words() -> None:
    teacher, sessions = GroundedTeacher(), desks(BOTH, BOTH)
    teacher.begin(sessions)
    assert [teacher.propose(session, ()) for session in sessions] == [RUGS, RUGS]


def test_a_rule_that_explains_the_discrepancies_is_found_with_its_numbers() -> None:
    rules, _, _ = learnt(desks(*[BOTH] * 16))
    mine = [rule for rule in rules if rule.text.startswith("Put together a mouse and a pad")]
    assert {rule.text for rule in mine} == {"Put together a mouse and a pad: 8 of 8 such pairs are bundled"}
    assert all((rule.support, rule.confidence) == (8, 1.0) and rule.gain == 0.5 for rule in mine)


def test_a_rules_sources_are_of_the_half_it_was_drawn_from() -> None:
    sessions = desks(*[BOTH] * 16)
    rules, _, _ = learnt(sessions)
    halves = [{s.session_id for s in sessions[start::2]} for start in (0, 1)]
    assert rules
    assert all(rule.sources for rule in rules)
    assert all(any(set(rule.sources) <= half for half in halves) for rule in rules)
    assert {tuple(sorted(half)) for half in halves} == {
        tuple(sorted(rule.sources)) for rule in rules if "mouse" in rule.text
    }


def test_a_gain_is_measured_on_the_half_that_the_rule_was_not_drawn_from() -> None:
    sessions = desks(*[BOTH, RUGS] * 10)
    rules, _, _ = learnt(sessions)
    (joins,) = (rule for rule in rules if rule.text.startswith("Put together a mouse and a pad"))
    assert set(joins.sources) == {s.session_id for s in sessions[0::2]}
    assert (joins.confidence, joins.gain) == (1.0, -0.5)


def test_rules_are_sorted_by_gain_and_the_same_input_gives_the_same_rules() -> None:
    rules, _, _ = learnt(desks(*[BOTH] * 16))
    assert [rule.gain for rule in rules] == sorted((rule.gain for rule in rules), reverse=True)
    assert learnt(desks(*[BOTH] * 16))[0] == rules


def test_without_discrepancies_or_with_few_sessions_no_rule_is_drawn() -> None:
    everything = [session(f"s{n}", ["Glide mouse", "Glide mouse"], ((0, 1),)) for n in range(20)]
    assert learnt(everything)[0] == []
    assert learnt(desks(BOTH, BOTH))[0] == []


@pytest.mark.parametrize(
    ("titles", "groups", "text"),
    [
        (
            ["Glide Mouse", "Foam Pad", "Wool Rug"],
            ((0, 1),),
            'The products are mouse, pad, rug. For "set up a desk", mouse and pad go together: mouse and pad are '
            "often bundled. rug stays out: nothing here needs it.",
        ),
        (
            ["Red Mouse", "Blue Mouse", "Wool Rug", "Tea"],
            ((0, 1),),
            'The products are mouse, mouse, rug, tea. For "set up a desk", mouse and mouse go together: they are '
            "all of one kind, mouse. rug, tea stay out: nothing here needs them.",
        ),
        (
            ["Glide Tablet", "Glide Case"],
            ((0, 1),),
            'The products are tablet, case. For "set up a desk", tablet and case go together: their titles share '
            "glide.",
        ),
        (
            ["Oat Milk", "Green Tea"],
            ((0, 1),),
            'The products are milk, tea. For "set up a desk", milk and tea go together: they serve one purpose, though '
            "their titles do not say it.",
        ),
    ],
    ids=["a known pattern", "one kind", "a shared word", "nothing shared"],
)
def test_a_thought_tells_of_its_own_products_only(titles: list[str], groups: Grouping, text: str) -> None:
    given, teacher = session("s", titles, groups), GroundedTeacher()
    known = [Pattern(("mouse", "pad"), ("x", "y"), ("x", "y"), 2.0), Pattern(("cup", "tea"), ("x",), ("x",), 2.0)]
    found = teacher.think(given, teacher.kinds(given), known, [])
    assert found is not None
    assert found.text == text
    assert found.kinds == teacher.kinds(given)
