"""Finding records: by free words in one order over all kinds, by the beginning of an id, and counted."""

import time
import unicodedata
from pathlib import Path

import pytest
from kb_samples import APART, DESK_THOUGHT, PAIR, RECORDS, TOGETHER, TRIP_THOUGHT, TWIN, fill
from samples import BagOfWords, record

from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Search
from bundlewise.knowledge_base.search import counts_by_teacher, find, keys_of
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import retire


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    return KnowledgeStore.open(fill(tmp_path / "kb"), BagOfWords())


@pytest.mark.parametrize("search", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize(
    ("text", "best"), [("mouse + keyboard", PAIR), ("laptop sleeve laptop bag", TRIP_THOUGHT), (APART.text, APART)]
)
def test_the_record_with_the_words_comes_first_whatever_its_kind(
    store: KnowledgeStore, text: str, best: object, search: str
) -> None:
    found = find(store, text, search=search)  # type: ignore[arg-type]
    assert found[0].record == best
    assert [v.rank for v in found] == list(range(1, len(found) + 1))
    assert [v.score for v in found] == sorted((v.score for v in found), reverse=True)


def test_count_kind_and_domain_are_kept_to(store: KnowledgeStore) -> None:
    assert len(find(store, "mouse", count=2)) == 2
    assert {v.record.id for v in find(store, "mouse", "rule")} == {TOGETHER.id, TWIN.id, APART.id}
    assert find(store, "mouse", domain="grocery") == []


def test_words_that_stand_nowhere_find_nothing_by_words(store: KnowledgeStore) -> None:
    assert find(store, "xylophone", search="lexical") == []
    assert find(store, "the", search="lexical") == []
    assert find(store, "xylophone", search="hybrid") != []


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Лампы кладите к светильникам.", "лампы"),
        ("Jäger Müsli geht mit Milch.", "müsli"),
        ("Große Tassen zusammen.", "GROSSE"),
        ("便携式蓝牙音箱和数据线一起卖。", "音箱"),
        ("ワイヤレスマウスとキーボードは一緒に。", "マウス"),
        ("หูฟังไร้สายขายคู่กับเคส", "หูฟัง"),
        ("אוזניות אלחוטיות יחד", "אוזניות"),
    ],
)
def test_records_are_found_by_words_of_any_script(tmp_path: Path, said: str, text: str) -> None:
    rules = [record("rule", said), record("rule", "Клади корм отдельно. 狗粮分开放。")]
    store = KnowledgeStore.open(fill(tmp_path / "kb", [*RECORDS, *rules]), BagOfWords())
    for form in ("NFC", "NFD"):
        found = find(store, unicodedata.normalize(form, text), search="lexical")
        assert [verdict.record.text for verdict in found] == [said]


@pytest.mark.parametrize("search", ["dense", "lexical", "hybrid"])
def test_a_text_that_is_too_long_is_refused_with_its_length(store: KnowledgeStore, search: Search) -> None:
    assert find(store, "mouse " * 666, search=search)
    with pytest.raises(UsageError, match="the search has 4,002 characters; shorten it to 4,000"):
        find(store, "mouse " * 667, search=search)


@pytest.mark.parametrize(
    "text", [f"mouse {'keyboard ' * 440}", "a.b" * 1300, "mouse-" * 660, "音箱" * 2000, "x" * 4000]
)
def test_any_text_is_looked_for_in_no_time(store: KnowledgeStore, text: str) -> None:
    start = time.process_time()
    find(store, text, search="hybrid")
    assert time.process_time() - start < 0.2


def test_ninety_words_are_looked_for_in_no_time_among_two_thousand_records(tmp_path: Path) -> None:
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrt"]
    rules = [record("rule", " ".join(words[n % 100 :][:25]) + f" {n}") for n in range(2000)]
    store = KnowledgeStore.open(fill(tmp_path / "kb", rules), BagOfWords())
    start = time.process_time()
    assert find(store, " ".join(words[:90]), search="lexical")
    assert time.process_time() - start < 0.2


def test_only_active_records_are_found(store: KnowledgeStore) -> None:
    retire(store, [PAIR.id], "a try")
    assert all(v.record != PAIR and v.record.status == "active" for v in find(store, "mouse + keyboard", count=100))


def test_searching_by_words_needs_no_model(tmp_path: Path) -> None:
    class Absent(BagOfWords):
        def _forward(self, texts: list[str]) -> object:  # type: ignore[override]
            raise AssertionError("a model was asked")

    fill(tmp_path / "kb")
    assert find(KnowledgeStore.open(tmp_path / "kb", Absent()), "mouse", search="lexical")


@pytest.mark.parametrize("length", [len("pattern-") + 1, 99])
def test_an_id_is_known_by_its_beginning(store: KnowledgeStore, length: int) -> None:
    assert keys_of(store.database, [PAIR.id[:length], PAIR.id]) == [PAIR.id]
    assert keys_of(store.database, [DESK_THOUGHT.id, PAIR.id]) == [DESK_THOUGHT.id, PAIR.id]


@pytest.mark.parametrize("beginning", ["rule-%", "_ule", "zzz", f"{PAIR.id}0", "RULE"])
def test_a_beginning_that_no_id_has_is_refused(store: KnowledgeStore, beginning: str) -> None:
    with pytest.raises(UsageError, match="begins with"):
        keys_of(store.database, [beginning])


@pytest.mark.parametrize("beginning", ["", "rule"])
def test_a_beginning_of_several_ids_is_refused_with_some_of_them(store: KnowledgeStore, beginning: str) -> None:
    with pytest.raises(
        UsageError, match=f"begins several ids .*{min(r.id for r in RECORDS if r.id.startswith(beginning))}"
    ):
        keys_of(store.database, [beginning])


def test_records_are_counted_by_kind_domain_teacher_and_status(store: KnowledgeStore) -> None:
    retire(store, [APART.id], "a try")
    counts = counts_by_teacher(store.database)
    assert sum(counts.values()) == len(RECORDS)
    assert counts["rule", "electronics", "grounded", "retired"] == 1
    assert list(counts) == sorted(counts)
