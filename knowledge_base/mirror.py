"""What a knowledge base says of itself in Chroma, so that who has only Chroma knows it whole.

Readers of a server make their database from it, and so does a folder whose database is damaged.
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
    """A small collection beside the vectors: the meta data of the database, and the sessions it knows."""

    def __init__(self, place: Place, client: Any) -> None:
        self._place, self._client, self._name = place, client, f"{place.name}.state"

    def meta(self) -> dict[str, Any]:
        """Return what was published last; empty before that."""
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
        """Write the meta data and the sessions; None leaves the sessions as they were published last."""
        with self._place.plainly("write"):
            held = self._client.get_or_create_collection(self._name, embedding_function=None)
            if sessions is not None:
                held.upsert(**_pages(sessions))
            held.modify(metadata={"meta": json.dumps(meta)})


def _pages(sessions: Sequence[KnownSession]) -> dict[str, Any]:
    """Return sessions as what Chroma takes, a session always on the same page."""
    pages: list[list[dict[str, Any]]] = [[] for _ in range(PAGES)]
    for session in sessions:
        pages[int(fingerprint(session.id), 16) % PAGES].append(session.model_dump())
    return {
        "ids": [str(number) for number in range(PAGES)],
        "documents": [json.dumps(page) for page in pages],
        "embeddings": [[1.0, float(number)] for number in range(PAGES)],
    }


def is_served(place: Place) -> bool:
    """Tell whether a server holds this knowledge base."""
    return bool(Mirror(place, place.client(1)).meta())


def follow(place: Place) -> None:
    """Bring this machine's database in line with the server's records, unless it holds a change to finish.

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
    # What we did on top of what the server has, a change or a reindexing, is for the store to finish.
    is_settled = ours.get("published") == ours["revision"]
    is_behind = ours.get("published", ours["revision"]) != theirs["revision"]
    if is_behind or (is_settled and any(theirs.get(key) != ours.get(key) for key in ("digest", "generation"))):
        recover(place)


def recover(place: Place, generation: int = 1) -> int:
    """Make the database anew from what Chroma holds; return how many records that is.

    The journal is lost: what was done before can no longer be taken back.

    Raises:
        KnowledgeError: Chroma holds nothing of it either.
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
