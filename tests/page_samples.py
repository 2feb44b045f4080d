"""A live student over a random model and a small knowledge base, and the app with it that the page's tests talk to."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from samples import BagOfWords, record, session, thought

from bundlewise.agents.student.reading import Reading
from bundlewise.domain import Item, KnownSession
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.student import Student
from bundlewise.server.app import create_app
from bundlewise.workbench.playground import Playground

KINDS = ("mouse", "pad", "rug")
GROUPS = [((0, 1),)] * 5 + [((1, 2),)]
KNOWN = [
    session(f"s{n}", [f"{t} {'abcdef'[n] * 3}" for t in ("glide mouse", "foam pad", "wool rug")], group)
    for n, group in enumerate(GROUPS)
]
INJECTED = "<img src=x onerror=alert(1)> mouse"
COLOURS = ("red", "blue", "green", "black")
PRODUCTS = [
    Item(id=f"{kind}-{n}", title=f"{colour} {kind}", price=None if n == 3 else 5.0 + n)
    for kind in KINDS
    for n, colour in enumerate(COLOURS)
]


def knowing(tiny_student: Path, folder: Path) -> Student:
    """Return a student whose knowledge says that mouse and pad go together."""
    store = KnowledgeStore(folder, BagOfWords())
    records = [record("rule", "put together a mouse and a pad", ["s0"])]
    records += [thought(each, KINDS) for each in KNOWN]
    store.replace(records, [KnownSession.of(each) for each in KNOWN])
    plain = Student.open(student=str(tiny_student))
    retriever = Retriever(store, Policy(rules=2, hints=30, min_score=-1))
    return Student(plain.model, retriever, Reading(student=0.1, evidence=1.0))


def app_with(
    live: Student,
    folder: Path,
    *,
    products: Sequence[Item] = PRODUCTS,
    prompts: Path | None = None,
    **settings: Any,
) -> FastAPI:
    """Return an app with all that the page shows; threads and ratings are kept in a folder."""
    kept: dict[str, Any] = {"threads": folder / "threads.sqlite", "feedback": folder / "ratings.jsonl"}
    assistant = partial(Assistant.open, catalogue=list(products), embedder=BagOfWords(), wait=True, **kept)
    playground = Playground(live, KNOWN, prompts)
    return create_app(live, assistant=assistant, playground=playground, **settings)
