"""Measure whether retrieval finds helpful thoughts: hit rate and mean reciprocal rank on validation sessions.

A thought helps a session when its source session has a bundle with the same intent (cosine of the
annotators' words at least .6), or one that shares two kinds of product, with a bundle of the session's
ground truth. Kinds are the head nouns of titles on both sides. Retrieval does not use any of this.

    python benchmarks/retrieval_quality.py --data electronic.jsonl --teacher recorded:pack.jsonl
    python benchmarks/retrieval_quality.py                       # the starter electronics, grounded teacher
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundlewise.data.sessions import load
from bundlewise.domain import Session
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.distil import run_teacher
from bundlewise.settings import quiet_libraries
from bundlewise.text import head_noun
from bundlewise.text import kind as kind_of

SAME_INTENT = 0.6
DEPTH = 10
POLICIES = {
    "dense": {"search": "dense"},
    "lexical": {"search": "lexical"},
    "hybrid": {"search": "hybrid"},
    "dense, own domain": {"search": "dense", "domain": "own"},
    "hybrid, own domain": {"search": "hybrid", "domain": "own"},
    "dense, diversity .3": {"search": "dense", "diversity": 0.3},
    "hybrid, diversity .3": {"search": "hybrid", "diversity": 0.3},
}
Matrix = np.ndarray[Any, np.dtype[Any]]


def heads(session: Session) -> list[frozenset[str]]:
    """Return the head nouns of each annotated bundle."""
    return [frozenset(head_noun(kind_of(session.titles[place])) for place in group) for group in session.groups]


def helpful(queries: Sequence[Session], sources: Sequence[Session], embedder: Embedder) -> Matrix:
    """Return a matrix, queries by sources, that is true where the source's bundles are similar to the query's."""
    intents = sorted({bundle.intent for session in (*queries, *sources) for bundle in session.bundles})
    vectors = dict(zip(intents, embedder.embed(intents), strict=True))
    meant = {s.session_id: np.stack([vectors[b.intent] for b in s.bundles]) for s in (*queries, *sources)}
    kinds = {s.session_id: heads(s) for s in (*queries, *sources)}

    def alike(query: Session, source: Session) -> bool:
        if float((meant[query.session_id] @ meant[source.session_id].T).max()) >= SAME_INTENT:
            return True
        return any(len(a & b) > 1 for a in kinds[query.session_id] for b in kinds[source.session_id])

    return np.array([[alike(query, source) for source in sources] for query in queries])


def knowledge_base(sessions: Sequence[Session], teachers: Sequence[str], folder: Path) -> KnowledgeStore:
    """Distil each domain's training sessions with its teacher, unless that was done in this folder before."""
    domains = list(dict.fromkeys(session.domain for session in sessions))
    for domain, teacher in zip(domains, teachers, strict=True):
        own = [session for session in sessions if session.domain == domain]
        run_teacher(own, teacher, folder)
    return KnowledgeStore.open(folder)


def measure(retriever: Retriever, queries: Sequence[Session], place: dict[str, int], helps: Matrix) -> dict[str, float]:
    """Return hit rates at 1, 4 and 8, the precision at 4, the mean reciprocal rank, and milliseconds a query."""
    hits, times = [], []
    for row, query in enumerate(queries):
        started = time.perf_counter()
        found = retriever.retrieve([query.blind()])[0].records
        times.append(1000 * (time.perf_counter() - started))
        hits.append([bool(helps[row, place[record.source_session_ids[0]]]) for record, _ in found])
    first = [hit.index(True) + 1 if any(hit) else 0 for hit in hits]
    return {
        **{f"hit@{k}": float(np.mean([any(hit[:k]) for hit in hits])) for k in (1, 4, 8)},
        "precision@4": float(np.mean([sum(hit[:4]) / 4 for hit in hits])),
        "mrr": float(np.mean([1 / rank if rank else 0.0 for rank in first])),
        "ms": float(np.median(times)),
    }


def at_random(helps: Matrix, seed: int = 0) -> dict[str, float]:
    """Return the scores of thoughts drawn at random."""
    rows = [np.random.default_rng(seed + n).permutation(row)[:DEPTH] for n, row in enumerate(helps)]
    first = [int(np.argmax(row)) + 1 if row.any() else 0 for row in rows]
    return {
        **{f"hit@{k}": float(np.mean([row[:k].any() for row in rows])) for k in (1, 4, 8)},
        "precision@4": float(np.mean([row[:4].mean() for row in rows])),
        "mrr": float(np.mean([1 / rank if rank else 0.0 for rank in first])),
        "ms": 0.0,
    }


def main() -> None:
    """Measure all policies and print a table, then a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", help="sessions, once a domain")
    parser.add_argument("--teacher", action="append", help="grounded or recorded:FILE, once a domain")
    parser.add_argument("--kb", type=Path, help="where to keep the knowledge base")
    parser.add_argument("--limit", type=int, help="only the first so many validation sessions of each domain")
    given = parser.parse_args()
    quiet_libraries()
    files = given.data or ["electronics"]
    sessions = [session for name in files for session in load(name)]
    folder = given.kb or Path(tempfile.mkdtemp()) / fingerprint(files)
    store = knowledge_base(sessions, given.teacher or ["grounded"] * len(files), folder)
    queries = [
        session for name in files for session in [s for s in load(name, "validation") if s.bundles][: given.limit]
    ]
    sources = [s for s in sessions if s.split == "train" and s.bundles]
    place = {session.session_id: row for row, session in enumerate(sources)}
    helps = helpful(queries, sources, store.embedder)
    rows = {"random": at_random(helps)}
    for name, dials in POLICIES.items():
        retriever = Retriever(store, Policy.of(thoughts=DEPTH, hints=0, min_score=-1.0, **dials))
        rows[name] = measure(retriever, queries, place, helps)
    columns = list(rows["random"])
    print(f"{len(queries)} validation sessions, {len(sources)} thoughts, {helps.mean():.3f} of the pairs help\n")
    print(f"| policy | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[c]:.1f}' if c == 'ms' else f'{row[c]:.3f}' for c in columns)} |")
    json.dump({"sessions": len(queries), "thoughts": len(sources), "policies": rows}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
