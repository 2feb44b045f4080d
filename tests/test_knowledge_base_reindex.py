"""Reindexing embeds all records anew beside the vectors in use, and can be taken back; damage is no obstacle."""

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import BagOfWords, record

from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base import reindex as module
from bundlewise.knowledge_base.database import Change
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.knowledge_base.reindex import reindex, roll_back
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.knowledge_base.upkeep import verify

RULES = [record("rule", text) for text in ("mouse with pad", "milk with tea", "rug apart")]
OFF = record("rule", "out of use", status="retired")


class Mirrored(BagOfWords):
    """The same words at other places: vectors as large, and all different."""

    fingerprint = "mirrored"

    def __init__(self) -> None:
        super().__init__()
        self.name = "mirrored"

    def _forward(self, texts: list[str]) -> Vectors:
        return super()._forward([text[::-1] for text in texts])


class Scattered(BagOfWords):
    """A direction of its own for every text."""

    fingerprint = "scattered"

    def __init__(self) -> None:
        super().__init__()
        self.name = "scattered"

    def _forward(self, texts: list[str]) -> Vectors:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        vectors = np.stack([np.random.RandomState(seed).standard_normal(32) for seed in seeds]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


EMBEDDERS: dict[str, type[Embedder]] = {"bag-of-words": BagOfWords, "mirrored": Mirrored, "scattered": Scattered}


@pytest.fixture(autouse=True)
def embedders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("named", "of_store"):
        monkeypatch.setattr(Embedder, name, staticmethod(lambda spec: EMBEDDERS[spec]()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = KnowledgeStore.create(tmp_path / "kb", BagOfWords())
    store.change(Change("all", [*RULES, OFF]))
    return tmp_path / "kb"


def assert_sound(folder: Path, embedder: str, generation: int) -> KnowledgeStore:
    store = KnowledgeStore.open(folder)
    assert verify(store) == []
    assert (store.meta["embedder"], store.meta["fingerprint"], store.generation) == (embedder, embedder, generation)
    assert len(list(store.records.select(status=None))) == len(store.index.bodies())
    return store


def test_all_records_get_the_vectors_of_the_other_embedder(folder: Path) -> None:
    told: list[int] = []
    before = KnowledgeStore.open(folder).meta
    assert reindex(folder, Mirrored(), told.append) == sum(told) == 4
    store = assert_sound(folder, "mirrored", 2)
    assert (store.meta["digest"], store.meta["revision"]) == (before["digest"], before["revision"])
    assert store.index.vectors([OFF])[OFF.id] == pytest.approx(Mirrored().embed([OFF.text])[0])
    with pytest.raises(KnowledgeError, match="not of bag-of-words"):
        KnowledgeStore.open(folder, BagOfWords())


def test_changes_and_their_undoing_go_on_after_reindexing(folder: Path) -> None:
    reindex(folder, Mirrored())
    store = KnowledgeStore.open(folder)
    store.change(Change("more", [record("rule", "one more")]))
    store.undo()
    store.undo()
    assert list(assert_sound(folder, "mirrored", 2).records.select()) == []


def test_rolling_back_uses_the_old_vectors_and_embeds_what_has_changed_since(folder: Path) -> None:
    reindex(folder, Mirrored())
    new = record("rule", "one more")
    changed = RULES[1].model_copy(update={"gain": 0.5})
    KnowledgeStore.open(folder).change(Change("more", [new, changed], remove=[RULES[0].id]))
    assert roll_back(folder) == "bag-of-words"
    store = assert_sound(folder, "bag-of-words", 1)
    wanted = {r.id: r for r in (new, changed, RULES[2], OFF)}
    assert {r.id: r for r in store.records.select(status=None)} == wanted
    assert roll_back(folder) == "mirrored"
    assert_sound(folder, "mirrored", 2)


def test_without_reindexing_there_is_nothing_to_roll_back(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing to roll back in .*: it was not reindexed"):
        roll_back(folder)


def test_reindexing_after_a_roll_back_does_not_take_the_kept_vectors_for_its_own(folder: Path) -> None:
    reindex(folder, Mirrored())
    roll_back(folder)
    reindex(folder, BagOfWords())
    assert_sound(folder, "bag-of-words", 3)
    assert roll_back(folder) == "bag-of-words"
    assert_sound(folder, "bag-of-words", 1)


def test_only_the_generation_before_is_kept(folder: Path) -> None:
    for embedder in (Mirrored(), BagOfWords(), Mirrored()):
        reindex(folder, embedder)
    assert_sound(folder, "mirrored", 4)
    assert sorted(path.name for path in folder.glob("index-*")) == ["index-3", "index-4"]


@pytest.mark.parametrize("then", ["the same", "another"])
def test_a_reindexing_that_was_cut_off_leaves_the_old_vectors_in_use_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)

    class Dying(Mirrored):
        def embed(self, texts, advance=None):  # type: ignore[no-untyped-def]
            if RULES[0].text in texts:
                raise KeyboardInterrupt
            return super().embed(texts, advance)

    with pytest.raises(KeyboardInterrupt):
        reindex(folder, Dying())
    store = assert_sound(folder, "bag-of-words", 1)
    store.change(Change("meanwhile", [record("rule", "one more")], remove=[OFF.id]))
    embedder = Mirrored() if then == "the same" else BagOfWords()
    reindex(folder, embedder)
    assert_sound(folder, embedder.name, 2 if then == "the same" else 3)


def test_an_embedder_that_is_gone_can_be_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EMBEDDERS, "bag-of-words")
    reindex(folder, Mirrored())
    assert_sound(folder, "mirrored", 2)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a knowledge base beyond the number from which Chroma keeps its search graph in files."""
    folder = tmp_path_factory.mktemp("large") / "kb"
    store = KnowledgeStore.create(folder, Scattered())
    store.change(Change("all", [record("rule", f"rule {number} of many") for number in range(1200)]))
    return folder


def graph(folder: Path) -> Path:
    return next(folder.glob("index-1/*/index_metadata.pickle")).parent


def overwrite(path: Path, start: int = 0) -> None:
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xa5" * (size - start))


def halve(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "all vectors gone": ("is missing", lambda folder: shutil.rmtree(folder / "index-1")),
    "search graph gone": ("is missing", lambda folder: shutil.rmtree(graph(folder))),
    "ids gone": ("is missing", lambda folder: (graph(folder) / "index_metadata.pickle").unlink()),
    "header cut off": ("is cut off", lambda folder: halve(graph(folder) / "header.bin")),
    "vectors cut off": ("is cut off", lambda folder: halve(graph(folder) / "data_level0.bin")),
    "database cut off": ("is cut off", lambda folder: halve(folder / "index-1" / "chroma.sqlite3")),
    "ids garbage": ("pickle", lambda folder: overwrite(graph(folder) / "index_metadata.pickle")),
    "header garbage": ("hnsw", lambda folder: overwrite(graph(folder) / "header.bin")),
    "database damaged": ("malformed", lambda folder: overwrite(folder / "index-1" / "chroma.sqlite3", 8192)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_vectors_are_an_error_with_a_remedy_that_works(large: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "kb"
    shutil.copytree(large, folder)
    message, harm = DAMAGES[damage]
    harm(folder)

    def search() -> None:
        store = KnowledgeStore.open(folder, Scattered())
        store.index.nearest(store.embedder.embed(["rule 7"]), "rule", None, 1)

    for _ in range(2):
        with pytest.raises(KnowledgeError, match=rf"{message}.*: bundlewise kb reindex {folder}"):
            search()
    assert any("bundlewise kb reindex" in fault for fault in verify(KnowledgeStore(folder, Scattered())))
    assert reindex(folder, Scattered()) == 1200
    search()
    assert_sound(folder, "scattered", 2)
