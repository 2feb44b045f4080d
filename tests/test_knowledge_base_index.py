"""The index finds the nearest active records to the last tie, however they were put there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import BagOfWords, record

from bundlewise.domain import Knowledge
from bundlewise.errors import KnowledgeError
from bundlewise.knowledge_base import index as module
from bundlewise.knowledge_base.index import DIGITS, Found, VectorIndex
from bundlewise.knowledge_base.place import Place

DOMAINS = ["electronics", "", "Möbel & more/…", "a" * 600, "shelf", "kb.g1", "Electronics"]
WORDS = ["mouse", "pad", "milk", "tea"]
TEXTS = [f"{a} {b}" for a in WORDS for b in WORDS]
"""Twice each pair of different words, so that all of these have a twin of the same vector."""
RECORDS = [record("rule", text) for text in TEXTS]


def embed(texts: Sequence[str]) -> np.ndarray:
    return BagOfWords().embed(texts)


def opened(folder: Path, generation: int = 1) -> VectorIndex:
    place = Place(folder)
    return VectorIndex(place, place.client(generation), generation)


def put(index: VectorIndex, records: Sequence[Knowledge]) -> None:
    index.put(records, embed([record.text for record in records]))


def ranked(query: str, records: Sequence[Knowledge], count: int) -> Found:
    """Return what the index must find, by the book."""
    scores = (embed([record.text for record in records]) @ embed([query])[0]).tolist()
    found = sorted(
        ((r.id, s) for r, s in zip(records, scores, strict=True)), key=lambda hit: (-round(hit[1], 5), hit[0])
    )
    last = found[min(count, len(found)) - 1][1] if found else 0.0
    return [hit for hit in found if hit[1] >= last - 1e-5]


def assert_equal(found: Found, wanted: Found) -> None:
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert [score for _, score in found] == pytest.approx([score for _, score in wanted], abs=1e-5)
    assert all(score == round(score, DIGITS) for _, score in found)


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    return opened(tmp_path)


@settings(max_examples=10)
@given(order=st.permutations(RECORDS), cut=st.integers(0, len(RECORDS)), count=st.integers(1, 20))
def test_the_nearest_are_complete_to_the_last_tie_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[Knowledge], cut: int, count: int
) -> None:
    index = opened(tmp_path_factory.mktemp("order"))
    put(index, order[:cut])
    put(index, order[cut:])
    queries = ["mouse pad", "tea", "unknown"]
    for query, found in zip(queries, index.nearest(embed(queries), "rule", "electronics", count), strict=True):
        assert_equal(found, ranked(query, RECORDS, count))


def test_hundreds_of_twins_are_all_ties(index: VectorIndex) -> None:
    twins = [record("rule", "mouse pad", [f"s{number}"]) for number in range(300)]
    put(index, [*RECORDS, *twins])
    found = index.nearest(embed(["mouse pad"]), "rule", "electronics", 3)[0]
    assert_equal(found, ranked("mouse pad", [*RECORDS, *twins], 3))
    assert len(found) == 302


def test_nothing_is_found_of_nothing(index: VectorIndex) -> None:
    assert index.nearest(embed(["mouse"]), "rule", None, 3) == [[]]
    put(index, RECORDS)
    assert index.nearest(embed(["mouse", "tea"]), "thought", None, 3) == [[], []]
    assert index.nearest(embed(["mouse", "tea"]), "rule", "grocery", 3) == [[], []]
    assert index.nearest(embed(["mouse"]), "rule", None, 0) == [[]]
    assert index.nearest(embed([])[:0], "rule", None, 3) == []


@pytest.mark.parametrize("count", [1, 2, 5, 16, 100])
def test_all_domains_together_are_one_list(index: VectorIndex, count: int) -> None:
    spread = [r.model_copy(update={"domain": DOMAINS[n % len(DOMAINS)]}) for n, r in enumerate(RECORDS)]
    put(index, spread)
    found = index.nearest(embed(["mouse pad"]), "rule", None, count)[0]
    assert_equal(found, ranked("mouse pad", spread, count))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_of_any_name_is_apart_from_all_others(index: VectorIndex, domain: str) -> None:
    each = [record("rule", f"mouse {number}", domain=name) for number, name in enumerate(DOMAINS)]
    put(index, each)
    for found in (index, opened(index.place.folder)):
        wanted = [each[DOMAINS.index(domain)].id]
        assert [key for key, _ in found.nearest(embed(["mouse"]), "rule", domain, 9)[0]] == wanted


@pytest.mark.slow
def test_two_hundred_domains_are_all_found(index: VectorIndex) -> None:
    each = [record("rule", f"mouse {number}", domain=f"domain {number}") for number in range(200)]
    put(index, each)
    again = opened(index.place.folder)
    assert len(again.bodies()) == len(again.nearest(embed(["mouse"]), "rule", None, 200)[0]) == 200


@pytest.mark.parametrize("status", ["quarantined", "retired"])
def test_only_active_records_are_found_and_a_status_moves_them(index: VectorIndex, status: str) -> None:
    off = RECORDS[0].model_copy(update={"status": status})
    for record_now, there in ((RECORDS[0], True), (off, False), (off, False), (RECORDS[0], True)):
        put(index, [record_now])
        found = dict(index.nearest(embed([off.text]), "rule", None, 5)[0])
        assert (off.id in found) is there
        assert index.bodies() == {off.id: record_now.model_dump_json()}
        assert index.vectors([record_now])[off.id] == pytest.approx(embed([off.text])[0])


def test_putting_and_dropping_twice_is_as_good_as_once(index: VectorIndex) -> None:
    off = RECORDS[1].model_copy(update={"status": "retired"})
    for _ in range(2):
        put(index, [RECORDS[0], off, *RECORDS[2:]])
        assert len(list(index.everything())) == len(RECORDS)
    for _ in range(2):
        index.drop([RECORDS[0], RECORDS[1]])
        assert index.bodies().keys() == {r.id for r in RECORDS[2:]}
        assert index.vectors(RECORDS).keys() == {r.id for r in RECORDS[2:]}


def test_more_than_a_batch_is_put_read_and_dropped(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 5)
    put(index, RECORDS)
    assert index.bodies() == {r.id: r.model_dump_json() for r in RECORDS}
    index.drop(RECORDS)
    assert index.bodies() == {}


def test_a_graph_that_has_lost_records_is_searched_record_by_record(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(index, RECORDS)
    collection = index._searched("rule", "electronics")[0]
    whole = collection.query
    calls = []

    def forgetful(**asked: object) -> dict[str, list[list[object]]]:
        answer = whole(**asked)
        calls.append(asked)
        return {key: [row[::2] for row in answer[key]] for key in ("ids", "distances")}

    monkeypatch.setattr(collection, "query", forgetful)
    for count in (1, 5, 16):
        assert_equal(index.nearest(embed(["mouse pad"]), "rule", None, count)[0], ranked("mouse pad", RECORDS, count))
    assert calls


def test_generations_are_apart_and_one_is_forgotten_alone(tmp_path: Path) -> None:
    """On a server all generations are in one Chroma; generation 1 is no beginning of generation 11."""
    place = Place(tmp_path)
    client = place.client(1)
    one, eleven = VectorIndex(place, client, 1), VectorIndex(place, client, 11)
    put(one, RECORDS[:3])
    put(eleven, RECORDS[3:])
    one.forget()
    assert one.bodies() == VectorIndex(place, client, 1).bodies() == {}
    assert VectorIndex(place, client, 11).bodies().keys() == {r.id for r in RECORDS[3:]}


def test_vectors_of_another_size_are_an_error(index: VectorIndex) -> None:
    put(index, RECORDS)
    with pytest.raises(KnowledgeError, match=r"cannot search the vectors of .*dimension"):
        index.nearest(np.ones((1, 3), np.float32), "rule", None, 3)
