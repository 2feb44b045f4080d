"""A knowledge base as LangChain's retriever: it takes a text and returns records as documents."""

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from bundlewise.domain import Knowledge, KnowledgeKind
from bundlewise.knowledge_base.policy import Search
from bundlewise.knowledge_base.search import find


class KnowledgeRetriever(BaseRetriever):
    """Finds the active records of a knowledge base that match a text best."""

    store: Any = Field(description="the knowledge store")
    k: int = Field(default=4, ge=1, description="how many records")
    kind: KnowledgeKind | None = None
    domain: str | None = None
    search: Search = "hybrid"

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        found = find(self.store, query, self.kind, self.domain, k or self.k, self.search)
        return [document_of(verdict.record, verdict.score) for verdict in found]


def document_of(record: Knowledge, score: float) -> Document:
    """Return a record as a document: its text, with its kind and sources as metadata."""
    told = {"kind": record.kind, "domain": record.domain, "score": round(score, 4)}
    sources = {"source_session_ids": list(record.source_session_ids), "teacher": record.provenance.teacher}
    return Document(id=record.id, page_content=record.text, metadata=told | sources)
