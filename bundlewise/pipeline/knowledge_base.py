"""A knowledge base in a program: what is in it, what fits words, and what a student is given for a session."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Item, Knowledge, KnowledgeKind, Retrieved, Session, Status
from bundlewise.knowledge_base.policy import Policy, Search
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.search import find
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.notebook import first, table
from bundlewise.pipeline.distil import Distilled, Payment
from bundlewise.pipeline.distil import distil as run_teacher

if TYPE_CHECKING:
    from bundlewise.graphs.teacher_state import Dials
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.langchain.retriever import KnowledgeRetriever


class KnowledgeBase:
    """Distilled knowledge: patterns, rules and thoughts, in a folder or on a Chroma server.

    `run` is what the teacher's run left that wrote it just now; empty where it was opened.
    """

    def __init__(self, store: KnowledgeStore, run: Distilled | None = None) -> None:
        self.store = store
        self.run = run or Distilled([], [])

    @classmethod
    def open(cls, path: str | os.PathLike[str], embedder: "Embedder | None" = None) -> "KnowledgeBase":
        """Open an existing knowledge base.

        Raises:
            UsageError: there is none.
            KnowledgeError: it is damaged, or of another version or embedder.
        """
        return cls(KnowledgeStore.open(os.fspath(path), embedder))

    def __fspath__(self) -> str:
        """Return where it is: it can be given wherever a path to a knowledge base can."""
        return str(self.store.place)

    @cached_property
    def counts(self) -> dict[KnowledgeKind, int]:
        """The number of active records of each kind."""
        found: Counter[KnowledgeKind] = Counter()
        for (kind, _, status), number in self.store.records.counts().items():
            found[kind] += number if status == "active" else 0
        return dict(sorted(found.items()))

    def __len__(self) -> int:
        """Return the number of active records."""
        return sum(self.counts.values())

    def records(
        self, kind: KnowledgeKind | None = None, domain: str | None = None, status: Status | None = "active"
    ) -> list[Knowledge]:
        """Return records in the order of their ids; None admits any kind, domain or status."""
        return list(self.store.records.select(kind, domain, status))

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        kind: KnowledgeKind | None = None,
        domain: str | None = None,
        search: Search = "hybrid",
    ) -> list[tuple[Knowledge, float]]:
        """Return the active records that fit a text best, with their score."""
        return [(verdict.record, verdict.score) for verdict in find(self.store, text, kind, domain, k, search)]

    def retrieve(self, products: Session | Sequence[str | Item], **dials: Any) -> Retrieved:
        """Return what a student is given for a session, or for titles, by the dials of `Policy`.

        A session's own knowledge is never among it.

        Raises:
            UsageError: a dial has a value it cannot have.
        """
        session = products if isinstance(products, Session) else Session.of(products)
        return Retriever(self.store, Policy.of(**dials)).retrieve([session.blind()])[0]

    def as_retriever(self, k: int = 4, **settings: Any) -> "KnowledgeRetriever":
        """Return it as LangChain's `BaseRetriever`; `kind`, `domain` and `search` are as in `search`."""
        from bundlewise.langchain.retriever import KnowledgeRetriever

        return KnowledgeRetriever(store=self.store, k=k, **settings)

    def __repr__(self) -> str:
        """Return where it is, and the number of records of each kind."""
        told = ", ".join(f"{number:,} {kind}{'s' * (number != 1)}" for kind, number in self.counts.items())
        return f"KnowledgeBase({self.store.place}: {told or 'empty'})"

    def _repr_html_(self) -> str:
        rows = [(each.kind, each.domain, each.text) for each in first(self.store.records.select())]
        return table(repr(self), ("kind", "domain", "text"), rows, len(self))


def distil(
    sessions: Sequence[Session],
    teacher: str = "grounded",
    path: str | os.PathLike[str] = "kb",
    *,
    embedder: "Embedder | None" = None,
    pack: Path | None = None,
    dials: "Dials | None" = None,
    payment: Payment | None = None,
    log: Path | None = None,
    remarks: Sequence[Knowledge] = (),
) -> KnowledgeBase:
    """Let a teacher distil the training sessions among these into a knowledge base.

    Answers of a large teacher go through the ledger: stopped or killed, the same call goes on without paying twice.
    The knowledge base is replaced at the end of a run that succeeded, and stays as it is otherwise.

    Args:
        sessions: those of the training split teach, those of validation test rules.
        teacher: `grounded`, `recorded:FILE` or `openai:MODEL[@URL]`.
        path: the knowledge base, a folder or a Chroma server's URL.
        embedder: of a new knowledge base; MiniLM without.
        pack: a file that the records are written to also.
        dials: which sessions are read, and which kinds of knowledge are made.
        payment: how a large teacher is asked and paid.
        log: a file that events are added to.
        remarks: records that are kept beside what the teacher distils.

    Raises:
        UsageError: there is no such teacher, or nothing to learn from.
        CapError: a cap was reached; what was paid for is in the ledger.
        ModelError: the endpoint cannot be used.
        StageError: more of a stage failed than may.
    """
    place = os.fspath(path)
    settings: dict[str, Any] = {"embedder": embedder, "pack": pack, "dials": dials, "payment": payment}
    run = run_teacher(sessions, teacher, place, log=log, remarks=remarks, **settings)
    return KnowledgeBase(KnowledgeStore.open(place, embedder), run)
