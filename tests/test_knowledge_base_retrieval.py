"""Controlled top-k: quotas, no own knowledge, stable ties, nothing read but titles."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import BagOfWords, record, session, thought

from bundlewise.domain import Bundle, Item, Knowledge, KnowledgeKind, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.retrieval import Policy, Retriever, without
from bundlewise.knowledge_base.store import KnowledgeStore

TITLES = ["glide mouse", "foam pad", "wool rug"]
SESSIONS = [session(f"s{n}", [f"{t} {'abcdefghijkl'[n] * 3}" for t in TITLES], ((0, 1),)) for n in range(6)]
NEW = session("new", ["red mouse", "blue pad", "green rug"], split="test")


def pattern(kinds: tuple[str, ...], holders: list[str], supporters: list[str]) -> Knowledge:
    text = f"{' + '.join(kinds)}: bundled in {len(supporters)} of {len(holders)} sessions that hold them"
    numbers = {"support": len(supporters), "confidence": round(len(supporters) / len(holders), 4), "lift": 2.0}
    return record("pattern", text, holders, kinds=kinds, supporters=tuple(supporters), **numbers)


RECORDS = [
    pattern(("mouse", "pad"), ["s0", "s1", "s2", "s3"], ["s0", "s1", "s2"]),
    pattern(("pad", "rug"), ["s0", "s1"], ["s0", "s1"]),
    record("rule", "put together a mouse and a pad", ["s0", "s2", "s4"]),
    record("rule", "keep a rug apart", ["s1", "s3", "s5"]),
    *(thought(s, ["mouse", "pad", "rug"]) for s in SESSIONS),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeStore:
    found = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    found.replace(RECORDS)
    return found


def found_for(store: KnowledgeStore, given: Session, **quota: float) -> Retrieved:
    policy = Policy.of(**{"patterns": 9, "rules": 9, "thoughts": 9, "hints": 30, "min_score": -1.0} | quota)
    return Retriever(store, policy).retrieve([given])[0]


def texts(found: Retrieved, kind: KnowledgeKind) -> list[str]:
    return [record.text for record, _ in found.records if record.kind == kind]


def renamed(given: Session) -> Session:
    """Return the session under another id, its products in another order."""
    return given.model_copy(update={"session_id": "upload", "items": given.items[::-1]})


@pytest.mark.parametrize("own", [*SESSIONS, *map(renamed, SESSIONS)], ids=lambda s: s.session_id)
def test_a_session_never_meets_what_it_taught_by_id_or_by_equal_titles(store: KnowledgeStore, own: Session) -> None:
    source = next(s.session_id for s in SESSIONS if sorted(s.titles) == sorted(own.titles))
    found = found_for(store, own)
    shown = [record for record, _ in (*found.records, *found.evidence)]
    assert shown
    assert all(source not in {*record.source_session_ids, *record.supporters} for record in shown)
    assert f"About {source}." not in texts(found, "thought")
    assert len(texts(found, "thought")) == 5


def test_a_pattern_is_counted_anew_without_the_session(store: KnowledgeStore) -> None:
    (counted,) = (record for record, _ in found_for(store, SESSIONS[1]).records if record.kind == "pattern")
    assert counted.text == "mouse + pad: bundled in 2 of 3 sessions that hold them"
    assert (counted.support, counted.confidence, counted.lift) == (2, 0.6667, None)
    assert (counted.source_session_ids, counted.supporters) == (("s0", "s2", "s3"), ("s0", "s2"))
    assert "mouse + pad: bundled in 3 of 4 sessions that hold them" in texts(found_for(store, NEW), "pattern")


def test_a_pattern_that_a_holder_does_not_bundle_gets_more_confident_without_it() -> None:
    counted = without(RECORDS[0], frozenset({"s3"}))
    assert counted is not None
    assert (counted.text, counted.confidence) == ("mouse + pad: bundled in 3 of 3 sessions that hold them", 1.0)


@pytest.mark.parametrize(
    ("number", "own", "left"),
    [(0, "new", True), (1, "s0", False), (2, "s0", False), (2, "s1", True), (4, "s0", False), (4, "s1", True)],
)
def test_what_is_left_of_a_record_without_a_session(number: int, own: str, left: bool) -> None:
    found = without(RECORDS[number], frozenset({own}))
    assert found == (RECORDS[number] if left else None)


@pytest.mark.parametrize("quota", [0, 1, 3])
@pytest.mark.parametrize("kind", ["pattern", "rule", "thought"])
def test_no_kind_exceeds_its_quota(store: KnowledgeStore, kind: KnowledgeKind, quota: int) -> None:
    found = found_for(store, NEW, **{f"{kind}s": quota})
    there = sum(record.kind == kind for record in RECORDS)
    assert len(texts(found, kind)) == min(quota, there)


def test_scores_below_the_floor_are_left_out_and_the_best_stand_first(store: KnowledgeStore) -> None:
    scores = [score for record, score in found_for(store, NEW).records if record.kind == "rule"]
    assert scores == sorted(scores, reverse=True)
    floor = sum(scores) / 2
    kept = [score for _, score in found_for(store, NEW, min_score=floor).records]
    assert min(scores) < floor
    assert min(kept) >= floor


def test_ties_go_to_the_smaller_id(tmp_path: Path) -> None:
    same = [record("thought", f"About {n}.", [f"t{n}"], kinds=("mouse", "pad")) for n in range(8)]
    for order in (same, same[::-1]):
        store = KnowledgeStore(tmp_path / order[0].id, BagOfWords())
        store.replace(order)
        found = found_for(store, NEW, thoughts=3, hints=0)
        assert [record.id for record, _ in found.records] == sorted(record.id for record in same)[:3]


@given(order=st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_the_order_of_products_permutes_the_hints_and_leaves_the_records(
    store: KnowledgeStore, order: list[int]
) -> None:
    moved = NEW.model_copy(update={"items": tuple(NEW.items[place] for place in order)})
    before, after = found_for(store, NEW), found_for(store, moved)
    assert after.records == before.records
    assert len(before.hints) == 3
    for (a, b), word in after.hints.items():
        assert word == before.hints[min(order[a], order[b]), max(order[a], order[b])]


@given(
    category=st.tuples(st.text(max_size=5)),
    price=st.none() | st.floats(0, 99),
    bundled=st.booleans(),
    split=st.sampled_from(["train", "validation", "test"]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_category_price_annotation_and_split_are_never_read(
    store: KnowledgeStore, category: tuple[str], price: float | None, bundled: bool, split: str
) -> None:
    items = tuple(Item(id=f"i{n}", title=t, category=category, price=price) for n, t in enumerate(NEW.titles))
    bundles = (Bundle(item_ids=("i0", "i2"), intent="mouse pad rug"),) if bundled else ()
    told = Session(session_id="new", split=split, items=items, bundles=bundles, domain="electronics")
    assert found_for(store, told) == found_for(store, NEW)


def test_a_batch_is_retrieved_as_one_by_one(store: KnowledgeStore) -> None:
    retriever, batch = Retriever(store, Policy.of(thoughts=2)), [NEW, *SESSIONS[:2]]
    assert retriever.retrieve(batch) == [retriever.retrieve([given])[0] for given in batch]
    assert retriever.retrieve([]) == []


def test_a_policy_of_zeros_retrieves_nothing_and_asks_no_store() -> None:
    plain: Any = None
    assert Policy.none().is_plain
    assert not Policy().is_plain
    assert Retriever(plain, Policy.none()).retrieve([NEW, NEW]) == [Retrieved(), Retrieved()]


def test_hints_alone_bring_no_records_and_records_alone_no_hints(store: KnowledgeStore) -> None:
    hinted = found_for(store, NEW, patterns=0, rules=0, thoughts=0)
    assert not hinted.records
    assert set(hinted.hints) == {(0, 1), (0, 2), (1, 2)}
    assert not found_for(store, NEW, hints=0).hints


@pytest.mark.parametrize("name", ["patterns", "rules", "thoughts", "hints"])
def test_a_negative_quota_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be at least 0, got -1$"):
        Policy.of(**{name: -1})


@pytest.mark.parametrize("score", [-1.5, 2.0])
def test_a_score_that_is_no_cosine_is_a_usage_error(score: float) -> None:
    with pytest.raises(UsageError, match=f"^min_score must be between -1 and 1, got {score}$"):
        Policy.of(min_score=score)
    assert Policy.of(min_score=None) == Policy()
