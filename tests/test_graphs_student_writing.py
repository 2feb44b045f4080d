"""The student graph in the form write: whole answers with knowledge as text, repaired at most so often."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kb_samples import fill
from samples import BagOfWords, session, thought
from writing_samples import ScriptedWriter, likes

from bundlewise.agents.student.answer_text import read_answer
from bundlewise.agents.student.candidates import NARROW
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.reading import Reading
from bundlewise.domain import Bundle, Prediction, Session
from bundlewise.graphs.student import StudentContext, StudentState, build_student_graph
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore

SESSIONS = [
    session("a", ["Red Mouse", "Blue Keyboard", "Oat Milk"], split="test"),
    session("b", ["Laptop Sleeve", "Laptop Bag"], split="test"),
    session("c", ["Garden Hose", "Hose Nozzle", "Pruner", "Gloves"], split="test"),
]
KINDS, WORDS = ["mouse", "keyboard", "milk"], ["red", "blue", "green", "pink", "grey", "black", "white", "brown"]
GARBAGE, GOOD = "I like all of these!", "1 2\nSet up a desk\n"
FEATURES = 2 * NARROW
BY_EVIDENCE = Reading(student=0.0, evidence=1.0, grouping=0.01, chooser=Chooser(weights=(1.0, *[0.0] * (FEATURES - 1))))


@pytest.fixture(scope="module")
def engine(tiny_student: Path) -> StudentEngine:
    return StudentEngine.load(tiny_student)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """Return retrieval by the default policy of the form over a small knowledge base."""
    store = KnowledgeStore.open(fill(tmp_path_factory.mktemp("kb")), BagOfWords())
    return Retriever(store, Policy.for_form("write", {"min_score": -1.0}), lambda text: len(text.split()))


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """Return retrieval over so many thoughts that they are evidence of pairs."""
    known = [session(f"k{n}", [f"{word} {kind}" for kind in KINDS], ((0, 1),)) for n, word in enumerate(WORDS)]
    folder = fill(tmp_path_factory.mktemp("knowing"), [thought(each, KINDS) for each in known])
    return Retriever(KnowledgeStore.open(folder, BagOfWords()), Policy.of(min_score=-1.0, demonstrations=1))


def ask(engine: Any, sessions: Sequence[Session] = SESSIONS, context: Any = None, **dials: Any) -> list[Prediction]:
    how = AnswerDials(**{"form": "write", "samples": 2} | dials)
    given = StudentContext(engine, dials=how, **(context or {}))
    state = build_student_graph().invoke(StudentState([each.blind() for each in sessions]), context=given)
    return [each.model_copy(update={"seconds": 0.0}) for each in state["predictions"]]


@pytest.mark.parametrize("dials", [{"samples": 1}, {"samples": 3}, {"reasoning": "brief", "repairs": 0}])
def test_every_prediction_is_of_typed_bundles_of_the_sessions_products(
    engine: StudentEngine, retriever: Retriever, dials: dict[str, Any]
) -> None:
    predictions = ask(engine, context={"retriever": retriever}, **dials)
    assert [p.session_id for p in predictions] == ["a", "b", "c"]
    for prediction, given in zip(predictions, SESSIONS, strict=True):
        assert (prediction.outcome == "failed") == (not prediction.bundles) == bool(prediction.reason)
        for bundle in prediction.bundles:
            assert bundle.item_ids == tuple(given.items[number - 1].id for number in bundle.items)
            assert len(bundle.items) >= 2 and bundle.intent
        if prediction.outcome == "ok":
            assert read_answer(prediction.raw, len(given.items)).groups == prediction.groups
        assert prediction.tokens_in and prediction.tokens_out and prediction.knowledge


def test_knowledge_reaches_the_prompt_as_text_and_solved_sessions(retriever: Retriever) -> None:
    student = ScriptedWriter([GOOD])
    (found, *_) = ask(student, SESSIONS[:1], {"retriever": retriever})
    (prompt,) = student.prompts
    assert isinstance(prompt, ChatPrompt)
    assert prompt.user.startswith("Rules:\n- ") and "\n- Put a mouse and a keyboard together.\n" in prompt.user
    solved = "Products:\n1. Wireless Mouse\n2. Mechanical Keyboard\n3. Oat Milk\nBundles:\n1 2\nset up a desk\n\n"
    assert solved in prompt.user
    assert prompt.user.endswith("Products:\n1. Red Mouse\n2. Blue Keyboard\n3. Oat Milk\nBundles:")
    assert len(found.knowledge) > 3 and (found.outcome, found.groups) == ("ok", ((0, 1),))


def test_the_knowledge_of_a_session_itself_is_not_in_its_prompt(retriever: Retriever) -> None:
    student = ScriptedWriter([GOOD])
    own = session("upload", ["Mechanical Keyboard", "Oat Milk", "Wireless Mouse"], split="test")
    ask(student, [own], {"retriever": retriever})
    (prompt,) = student.prompts
    assert isinstance(prompt, ChatPrompt)
    assert (
        prompt.user.count("Wireless Mouse") == 1 and "About desk." not in prompt.user and "About trip." in prompt.user
    )


def test_a_policy_of_zeros_is_exactly_the_plain_student(engine: StudentEngine, retriever: Retriever) -> None:
    nothing = Retriever(retriever.store, Policy.none())
    plain = ask(engine, repairs=0)
    assert ask(engine, context={"retriever": nothing}, repairs=0) == plain
    assert all(not prediction.knowledge for prediction in plain)


def test_a_batch_of_one_is_answered_as_in_a_batch_of_many(engine: StudentEngine) -> None:
    together = ask(engine, repairs=0)
    assert [ask(engine, [each], repairs=0)[0].groups for each in SESSIONS] == [each.groups for each in together]
    assert ask(engine, repairs=0) == together and ask(engine, []) == []


def test_categories_prices_and_annotations_change_nothing(engine: StudentEngine) -> None:
    told = []
    for each in SESSIONS:
        items = tuple(item.model_copy(update={"category": ("Same",), "price": 1.0}) for item in each.items)
        cheat = Bundle(item_ids=(items[0].id, items[-1].id), intent="cheat")
        told.append(each.model_copy(update={"items": items, "bundles": (cheat,)}))
    assert ask(engine, told, repairs=0) == ask(engine, repairs=0)


def test_by_evidence_every_session_has_named_bundles_within_its_limits(
    engine: StudentEngine, knowing: Retriever
) -> None:
    context = {"retriever": knowing, "reading": BY_EVIDENCE}
    for prediction in ask(engine, context=context, repairs=0):
        assert prediction.groups and all(0 < (bundle.confidence or 0) < 1 for bundle in prediction.bundles)
        numbers = [number for bundle in prediction.bundles for number in bundle.items]
        assert len(set(numbers)) == len(numbers) and prediction.outcome == "ok"
    bounds = {"c": Limits(bundles=1, least=3).on(SESSIONS[2].items)}
    student = ScriptedWriter(["Water a garden\n"], likes({"Pruner"}))
    (found,) = ask(student, SESSIONS[2:], context | {"bounds": bounds})
    assert student.scored and len(found.groups) == 1 and len(found.groups[0]) >= 3
    assert found.bundles[0].intent == "Water a garden"


@pytest.mark.parametrize("repairs", [0, 1, 3])
def test_an_answer_that_stays_faulty_is_asked_for_so_often_and_then_fails(repairs: int) -> None:
    student = ScriptedWriter([GARBAGE])
    (found,) = ask(student, SESSIONS[:1], samples=1, repairs=repairs)
    assert len(student.prompts) == 1 + repairs
    assert (found.outcome, found.bundles) == ("failed", ()) and GARBAGE in found.reason
    assert (found.tokens_in, found.tokens_out) == (10 * (1 + repairs), 5 * (1 + repairs))


def test_a_repair_names_the_faults_keeps_the_knowledge_and_a_better_answer_is_taken(retriever: Retriever) -> None:
    student = ScriptedWriter([GARBAGE, GARBAGE, GOOD])
    (found,) = ask(student, SESSIONS[:1], {"retriever": retriever}, repairs=3)
    first, second = (prompt.user for prompt in student.prompts if isinstance(prompt, ChatPrompt))
    told = [row for row in second.splitlines() if row not in first.splitlines()]
    (fault,) = told
    assert fault.startswith("Your last answer could not be used: ") and GARBAGE in fault
    assert (found.outcome, found.groups, found.bundles[0].intent) == ("repaired", ((0, 1),), "Set up a desk")
    assert GARBAGE in found.reason and found.raw == GOOD


def test_only_faulty_answers_are_asked_for_again_and_a_worse_one_is_not_taken() -> None:
    student = ScriptedWriter([GOOD, "1 2\nSet up a desk\nA note\n", GARBAGE])
    good, faulty = ask(student, [SESSIONS[0], SESSIONS[2]], samples=1)
    assert len(student.prompts) == 3 and good.outcome == "ok"
    assert (faulty.outcome, faulty.reason) == ("failed", "2 intents for 1 bundles")


def test_a_session_with_limits_is_not_repaired() -> None:
    student = ScriptedWriter([GARBAGE])
    bounds = {"a": Limits(most=2).on(SESSIONS[0].items)}
    (found,) = ask(student, SESSIONS[:1], {"bounds": bounds}, samples=1)
    assert found.outcome == "failed" and len(student.prompts) == 1


def test_what_is_too_long_is_cut_or_told_and_the_others_are_answered(
    engine: StudentEngine, retriever: Retriever
) -> None:
    limit = engine.model.config.max_position_embeddings
    long = session("long", ["q" * 900 + " " + chr(97 + n % 26) * 40 for n in range(30)])
    engine.model.config.max_position_embeddings = 850
    try:
        before, found, after = ask(engine, [SESSIONS[1], long, SESSIONS[1]], {"retriever": retriever}, repairs=0)
    finally:
        engine.model.config.max_position_embeddings = limit
    assert (found.outcome, found.tokens_in) == ("failed", 0)
    assert found.reason.startswith("the prompt is longer than the student can read")
    assert before.cut.endswith("knowledge records left out") and before.tokens_in <= 450
    assert before == after and before.tokens_in
