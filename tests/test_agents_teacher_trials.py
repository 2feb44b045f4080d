"""Rules are tested on validation sessions of their domain, whoever drew them; test sessions decide nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from samples import BagOfWords, session

from bundlewise.agents.teacher.conditions import Condition, is_met
from bundlewise.agents.teacher.grounded import GroundedTeacher, Idea
from bundlewise.agents.teacher.protocol import Rule
from bundlewise.agents.teacher.recorded import RecordedTeacher
from bundlewise.agents.teacher.trials import proved, without_a_case
from bundlewise.domain import Grouping, Knowledge, Session
from bundlewise.files import write_jsonl
from bundlewise.pipeline.distil import run_teacher

DESK = ["Glide Mouse", "Foam Pad", "Wool Rug", "Red Wool Rug"]
BOTH: Grouping = ((0, 1), (2, 3))
RUGS: Grouping = ((2, 3),)
MOUSE_AND_PAD = Condition(first=("mouse",), second=("pad",), relation="any", least=2, most=99)
RULE = Rule("Mice go with pads.", ("d0",), condition=MOUSE_AND_PAD)


def desks(split: str, count: int, truth: Grouping, domain: str = "home") -> list[Session]:
    return [session(f"{split}{n}", DESK, truth, domain=domain, split=split) for n in range(count)]


TRAIN = desks("train", 16, BOTH)


@pytest.mark.parametrize(
    ("rule", "gain", "harm"),
    [
        (RULE, -0.5, 0.5),
        (replace(RULE, gain=0.3, harm=0.0), -0.5, 0.5),
        (replace(RULE, gain=-0.1, harm=0.2), -0.1, 0.2),
        (replace(RULE, condition=None), None, None),
        (replace(RULE, condition=None, gain=0.3, harm=0.0), 0.3, 0.0),
        (replace(RULE, condition=Idea("a mouse and a pad", ("mouse", "pad"))), -0.5, 0.5),
        (replace(RULE, condition=Idea("a mouse and a cup", ("cup", "mouse"))), None, None),
        (replace(RULE, condition=Idea("a mouse and a cup", ("cup", "mouse")), gain=0.3, harm=0.1), 0.3, 0.1),
    ],
    ids=["new", "said to help", "said to harm", "vague", "vague, said to help", "idea", "no case", "no case, helped"],
)
def test_validation_decides_where_it_can(rule: Rule, gain: float | None, harm: float | None) -> None:
    (found,) = proved([rule], TRAIN, desks("validation", 3, RUGS))
    assert (found.gain, found.harm) == (gain, harm)
    assert replace(found, gain=rule.gain, harm=rule.harm) == rule


def rules_of(sessions: list[Session], folder: Path, teacher: str = "grounded") -> list[Knowledge]:
    found = run_teacher(sessions, teacher, folder / "kb", embedder=BagOfWords())
    return [record for record in found.records if record.kind == "rule"]


def test_a_rule_of_the_grounded_teacher_that_helps_training_and_harms_validation_is_quarantined(tmp_path: Path) -> None:
    without = rules_of(TRAIN, tmp_path / "without")
    assert {(rule.status, rule.gain) for rule in without if "a mouse and a pad" in rule.text} == {("active", 0.5)}
    held = rules_of([*TRAIN, *desks("validation", 4, RUGS)], tmp_path / "with")
    mine = [rule for rule in held if "a mouse and a pad" in rule.text]
    assert {(rule.status, rule.gain, rule.harm) for rule in mine} == {("quarantined", -0.5, 0.5)}
    assert {rule.reason for rule in mine} == {"held-out GJS -0.5000, 0.5000 lost by the sessions it harms"}
    assert {rule.id for rule in held} == {rule.id for rule in without}, "validation decides, and teaches nothing"
    assert not [source for rule in held for source in rule.source_session_ids if "validation" in source]


def test_test_sessions_and_other_domains_decide_nothing(tmp_path: Path) -> None:
    validation = desks("validation", 4, BOTH)
    mine = rules_of([*TRAIN, *validation], tmp_path / "a")
    foreign = [s.model_copy(update={"session_id": f"o{s.session_id}"}) for s in desks("validation", 9, RUGS, "other")]
    strangers = [*desks("test", 9, RUGS), *foreign]
    assert rules_of([*TRAIN, *validation, *strangers], tmp_path / "b") == mine


SAID = {"kind": "rule", "together": True}
ROWS = [
    SAID | {"text": "Mice go with pads.", "condition": {"first": ["mouse"], "second": ["pad"]}},
    SAID | {"text": "Mice go with rugs.", "condition": {"first": ["mouse"], "second": ["rug"]}},
    {"kind": "rule", "text": "Think of the whole desk."},
]


def test_recorded_rules_with_a_condition_are_tested_and_others_say_that_they_are_not(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gpt.jsonl", ROWS)
    sessions = [*TRAIN, *desks("validation", 4, BOTH)]
    wanted = {
        "Mice go with pads.": ("active", 0.5, 0.0),
        "Mice go with rugs.": ("quarantined", -0.1667, 0.1667),
        "Think of the whole desk.": ("active", None, None),
    }
    teacher = f"recorded:{tmp_path / 'gpt.jsonl'}"
    found = rules_of(sessions, tmp_path, teacher)
    assert {rule.text: (rule.status, rule.gain, rule.harm) for rule in found} == wanted
    untested = rules_of([*TRAIN, *desks("test", 4, BOTH)], tmp_path / "without", teacher)
    assert {rule.gain for rule in untested} == {None}


@pytest.mark.parametrize("name", ["electronics", "clothing", "grocery"])
def test_the_starter_recordings_hold_rules_that_are_tested(name: str) -> None:
    from bundlewise.data.sessions import load, starter_pack_path

    sessions = load(name)
    rules = RecordedTeacher(starter_pack_path(name), sessions).formalise([], [])
    split = {which: [s for s in sessions if s.split == which] for which in ("train", "validation")}
    found = proved(rules, split["train"][:50], split["validation"])
    met = [r.condition is not None and is_met(r.condition, split["validation"]) for r in rules]
    assert [rule.gain is not None for rule in found] == met
    assert without_a_case(rules, split["train"]) == []
    assert len(rules) == 20 and sum(rule.gain is not None for rule in found) >= 3


UNICORNS = SAID | {"text": "Saddles go with bridles.", "condition": {"first": ["saddle"], "second": ["bridle"]}}


def test_a_rule_that_no_training_session_is_a_case_of_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gpt.jsonl", [*ROWS, UNICORNS])
    found = run_teacher(TRAIN, f"recorded:{tmp_path / 'gpt.jsonl'}", tmp_path / "kb", embedder=BagOfWords())
    assert [(refusal.text, refusal.reason) for refusal in found.refused] == [
        ("Saddles go with bridles.", "its condition meets no training session, so that nothing can have taught it")
    ]


def test_a_rule_that_no_validation_session_is_a_case_of_is_untested_and_says_so(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "gpt.jsonl", [*ROWS[2:], UNICORNS])
    riding = session("ride", ["Red Saddle", "Blue Bridle"], ((0, 1),), domain="home")
    sessions = [*TRAIN, riding, *desks("validation", 4, BOTH)]
    found = rules_of(sessions, tmp_path, f"recorded:{tmp_path / 'gpt.jsonl'}")
    assert {rule.text: (rule.is_untested, rule.gain, rule.reason) for rule in found} == {
        "Think of the whole desk.": (True, None, ""),
        "Saddles go with bridles.": (True, None, "untested: no validation session meets its condition"),
    }


def test_what_a_rule_is_about_is_data_that_can_be_compared_and_kept() -> None:
    ideas = GroundedTeacher()._ideas([])
    assert len(ideas) == len(set(ideas)) == 7
    two = session("s", ["Acme 12 Mouse", "Acme 12 Pad"])
    spoken = {idea.text for idea in ideas if idea.holds(two, 0, 1)}
    assert spoken == {
        "products whose titles share a model name or number",
        "products whose titles share two words or more",
        "products of one brand but of different kinds",
        "the products of a session of three or fewer",
    }
