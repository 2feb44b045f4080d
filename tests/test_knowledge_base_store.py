"""The store holds exactly what it was given, for one embedder, with one writer."""

from pathlib import Path

import pytest
from filelock import FileLock
from samples import BagOfWords, record, session, thought

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base import store as module
from bundlewise.knowledge_base.database import FILE, Change
from bundlewise.knowledge_base.duplicates import Cluster
from bundlewise.knowledge_base.index import retrieval_key
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import merge, retire, verify

RULES = [record("rule", text) for text in ("mouse with pad", "milk with tea", "rug apart")]
TRAIN = KnownSession(id="s1", split="train", items="1" * 16)


class Counting(BagOfWords):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def embed(self, texts, advance=None):  # type: ignore[no-untyped-def]
        self.seen += texts
        return super().embed(texts, advance)


class Other(BagOfWords):
    fingerprint = "another"


def held(store: KnowledgeStore) -> dict[str, Knowledge]:
    return {found.id: found for found in store.records.select(status=None)}


def by_id(*records: Knowledge) -> dict[str, Knowledge]:
    return {r.id: r for r in records}


@pytest.fixture
def store(tmp_path: Path) -> KnowledgeStore:
    found = KnowledgeStore.create(tmp_path / "kb", Counting())
    found.replace(RULES)
    return found


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (record("pattern", "text", kinds=("a", "b")), "a, b"),
        (record("thought", "They go together.", kinds=("a", "b")), "a, b. They go together."),
        (RULES[0], "mouse with pad"),
    ],
)
def test_a_record_is_found_by_its_kinds_and_its_wording(given: Knowledge, key: str) -> None:
    assert retrieval_key(given) == key


def test_what_was_stored_is_read_back_equal_and_is_sound(store: KnowledgeStore) -> None:
    full = record("pattern", "a + b", ["s1"], kinds=("a", "b"), supporters=("s1",), support=1, lift=1.5)
    store.replace([*RULES, full], [TRAIN])
    for found in (store, KnowledgeStore.open(store.folder, BagOfWords())):
        assert held(found) == by_id(*RULES, full)
        assert found.index.nearest(found.embedder.embed(["a, b"]), "pattern", None, 1)[0] == [(full.id, 1.0)]
        assert verify(found) == []


def test_replacing_by_the_same_changes_and_embeds_nothing(store: KnowledgeStore) -> None:
    assert isinstance(store.embedder, Counting)
    before = store.embedder.seen.copy(), store.meta
    store.replace(RULES[::-1])
    assert (store.embedder.seen, store.meta) == before


def test_what_is_not_given_again_is_gone_in_its_domain_and_stays_in_others(store: KnowledgeStore) -> None:
    key = Knowledge.content_id("rule", "grocery", "milk with oats", ())
    grocery = record("rule", "milk with oats", id=key, domain="grocery")
    store.replace([grocery])
    assert held(store) == by_id(grocery, *RULES)
    store.replace(RULES[:1])
    assert held(store) == by_id(grocery, RULES[0])
    assert verify(store) == []


@pytest.mark.parametrize("change", [{"status": "quarantined", "reason": "harms"}, {"gain": 0.5}, {"support": 9}])
def test_a_record_whose_numbers_or_status_changed_is_replaced(store: KnowledgeStore, change: dict[str, object]) -> None:
    changed = RULES[0].model_copy(update=change)
    store.replace([changed, *RULES[1:]])
    assert held(store) == by_id(changed, *RULES[1:])
    found = dict(store.index.nearest(store.embedder.embed([changed.text]), "rule", None, 9)[0])
    assert (changed.id in found) is (changed.status == "active")


def test_what_somebody_retired_stays_retired(store: KnowledgeStore) -> None:
    retire(store, [RULES[0].id], "wrong")
    store.replace(RULES)
    assert held(store)[RULES[0].id].status == "retired"
    assert held(store)[RULES[0].id].reason == "wrong"


def test_a_merged_record_stays_as_long_as_its_parts_are_given(store: KnowledgeStore) -> None:
    parts = [record("rule", "Keep cases and phones together.", [f"s{n}"]) for n in (1, 2)]
    known = [KnownSession(id=f"s{n}", split="train", items="0" * 16) for n in (1, 2)]
    store.replace([*RULES, *parts], known)
    merge(store, [Cluster(tuple(parts))])
    merged = held(store)
    one = next(r for r in merged.values() if r.source_session_ids == ("s1", "s2"))
    store.replace([*RULES, *parts])
    assert held(store) == merged
    store.replace([*RULES, parts[0]])
    assert one.id not in held(store)


def test_undo_takes_the_last_change_back_with_its_vectors(store: KnowledgeStore) -> None:
    before = held(store), store.meta["digest"]
    store.replace([RULES[0].model_copy(update={"gain": 0.5}), record("rule", "new")])
    assert store.undo().what == "distil"
    assert (held(store), store.meta["digest"]) == before
    assert verify(store) == []
    store.undo()
    with pytest.raises(UsageError, match="nothing to undo"):
        store.undo()


def test_another_embedder_is_refused_and_changes_nothing(store: KnowledgeStore) -> None:
    for _ in range(2):
        with pytest.raises(KnowledgeError, match=r"has vectors of bag-of-words .* not of .*: bundlewise kb reindex"):
            KnowledgeStore.open(store.folder, Other())
    assert held(KnowledgeStore.open(store.folder, BagOfWords())) == by_id(*RULES)


def test_an_embedder_that_says_the_vectors_fit_is_taken(store: KnowledgeStore) -> None:
    class Noisy(Other):
        def fits(self, fingerprint: str) -> bool:
            return fingerprint == "bag-of-words"

    assert held(KnowledgeStore.open(store.folder, Noisy())) == by_id(*RULES)


