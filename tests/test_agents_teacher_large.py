"""The large teacher: what it asks, what it takes from the answers, and what of them reaches whom."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from samples import HOSTILE, session
from teacher_server import Handler, TeacherServer

from bundlewise.agents.chat.client import ChatEndpoint
from bundlewise.agents.ledger.calls import CallLedger, Reply
from bundlewise.agents.teacher.ask import Asker, Asks, messages_of
from bundlewise.agents.teacher.contracts import Kinds, Lesson, schema_of
from bundlewise.agents.teacher.large import DIFFERENCES_SHOWN, PATTERNS_SHOWN, RULES_SHOWN, LargeTeacher
from bundlewise.agents.teacher.plan import Planner
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, compare
from bundlewise.agents.teacher.tally import Tally
from bundlewise.domain import Bundle, Session
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.graphs.teacher_state import TeacherContext, TeacherState
from bundlewise.text import short

DESK = session("desk", ["Glide Mouse", "Foam Pad", "Wool Rug", "Red Wool Rug"], ((0, 1),))
TAME = session("tame", ["Glide Mouse"] * len(HOSTILE), ((0, 1),))
WILD = session("wild", HOSTILE, ((0, 1),))
PATTERN = Pattern(("mouse", "pad"), ("a", "b"), ("a",), 2.0)
KINDS = ["mouse", "pad", "rug", "rug"]
THOUGHT = {"products": "A mouse and\n more.", "together": "Both serve.", "left_out": "", "lesson": "Desks need both."}


def lesson(text: str = "mice need pads", together: bool = True) -> Lesson:
    return Lesson(together=together, cause="words differ", lesson=text)


@dataclass
class Scripted(Asks):
    """Gives the answers of a script by stage, in order and the last for ever; keeps what was asked, and what failed."""

    script: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def _answer(self, call: Any, messages: list[dict[str, str]], schema: Any) -> Reply:
        answers = self.script[call.stage]
        self.asked.append((call.stage, call.subject, messages[1]["content"]))
        return Reply(json.dumps(answers.pop(0) if len(answers) > 1 else answers[0]))

    def _failed(self, stage: str, subject: str, reason: str) -> None:
        self.failures.append((stage, subject, reason))

    def prompts(self, stage: str) -> list[str]:
        return [prompt for asked, _, prompt in self.asked if asked == stage]


def scripted(**script: Any) -> tuple[LargeTeacher, Scripted]:
    ledger: Any = None
    asks = Scripted(ChatEndpoint("lab"), ledger, script={stage: [*answers] for stage, answers in script.items()})
    return LargeTeacher(asks), asks


def reflection(*, missed: int = 0, wrong: int = 0, **fields: Any) -> Reflection:
    """Return a reflection with so many discrepancies of either kind."""
    missing = frozenset((0, other) for other in range(1, missed + 1))
    joined = frozenset((1, other) for other in range(2, wrong + 2))
    return Reflection(**{"session": DESK, "proposal": ((2, 3),), "missed": missing, "wrong": joined} | fields)


def test_it_is_called_after_its_model() -> None:
    assert scripted()[0].name == "openai:lab"


def test_kinds_are_normalised() -> None:
    teacher, asks = scripted(describe=[{"kinds": ["  USB Mouse.", "Foam\n pad", "'rug'", "RUG,"]}])
    assert teacher.kinds(DESK) == ("usb mouse", "foam pad", "rug", "rug")
    assert [(stage, subject) for stage, subject, _ in asks.asked] == [("describe", "desk")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"kinds": ["mouse"]}, "there must be 4 kinds, one per product, not 1"),
        ({"kinds": ["mouse", "pad", "rug", "..."]}, "kind 4 must be one to three words, not '...'"),
        ({"kind": []}, "kinds: field required"),
    ],
)
def test_kinds_that_stay_faulty_are_none_and_counted(answer: Any, reason: str) -> None:
    teacher, asks = scripted(describe=[answer])
    assert teacher.kinds(DESK) is None
    assert asks.failures == [("describe", "desk", f"{reason} (the same answer came again)")]
    assert len(asks.asked) == 2, "a question that was answered so before is not asked again"


def test_a_kind_that_does_not_fit_its_title_is_told_to_the_teacher_and_reaches_nothing() -> None:
    wrong = {"kinds": ["tractor tyre", "pad", "rug", "rug"]}
    teacher, asks = scripted(describe=[wrong, {"kinds": KINDS}], think=[wrong | THOUGHT])
    assert teacher.kinds(DESK) == ("mouse", "pad", "rug", "rug")
    assert len(asks.asked) == 2
    thought = teacher.think(DESK, ("x",) * 4, [], [])
    assert thought is not None and thought.kinds == ("glide mouse", "pad", "rug", "rug"), "the title's own"


def test_a_session_most_of_whose_kinds_do_not_fit_has_none() -> None:
    teacher, asks = scripted(describe=[{"kinds": ["tractor", "tyre", "unicorn", "rug"]}])
    assert teacher.kinds(DESK) is None
    assert "kind 1, 'tractor', has no word of its title 'Glide Mouse'" in asks.failures[0][2]


def test_a_proposal_is_read_as_positions_in_order() -> None:
    answer = {"bundles": [{"items": [4, 3, 4], "intent": "warm the floor"}, {"items": [1, 2], "intent": "set a desk"}]}
    assert scripted(propose=[answer])[0].propose(DESK, ()) == ((2, 3), (0, 1))
    assert scripted(propose=[{"bundles": []}])[0].propose(DESK, ()) == ()
    assert scripted(propose=[{"bundles": [{"items": [1, 5], "intent": "x"}]}])[0].propose(DESK, ()) is None


def test_patterns_are_shown_with_a_proposal_up_to_a_number() -> None:
    teacher, asks = scripted(propose=[{"bundles": []}])
    teacher.propose(DESK, [PATTERN] * (PATTERNS_SHOWN + 3))
    assert asks.prompts("propose")[0].count("- mouse + pad: bundled in 1 of 2 sessions") == PATTERNS_SHOWN


def test_nothing_is_asked_where_proposal_and_annotation_agree() -> None:
    teacher, asks = scripted(reflect=[{"lessons": [lesson().model_dump()]}])
    assert teacher.reflect(compare(DESK, ((0, 1),))) == ()
    assert asks.asked == []
    assert teacher.reflect(compare(DESK, ((2, 3),))) == (lesson(),)
    assert len(asks.asked) == 1


@pytest.mark.parametrize(
    ("missed", "wrong", "shown"),
    [
        (3, 2, (3, 2)),
        (20, 0, (12, 0)),
        (0, 20, (0, 12)),
        (20, 20, (6, 6)),
        (20, 2, (10, 2)),
        (2, 20, (2, 10)),
        (7, 5, (7, 5)),
        (7, 6, (6, 6)),
    ],
)
def test_of_many_differences_so_many_are_shown_that_neither_kind_crowds_out_the_other(
    missed: int, wrong: int, shown: tuple[int, int]
) -> None:
    teacher, asks = scripted(reflect=[{"lessons": []}])
    teacher.reflect(reflection(missed=missed, wrong=wrong))
    (prompt,) = asks.prompts("reflect")
    found = (prompt.count(" belong together, the proposal parts them"), prompt.count(" the proposal joins them"))
    assert found == shown
    assert sum(found) <= DIFFERENCES_SHOWN


def test_a_reflection_is_told_both_sides_by_the_numbers_of_the_products() -> None:
    teacher, asks = scripted(reflect=[{"lessons": []}])
    teacher.reflect(compare(DESK, ((2, 3),)))
    assert asks.prompts("reflect")[0].split("Proposed bundles:\n")[1].splitlines()[:7] == [
        "- 3, 4",
        "The shopper's bundles:",
        "- 1, 2: set up a desk",
        "Differences:",
        "- 1 and 2 belong together, the proposal parts them",
        "- 3 and 4 do not belong together, the proposal joins them",
        "What caused them, and what do they teach about other sessions?",
    ]


def drawn(text: str, lessons: list[int], **fields: Any) -> dict[str, Any]:
    condition = {"first": ["mouse"], "second": ["pad"], "relation": "any", "least": 2, "most": 99}
    return {"text": text, "together": True, "condition": condition, "lessons": lessons} | fields


def taught(*counts: int) -> list[Reflection]:
    """Return reflections on sessions s0, s1 and so on with so many lessons."""
    return [
        reflection(session=session(f"s{n}", DESK.titles), lessons=(lesson(f"lesson of s{n}"),) * count)
        for n, count in enumerate(counts)
    ]


def test_lessons_are_formalised_forty_at_a_time_each_part_numbered_anew() -> None:
    teacher, asks = scripted(formalise=[{"rules": []}])
    assert teacher.formalise(taught(*[1] * 95), [PATTERN]) == []
    prompts = asks.prompts("formalise")
    assert [len(re.findall(r"^\d+\. together: ", prompt, re.MULTILINE)) for prompt in prompts] == [40, 40, 15]
    assert all("\n1. together: lesson of " in prompt for prompt in prompts)
    assert len({subject for _, subject, _ in asks.asked}) == 3
    assert "41. " not in prompts[1]
    assert "- mouse + pad: bundled in 1 of 2 sessions" in prompts[2]


def test_without_lessons_no_rules_are_asked_for() -> None:
    teacher, asks = scripted()
    assert teacher.formalise(taught(0, 0), [PATTERN]) == []
    assert teacher.formalise([], []) == []
    assert asks.asked == []


def test_a_rules_sources_are_the_sessions_of_its_lessons_once_each() -> None:
    first, second = drawn("A.", [1, 2, 3]), drawn("B.", [3], together=False)
    teacher, _ = scripted(formalise=[{"rules": [first, second]}, {"rules": [first]}])
    rules = teacher.formalise(taught(2, 38, 1, 2), [])
    assert [(rule.text, rule.sources, rule.support, rule.joins) for rule in rules] == [
        ("A.", ("s0", "s1"), 2, True),
        ("B.", ("s1",), 1, False),
        ("A.", ("s2", "s3"), 2, True),
    ]
    assert all(rule.condition is not None and rule.condition.first == ("mouse",) for rule in rules)
    assert {rule.gain for rule in rules} == {None}


def test_a_part_whose_rules_stay_faulty_gives_none_and_the_next_part_its_own() -> None:
    bad, good = {"rules": [drawn("A.", [99])]}, {"rules": [drawn("B.", [1])]}
    teacher, asks = scripted(formalise=[bad, bad, bad, good])
    assert [rule.text for rule in teacher.formalise(taught(*[1] * 41), [])] == ["B."]
    assert [reason for _, _, reason in asks.failures] == ["rule 1: there is no lesson 99 (the same answer came again)"]


def test_a_thought_is_worded_from_its_parts_and_has_the_kinds_of_the_answer() -> None:
    teacher, _ = scripted(think=[{"kinds": ["Mouse", "pad.", "rug", "rug"], **THOUGHT}])
    found = teacher.think(DESK, ("x",) * 4, [], [])
    assert found is not None
    assert (found.text, found.lesson) == ("Desks need both. A mouse and more. Both serve.", "Desks need both.")
    assert found.kinds == ("mouse", "pad", "rug", "rug")
    assert scripted(think=[{"kinds": ["mouse"], **THOUGHT}])[0].think(DESK, ("x",) * 4, [], []) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The mouse needs its pad.", ""),
        ("A kayak paddle stays out.", "kayak paddle"),
        ("The mouse goes with any 'kayak' well.", "kayak"),
        ("Mice suit those who own a kayak or not.", "kayak"),
        ("Item #99 is no match.", "product 99 of 4"),
        ("A kayak is missing here.", ""),
    ],
)
def test_a_thought_about_products_that_are_not_there_is_told_to_the_teacher(said: str, told: str) -> None:
    elsewhere = session("river", ["Canoe World Kayak", "Canoe World Kayak Paddle"], ((0, 1),))
    thought = {"kinds": ["mouse", "pad", "rug", "rug"], **THOUGHT}
    teacher, asks = scripted(describe=[{"kinds": ["kayak", "kayak paddle"]}], think=[{**thought, "lesson": said}])
    teacher.kinds(elsewhere)
    found = teacher.think(DESK, ("mouse", "pad", "rug", "rug"), [], [])
    assert (found is None) is bool(told) and all(told in reason for _, _, reason in asks.failures)


@pytest.mark.parametrize("again", ["The mouse and the pad serve a desk.", "Product 1 serves 2."])
def test_product_numbers_in_a_thought_are_told_to_the_teacher_once(again: str) -> None:
    answers = [{"kinds": KINDS, **THOUGHT, "together": said} for said in ("1 and 2 serve a desk.", again)]
    teacher, asks = scripted(think=answers)
    found = teacher.think(DESK, tuple(KINDS), [], [])
    assert found is not None and again in found.text
    told = "it names products by number (1, and 2); a reader in another session does not see them, so name kinds"
    assert [told in prompt for prompt in asks.prompts("think")] == [False, False]
    assert len(asks.asked) == 2 and not asks.failures


def test_product_numbers_in_rules_are_told_to_the_teacher_once() -> None:
    answers = [{"rules": [drawn(text, [1])]} for text in ("Put items 1 and 2 together.", "Put item 1 with pads.")]
    teacher, asks = scripted(formalise=answers)
    assert [rule.text for rule in teacher.formalise(taught(1), [])] == ["Put item 1 with pads."]
    assert len(asks.asked) == 2 and not asks.failures


def test_a_teacher_that_insists_on_a_mention_is_told_once_and_has_its_thought() -> None:
    answers = [
        {"kinds": ["mouse", "pad", "rug", "rug"], **THOUGHT, "lesson": f"Mice work {how} beside a trampoline."}
        for how in ("best", "well")
    ]
    found = scripted(think=answers)[0].think(DESK, ("mouse", "pad", "rug", "rug"), [], [])
    assert found is not None
    assert found.text.startswith("Mice work well beside a trampoline.")


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (Rule("Pads go with mice.", ()), False),
        (Rule("Pads go with mice.", ("other",), gain=0.0), True),
        (Rule("Pads go with mice.", ("other",), gain=0.1), True),
        (Rule("Pads go with mice.", ("other",), gain=-0.0001), False),
        (Rule("Pads go with mice.", ("other", "desk")), False),
        (Rule("Pads go with mice.", ("other", "desk"), gain=0.1), False),
    ],
)
def test_a_tested_rule_is_shown_but_to_the_sessions_it_was_drawn_from_and_where_it_harmed(
    rule: Rule, shown: bool
) -> None:
    teacher, asks = scripted(think=[{"kinds": ["a"] * 4, **THOUGHT}])
    teacher.think(DESK, ("a",) * 4, [], [rule])
    assert ("- Pads go with mice." in asks.prompts("think")[0]) is shown
    assert ("Rules found so far" in asks.prompts("think")[0]) is shown


def test_rules_are_shown_up_to_a_number_of_those_that_may_be_shown() -> None:
    teacher, asks = scripted(think=[{"kinds": ["a"] * 4, **THOUGHT}])
    rules = [Rule("mine", ("desk",), gain=0.1)] * 5 + [Rule(f"rule {n}", (), gain=0.0) for n in range(20)]
    teacher.think(DESK, ("a",) * 4, [], rules)
    assert re.findall(r"^- (rule \d+|mine)$", asks.prompts("think")[0], re.MULTILINE) == [
        f"rule {n}" for n in range(RULES_SHOWN)
    ]


def test_the_annotation_is_shown_for_a_thought_and_not_for_kinds_or_a_proposal() -> None:
    answers = {"describe": [{"kinds": KINDS}], "propose": [{"bundles": []}]}
    teacher, asks = scripted(**answers, think=[{"kinds": KINDS, **THOUGHT}])
    teacher.kinds(DESK)
    teacher.propose(DESK, [PATTERN])
    teacher.think(DESK, ("a",) * 4, [], [])
    (kinds,), (proposal,), (thought,) = (asks.prompts(stage) for stage in ("describe", "propose", "think"))
    assert "- 1, 2: set up a desk\nNot bundled: 3, 4" in thought
    for prompt in (kinds, proposal):
        assert "set up a desk" not in prompt
        assert "1, 2" not in prompt
    bare = DESK.model_copy(update={"bundles": ()})
    teacher.kinds(bare)
    teacher.propose(bare, [PATTERN])
    assert (asks.prompts("describe")[1], asks.prompts("propose")[1]) == (kinds, proposal)


def all_prompts(given: Session, said: str) -> dict[str, str]:
    """Return the prompt of every stage about a session, with `said` wherever a teacher's own words come back."""
    kinds, numbers = [said[:60]] * len(given.items), [1, 2]
    given = given.model_copy(update={"bundles": (Bundle(item_ids=given.bundles[0].item_ids, intent=said),)})
    patterns = [Pattern((said, "case"), ("a", "b"), ("a",), 2.0)]
    teacher, asks = scripted(
        describe=[{"kinds": ["case"] * len(kinds)}],
        propose=[{"bundles": [{"items": numbers, "intent": said}]}],
        reflect=[{"lessons": []}],
        formalise=[{"rules": []}],
        think=[{"kinds": ["case"] * len(kinds), **THOUGHT}],
    )
    teacher.kinds(given)
    teacher.propose(given, patterns)
    studied = compare(given, ((1, 2),))
    teacher.reflect(studied)
    words = Lesson(together=False, cause=said, lesson=said)
    teacher.formalise([Reflection(given, (), studied.missed, studied.wrong, (words,))], patterns)
    teacher.think(given, tuple(kinds), patterns, [Rule(said, ())])
    repair = messages_of("teacher_repair", schema_of(Kinds), faults=[said, f"kind 1 must be shorter, not {said!r}"])
    return {stage: prompt for stage, _, prompt in asks.asked} | {"repair": repair[1]["content"]}


