"""Kind readers in the evidence: they help, and no session is read by what was learnt from it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from samples import BagOfWords, session, thought

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.knowledge_base.evidence import PairEvidence
from bundlewise.knowledge_base.kind_reader import halves, observed, reader_folders, readers_of

KINDS = ["mouse", "pad", "rug", "milk"]


def coded(count: int) -> list[Knowledge]:
    """Return thoughts whose titles share no word with their kinds or with each other; mouse and pad are bundled."""
    return [thought(session(f"c{n}", [f"q{n}{k}" for k in range(4)], ((0, 1),)), KINDS) for n in range(count)]


class Knows(Embedder):
    """A reader that knows the kind of every title by its last digit, and remembers what it was asked."""

    def __init__(self, name: str = "knows") -> None:
        super().__init__(name)
        self.asked: set[str] = set()
        self._base = BagOfWords()

    @property
    def fingerprint(self) -> str:
        return self.name

    def _forward(self, texts: list[str]) -> Vectors:
        self.asked.update(texts)
        return self._base.embed([KINDS[int(text[-1])] for text in texts])


def evidence_of(thoughts: Sequence[Knowledge], *readers: Embedder) -> PairEvidence:
    return PairEvidence(thoughts, BagOfWords(), readers=readers)


def test_a_reader_tells_pairs_apart_that_words_cannot() -> None:
    titles = ["new0", "new1", "new2", "new3"]
    blind = evidence_of(coded(12)).affinity(titles)
    read = evidence_of(coded(12), Knows(), Knows()).affinity(titles)
    assert blind is not None and read is not None
    assert np.ptp(blind.score) < 0.5
    assert read.score[0] > read.score[1:].max() + 1


def test_a_known_session_is_only_ever_read_by_the_reader_of_its_own_half() -> None:
    thoughts, readers = coded(12), (Knows("a"), Knows("b"))
    evidence = evidence_of(thoughts, *readers)
    for number, half in enumerate(halves(thoughts).tolist()):
        evidence.affinity(thoughts[number].titles, frozenset({number}))
        assert readers[half].asked.issuperset(thoughts[number].titles)
        assert readers[1 - half].asked.isdisjoint(thoughts[number].titles)


def test_the_halves_are_those_of_all_thoughts_whatever_domain_is_observed() -> None:
    domains = enumerate(coded(12))
    thoughts = [each.model_copy(update={"domain": "tools" if n % 3 else "food"}) for n, each in domains]
    readers = (Knows("a"), Knows("b"))
    evidence = PairEvidence(thoughts, BagOfWords(), readers=readers, domain="tools")
    assert {thought.domain for thought in evidence.thoughts} == {"tools"} and len(evidence.thoughts) == 8
    for each, half in zip(thoughts, halves(thoughts).tolist(), strict=True):
        assert readers[1 - half].asked.isdisjoint(each.titles)


def test_a_new_session_is_read_by_both() -> None:
    readers = (Knows("a"), Knows("b"))
    evidence_of(coded(12), *readers).affinity(["new0", "new1"])
    assert all(reader.asked.issuperset({"new0", "new1"}) for reader in readers)


def test_what_was_fitted_is_not_taken_for_other_readers(tmp_path: Path) -> None:
    for readers in ((), (Knows("a"), Knows("b")), (Knows("a"), Knows("c"))):
        PairEvidence(coded(12), BagOfWords(), memory=tmp_path, readers=readers)
    assert len(list(tmp_path.glob("evidence-*.json"))) == 3


def test_sessions_of_equal_titles_are_in_one_half() -> None:
    twin = coded(1)[0].model_copy(update={"id": "twin", "source_session_ids": ("twin",)})
    found = halves([*coded(9), twin])
    assert found[9] == found[0] and set(found.tolist()) == {0, 1}


def test_a_thought_without_a_kind_for_each_title_is_not_observed() -> None:
    whole, short = coded(2)
    assert observed([whole, short.model_copy(update={"kinds": ("mouse",)})]) == [whole]


@pytest.mark.parametrize("change", ["kinds", "fewer", "embedder"])
def test_readers_are_of_these_very_thoughts_and_this_embedder(
    change: str, tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, thoughts = Embedder.named(str(minilm)), coded(4)
    for folder in reader_folders(tmp_path, thoughts, embedder):
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    assert len(readers_of(tmp_path, thoughts, embedder)) == 2
    if change == "kinds":
        thoughts = [thoughts[0].model_copy(update={"kinds": tuple(reversed(KINDS))}), *thoughts[1:]]
    elif change == "fewer":
        thoughts = thoughts[1:]
    else:
        monkeypatch.setitem(embedder.__dict__, "fingerprint", "another")
    assert readers_of(tmp_path, thoughts, embedder) == ()


def test_one_reader_without_the_other_is_none(tmp_path: Path, minilm: Path) -> None:
    embedder = Embedder.named(str(minilm))
    folder = reader_folders(tmp_path, coded(4), embedder)[0]
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    assert readers_of(tmp_path, coded(4), embedder) == ()
