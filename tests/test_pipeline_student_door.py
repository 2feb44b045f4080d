"""The student's door: whatever a session tells beside its titles changes no prompt, no retrieval and no answer.

The templates here are a user's own that print prices, categories and annotations where a session has any: what is
let in anywhere shows in a prompt.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from samples import BagOfWords, record, session, thought

from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Judgement, StudentEngine
from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.reading import Reading, learn_chooser
from bundlewise.agents.student.tokens import Prompt, Written
from bundlewise.domain import BlindSession, Bundle, Item, KnownSession, Retrieved, Session
from bundlewise.finetune.examples import judge_example, name_example
from bundlewise.finetune.students import StudentModel
from bundlewise.graphs.student import StudentState
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline import studio
from bundlewise.pipeline.student import Student
from bundlewise.prompts.library import SHIPPED, current, shipped, using
from bundlewise.workbench.answer_cache import AnswerCache, Bench
from bundlewise.workbench.playground import Playground
from bundlewise.workbench.preview import World, rendered

TITLES = ["glide mouse", "foam pad", "wool rug"]
KNOWN = [session(f"s{n}", [f"{t} {'abcdef'[n] * 3}" for t in TITLES], ((0, 1),)) for n in range(6)]
BLIND = session("new", ["red mouse", "blue pad", "green rug", "oak mouse"], split="test").blind()
PEEKING = """{% for item in session.items %}{% if item.price %}{{ item.price }} {% endif %}
{%- if item.category %}{{ item.category | join(" ") }} {% endif %}{% endfor %}{{ session.bundles | length }}
"""


def exposed(given: Session) -> Session:
    """Return the session with prices, categories, and annotations where it has none."""
    rows = enumerate(given.items)
    items = tuple(Item(id=i.id, title=i.title, category=("Home", f"C{n}"), price=10.0 + n) for n, i in rows)
    pair = Bundle(item_ids=(items[0].id, items[-1].id), intent="cheat")
    return Session.model_validate(given.model_dump() | {"items": items, "bundles": given.bundles or (pair,)})


class Listening(StudentEngine):
    """A student that notes every prompt."""

    def __init__(self, engine: StudentEngine) -> None:
        super().__init__(engine.model, engine.tokenizer)
        self.heard: list[object] = []

    def judge(self, prompts: Sequence[JudgePrompt], progress: Any = None) -> list[Judgement]:
        self.heard += prompts
        return super().judge(prompts, progress)

    def write(self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Any = None) -> list[Written]:
        self.heard += prompts
        return super().write(prompts, grammars, progress)

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Any = None
    ) -> list[list[Written]]:
        self.heard += prompts
        return super().sample(prompts, grammars, count, progress)

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Any = None
    ) -> list[list[float]]:
        self.heard += prompts
        return super().score(prompts, answers, progress)


class Noting(Retriever):
    """A retriever that notes what it is asked."""

    asked: list[BlindSession]

    def retrieve(self, sessions: Sequence[BlindSession]) -> list[Retrieved]:
        self.asked = [*getattr(self, "asked", []), *sessions]
        return super().retrieve(sessions)


@pytest.fixture(scope="module")
def engine(tiny_student: Path) -> Listening:
    return Listening(StudentEngine.load(tiny_student))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Noting:
    store = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    records = [record("rule", "put together a mouse and a pad", ["s0"])]
    records += [thought(each, ["mouse", "pad", "rug"]) for each in KNOWN]
    store.replace(records, [KnownSession.of(each) for each in KNOWN])
    return Noting(store, Policy(rules=2, demonstrations=2, hints=30, min_score=-1))


@pytest.fixture
def student(engine: Listening, retriever: Noting) -> Iterator[Student]:
    peeking = {name: shipped(name).with_body(shipped(name).body + PEEKING) for name in ("judge", "write")}
    with using(SHIPPED.replacing(*peeking.values())):
        model, reading = StudentModel(engine, None, None, "tiny"), Reading(student=0.1, evidence=1.0)
        yield Student(model, retriever, reading, AnswerDials(form="pairs"))


def writing(student: Student, samples: int, reading: Reading | None = None) -> Student:
    """Return the student as one that writes whole answers."""
    dials = AnswerDials(form="write", samples=samples)
    return Student(student.model, student.retriever, reading or student.reading, dials)


def scoring(student: Student) -> Student:
    """Return the student as one that scores the groupings of the pair evidence."""
    assert student.retriever is not None
    chooser = learn_chooser(KNOWN, student.retriever.retrieve([each.blind() for each in KNOWN]))
    return writing(student, 1, Reading(student=0.0, evidence=1.0, grouping=0.1, chooser=chooser))


def plainly(predictions: Sequence[Any]) -> list[Any]:
    return [each.model_dump(exclude={"seconds"}) for each in predictions]


def found(student: Student, asked: Session) -> list[tuple[list[str], str, float | None]]:
    return [(bundle.titles, bundle.intent, bundle.confidence) for bundle in student.bundle(asked)]


def filed(student: Student, asked: Session, folder: Path) -> bytes:
    student.answer_to_file([asked], folder / "answers.jsonl")
    return (folder / "answers.jsonl").read_bytes()


def beside(student: Student, asked: Session) -> list[tuple[str, list[float]]]:
    return [(item.id, likely) for item, likely in student.beside(asked, [asked.items[0]])]


def benched(student: Student, asked: Session, folder: Path) -> list[Any]:
    return plainly(Bench(student, AnswerCache(folder / "kept.sqlite")).answers(current(), [asked]))


def played(student: Student, asked: Session) -> list[Any]:
    text = shipped("judge").text
    with using(SHIPPED):  # Edited templates are rendered in a process that is given titles alone.
        shown = Playground(student, []).render("judge", text, asked)
        tried = Playground(student, []).attempt("judge", text, asked)
    assert tried.before is not None
    return [shown.prompts, plainly([tried.before.prediction])]


ENTRANCES: dict[str, Callable[[Student, Session, Path], Any]] = {
    "answer": lambda student, asked, _: plainly(student.answer([asked])),
    "whole answers": lambda student, asked, _: plainly(writing(student, samples=2).answer([asked])),
    "likeliest whole answers": lambda student, asked, _: plainly(writing(student, samples=1).answer([asked])),
    "whole answers by evidence": lambda student, asked, _: plainly(scoring(student).answer([asked])),
    "answer to a file": filed,
    "bundle": lambda student, asked, _: found(student, asked),
    "pairs": lambda student, asked, _: [likely.tolist() for likely in student.pairs([asked])],
    "explain": lambda student, asked, _: student.explain(asked, ((0, 1), (2, 3))),
    "companions": lambda student, asked, _: student.companions(asked),
    "beside": lambda student, asked, _: beside(student, asked),
    "bench": benched,
    "playground": lambda student, asked, _: played(student, asked),
    "preview": lambda _, asked, __: [rendered(name, asked, World(known=KNOWN)) for name in ("judge", "write")],
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_prices_categories_and_annotations_stay_outside(
    student: Student, engine: Listening, retriever: Noting, tmp_path: Path, entrance: str
) -> None:
    came: list[tuple[Any, ...]] = []
    for number, asked in enumerate((BLIND, exposed(BLIND))):
        engine.heard, retriever.asked = [], []
        (tmp_path / str(number)).mkdir()
        answered = ENTRANCES[entrance](student, asked, tmp_path / str(number))
        assert all(type(each) is BlindSession for each in retriever.asked)
        came.append((answered, [*engine.heard], retriever.asked))
    assert came[0] == came[1] and came[0][0]


def test_a_calibration_takes_the_annotations_and_nothing_else(student: Student, engine: Listening) -> None:
    held = [session(f"v{n}", ["red mouse", "blue pad", "rug"], ((0, 1),), split="validation") for n in range(2)]
    came = []
    for asked in (held, [exposed(each) for each in held]):
        engine.heard = []
        came.append((student.fit([*KNOWN, *asked]), student.reading, [*engine.heard]))
    assert came[0] == came[1] and came[0][2]


def test_a_calibration_of_whole_answers_takes_the_annotations_and_nothing_else(
    student: Student, engine: Listening
) -> None:
    held = [session(f"v{n}", ["red mouse", "blue pad", "rug"], ((0, 1),), split="validation") for n in range(2)]
    came, live = [], writing(student, samples=2)
    for asked in (held, [exposed(each) for each in held]):
        engine.heard = []
        came.append((live.fit([*KNOWN, *asked]), live.reading, [*engine.heard]))
    assert came[0] == came[1] and came[0][2]


def test_training_reads_titles_and_annotated_bundles_alone(student: Student, engine: Listening) -> None:
    told = exposed(KNOWN[0])
    for bare, other in (
        (judge_example(engine.tokenizer, KNOWN[0], Retrieved()), judge_example(engine.tokenizer, told, Retrieved())),
        (name_example(engine.tokenizer, KNOWN[0], 0), name_example(engine.tokenizer, told, 0)),
    ):
        assert bare == other


def test_a_limit_on_the_price_reads_the_prices_that_the_student_does_not_see(
    student: Student, engine: Listening
) -> None:
    asked, heard = exposed(BLIND), []
    for limits in ({}, {"new": Limits(total=22.0, bundles=1)}):
        engine.heard = []
        (answered,) = student.answer([asked], limits)
        heard.append([prompt for prompt in engine.heard if isinstance(prompt, JudgePrompt)])
    (bundle,) = answered.bundles
    assert sum(asked.items[number - 1].price or 0 for number in bundle.items) <= 22
    assert heard[0] == heard[1]
    assert student.answer([BLIND], {"new": Limits(total=22.0)})[0].outcome == "failed"


def test_the_session_s_own_knowledge_is_left_out_by_its_id_and_by_its_products(student: Student) -> None:
    assert student.retriever is not None
    (own,) = student.retriever.retrieve([KNOWN[0].blind()])
    assert not any("s0" in known.source_session_ids for known, _ in (*own.records, *own.demonstrations, *own.evidence))
    assert own.demonstrations and own.evidence
    (renamed,) = student.retriever.retrieve([KNOWN[0].model_copy(update={"session_id": "x"}).blind()])
    assert renamed == own


def test_the_graph_refuses_sessions_that_tell_more_and_studio_gives_it_none(tiny_student: Path) -> None:
    with pytest.raises(TypeError, match=r"reads blind sessions; give new as Session.blind\(\)"):
        StudentState([exposed(BLIND)])  # type: ignore[list-item]
    ran = studio.student.invoke({"carts": [BLIND.titles]}, context={"name": str(tiny_student)})
    assert [type(each) for each in ran["sessions"]] == [BlindSession] and ran["predictions"][0].bundles


@pytest.mark.parametrize("told", [{"price": 1.0}, {"category": ("Home",)}])
def test_a_blind_session_with_more_than_titles_cannot_be_made(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a student sees only titles"):
        BlindSession(session_id="s", items=(Item(id="1", title="mouse", **told),))
    assert np.all([type(each.blind()) is BlindSession for each in (exposed(BLIND), BLIND)]) and BLIND.blind() is BLIND
