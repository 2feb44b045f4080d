"""A copy of a knowledge base's metadata and sessions in Chroma, so that Chroma alone holds the whole knowledge base.

Readers of a server make their database from this copy, and a damaged database in a folder is rebuilt from it.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bundlewise.domain import KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.database import FILE, PATIENCE, SCHEMA, Database
from bundlewise.knowledge_base.index import VectorIndex
from bundlewise.knowledge_base.place import Place, pen

PAGES = 64


class Mirror:
    """A small collection beside the vectors: the metadata of the database, and its known sessions."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place, self._client, self._name = place, client, f"{place.name}.state"

    def meta(self) -> dict[str, Any]:
        """Return the metadata that was published last; empty before the first time."""
        from chromadb.errors import NotFoundError

        with self._place.plainly("read"), suppress(NotFoundError):
            found = (self._client.get_collection(self._name, embedding_function=None).metadata or {}).get("meta")
            return dict(json.loads(found)) if found else {}
        return {}

    def sessions(self) -> list[KnownSession]:
        """Return the sessions that were published last."""
        with self._place.plainly("read"):
            held = self._client.get_collection(self._name, embedding_function=None)
            pages = held.get(include=["documents"])["documents"] or []
        return [KnownSession.model_validate(row) for page in pages for row in json.loads(page)]

    def publish(self, meta: dict[str, Any], sessions: Sequence[KnownSession] | None) -> None:
        """Write the metadata and the sessions; None keeps the sessions that were published last."""
        with self._place.plainly("write"):
            held = self._client.get_or_create_collection(self._name, embedding_function=None)
            if sessions is not None:
                held.upsert(**_pages(sessions))
            held.modify(metadata={"meta": json.dumps(meta)})


def _pages(sessions: Sequence[KnownSession]) -> dict[str, Any]:
    """Return sessions in the form that Chroma accepts; a session is always on the same page."""
    pages: list[list[dict[str, Any]]] = [[] for _ in range(PAGES)]
    for session in sessions:
        pages[int(fingerprint(session.id), 16) % PAGES].append(session.model_dump())
    return {
        "ids": [str(number) for number in range(PAGES)],
        "documents": [json.dumps(page) for page in pages],
        "embeddings": [[1.0, float(number)] for number in range(PAGES)],
    }


def is_served(place: Place) -> bool:
    """Say whether a server holds this knowledge base."""
    return bool(Mirror(place, place.client(1)).meta())


def follow(place: Place) -> None:
    """Update this machine's database from the server's records, unless it holds an unfinished change.

    Raises:
        UsageError: there is no knowledge base on the server.
        KnowledgeError: no server answers.
    """
    theirs = Mirror(place, place.client(1)).meta()
    if not theirs:
        raise UsageError(f"no knowledge base at {place}; make one: bundlewise distil --data D --kb {place}")
    if theirs["schema"] > SCHEMA:
        raise KnowledgeError(f"the knowledge base at {place} has schema {theirs['schema']}; update bundlewise")
    place.folder.mkdir(parents=True, exist_ok=True)
    database = Database(place.folder)
    ours = database.meta()
    database.close()
    # The store finishes our own unpublished changes and reindexing.
    is_settled = ours.get("published") == ours["revision"]
    is_behind = ours.get("published", ours["revision"]) != theirs["revision"]
    if is_behind or (is_settled and any(theirs.get(key) != ours.get(key) for key in ("digest", "generation"))):
        recover(place)


def recover(place: Place, generation: int = 1) -> int:
    """Rebuild the database from Chroma; return the number of records.

    The journal is lost: earlier operations can no longer be undone.

    Raises:
        KnowledgeError: Chroma holds no metadata of the knowledge base.
    """
    fresh = place.folder / "recovery"
    with pen(place, PATIENCE):
        client = place.client(generation)
        mirror = Mirror(place, client)
        if not (meta := mirror.meta()):
            raise KnowledgeError(f"the vectors of {place} say nothing of their knowledge base; import it from a pack")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        database = Database(fresh)
        records = list(VectorIndex(place, client, meta["generation"]).everything())
        database.adopt(records, mirror.sessions(), {**meta, "published": meta["revision"]})
        database.close()
        for end in ("-wal", "-shm"):
            (place.folder / f"{FILE}{end}").unlink(missing_ok=True)
        (fresh / FILE).replace(place.folder / FILE)
        shutil.rmtree(fresh)
    return len(records)
