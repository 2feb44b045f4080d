"""A knowledge base in a program: opened by its path, counted, searched, and read as a student reads it."""

import os
from pathlib import Path

import pytest
from samples import BagOfWords, record, session, thought

from bundlewise.domain import KnownSession
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.knowledge_base import KnowledgeBase

SOURCES = [
    session(f"s{n}", [f"{each} Mouse", "Mouse Pad", "Tent"], ((0, 1),)) for n, each in enumerate(["Red", "Big", "Wee"])
]


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    records = [record("rule", "Pads go with a mouse."), *(thought(s, ["mouse", "pad", "tent"]) for s in SOURCES)]
    change = Change("test", put=records, sessions=[KnownSession.of(each) for each in SOURCES])
    KnowledgeStore(tmp_path / "kb", BagOfWords()).change(change)
    return KnowledgeBase.open(tmp_path / "kb", BagOfWords())


def test_it_says_what_it_holds(kb: KnowledgeBase, tmp_path: Path) -> None:
    assert kb.counts == {"rule": 1, "thought": 3} and len(kb) == 4
    assert [each.kind for each in kb.records()] == ["rule", *["thought"] * 3] and len(kb.records("rule")) == 1
    assert repr(kb) == f"KnowledgeBase({tmp_path / 'kb'}: 1 rule, 3 thoughts)"
    assert "Pads go with a mouse." in kb._repr_html_()


def test_it_is_given_wherever_a_path_is(kb: KnowledgeBase, tmp_path: Path) -> None:
    assert os.fspath(kb) == str(tmp_path / "kb")
    assert len(KnowledgeBase.open(kb, BagOfWords())) == 4
    with pytest.raises(UsageError, match="no knowledge base in"):
        KnowledgeBase.open(tmp_path / "none")


def test_records_are_found_by_words(kb: KnowledgeBase) -> None:
    ((found, score),) = kb.search("pads mouse", k=1)
    assert found.text == "Pads go with a mouse." and score > 0
    assert [each.kind for each, _ in kb.search("pads mouse", k=2, kind="thought")] == ["thought"] * 2


def test_a_session_is_given_what_a_student_is_given(kb: KnowledgeBase) -> None:
    given = kb.retrieve(["Blue Mouse", "Pad"], rules=1)
    assert [each.text for each, _ in given.records] == ["Pads go with a mouse."] and given.hints
    own = {each.source_session_ids for each, _ in kb.retrieve(SOURCES[0]).evidence}
    assert own and ("s0",) not in own
    with pytest.raises(UsageError, match="rules must be at least 0"):
        kb.retrieve(["A", "B"], rules=-1)