@pytest.mark.parametrize("said", HOSTILE)
def test_hostile_titles_and_words_stay_on_their_own_line_in_every_prompt_and_never_add_one(said: str) -> None:
    tame, wild = all_prompts(TAME, "mice and pads"), all_prompts(WILD, said)
    assert tame.keys() == wild.keys() == {"describe", "propose", "reflect", "formalise", "think", "repair"}
    numbered = [f"{number}. {short(title)}" for number, title in enumerate(HOSTILE, 1)]
    for stage, prompt in wild.items():
        assert len(prompt.splitlines()) == len(tame[stage].splitlines())
        assert "<|" not in prompt
        assert all(character.isprintable() or character == "\n" for character in prompt)
        if stage not in ("formalise", "repair"):
            assert prompt.splitlines()[1 : 1 + len(HOSTILE)] == numbered


def test_the_contract_of_an_answer_stands_in_who_the_teacher_is_and_no_title_does() -> None:
    system, user = messages_of("teacher_kinds", schema_of(Kinds), titles=HOSTILE)
    assert (system["role"], user["role"]) == ("system", "user")
    assert json.loads(system["content"].splitlines()[-1]) == schema_of(Kinds)
    assert "mouse" not in system["content"]
    assert "case" not in system["content"].replace("lower-case", "")


