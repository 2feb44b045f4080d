"""Keeping takes packs in, retires, merges reversibly, and finds whatever is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import BagOfWords, record

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.packs import Pack
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import contradictions, merge, near_duplicates, retire, take_in, verify

KNOWN = tuple(KnownSession(id=name, split="train", items="0" * 16) for name in ("s1", "s2"))
RULES = [record("rule", text) for text in ("Keep phone and case together.", "Keep tea and milk together.")]
TWINS = [
    record("pattern", f"seen in {s}", [s], kinds=("phone", "case"), supporters=(s,), support=1) for s in ("s1", "s2")
]
OFF = record("rule", "out of use", status="retired", reason="wrong")
PACK = Pack((*RULES, *TWINS, OFF), KNOWN, {})


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    found = KnowledgeStore.create(tmp_path / "kb", BagOfWords())
    take_in(found, PACK, "first.jsonl")
    return found


def held(store: KnowledgeStore) -> dict[str, Knowledge]:
    return {found.id: found for found in store.records.select(status=None)}


def test_a_pack_is_taken_in_once(store: KnowledgeStore) -> None:
    assert held(store) == {r.id: r for r in PACK.records}
    assert store.records.sessions() == list(KNOWN)
    assert store.database.history(1)[0].what == "import first.jsonl"
    assert take_in(store, PACK, "again.jsonl") is None
    assert verify(store) == []


def test_taking_in_does_not_bring_back_what_somebody_retired(store: KnowledgeStore) -> None:
    retire(store, [RULES[0].id], "wrong")
    assert take_in(store, PACK, "again.jsonl") is None
    assert held(store)[RULES[0].id].status == "retired"


def test_a_pack_that_fits_no_known_session_is_refused_whole(store: KnowledgeStore) -> None:
    other = Pack((record("rule", "new"),), (KNOWN[0].model_copy(update={"split": "test"}),), {})
    with pytest.raises(KnowledgeError, match=r"session s1 is test .* and train"):
        take_in(store, other, "other.jsonl")
    assert held(store) == {r.id: r for r in PACK.records}


def test_retiring_takes_out_of_retrieval_and_keeps_the_reason(store: KnowledgeStore) -> None:
    assert retire(store, [RULES[0].id, OFF.id], "harms") == [RULES[0]]
    assert held(store)[RULES[0].id] == RULES[0].model_copy(update={"status": "retired", "reason": "harms"})
    assert held(store)[OFF.id] == OFF
    query = store.embedder.embed([RULES[0].text])
    assert RULES[0].id not in dict(store.index.nearest(query, "rule", None, 9)[0])
    assert store.database.history(1)[0].what == "retire: harms"
    assert verify(store) == []


def test_retiring_what_is_not_there_is_a_usage_error_and_retires_nothing(store: KnowledgeStore) -> None:
    with pytest.raises(UsageError, match=r"no record unknown in .*; see bundlewise kb list"):
        retire(store, [RULES[0].id, "unknown"], "harms")
    assert held(store)[RULES[0].id] == RULES[0]


def test_merging_lets_one_stand_for_all_and_undo_brings_back_every_byte(store: KnowledgeStore) -> None:
    before = {key: found.model_dump_json() for key, found in held(store).items()}
    clusters = near_duplicates(store)
    assert [{member.id for member in cluster.members} for cluster in clusters] == [{twin.id for twin in TWINS}]
    merge(store, clusters)
    one = next(r for r in held(store).values() if r.kind == "pattern" and r.status == "active")
    assert (one.support, set(one.supporters)) == (2, {"s1", "s2"})
    assert {held(store)[twin.id].reason for twin in TWINS} == {f"merged into {one.id}"}
    assert set(one.reason.removeprefix("merged from ").split()) == {twin.id for twin in TWINS}
    assert verify(store) == []
    assert near_duplicates(store) == []
    store.undo()
    assert {key: found.model_dump_json() for key, found in held(store).items()} == before
    assert verify(store) == []


def test_merging_nothing_is_no_change(store: KnowledgeStore) -> None:
    assert merge(store, []) is None


def test_contradicting_rules_are_listed(store: KnowledgeStore) -> None:
    assert contradictions(store, 0.5) == []
    against = record("rule", "Keep phone and case apart.")
    store.change(Change("more", [against]))
    assert [{r.id for r in c.records} for c in contradictions(store, 0.5)] == [{RULES[0].id, against.id}]


def test_an_empty_store_is_sound(tmp_path: Path) -> None:
    store = KnowledgeStore.create(tmp_path, BagOfWords())
    store.change(Change("sessions", sessions=KNOWN))
    assert verify(store) == []
    assert near_duplicates(store) == []


def collection(store: KnowledgeStore) -> Any:
    return store.index._searched("rule", "electronics")[0]


def edit(store: KnowledgeStore, old: str, new: str) -> None:
    store.database.db.execute("UPDATE records SET body = replace(body, ?, ?)", (old, new))


def replace_vector(store: KnowledgeStore) -> None:
    collection(store).update(ids=[RULES[0].id], embeddings=np.ones((1, 256), np.float32) / 16)


def add_vector(store: KnowledgeStore) -> None:
    extra = record("rule", "nobody knows me")
    row = {"status": "active", "record": extra.model_dump_json()}
    collection(store).add(ids=[extra.id], embeddings=np.ones((1, 256), np.float32) / 16, metadatas=[row])


def put_back(store: KnowledgeStore) -> None:
    store.index.put([OFF.model_copy(update={"status": "active"})], store.embedder.embed([OFF.text]))


FAULTS: dict[str, tuple[Callable[[KnowledgeStore], object], str]] = {
    "a vector gone": (lambda s: collection(s).delete(ids=[RULES[0].id]), f"{RULES[0].id} has no vector"),
    "a vector replaced": (replace_vector, f"{RULES[0].id} has a vector that does not fit its text"),
    "a vector too many": (add_vector, "but there is no such record"),
    "a retired record found": (put_back, f"{OFF.id} changed after its vector was made"),
    "a text edited": (lambda s: edit(s, "phone", "phones"), f"{RULES[0].id}: its id {RULES[0].id} is not that of its"),
    "a number edited": (lambda s: edit(s, '"support":1', '"support":7'), "the digest is not that of the records"),
    "a record cut off": (lambda s: edit(s, "}", ""), "a Knowledge in it is damaged"),
    "a session moved to test": (
        lambda s: s.database.db.execute("UPDATE sessions SET body = replace(body, 'train', 'test')"),
        "its source s1 is a test session",
    ),
    "a session forgotten": (
        lambda s: s.database.db.execute("DELETE FROM sessions"),
        "its source s1 is not among the known sessions",
    ),
    "a row of the database gone": (
        lambda s: s.database.db.execute("DELETE FROM records WHERE id = ?", (RULES[0].id,)),
        f"there is a vector of {RULES[0].id}, but there is no such record",
    ),
    "a change that has not arrived": (
        lambda s: s.database.change(Change("more", [record("rule", "new")])),
        "a change has not reached the vectors",
    ),
    "vectors of nobody": (lambda s: (s.folder / "index-9").mkdir(), "index-9 is unused; delete it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(store: KnowledgeStore, fault: str) -> None:
    plant, message = FAULTS[fault]
    assert verify(store) == []
    plant(store)
    assert any(message in found for found in verify(store))
    again = KnowledgeStore(store.folder, BagOfWords())
    assert any(message in found for found in verify(again))
