"""A knowledge base in a Python program: list its records, search them, and retrieve as a student does."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.data.session_list import require_sessions
from bundlewise.domain import Item, Knowledge, KnowledgeKind, Retrieved, Session, Status
from bundlewise.knowledge_base.policy import Policy, Search
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.search import find, require_kind
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.notebook import first, table
from bundlewise.pipeline.distil import Distilled, Payment, run_teacher

if TYPE_CHECKING:
    from bundlewise.agents.teacher.tally import Tally
    from bundlewise.graphs.teacher_state import Dials
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.langchain.retriever import KnowledgeRetriever


class KnowledgeBase:
    """Distilled knowledge: patterns, rules and thoughts, in a folder or on a Chroma server.

    `run` is the result of the teacher's run that wrote it; None for a knowledge base that was opened.
    """

    def __init__(self, store: KnowledgeStore, run: Distilled | None = None) -> None:
        self.store = store
        self.run = run or Distilled([], [])

    @classmethod
    def open(cls, path: str | os.PathLike[str], embedder: "Embedder | None" = None) -> "KnowledgeBase":
        """Open an existing knowledge base.

        Raises:
            UsageError: there is no knowledge base.
            KnowledgeError: it is damaged, or of another version or embedder.
        """
        return cls(KnowledgeStore.open(os.fspath(path), embedder))

    def __fspath__(self) -> str:
        """Return its place, so that it can be passed as the path of a knowledge base."""
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
        """Return records in the order of their ids; None stands for every kind, domain or status."""
        require_kind(kind)
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
        """Return the active records that match a text best, with their scores."""
        return [(verdict.record, verdict.score) for verdict in find(self.store, text, kind, domain, k, search)]

    def retrieve(self, products: Session | Sequence[str | Item], **dials: Any) -> Retrieved:
        """Return the knowledge that a student gets for a session, or for titles, with the dials of `Policy`.

        It never contains the session's own records.

        Raises:
            UsageError: a dial has an impossible value.
        """
        return Retriever(self.store, Policy.of(**dials)).retrieve([Session.of(products).blind()])[0]

    def as_retriever(
        self,
        k: int = 4,
        *,
        kind: KnowledgeKind | None = None,
        domain: str | None = None,
        search: Search = "hybrid",
    ) -> "KnowledgeRetriever":
        """Return it as LangChain's `BaseRetriever`; `kind`, `domain` and `search` are as in `search`."""
        from bundlewise.langchain.retriever import KnowledgeRetriever

        return KnowledgeRetriever(store=self.store, k=k, kind=kind, domain=domain, search=search)

    def __repr__(self) -> str:
        """Return its place, and the number of records of each kind."""
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
    tally: "Tally | None" = None,
    log: Path | None = None,
    remarks: Sequence[Knowledge] = (),
) -> KnowledgeBase:
    """Let a teacher distil the training sessions among these into a knowledge base.

    Answers of a large teacher go through the ledger: after a stop or a kill, the same call continues without paying
    twice. The knowledge base is replaced only at the end of a successful run.

    Args:
        sessions: those of the training split teach, those of validation test rules.
        teacher: `grounded`, `recorded:FILE` or `openai:MODEL[@URL]`.
        path: the knowledge base, a folder or a Chroma server's URL.
        embedder: the embedder of a new knowledge base; MiniLM by default.
        pack: a file to which the records are written too.
        dials: the choice of sessions, and the kinds of knowledge to make.
        payment: the settings for asking and paying a large teacher.
        tally: counts work and payments while the run goes on.
        log: a file that events are added to.
        remarks: records that are stored beside those that the teacher distils.

    Raises:
        UsageError: there is no such teacher, or nothing to learn from.
        CapError: a cap was reached; the ledger has the answers that were paid for.
        ModelError: the endpoint cannot be used.
        StageError: more of a stage failed than `Payment.max_failed` allows.
    """
    require_sessions(sessions)
    place = os.fspath(path)
    settings: dict[str, Any] = {"embedder": embedder, "pack": pack, "dials": dials, "payment": payment}
    run = run_teacher(sessions, teacher, place, tally=tally, log=log, remarks=remarks, **settings)
    return KnowledgeBase(KnowledgeStore.open(place, embedder), run)