# What the whole graph makes of it, with a real server that answers.

SHOP = [
    *(session(f"d{n}", [f"Glide Mouse {n}", "Foam Pad", "Wool Rug", "Red Wool Rug"], ((0, 1),)) for n in range(3)),
    *(session(f"r{n}", [f"Oat Milk {n}", "Wool Rug", "Red Wool Rug"], ((1, 2),)) for n in range(2)),
]
BAD = "Oat Milk 1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    running = TeacherServer()
    yield running
    running.close()


@pytest.fixture
def asker(server: TeacherServer, tmp_path: Path) -> Iterator[Asker]:
    endpoint = ChatEndpoint("lab", server.spec.partition("@")[2], timeout=10.0, patience=10.0)
    ledger = CallLedger(tmp_path / "calls.sqlite")
    yield Asker(endpoint, ledger, Tally())
    endpoint.close()
    ledger.close()


def through_the_graph(asks: Asks, sessions: list[Session], tally: Tally) -> TeacherState:
    context = TeacherContext(teacher=LargeTeacher(asks), tally=tally)
    # One at a time: whoever waits for the same answer is another's concern.
    return TeacherState(**build_teacher_graph().invoke(TeacherState(sessions), {"max_concurrency": 1}, context=context))


MARKS = {"describe": "What is each of them?", "propose": "Which bundles are in it", "think": "Think it through"}


