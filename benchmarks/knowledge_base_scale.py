"""Measure size and speed of the knowledge base, in comparison with the plain Chroma client in the same run."""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from measuring import LEAST, WARM, Numbers, alone, megabytes, note_memory, race, ratio, show, timed
from synthetic import KINDS, Kinds, MeanOfKinds, kinds_of, known_sessions

from bundlewise.data.sessions import starter_pack_path
from bundlewise.domain import Knowledge, KnowledgeKind, Session
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.knowledge_base.evidence import PairEvidence
from bundlewise.knowledge_base.index import HNSW, retrieval_key
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever, query_of
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.settings import quiet_libraries

BATCH = 1000
BLOCK = 10_000
RECALLED = 50
NEAR = 2e-6
QUOTAS: dict[KnowledgeKind, int] = {"pattern": 2, "rule": 3, "thought": 4}
POLICY = Policy(patterns=2, rules=3, thoughts=4, hints=0)
OWN, HYBRID = {"domain": "own"}, {"search": "hybrid"}
SHOWN = ["documents", "metadatas", "distances"]

Asked = tuple[Session, Vectors]


def client(folder: Path) -> Any:
    """Return a plain client."""
    return chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))


def embed(folder: Path, pack: Path, count: int) -> Numbers:
    """Embed the kinds of a pack with the real model, and measure its speed on the records' search texts."""
    embedder, numbers = Embedder.named("minilm"), Numbers()
    Kinds.save(folder / "kinds.npz", kinds_of(pack), embedder)
    kinds = Kinds.load(folder / "kinds.npz")
    texts = list({retrieval_key(record) for record in islice(kinds.records(2 * count, seed=2), count)})
    with timed(numbers, "seconds"):
        embedder.embed(texts)
    queries = [retrieval_key(record) for record in kinds.records(WARM + LEAST, seed=3)]
    times = race({"query": lambda text: embedder.embed([text])}, queries)
    return {"texts_per_second": round(len(texts) / numbers["seconds"], 1)} | times["query"]


def build(folder: Path, count: int) -> Numbers:
    """Fill a knowledge base in one change, add the known sessions, and then change one more record."""
    kinds = Kinds.load(folder / "kinds.npz")
    embedder, records, numbers = MeanOfKinds(kinds), list(kinds.records(count + 1)), Numbers()
    note_memory(numbers, "before_mb")
    store = KnowledgeStore.create(folder / "ours", embedder)
    with timed(numbers, "seconds", embedder.spent):
        store.change(Change("benchmark", records[:-1]))
    note_memory(numbers, "after_mb")
    with timed(numbers, "sessions_seconds", embedder.spent):
        store.change(Change("sessions", sessions=known_sessions(records)))
    with timed(numbers, "one_more_seconds", embedder.spent):
        store.change(Change("one more", records[-1:]))
    store.database.close()
    return numbers | {"disk_mb": megabytes(folder / "ours")}


def build_plain(folder: Path, count: int, name: str) -> Numbers:
    """Upsert the same records into one collection with a field `kind`, or into one collection per kind."""
    kinds = Kinds.load(folder / "kinds.npz")
    embedder, records, numbers = MeanOfKinds(kinds), list(kinds.records(count)), Numbers()
    note_memory(numbers, "before_mb")
    with timed(numbers, "seconds", embedder.spent):
        chroma = client(folder / name)
        for kind in KINDS if name == "per_kind" else ("all",):
            collection = chroma.create_collection(kind, embedding_function=None, configuration={"hnsw": HNSW})
            share = [record for record in records if kind in ("all", record.kind)]
            for start in range(0, len(share), BATCH):
                upsert(collection, share[start : start + BATCH], embedder)
    note_memory(numbers, "after_mb")
    return numbers | {"disk_mb": megabytes(folder / name)}


def upsert(collection: Any, batch: Sequence[Knowledge], embedder: Embedder) -> None:
    """Write records with the vectors, documents and metadata that the knowledge base writes, and their kind."""
    collection.upsert(
        ids=[record.id for record in batch],
        embeddings=embedder.embed([retrieval_key(record) for record in batch]),
        documents=[record.text for record in batch],
        metadatas=[{"kind": r.kind, "status": r.status, "record": r.model_dump_json()} for r in batch],
    )


def asked(kinds: Kinds, count: int, embedder: Embedder) -> list[Asked]:
    """Return sessions to retrieve for, each with the vector of its query."""
    sessions = kinds.sessions(count)
    vectors = embedder.embed([query_of(session.blind()) for session in sessions])
    return list(zip(sessions, vectors, strict=True))


class Plain:
    """A simple solution with the plain client that fetches the same number of records of each kind."""

    def __init__(self, folder: Path, own_domain: bool = False) -> None:
        chroma = client(folder)
        found = [chroma.get_collection(c.name, embedding_function=None) for c in chroma.list_collections()]
        self._collections = {collection.name: collection for collection in found}
        self._own_domain = own_domain

    def ask(self, asked: Asked) -> None:
        """Query each collection whose name contains the kind, or the one collection with a filter."""
        session, vector = asked
        for kind, quota in QUOTAS.items():
            wanted = {kind, fingerprint(session.domain)} if self._own_domain else {kind}
            named = [c for name, c in self._collections.items() if wanted <= set(name.split("."))]
            where = None if named else {"kind": kind}
            for collection in named or [self._collections["all"]]:
                collection.query(query_embeddings=vector[None], n_results=quota, where=where, include=SHOWN)


