"""What is given to the Python face in place of sessions, titles, kinds and dials: an error that says what is wanted."""

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from samples import BagOfWords, record, session

import bundlewise
from bundlewise import KnowledgeBase, Policy, Session, Sessions, Student
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.store import KnowledgeStore

TITLES = ["Red Mouse", "Mouse Pad", "Tent"]


@pytest.fixture(scope="module")
def student(tiny_student: Path) -> Student:
    return Student.open(student=str(tiny_student))


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    KnowledgeStore(tmp_path / "kb", BagOfWords()).replace([record("rule", "Pads go with a mouse.")], [])
    return KnowledgeBase.open(tmp_path / "kb", BagOfWords())


@pytest.mark.parametrize("products", ["Red Mouse", None, 3, [1, 2], [{"title": "Red Mouse"}]])
def test_products_are_titles_or_items(student: Student, products: Any) -> None:
    for ask in (student.bundle, student.as_runnable().invoke):
        with pytest.raises(UsageError, match="products are a list of titles or of items, got"):
            ask(products)


@pytest.mark.parametrize("titles", [["", "Red Mouse"], ["!!", "Red Mouse"], ["Red Mouse"]])
def test_the_student_refuses_what_it_cannot_read_by_whichever_door(student: Student, titles: list[str]) -> None:
    for ask in (student.bundle, student.as_runnable().invoke):
        with pytest.raises(UsageError, match=r"title 1|has 1 products"):
            ask(titles)
    (found,) = student.answer([Session.of(titles)])
    assert found.outcome == "failed" and found.reason in str(student.as_chat_model()._reply(titles)[0])


def test_sessions_of_one_name_are_answered_one_by_one(student: Student) -> None:
    carts = [TITLES, ["Lamp"], TITLES[:2], TITLES]
    alone = [student.answer([Session.of(cart)])[0] for cart in carts]
    together = student.answer([Session.of(cart) for cart in carts])
    assert [one.bundles for one in together] == [one.bundles for one in alone]
    assert [one.outcome for one in together] == ["ok", "failed", "ok", "ok"]


WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "answer": lambda student, given: student.answer(given),
    "distil": lambda _, given: bundlewise.distil(given, path="nowhere"),
    "finetune": lambda _, given: bundlewise.finetune(given, path="nowhere"),
    "evaluate": lambda _, given: bundlewise.evaluate(given, []),
}


@pytest.mark.parametrize("ask", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("given", ["electronics", TITLES, [0], session("s", TITLES)])
def test_sessions_are_sessions(student: Student, ask: Callable[[Any, Any], Any], given: Any) -> None:
    with pytest.raises(UsageError, match=r"sessions are wanted, got a \w+; load some"):
        ask(student, given)


def test_a_dial_or_kind_that_there_is_not_is_told(kb: KnowledgeBase) -> None:
    with pytest.raises(UsageError, match="no dial named 'hint'; choose patterns, "):
        Policy.of(hint=3)
    kind: Any = "rules"
    for ask in (lambda: kb.records(kind), lambda: kb.search("mouse", kind=kind)):
        with pytest.raises(UsageError, match="no kind of knowledge named 'rules'; choose pattern, rule, thought"):
            ask()
    with pytest.raises(TypeError, match="count"):
        kb.as_retriever(count=3)  # type: ignore[call-arg]


def test_a_table_has_one_column_of_a_name() -> None:
    table = pd.DataFrame([["s", "Mouse", "Pad"]], columns=["session", "title", "title"])
    with pytest.raises(UsageError, match="two columns named 'title'"):
        bundlewise.load_sessions(table)


def test_equal_sessions_are_equal_wherever_they_come_from() -> None:
    sessions = Sessions([session("s", TITLES)])
    assert pickle.loads(pickle.dumps(sessions)) == sessions == Sessions(sessions[:1]) != Sessions([])
    assert len({sessions, Sessions(sessions)}) == 1


def test_finetune_is_documented_and_copied_as_the_function_that_it_is() -> None:
    assert str(inspect.getdoc(bundlewise.finetune)).startswith("Tune a student by LoRA")
    assert pickle.loads(pickle.dumps(bundlewise.finetune)) is copy.deepcopy(bundlewise.finetune) is bundlewise.finetune