def prompts_to(server: TeacherServer) -> list[str]:
    return [body["messages"][1]["content"] for body in server.bodies]


def failing(mark: str) -> Callable[[Handler, dict[str, Any]], bool]:
    """Answer questions of a stage about one session with an empty object."""

    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        prompt = body["messages"][1]["content"]
        if hit := BAD in prompt and mark in prompt:
            handler.answer("{}")
        return hit

    return fault


@pytest.mark.parametrize(
    ("stage", "reason", "studied", "thought"),
    [
        ("describe", "kinds: field required", 4, 4),
        ("propose", "bundles: field required", 4, 5),
        ("think", "kinds: field required", 5, 4),
    ],
)
def test_a_session_goes_as_far_as_it_can_and_where_it_failed_is_counted(
    server: TeacherServer, asker: Asker, stage: str, reason: str, studied: int, thought: int
) -> None:
    server.fault = failing(MARKS[stage])
    heard: list[dict[str, Any]] = []
    asker.tally.listeners.append(heard.append)
    found = through_the_graph(asker, SHOP, asker.tally)
    stages = asker.tally.stages
    assert {name: row.failed for name, row in stages.items() if row.failed} == {stage: 1}
    assert [event["reason"] for event in heard if event["event"] == "failed"] == [
        f"{reason} (the same answer came again)"
    ]
    assert all(row.done == row.total for name, row in stages.items() if row.total)
    assert stages["propose"].total == stages["think"].total == (4 if stage == "describe" else 5)
    assert sum(r is not None for r in found.reflections.values()) == studied
    assert Counter(record.kind for record in found.records)["thought"] == thought
    about = {stage for stage, mark in MARKS.items() if any(mark in p and BAD in p for p in prompts_to(server))}
    assert about == ({"describe"} if stage == "describe" else {"describe", "propose", "think"})


