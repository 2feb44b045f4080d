"""The graphs for `langgraph dev` and LangGraph Studio, with names and texts as input, as a form can hold them.

A program passes a graph its open objects (model, knowledge base) as context; a form passes names, which are opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from bundlewise.agents.student.aims import AimName
from bundlewise.agents.student.dials import AnswerDials, Form, Reasoning
from bundlewise.agents.student.replies import NO_BOUNDS
from bundlewise.agents.teacher.failures import Outcomes
from bundlewise.agents.teacher.tally import Tally
from bundlewise.data.sessions import load
from bundlewise.domain import BlindSession, Knowledge, Prediction, Session
from bundlewise.finetune.students import answer_dials
from bundlewise.graphs.assistant import build_assistant_graph
from bundlewise.graphs.student import build_student_graph
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.pipeline.distil import dials_of, teacher_named
from bundlewise.pipeline.student import DEFAULT, Student

if TYPE_CHECKING:
    from bundlewise.agents.assistant.meaning import Meaning
    from bundlewise.agents.student.engine import Engine
    from bundlewise.agents.student.limits import Bounds
    from bundlewise.agents.student.reading import Reading
    from bundlewise.agents.teacher.protocol import Teacher
    from bundlewise.graphs.chat_pilot import ChatPilot
    from bundlewise.graphs.teacher_state import Dials
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.pipeline.product_search import ProductFinder


@cache
def _student(name: str, kb: str, adapter: str) -> Student:
    return Student.open(student=name, kb=kb or None, adapter=Path(adapter) if adapter else None)


@cache
def _finder(catalogue: str) -> "ProductFinder":
    from bundlewise.data.catalogue import read_catalogue
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.pipeline.product_search import ProductFinder

    products, currency = read_catalogue(catalogue)
    return ProductFinder(products, Embedder.named(), currency)


@cache
def _sessions(data: str) -> tuple[Session, ...]:
    return tuple(load(data))


@dataclass(frozen=True)
class _Named:
    """A student given by names."""

    name: str = DEFAULT
    kb: str = ""
    adapter: str = ""

    @property
    def student(self) -> Student:
        """The student with these names, opened once per process."""
        return _student(self.name, self.kb, self.adapter)


@dataclass(frozen=True)
class StudentForm(_Named):
    """The form of the student graph; it stands for a `StudentContext`."""

    form: Form | None = None
    samples: int | None = None
    reasoning: Reasoning | None = None
    repairs: int | None = None
    aim: AimName | None = None
    recall: float | None = None

    @property
    def dials(self) -> AnswerDials:
        """The dials of answering; those that the form leaves out are the student's own."""
        given = {name: getattr(self, name) for name in AnswerDials.model_fields}
        return answer_dials(self.name, self.student.model.manifest, given)

    @property
    def engine(self) -> "Engine":
        """The student's model."""
        return self.student.model.engine

    @property
    def retriever(self) -> "Retriever | None":
        """The student's knowledge."""
        return self.student.retriever

    @property
    def reading(self) -> "Reading":
        """The reading: how judgements become bundles."""
        return self.student.reading

    @property
    def bounds(self) -> "Mapping[str, Bounds]":
        """None: a form has no place for them."""
        return NO_BOUNDS

    @property
    def progress(self) -> None:
        """None: Studio shows the steps."""


@dataclass(frozen=True)
class AssistantForm(_Named):
    """The form of the assistant graph: names of student and catalogue; it stands for an `AssistantContext`."""

    catalogue: str = "electronics"
    chat_model: str = ""

    @property
    def finder(self) -> "ProductFinder":
        """The catalogue, read once per process."""
        return _finder(self.catalogue)

    @cached_property
    def meaning(self) -> "Meaning":
        """The packaged phrases, compared by the catalogue's embedder."""
        from bundlewise.agents.assistant.meaning import Meaning

        return Meaning(embed=self.finder.embedder.embed if self.finder.embedder else None)

    @cached_property
    def pilot(self) -> "ChatPilot | None":
        """The chat model, if one is named."""
        from bundlewise.graphs.chat_pilot import ChatPilot

        return ChatPilot.named(self.chat_model) if self.chat_model else None


@dataclass(frozen=True)
class TeacherForm:
    """The form of the teacher graph: names of teacher and data; it stands for a `TeacherContext`. Nothing is stored."""

    name: str = "grounded"
    data: str = "electronics"
    limit: int = 20
    formats: str = ""

    @cached_property
    def sessions(self) -> list[Session]:
        """The first annotated training sessions of the data."""
        return [s for s in _sessions(self.data) if s.split == "train" and s.bundles][: self.limit]

    @property
    def validation(self) -> list[Session]:
        """The sessions that rules are tested on."""
        return [s for s in _sessions(self.data) if s.split == "validation"]

    @cached_property
    def teacher(self) -> "Teacher":
        """The teacher, grounded or recorded; only `bundlewise distil` asks a large teacher, which is paid."""
        return teacher_named(self.name, self.sessions)

    @property
    def dials(self) -> "Dials":
        """The dials: the formats of the form, and all sessions."""
        return dials_of("random", 1.0, 0, self.formats or None)

    @cached_property
    def tally(self) -> Tally:
        """The count of work done."""
        return Tally(listeners=[self.outcomes.hear])

    @cached_property
    def outcomes(self) -> Outcomes:
        """The count of failures; too many end the run."""
        return Outcomes()

    store = pack = embed = None
    known = remarks = training = ()
    is_plan = False


@dataclass(frozen=True)
class Carts:
    """Titles of products, one list per cart."""

    carts: list[list[str]]


@dataclass(frozen=True)
class Bundled:
    """The student's predictions for carts."""

    carts: list[list[str]]
    sessions: list[BlindSession] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)


@dataclass(frozen=True)
class DistilledSessions:
    """The teacher's records for the sessions that the form names; the graph has no other input."""

    sessions: list[Session] = field(default_factory=list)
    records: list[Knowledge] = field(default_factory=list)


def _read_carts(state: Carts) -> dict[str, list[BlindSession]]:
    return {"sessions": [Session.of(titles, f"cart-{n}").blind() for n, titles in enumerate(state.carts, 1)]}


def _read_data(state: DistilledSessions, runtime: Runtime[TeacherForm]) -> dict[str, list[Session]]:
    return {"sessions": runtime.context.sessions}


def _whole(
    form: Any, given: Any, state: Any, name: str, read: Any, inner: Any
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a graph that reads the form, and then runs as the graph for programs."""
    graph = StateGraph(state, context_schema=form, input_schema=given)
    graph.add_node("read", read)
    graph.add_node(name, inner)
    graph.add_edge(START, "read")
    graph.add_edge("read", name)
    graph.add_edge(name, END)
    return graph.compile()


student = _whole(StudentForm, Carts, Bundled, "student", _read_carts, build_student_graph())
teacher = _whole(TeacherForm, DistilledSessions, DistilledSessions, "teacher", _read_data, build_teacher_graph())
assistant = build_assistant_graph(context_schema=AssistantForm)
