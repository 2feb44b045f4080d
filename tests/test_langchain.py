"""The LangChain side: the student as Runnable and chat model, knowledge as retriever, the graphs to compose."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from samples import BagOfWords, record, session

from bundlewise.bundles import FoundBundle
from bundlewise.domain import KnownSession
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.knowledge_base import KnowledgeBase
from bundlewise.pipeline.student import Student

TITLES = ["Red Mouse", "Mouse Pad", "Tent", "Tent Pegs"]


@pytest.fixture(scope="module")
def student(tiny_student: Path) -> Student:
    return Student.open(student=str(tiny_student))


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    store = KnowledgeStore(tmp_path / "kb", BagOfWords())
    records = [
        record("rule", "Pads go with a mouse."),
        record("rule", "Pegs go with a tent."),
        record("thought", "Mouse and pad make a desk.", ["s1"]),
    ]
    store.change(Change("test", put=records, sessions=[KnownSession.of(session("s1", ["Mouse", "Pad"]))]))
    return KnowledgeBase.open(tmp_path / "kb", BagOfWords())


def test_the_runnable_gives_the_bundles_that_the_student_gives(student: Student) -> None:
    runnable = student.as_runnable()
    assert isinstance(runnable, Runnable)
    found = runnable.invoke(TITLES)
    assert found == student.bundle(TITLES) and all(isinstance(bundle, FoundBundle) for bundle in found)
    assert runnable.invoke(session("s", TITLES))[0].titles == found[0].titles
    assert asyncio.run(runnable.ainvoke(TITLES)) == found
    counted: Any = runnable | RunnableLambda(len)
    assert counted.invoke(TITLES) == len(found)


def test_a_batch_is_answered_at_once_and_in_order(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    runnable, asked = student.as_runnable(), list[int]()
    answer = student.answer
    monkeypatch.setattr(student, "answer", lambda sessions: asked.append(len(sessions)) or answer(sessions))
    given: list[Any] = [TITLES[:2], session("s", TITLES), session("s", TITLES[2:])]
    found = runnable.batch(given)
    assert asked == [3] and [{t for b in row for t in b.titles} <= set(TITLES) for row in found] == [True] * 3
    assert asyncio.run(runnable.abatch(given)) == found


def test_what_cannot_be_read_is_an_error_of_its_own_session(student: Student) -> None:
    runnable = student.as_runnable()
    with pytest.raises(UsageError, match="product"):
        runnable.invoke(["One"])
    good, bad = runnable.batch([TITLES, ["One"]], return_exceptions=True)
    assert good and isinstance(bad, UsageError)
    with pytest.raises(UsageError):
        runnable.batch([TITLES, ["One"]])


@pytest.mark.parametrize(
    "text", ["Bundle these:\n- Red Mouse\n- Mouse Pad", "Red Mouse; Mouse Pad", "bundle red mouse, mouse pad"]
)
def test_the_chat_model_bundles_what_the_last_message_lists(student: Student, text: str) -> None:
    model = student.as_chat_model()
    assert isinstance(model, BaseChatModel)
    reply = model.invoke([HumanMessage("Tent\nTent Pegs"), AIMessage("1. camping"), HumanMessage(text)])
    (bundle,) = reply.response_metadata["bundles"]
    assert [item["title"].lower() for item in bundle["items"]] == ["red mouse", "mouse pad"]
    assert bundle["intent"] in reply.content and str(reply.content).startswith("1. ")
    assert reply.response_metadata["model_name"] == "bundlewise"
    assert reply.usage_metadata and reply.usage_metadata["input_tokens"] > 0
    assert (model | StrOutputParser()).invoke(text) == reply.content


def test_parts_of_a_message_are_read_and_streamed(student: Student) -> None:
    parts: Any = [{"type": "text", "text": "Red Mouse\n"}, {"type": "text", "text": "Mouse Pad"}]
    model = student.as_chat_model()
    reply = model.invoke([HumanMessage(parts)])
    assert len(reply.response_metadata["bundles"]) == 1
    pieces = list(model.stream([HumanMessage(parts)]))
    assert "".join(str(piece.content) for piece in pieces) == reply.content
    assert pieces[-1].response_metadata["bundles"] == reply.response_metadata["bundles"]
    assert model.invoke([HumanMessage(parts)], stop=["mouse"]).content == str(reply.content).partition("mouse")[0]


def test_a_message_without_a_list_is_told_what_to_send(student: Student) -> None:
    reply = student.as_chat_model().invoke("hello")
    assert str(reply.content).startswith("List at least two products") and reply.response_metadata["bundles"] == []


def test_knowledge_is_found_as_documents(kb: KnowledgeBase) -> None:
    retriever = kb.as_retriever(k=2)
    assert isinstance(retriever, BaseRetriever)
    first, second = retriever.invoke("mouse pad")
    assert {first.page_content, second.page_content} == {"Pads go with a mouse.", "Mouse and pad make a desk."}
    thought = next(each for each in (first, second) if each.metadata["kind"] == "thought")
    assert thought.metadata["source_session_ids"] == ["s1"] and thought.metadata["teacher"] == "grounded"
    assert thought.id in {each.id for each in kb.records("thought")}
    assert [len(retriever.invoke("mouse pad", k=1)), len(kb.as_retriever(kind="thought").invoke("tent"))] == [1, 1]


def test_the_graphs_and_the_classes_are_public() -> None:
    import bundlewise.langchain as side

    assert [name for name in side.__all__ if name.startswith("build_")] == [
        "build_assistant_graph",
        "build_student_graph",
        "build_teacher_graph",
    ]
    assert all(getattr(side, name) for name in side.__all__)


def test_the_student_graph_is_a_step_of_another(student: Student) -> None:
    from bundlewise.graphs.student import StudentState
    from bundlewise.langchain import build_student_graph

    state: Any = StudentState([session("s", TITLES).blind()])
    found = build_student_graph().invoke(state, context=student.context())["predictions"]
    assert found[0].session_id == "s"
