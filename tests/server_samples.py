"""A student without a model for tests of the server, and the servers that tests talk to."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from samples import BagOfWords, record

from bundlewise.agents.student.compose import unreadable
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.limits import Limits as BundleLimits
from bundlewise.bundles import Reason
from bundlewise.domain import (
    Grouping,
    Item,
    Knowledge,
    KnowledgeKind,
    KnowledgeUse,
    PredictedBundle,
    Prediction,
    Session,
)
from bundlewise.pipeline.assistant import Assistant
from bundlewise.server.app import create_app
from bundlewise.server.limits import ServerLimits
from bundlewise.server.serve import PatientProtocol

KEY, OTHER_KEY = "sk-test-0123456789abcdef", "sk-test-fedcba9876543210"
TITLES = ["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"]
PRODUCTS = [
    Item(id=f"p{n}", title=title, price=price)
    for n, (title, price) in enumerate(
        [(TITLES[0], 199.0), (TITLES[1], 19.5), (TITLES[2], 4.0), ("Garden hose, 15 m", 25.0), ("Padmoor stylus", None)]
    )
]
THOUGHT = record("thought", "A tablet and its folio case serve one purpose.")


class WordStudent:
    """Bundles the products that share a word with the first one; counts what it is asked together."""

    about: dict[str, Any] = {"student": "words"}  # noqa: RUF012  # the protocol's property

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.batches: list[list[str]] = []
        self.guard = threading.Lock()

    def answer(self, sessions: Sequence[Session], limits: Mapping[str, BundleLimits] | None = None) -> list[Prediction]:
        time.sleep(self.delay)
        with self.guard:
            self.batches.append([session.titles[0] for session in sessions])
        return [self._prediction(session) for session in sessions]

    def _prediction(self, session: Session) -> Prediction:
        if reason := unreadable(session):
            return Prediction(session_id=session.session_id, bundles=(), outcome="failed", reason=reason)
        first = set(session.titles[0].lower().split())
        alike = [n for n, title in enumerate(session.titles, 1) if first & set(title.lower().split())]
        bundles = ()
        if len(alike) > 1:
            ids = tuple(session.items[n - 1].id for n in alike)
            bundles = (PredictedBundle(items=tuple(alike), item_ids=ids, intent="words in common", confidence=0.75),)
        return Prediction(
            session_id=session.session_id,
            bundles=bundles,
            knowledge=(KnowledgeUse(id=THOUGHT.id, score=0.5),),
            outcome="ok" if bundles else "failed",
            reason="" if bundles else "no two products share a letter",
            tokens_in=10 * len(session.items),
            tokens_out=len(session.items),
        )

    def knowledge(self, ids: Sequence[str]) -> dict[str, Knowledge]:
        return {THOUGHT.id: THOUGHT} if THOUGHT.id in ids else {}

    def pairs(self, sessions: Sequence[Session]) -> list[Matrix]:
        return [np.full((len(each.items),) * 2, 0.75) - 0.75 * np.eye(len(each.items)) for each in sessions]

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        return ["case"]

    def beside(self, session: Session, candidates: Sequence[Item]) -> list[tuple[Item, list[float]]]:
        return [(item, [0.75] * len(session.items)) for item in candidates]

    def find(self, text: str, kind: KnowledgeKind | None, domain: str, limit: int) -> list[tuple[Knowledge, float]]:
        return [(THOUGHT, 0.5)][:limit] if kind in (None, "thought") else []

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        why = Reason(id=THOUGHT.id, kind="thought", domain="", text=THOUGHT.text, score=0.5, effect=0.25)
        return [[why] for _ in groups]


def app_of(student: WordStudent | None = None, threads: Path | None = None, **settings: Any) -> FastAPI:
    """Return an app over a student, whose assistant knows five products and needs no model."""
    ratings = threads and threads.with_name("ratings.jsonl")
    kept: dict[str, Any] = {"threads": threads, "feedback": ratings, "embedder": BagOfWords()}
    settings = {"assistant": partial(Assistant.open, catalogue=PRODUCTS, **kept)} | settings
    return create_app(student or WordStudent(), **settings)


@contextmanager
def served(app: FastAPI, limits: ServerLimits | None = None) -> Iterator[str]:
    """Serve an app on a free port of this machine by the real server; yield its address."""
    limits = limits or ServerLimits()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    protocol: Any = partial(PatientProtocol, seconds=limits.read_seconds)
    config = uvicorn.Config(app, http=protocol, loop="asyncio", ws="none", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()
