"""Read the records of a knowledge base from its database: by id, by kind and domain, or by their words."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bundlewise.domain import Knowledge, KnowledgeKind, KnownSession, Status
from bundlewise.knowledge_base.database import Database

CHUNK = 500
UNQUOTED = str.maketrans("", "", '"\0')
"""Removes the characters that would end a quoted word of a full-text query."""


class Records:
    """Queries for the records and known sessions of a knowledge base."""

    def __init__(self, database: Database) -> None:
        self._db, self._plainly = database.db, database.plainly

    def get(self, keys: Sequence[str]) -> dict[str, Knowledge]:
        """Return the records of these ids with any status; unknown ids are left out."""
        found: dict[str, Knowledge] = {}
        with self._plainly("read"):
            for start in range(0, len(keys), CHUNK):
                part = list(keys[start : start + CHUNK])
                marks = ",".join("?" * len(part))
                rows = self._db.execute(f"SELECT id, body FROM records WHERE id IN ({marks})", part)
                found |= {key: Knowledge.model_validate_json(body) for key, body in rows}
        return found

    def select(
        self,
        kind: KnowledgeKind | None = None,
        domain: str | None = None,
        status: Status | None = "active",
        limit: int | None = None,
    ) -> Iterator[Knowledge]:
        """Yield records in the order of their ids; None admits any kind, domain or status."""
        where, values = _where(kind=kind, domain=domain, status=status)
        if not (kind and domain and status):
            # Otherwise SQLite uses an index in another order, and sorts all matching rows for every page.
            where = where.replace(" AND ", " AND +")
        last, left = "", limit if limit is not None else sys.maxsize
        while left > 0:
            with self._plainly("read"):
                rows = self._db.execute(
                    f"SELECT id, body FROM records WHERE id > ?{where} ORDER BY id LIMIT ?",
                    (last, *values, min(CHUNK, left)),
                ).fetchall()
                found = [Knowledge.model_validate_json(body) for _, body in rows]
            if not rows:
                return
            yield from found
            last, left = rows[-1][0], left - len(rows)

    def counts(self) -> Counter[tuple[KnowledgeKind, str, Status]]:
        """Return how many records there are of each kind, domain and status."""
        with self._plainly("read"):
            rows = self._db.execute("SELECT kind, domain, status, count(*) FROM records GROUP BY 1, 2, 3")
            return Counter({(kind, domain, status): number for kind, domain, status, number in rows})

    def lexical(
        self, words: Sequence[str], kind: KnowledgeKind, domain: str | None, count: int
    ) -> list[tuple[str, float]]:
        """Return ids and BM25 scores (larger is better) of active records with any of the words, best first."""
        if not words or count < 1:
            return []
        match = " OR ".join(f'"{word}"' for word in sorted({w.translate(UNQUOTED) for w in words}))
        where, values = _where(kind=kind, domain=domain, status="active")
        with self._plainly("search"):
            rows = self._db.execute(
                "SELECT id, -bm25(words) AS score FROM words JOIN records ON number = words.rowid"
                f" WHERE words MATCH ?{where} ORDER BY round(score, 6) DESC, id LIMIT ?",
                (match, *values, count),
            ).fetchall()
        return [(key, float(score)) for key, score in rows]

    def sessions(self) -> list[KnownSession]:
        """Return all known sessions in the order of their ids."""
        with self._plainly("read"):
            rows = self._db.execute("SELECT body FROM sessions ORDER BY id").fetchall()
            return [KnownSession.model_validate_json(body) for (body,) in rows]

    def known(self, keys: Iterable[str]) -> dict[str, KnownSession]:
        """Return the known sessions of these ids; unknown ids are left out."""
        with self._plainly("read"):
            rows = (self._db.execute("SELECT body FROM sessions WHERE id = ?", (key,)).fetchone() for key in set(keys))
            found = [KnownSession.model_validate_json(row[0]) for row in rows if row]
        return {session.id: session for session in found}

    def outside_train(self) -> frozenset[str]:
        """Return the ids of the known sessions outside the training split, which must not teach."""
        with self._plainly("read"):
            rows = self._db.execute("SELECT id FROM sessions WHERE split != 'train'").fetchall()
        return frozenset(key for (key,) in rows)

    def teachers(self) -> list[str]:
        """Return the names of all teachers of active records, in alphabetical order."""
        with self._plainly("read"):
            name = "json_extract(body, '$.provenance.teacher')"
            rows = self._db.execute(
                f"SELECT DISTINCT {name} FROM records WHERE status = 'active' ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows]

    def twins(self, items: str) -> frozenset[str]:
        """Return the ids of the known sessions with this item set."""
        with self._plainly("read"):
            rows = self._db.execute("SELECT id FROM sessions WHERE items = ?", (items,)).fetchall()
        return frozenset(key for (key,) in rows)


def _where(**wanted: str | None) -> tuple[str, list[str]]:
    """Return the SQL conditions for the columns whose value is not None, and the values."""
    given = {column: value for column, value in wanted.items() if value is not None}
    return "".join(f" AND {column} = ?" for column in given), list(given.values())