def calls_of(asker: Asker) -> dict[str, int]:
    return {name: stage.calls for name, stage in asker.tally.stages.items()}


def test_a_plan_makes_no_call_and_equals_the_calls_that_the_run_makes_then(server: TeacherServer, asker: Asker) -> None:
    planner = Planner(asker.endpoint, asker.ledger)
    through_the_graph(planner, SHOP, Tally())
    assert server.bodies == []
    through_the_graph(asker, SHOP, asker.tally)
    made = calls_of(asker)
    assert sum(made.values()) == len(server.bodies)
    for stage, planned in planner.stages.items():
        assert (planned.cached, planned.most_calls) == (0, planned.calls * (1 + planner.repairs))
        assert planned.why == {"new": planned.calls}
        assert stage in ("reflect", "formalise") or planned.calls == made[stage]
    assert {stage: made[stage] for stage in ("describe", "propose", "think")} == dict.fromkeys(
        ("describe", "propose", "think"), len(SHOP)
    )


def test_a_plan_after_the_run_finds_everything_in_the_ledger(server: TeacherServer, asker: Asker) -> None:
    through_the_graph(asker, SHOP, asker.tally)
    planner = Planner(asker.endpoint, asker.ledger)
    through_the_graph(planner, SHOP, Tally())
    assert {name: (row.calls, row.cached) for name, row in planner.stages.items()} == {
        name: (0, calls) for name, calls in calls_of(asker).items()
    }


