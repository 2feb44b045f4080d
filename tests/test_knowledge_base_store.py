"""The store holds exactly what it was given, for one embedder, with one writer."""

from pathlib import Path

import pytest
from chromadb.errors import InternalError
from filelock import FileLock
from samples import BagOfWords, record

from bundlewise.domain import Knowledge
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base import store as module
from bundlewise.knowledge_base.store import KnowledgeStore, retrieval_key

RULES = [record("rule", text) for text in ("mouse with pad", "milk with tea", "rug apart")]


class Counting(BagOfWords):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def embed(self, texts):  # type: ignore[no-untyped-def]
        self.seen += texts
        return super().embed(texts)


def held(store: KnowledgeStore) -> set[str]:
    return {found.text for found in store.records()}


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    found = KnowledgeStore(tmp_path / "kb", Counting())
    found.replace(RULES)
    return found


def test_what_was_stored_is_read_back_equal_and_in_order(store: KnowledgeStore) -> None:
    full = record("pattern", "a + b", ["s1", "s2"], kinds=("a", "b"), supporters=("s1",), support=1, lift=1.5)
    store.replace([*RULES, full])
    assert store.records() == sorted([*RULES, full], key=lambda found: found.id)
    assert store.records("pattern") == [full]
    assert store.count() == 4


def test_replacing_by_the_same_changes_and_embeds_nothing(store: KnowledgeStore) -> None:
    assert isinstance(store.embedder, Counting)
    before = store.embedder.seen.copy()
    store.replace(RULES[::-1])
    assert held(store) == {rule.text for rule in RULES}
    assert store.embedder.seen == before


def test_what_is_not_given_again_is_gone(store: KnowledgeStore) -> None:
    store.replace(RULES[:1])
    assert store.records() == RULES[:1]


@pytest.mark.parametrize("change", [{"status": "quarantined", "reason": "harms"}, {"gain": 0.5}, {"support": 9}])
def test_a_record_whose_numbers_or_status_changed_is_replaced(store: KnowledgeStore, change: dict[str, object]) -> None:
    changed = RULES[0].model_copy(update=change)
    store.replace([changed, *RULES[1:]])
    kept = {found.id: found for found in store.records()}
    assert kept.get(changed.id) == (changed if changed.status == "active" else None)
    assert store.count() == 3


def test_other_domains_stay_as_they_are(store: KnowledgeStore) -> None:
    grocery = record("rule", "milk with oats").model_copy(update={"domain": "grocery"})
    store.replace([grocery])
    assert held(store) == {"milk with oats", *(rule.text for rule in RULES)}


def test_quarantined_records_are_kept_but_never_found(store: KnowledgeStore) -> None:
    bad = record("rule", "mouse with pad and rug", status="quarantined", reason="held-out GJS -0.0100")
    store.replace([*RULES, bad])
    vectors = store.embedder.embed([bad.text])
    assert store.count() == 4
    assert bad not in store.records()
    assert bad not in [found for found, _ in store.nearest(vectors, "rule", 10)[0]]
    assert len(store.nearest(vectors, "rule", 10)[0]) == 3


def test_the_nearest_stand_first_with_their_cosine(store: KnowledgeStore) -> None:
    vectors = store.embedder.embed(["pad with mouse", "rug"])
    first, second = store.nearest(vectors, "rule", 2)
    assert first[0] == (RULES[0], pytest.approx(1.0, abs=1e-5))
    assert first[1] == (RULES[1], pytest.approx(1 / 3, abs=1e-5))
    assert second[0] == (RULES[2], pytest.approx(0.5**0.5, abs=1e-5))
    assert store.nearest(vectors, "thought", 2) == [[], []]
    assert store.nearest(vectors, "rule", 0) == [[], []]
    assert store.nearest(vectors[:0], "rule", 2) == []


def test_a_store_is_opened_again_with_its_records(store: KnowledgeStore) -> None:
    assert held(KnowledgeStore.open(store.folder, BagOfWords())) == held(store)


def test_another_embedder_is_refused_and_changes_nothing(store: KnowledgeStore) -> None:
    class Other(BagOfWords):
        fingerprint = "another"

    for _ in range(2):
        with pytest.raises(KnowledgeError, match="has embedder bag-of-words, not another; open it with that embedder"):
            KnowledgeStore.open(store.folder, Other())
    assert held(KnowledgeStore.open(store.folder, BagOfWords())) == held(store)


def test_a_newer_schema_is_refused(store: KnowledgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEMA", 0)
    with pytest.raises(KnowledgeError, match="has schema 1, not 0; update bundlewise"):
        KnowledgeStore.open(store.folder, BagOfWords())


def test_a_missing_store_is_a_usage_error_that_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no knowledge base in .*; make one: bundlewise distil"):
        KnowledgeStore.open(tmp_path / "none", BagOfWords())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("content", [b"not a database " * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_store_is_an_error_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(content)
    (tmp_path / "complete.json").write_text("{}")
    with pytest.raises(KnowledgeError, match=r"cannot open the knowledge base in .*; distil it anew"):
        KnowledgeStore.open(tmp_path, BagOfWords())


def test_a_second_writer_is_told_to_wait(store: KnowledgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with (
        FileLock(store.folder / ".writer.lock"),
        pytest.raises(KnowledgeError, match=r"another process writes to .*; wait for it and run again"),
    ):
        store.replace([])
    store.replace(RULES[:2])
    assert store.count() == 2


@pytest.mark.parametrize(
    ("given", "key"),
    [(record("pattern", "text", kinds=("a", "b")), "a, b"), (RULES[0], "mouse with pad")],
)
def test_a_record_is_found_by_its_kinds_or_else_its_wording(given: Knowledge, key: str) -> None:
    assert retrieval_key(given) == key


def test_a_store_whose_writing_was_cut_off_is_refused_and_mended_by_the_same_command(tmp_path: Path) -> None:
    KnowledgeStore(tmp_path, BagOfWords()).replace([record("rule", "Keep pairs.")])
    (tmp_path / "complete.json").unlink()
    with pytest.raises(KnowledgeError, match="is not finished; run the same distil command again"):
        KnowledgeStore.open(tmp_path, BagOfWords())
    KnowledgeStore(tmp_path, BagOfWords()).replace([record("rule", "Keep pairs.")])
    assert KnowledgeStore.open(tmp_path, BagOfWords()).count() == 1


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KnowledgeStore(tmp_path, BagOfWords())

    def full(**_: object) -> None:
        raise InternalError("database or disk is full")

    monkeypatch.setattr(store._collection, "upsert", full)
    with pytest.raises(KnowledgeError, match=r"cannot write the knowledge base in .*disk is full; free space"):
        store.replace([record("rule", "Keep pairs.")])
    with pytest.raises(KnowledgeError, match="is not finished"):
        KnowledgeStore.open(tmp_path, BagOfWords())
