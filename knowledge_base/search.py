"""Find records in a knowledge base by free words or by the beginning of an id, and count them."""

from collections.abc import Sequence
from itertools import pairwise

from bundlewise.domain import KNOWLEDGE_KINDS, KnowledgeKind, Status
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.database import Database
from bundlewise.knowledge_base.policy import Policy, Search
from bundlewise.knowledge_base.selection import DIGITS, Candidate, Verdict, rank
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.text import MOST_WORDS, is_unspaced, words
from bundlewise.titles import LONGEST

NAMED = 3
LONGEST_WORD = 60
"""The most letters of a word that is searched for."""
Counts = dict[tuple[KnowledgeKind, str, str, Status], int]


def find(
    store: KnowledgeStore,
    text: str,
    kind: KnowledgeKind | None = None,
    domain: str | None = None,
    count: int = 10,
    search: Search = "dense",
) -> list[Verdict]:
    """Return the active records that fit a text best, all kinds in one order; only the first words of a text are used.

    Raises:
        UsageError: the text is too long, or there is no such kind.
    """
    require_kind(kind)
    if len(text) > LONGEST:
        raise UsageError(f"the search has {len(text):,} characters; shorten it to {LONGEST:,}")
    terms = _terms(text)
    pool, index, held = 4 * count + 8, store.index, store.records
    vector = store.embedder.embed([text] if search != "lexical" else [])
    dense: dict[str, float] = {}
    lexical: dict[str, float] = {}
    for each in [kind] if kind else KNOWLEDGE_KINDS:
        dense |= {key: score for hits in index.nearest(vector, each, domain, pool) for key, score in hits}
        lexical |= dict(held.lexical(terms, each, domain, pool)) if search != "dense" else {}
    records = held.get([*(dense | lexical)])
    # A lexical search needs no cosine; a hybrid search needs one for records that only their words have found.
    rest = [record for key, record in records.items() if key not in dense] if len(vector) else []
    cosines = dict.fromkeys(lexical, 0.0) | dense
    cosines |= {key: round(float(vector[0] @ held), DIGITS) for key, held in index.vectors(rest).items()}
    candidates = [Candidate(record, cosines[key], lexical.get(key)) for key, record in records.items()]
    ranked = rank(candidates, {}, Policy(search=search, min_score=-1), count)
    return [verdict for verdict in ranked if verdict.kept]


def require_kind(kind: str | None) -> None:
    """Raise a UsageError where a kind of knowledge is named that there is not."""
    if kind is not None and kind not in KNOWLEDGE_KINDS:
        raise UsageError(f"no kind of knowledge named {kind!r}; choose {', '.join(KNOWLEDGE_KINDS)}")


def _terms(text: str) -> list[str]:
    """Return the words to search for; in scripts without spaces also the pairs of characters of each word."""
    found = [word for word in dict.fromkeys(words(text)) if len(word) <= LONGEST_WORD][:MOST_WORDS]
    pairs = (pair for word in found if is_unspaced(word) for pair in map("".join, pairwise(word)))
    return list(dict.fromkeys([*found, *pairs]))


def keys_of(database: Database, beginnings: Sequence[str]) -> list[str]:
    """Return the ids with the given beginnings, each once.

    Raises:
        UsageError: no id has the beginning, or several have it.
    """
    return list(dict.fromkeys(_key_of(database, beginning) for beginning in beginnings))


def _key_of(database: Database, beginning: str) -> str:
    with database.plainly("read"):
        rows = database.db.execute(
            "SELECT id FROM records WHERE id >= ? AND substr(id, 1, ?) = ? ORDER BY id LIMIT ?",
            (beginning, len(beginning), beginning, NAMED),
        ).fetchall()
    found = [key for (key,) in rows]
    if not found:
        kb = database.path.parent
        raise UsageError(f"no record of {kb} has an id that begins with {beginning!r}; see bundlewise kb list")
    if len(found) > 1 and beginning not in found:
        raise UsageError(f"{beginning!r} begins several ids ({', '.join(found)}); give more characters")
    return str(found[0])


def counts_by_teacher(database: Database) -> Counts:
    """Return how many records there are by kind, domain, teacher and status, in this order."""
    teacher = "json_extract(body, '$.provenance.teacher')"
    with database.plainly("read"):
        rows = database.db.execute(
            f"SELECT kind, domain, {teacher}, status, count(*) FROM records GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ).fetchall()
    return {(kind, domain, name, status): number for kind, domain, name, status, number in rows}