def reopen(folder: Path, name: str) -> Numbers:
    """Open in a fresh process and answer a first query."""
    numbers, embedder = Numbers(), MeanOfKinds(kinds := Kinds.load(folder / "kinds.npz"))
    question = asked(kinds, 1, embedder)[0]
    with timed(numbers, "seconds", embedder.spent):
        if name == "ours":
            Retriever(KnowledgeStore.open(folder / name, embedder), POLICY).retrieve([question[0].blind()])
        else:
            Plain(folder / name).ask(question)
    note_memory(numbers, "after_mb")
    return numbers


def query(folder: Path, queries: int) -> Numbers:
    """Ask all contenders in turn, then compare dense search with exact search."""
    embedder = MeanOfKinds(kinds := Kinds.load(folder / "kinds.npz"))
    store, index = KnowledgeStore.open(folder / "ours", embedder), folder / "ours" / "index-1"
    contenders: dict[str, Callable[[Asked], object]] = {
        "ours": partial(retrieve, Retriever(store, POLICY)),
        "same_collections": Plain(index).ask,
        "ours_own_domain": partial(retrieve, Retriever(store, POLICY.model_copy(update=OWN))),
        "same_own_domain": Plain(index, own_domain=True).ask,
        "ours_hybrid": partial(retrieve, Retriever(store, POLICY.model_copy(update=HYBRID))),
    }
    plain = {name: Plain(folder / name).ask for name in ("per_kind", "filtered") if (folder / name).is_dir()}
    contenders |= plain
    times = race(contenders, asked(kinds, WARM + queries, embedder))
    ratios = {name: ratio(times["ours"], times[name]) for name in ("same_collections", *plain)}
    ratios["same_own_domain"] = ratio(times["ours_own_domain"], times["same_own_domain"])
    return {"times": times, "ratios": ratios, "recall": recall(store, asked(kinds, RECALLED, embedder))}


def retrieve(retriever: Retriever, asked: Asked) -> None:
    """Retrieve the knowledge for a session as for a prompt, including its embedding."""
    retriever.retrieve([asked[0].blind()])


def recall(store: KnowledgeStore, questions: Sequence[Asked]) -> dict[str, float]:
    """Return for each kind the share of the exactly nearest records that a policy query finds; ties count as found."""
    vectors = np.stack([vector for _, vector in questions])
    answers = [
        answer.records for answer in Retriever(store, POLICY).retrieve([session.blind() for session, _ in questions])
    ]
    found: dict[str, float] = {}
    for kind, quota in QUOTAS.items():
        best = np.full((len(vectors), quota), -1.0, np.float32)
        for block in blocks(store.records.select(kind)):
            scores = vectors @ store.embedder.embed([retrieval_key(record) for record in block]).T
            best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :quota]
        pairs = zip(answers, best[:, -1], strict=True)
        good = [sum(r.kind == kind and score >= floor - NEAR for r, score in answer) for answer, floor in pairs]
        found[kind] = round(float(sum(good)) / len(good) / quota, 4)
    return found


def blocks(records: Iterable[Knowledge]) -> Iterator[list[Knowledge]]:
    """Yield records in lists of ten thousand."""
    rest = iter(records)
    while block := list(islice(rest, BLOCK)):
        yield block


def evidence(folder: Path) -> Numbers:
    """Load the pair evidence of the thoughts, and judge the pairs of sessions."""
    numbers, embedder = Numbers(), MeanOfKinds(kinds := Kinds.load(folder / "kinds.npz"))
    store = KnowledgeStore.open(folder / "ours", embedder)
    with timed(numbers, "thoughts_seconds", embedder.spent):
        thoughts = store.thoughts()
    with timed(numbers, "load_seconds", embedder.spent):
        pairs = PairEvidence(thoughts, embedder)
    times = race({"hints": lambda asked: pairs.affinity(asked[0].titles)}, asked(kinds, WARM + LEAST, embedder))
    note_memory(numbers, "after_mb")
    return numbers | {"thoughts": len(thoughts)} | times["hints"]


def measure(folder: Path, count: int, queries: int, plain: bool) -> Numbers:
    """Measure everything for one number of records, each step in a process of its own."""
    names = ["ours", *(["filtered", "per_kind"] if plain else [])]
    built = {"ours": alone(build, folder, count)} | {n: alone(build_plain, folder, count, n) for n in names[1:]}
    for numbers in built.values():
        numbers["records_per_second"] = round(count / numbers["seconds"])
    reopened = {name: [alone(reopen, folder, name) for _ in range(2)][-1] for name in names}
    found = {"records": count, "build": built, "reopen": reopened, "evidence": alone(evidence, folder)}
    return found | alone(query, folder, queries)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000], metavar="N")
    parser.add_argument("--pack", type=Path, default=starter_pack_path("electronics"), help="where the kinds come from")
    parser.add_argument("--folder", type=Path, help="keep what is built here")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--texts", type=int, default=512, help="texts the real model embeds")
    parser.add_argument("--plain-limit", type=int, default=100_000, metavar="N", help="build plain ones up to so many")
    return parser.parse_args()


def main() -> None:
    """Print the measurements: a JSON line on stdout, tables on stderr."""
    given = arguments()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bundlewise-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    found: Numbers = {"vectors": "the mean of minilm's vectors of a record's kinds, plus noise", "cpus": os.cpu_count()}
    found |= {"embedding": alone(embed, folder, given.pack, given.texts), "runs": []}
    for count in given.records:
        there = folder / str(count)
        shutil.rmtree(there, ignore_errors=True)
        there.mkdir()
        shutil.copy(folder / "kinds.npz", there)
        found["runs"].append(measure(there, count, given.queries, count <= given.plain_limit))
        show(found["runs"][-1])
        if not given.folder:
            shutil.rmtree(there)
    print(json.dumps(found))


if __name__ == "__main__":
    quiet_libraries()
    main()
