"""The student graph: typed bundles from titles alone, the same in any batch, repaired at most so often."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples

from bundlewise.agents.student.answer_text import read_answer
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.dials import FORMS, AnswerDials, Form
from bundlewise.agents.student.engine import Judgement, StudentEngine
from bundlewise.agents.student.reading import Reading
from bundlewise.agents.student.replies import fitting_name
from bundlewise.agents.student.tokens import Prompt, Written
from bundlewise.data.sessions import load
from bundlewise.domain import Bundle, Prediction, Session
from bundlewise.graphs.student import StudentContext, StudentState, build_student_graph
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.retrieval import Policy, Retriever
from bundlewise.knowledge_base.store import KnowledgeStore

SESSIONS = [s for s in load("electronics", "test") if len(s.items) <= 4][:4]
GARBAGE = "I like all of these!"
GOOD = "1 2\ngood things together\n"


@pytest.fixture(scope="module")
def engine(tiny_student: Path) -> StudentEngine:
    return StudentEngine.load(tiny_student)


def ask(
    engine: Any,
    sessions: Sequence[Session] = SESSIONS,
    form: Form = "pairs",
    samples: int = 2,
    repairs: int = 1,
    **settings: Any,
) -> list[Prediction]:
    dials = AnswerDials(form=form, samples=samples, repairs=repairs)
    context = StudentContext(engine, dials=dials, **settings)
    state = build_student_graph().invoke(StudentState([session.blind() for session in sessions]), context=context)
    predictions: list[Prediction] = state["predictions"]
    return predictions


def told(prediction: Prediction) -> Prediction:
    """Return a prediction without its timing."""
    return prediction.model_copy(update={"seconds": 0.0})


@pytest.mark.parametrize(("form", "samples"), [("pairs", 1), ("write", 1), ("write", 3)])
def test_every_prediction_is_of_typed_bundles_of_the_sessions_products(
    engine: StudentEngine, form: Form, samples: int
) -> None:
    predictions = ask(engine, form=form, samples=samples)
    assert [p.session_id for p in predictions] == [s.session_id for s in SESSIONS]
    for prediction, session in zip(predictions, SESSIONS, strict=True):
        if form == "write":
            assert read_answer(prediction.raw, len(session.items)).groups == prediction.groups
        else:
            assert prediction.raw.split("\n") == [f" {bundle.intent}" for bundle in prediction.bundles] + [""]
            numbers = [number for bundle in prediction.bundles for number in bundle.items]
            assert len(set(numbers)) == len(numbers)
        sure = [bundle.confidence for bundle in prediction.bundles]
        assert all(value is None if (form, samples) == ("write", 1) else value and 0 < value <= 1 for value in sure)
        assert (prediction.outcome == "failed") == (not prediction.bundles)
        for bundle in prediction.bundles:
            assert len(bundle.items) >= 2
            assert bundle.item_ids == tuple(session.items[number - 1].id for number in bundle.items)


def test_the_pairs_form_always_answers_with_named_bundles(engine: StudentEngine) -> None:
    for prediction in ask(engine):
        assert prediction.outcome == "ok"
        assert prediction.bundles and all(bundle.intent for bundle in prediction.bundles)
        assert prediction.tokens_in and prediction.tokens_out


def test_a_batch_of_one_finds_the_bundles_that_a_batch_of_many_finds(engine: StudentEngine) -> None:
    assert [ask(engine, [session])[0].groups for session in SESSIONS] == [p.groups for p in ask(engine)]


def test_the_same_batch_twice_gives_the_same_answers(engine: StudentEngine) -> None:
    assert list(map(told, ask(engine))) == list(map(told, ask(engine)))


def test_an_empty_batch_has_no_answers(engine: StudentEngine) -> None:
    assert ask(engine, []) == []


def test_a_policy_of_zeros_is_exactly_the_plain_student(engine: StudentEngine, minilm: Path, tmp_path: Path) -> None:
    retriever = Retriever(KnowledgeStore(tmp_path, Embedder.named(str(minilm))), Policy.none())
    assert list(map(told, ask(engine, retriever=retriever))) == list(map(told, ask(engine)))


def exposed(session: Session) -> Session:
    """Return the session with other categories, prices and annotations."""
    items = tuple(item.model_copy(update={"category": ("Same",), "price": 1.0}) for item in session.items)
    bundle = Bundle(item_ids=(items[0].id, items[-1].id), intent="cheat")
    return session.model_copy(update={"items": items, "bundles": (bundle,)})


@pytest.mark.parametrize("form", FORMS)
def test_categories_prices_and_annotations_change_nothing(engine: StudentEngine, form: Form) -> None:
    other = ask(engine, [exposed(session) for session in SESSIONS], form=form)
    assert list(map(told, other)) == list(map(told, ask(engine, form=form)))


@dataclass
class Scripted:
    """A student that writes what the script says, call by call, and its last words for ever after."""

    script: list[str]
    prompts: list[list[str]] = field(default_factory=list)

    def write(self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Any = None) -> list[Written]:
        said = self.script[min(len(self.prompts), len(self.script) - 1)]
        self.prompts.append([prompt.user if isinstance(prompt, ChatPrompt) else prompt for prompt in prompts])
        return [Written(said, 10, 5) for _ in prompts]

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Any = None
    ) -> list[list[Written]]:
        return [[text] * count for text in self.write(prompts, grammars)]

    def fits(self, prompt: object) -> bool:
        return True


@pytest.mark.parametrize("repairs", [0, 1, 3])
def test_an_answer_that_stays_faulty_is_asked_for_so_often_and_then_fails(repairs: int) -> None:
    student = Scripted([GARBAGE])
    (prediction,) = ask(student, SESSIONS[:1], form="write", samples=1, repairs=repairs)
    assert len(student.prompts) == 1 + repairs
    assert (prediction.outcome, prediction.bundles) == ("failed", ())
    assert GARBAGE in prediction.reason
    assert (prediction.tokens_in, prediction.tokens_out) == (10 * (1 + repairs), 5 * (1 + repairs))


def test_a_repair_names_the_faults_and_a_better_answer_is_taken() -> None:
    student = Scripted([GARBAGE, GOOD])
    (prediction,) = ask(student, SESSIONS[:1], form="write", samples=1, repairs=3)
    assert len(student.prompts) == 2
    assert GARBAGE not in student.prompts[0][0] and GARBAGE in student.prompts[1][0]
    assert (prediction.outcome, prediction.groups) == ("repaired", ((0, 1),))
    assert prediction.bundles[0].intent == "good things together"
    assert GARBAGE in prediction.reason


class Judging(Scripted):
    """A scripted student that thinks any two products go together."""

    def judge(self, prompts: Sequence[JudgePrompt], progress: Any = None) -> list[Judgement]:
        return [Judgement(np.full((prompt.products, prompt.products), 2.0), 10) for prompt in prompts]


def test_a_repaired_answer_by_pairs_is_as_sure_as_its_pairs() -> None:
    (prediction,) = ask(Judging(["", GOOD]), SESSIONS[:1])
    assert (prediction.outcome, prediction.groups) == ("repaired", ((0, 1),))
    assert prediction.bundles[0].confidence == 0.8808


def test_an_answer_without_fault_is_not_asked_for_again() -> None:
    student = Scripted([GOOD])
    (prediction,) = ask(student, SESSIONS[:1], form="write", samples=1, repairs=3)
    assert len(student.prompts) == 1
    assert (prediction.outcome, prediction.reason) == ("ok", "")


def test_a_repair_that_makes_it_worse_is_not_taken() -> None:
    faulty = GOOD + "and a note\n"
    (prediction,) = ask(Scripted([faulty, GARBAGE]), SESSIONS[:1], form="write", samples=1)
    assert (prediction.outcome, prediction.bundles, prediction.raw) == ("failed", (), faulty)
    assert prediction.reason == "2 intents for 1 bundles"


def test_only_the_faulty_sessions_of_a_batch_are_asked_about_again() -> None:
    two = [s for s in SESSIONS if len(s.items) == 3][:1] + [s for s in SESSIONS if len(s.items) == 4][:1]
    student = Scripted(["1 4\ngood things together\n", GARBAGE])
    first, second = ask(student, two, form="write", samples=1)
    assert [len(prompts) for prompts in student.prompts] == [2, 1]
    assert all(title in student.prompts[1][0] for title in two[0].titles)
    assert first.outcome != "ok" and second.outcome == "ok"


def test_an_answer_is_repaired_by_its_likeliest_text_and_not_by_new_samples() -> None:
    student = Scripted([GARBAGE, GOOD])
    (prediction,) = ask(student, SESSIONS[:1], form="write", samples=4)
    assert (prediction.outcome, prediction.tokens_out) == ("repaired", 4 * 5 + 5)


def test_what_is_too_long_is_cut_answered_and_told(tiny_student: Path) -> None:
    engine = StudentEngine.load(tiny_student)
    limit = engine.model.config.max_position_embeddings
    long = samples.session("long", [f"{'word' * 60}{n} {'more' * 60} thing" for n in range(8)])
    engine.model.config.max_position_embeddings = 4000
    try:
        state = build_student_graph().invoke(StudentState([long.blind()]), context=StudentContext(engine))
    finally:
        engine.model.config.max_position_embeddings = limit
    (prediction,) = state["predictions"]
    assert prediction.cut.startswith("titles cut to ") and prediction.tokens_in <= 2 * 4000


def test_a_student_whose_judgement_has_no_weight_is_not_asked_for_it(
    engine: StudentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unasked = Reading(student=0.0, evidence=1.0, bias=0.5)
    monkeypatch.setattr(StudentEngine, "judge", lambda *_: pytest.fail("asked"))
    predictions = ask(engine, reading=unasked)
    assert all(p.outcome == "ok" and len(p.bundles) == 1 for p in predictions)
    assert [len(p.groups[0]) for p in predictions] == [len(session.items) for session in SESSIONS]


LONG = [
    ["q" * 900 + " " + chr(97 + n % 26) * 40 for n in range(30)],
    ["a" + "\u0301" * (900 + n) for n in range(30)],
    ["\u0f40\u0fb5" * 300 + str(n) for n in range(30)],
    ["z" * 990 for _ in range(30)],
]


@pytest.mark.parametrize("titles", LONG)
def test_a_session_that_does_not_fit_is_a_failed_answer_and_the_others_are_answered(
    engine: StudentEngine, titles: list[str]
) -> None:
    (alone,) = ask(engine, SESSIONS[:1])
    before, found, after = ask(engine, [SESSIONS[0], samples.session("long", titles), SESSIONS[0]])
    assert found.outcome == "failed" and found.bundles == () and found.session_id == "long"
    assert found.reason.startswith("the prompt is longer than the student can read") and found.tokens_in == 0
    assert told(before) == told(after) == told(alone)


@pytest.mark.parametrize("titles", LONG)
def test_whole_answers_and_repairs_of_long_titles_fit_too(engine: StudentEngine, titles: list[str]) -> None:
    for form in FORMS:
        (found,) = ask(engine, [samples.session("long", titles[:12])], form=form, repairs=2)
        assert found.outcome in ("ok", "repaired", "failed")


def test_intents_are_asked_for_in_what_the_student_reads(engine: StudentEngine) -> None:
    titles = [f"{'q' * 40}{n} {'w' * 40}{n}" for n in range(30)]
    asked = fitting_name(samples.session("long", titles), tuple(range(30)), lambda prompt: len(prompt) < 700)
    assert len(asked) < 700 and asked.startswith("Shopping for")