def test_a_plan_after_a_part_of_the_run_counts_what_is_left(server: TeacherServer, asker: Asker) -> None:
    through_the_graph(asker, SHOP[:3], asker.tally)
    planner = Planner(asker.endpoint, asker.ledger)
    through_the_graph(planner, SHOP, Tally())
    assert (planner.stages["describe"].calls, planner.stages["describe"].cached) == (2, 3)
    assert planner.stages["describe"].why == {"new": 2}


def test_sessions_of_equal_titles_are_one_question_in_the_plan_as_in_the_run(
    server: TeacherServer, asker: Asker
) -> None:
    twins = [*SHOP, SHOP[0].model_copy(update={"session_id": "twin"})]
    planner = Planner(asker.endpoint, asker.ledger)
    through_the_graph(planner, twins, Tally())
    through_the_graph(asker, twins, asker.tally)
    for stage in ("describe", "propose"):
        planned, made = planner.stages[stage], asker.tally.stages[stage]
        assert (planned.calls, planned.cached) == (made.calls, made.cached) == (len(SHOP), 1)


def test_what_stands_in_for_an_answer_keeps_its_contract(tmp_path: Path) -> None:
    ledger = CallLedger(tmp_path / "calls.sqlite")
    teacher = LargeTeacher(Planner(ChatEndpoint("lab"), ledger))
    kinds, proposal = teacher.kinds(DESK), teacher.propose(DESK, ())
    assert kinds == ("mouse", "pad", "rug", "rug")
    assert proposal == ((0, 1, 2, 3),)
    assert teacher.reflect(compare(DESK, proposal))
    assert teacher.formalise(taught(3), [])
    assert teacher.formalise(taught(1), []) and teacher.formalise(taught(2), []), "few lessons are enough"
    assert teacher.think(DESK, kinds, [], []) is not None
    ledger.close()