def test_a_missing_store_is_a_usage_error_that_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no knowledge base in .*; make one: bundlewise distil"):
        KnowledgeStore.open(tmp_path / "none", BagOfWords())
    assert not (tmp_path / "none").exists()


def test_a_store_of_before_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"")
    with pytest.raises(KnowledgeError, match=r"is of an older version; distil it again"):
        KnowledgeStore.open(tmp_path, BagOfWords())


def test_a_file_in_the_place_of_the_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "kb").write_text("")
    with pytest.raises(KnowledgeError, match=r"cannot make .*kb: .*; choose another folder"):
        KnowledgeStore.create(tmp_path / "kb", BagOfWords())


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("field", ["source_session_ids", "supporters"])
@pytest.mark.parametrize("when", ["before", "with it"])
def test_only_training_sessions_teach(store: KnowledgeStore, split: str, field: str, when: str) -> None:
    known = [KnownSession(id="s9", split=split, items="0" * 16)]
    if when == "before":
        store.change(Change("sessions", sessions=known))
    before = held(store), store.meta["revision"]
    bad = record("pattern", "a + b", **{field: ("s9",)})
    with pytest.raises(KnowledgeError, match=f"the source s9 is a {split} session; only train may teach"):
        store.change(Change("import", [bad], sessions=known if when == "with it" else []))
    assert (held(store), store.meta["revision"]) == before


@pytest.mark.parametrize("change", [{"split": "test"}, {"items": "2" * 16}])
def test_a_session_that_is_known_as_something_else_is_refused(store: KnowledgeStore, change: dict[str, str]) -> None:
    store.change(Change("sessions", sessions=[TRAIN]))
    with pytest.raises(KnowledgeError, match=r"session s1 is .* in the new data, and train .*use another knowledge"):
        store.change(Change("import", RULES[:1], sessions=[TRAIN.model_copy(update=change)]))
    assert store.records.sessions() == [TRAIN]


def test_a_second_writer_is_told_to_wait(store: KnowledgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    told = pytest.raises(KnowledgeError, match=r"another process writes to .*; wait for it and run again")
    with FileLock(store.folder / ".writer.lock"), told:
        store.replace(RULES[:1])
    store.replace(RULES[:2])
    assert held(store) == by_id(*RULES[:2])


@pytest.fixture
def torn(store: KnowledgeStore, monkeypatch: pytest.MonkeyPatch) -> KnowledgeStore:
    """Return a store whose change has reached the database and not the vectors."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.index, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            store.replace([RULES[0].model_copy(update={"gain": 0.5}), record("rule", "new one")])
    assert not store.is_settled
    return store


def test_a_change_that_was_cut_off_is_finished_by_whoever_opens(torn: KnowledgeStore) -> None:
    assert any("has not reached the vectors" in fault for fault in verify(torn))
    opened = KnowledgeStore.open(torn.folder, BagOfWords())
    assert opened.is_settled
    assert verify(opened) == []
    assert {found.text for found in held(opened).values()} == {"mouse with pad", "new one"}


def test_a_change_that_was_cut_off_is_finished_by_the_next_one(torn: KnowledgeStore) -> None:
    torn.change(Change("more", [record("rule", "one more")]))
    assert verify(torn) == []
    assert len(held(torn)) == 3


def test_a_change_that_was_cut_off_can_be_taken_back(torn: KnowledgeStore) -> None:
    torn.undo()
    assert held(torn) == by_id(*RULES)
    assert verify(torn) == []


def test_a_reader_does_not_wait_for_the_writer(torn: KnowledgeStore) -> None:
    with FileLock(torn.folder / ".writer.lock"):
        reader = KnowledgeStore.open(torn.folder, BagOfWords())
        assert not reader.is_settled
        assert len(held(reader)) == 2
        assert reader.index.nearest(reader.embedder.embed(["mouse with pad"]), "rule", None, 1)


def test_an_open_store_sees_what_another_has_written(store: KnowledgeStore) -> None:
    query = store.embedder.embed(["new thing"])
    assert store.index.nearest(query, "thought", None, 1) == [[]]
    other = KnowledgeStore.open(store.folder, BagOfWords())
    new = record("thought", "new thing")
    other.change(Change("more", [new]))
    assert store.index.nearest(query, "thought", None, 1) == [[(new.id, 1.0)]]


def test_two_stores_in_turn_never_undo_each_others_vectors(store: KnowledgeStore) -> None:
    """What one has retired after the other opened its vectors, the other one puts back to its place."""
    other = KnowledgeStore.open(store.folder, BagOfWords())
    assert len(other.index.bodies()) == 3
    retire(store, [RULES[0].id], "wrong")
    other.undo()
    assert verify(other) == []
    assert verify(store) == []


def test_the_vectors_of_pair_evidence_are_kept_for_other_processes(tmp_path: Path) -> None:
    desk = session("s1", ["Wireless mouse", "Mouse pad"], ((0, 1),))
    made = KnowledgeStore.create(tmp_path / "kb", BagOfWords())
    made.replace([thought(desk, ["mouse", "pad"])], [KnownSession.of(desk)])

    class Refusing(BagOfWords):
        def _forward(self, texts: list[str]):  # type: ignore[no-untyped-def]
            raise AssertionError(texts)

    opened = KnowledgeStore.open(tmp_path / "kb", Refusing())
    assert opened.embedder.embed(["Wireless mouse", "Mouse pad", "mouse", "pad"]).shape == (4, 256)


def test_a_store_without_records_is_opened(tmp_path: Path) -> None:
    KnowledgeStore(tmp_path, BagOfWords())
    assert (tmp_path / FILE).is_file()
    assert held(KnowledgeStore.open(tmp_path, BagOfWords())) == {}
