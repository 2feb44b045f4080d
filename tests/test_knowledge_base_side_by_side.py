"""Embedders side by side: the first one is searched, and pair evidence has the columns of all."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from embedder_samples import random_bert_in
from samples import BagOfWords, session, thought

from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.database import Change, KnownSession
from bundlewise.knowledge_base.embedding import Embedder, SideBySide, parts_of
from bundlewise.knowledge_base.evidence import PairEvidence
from bundlewise.knowledge_base.reindex import reindex
from bundlewise.knowledge_base.store import KnowledgeStore

TITLES = ["glide mouse", "foam pad", "wool rug", "oat milk"]
SESSIONS = [session(f"s{n}", [f"{title} {'abcdefgh'[n] * 3}" for title in TITLES], ((0, 1),)) for n in range(8)]
THOUGHTS = [thought(each, ["a", "b", "c", "d"]) for each in SESSIONS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return two embedders with random weights of their own."""
    words = sorted({word for each in THOUGHTS for title in each.titles for word in [*title.split(), *each.kinds]})
    first, second = (random_bert_in(tmp_path_factory.mktemp(f"bert-{seed}"), words, seed=seed) for seed in range(2))
    return str(first), str(second)


def test_the_first_embedder_is_searched_and_all_have_a_part_in_the_fingerprint(folders: tuple[str, str]) -> None:
    one, other = map(Embedder.named, folders)
    both, turned = Embedder.named("+".join(folders)), Embedder.named("+".join(reversed(folders)))
    assert isinstance(both, SideBySide) and both.name == "+".join(folders)
    assert [part.name for part in parts_of(both)] == list(folders) and parts_of(one) == (one,)
    assert (both.embed(TITLES) == one.embed(TITLES)).all() and (turned.embed(TITLES) == other.embed(TITLES)).all()
    assert len({each.fingerprint for each in (one, other, both, turned)}) == 4
    assert both.fits(both.fingerprint) and not both.fits(one.fingerprint)


def test_each_embedder_adds_its_columns_to_the_evidence(folders: tuple[str, str]) -> None:
    one, both = (PairEvidence(THOUGHTS, Embedder.named(name)) for name in (folders[0], "+".join(folders)))
    other = PairEvidence(THOUGHTS, Embedder.named(folders[1]))
    asked = ["red mouse aaa", "blue pad bbb", "green rug ccc"]
    (alone, credit), (wide, same_credit), (second, _) = (e.features(asked, frozenset()) for e in (one, both, other))
    assert wide.shape == (3, alone.shape[1] + 4) and credit == same_credit
    assert (wide[:, : alone.shape[1]] == alone).all() and (wide[:, -4:] == second[:, [0, 1, 2, 4]]).all()
    found = both.affinity(asked)
    assert (
        found is not None and len(found.score) == len(list(combinations(asked, 2))) and np.isfinite(found.score).all()
    )


def test_vectors_are_kept_for_each_embedder(folders: tuple[str, str], tmp_path: Path) -> None:
    both, again = Embedder.named("+".join(folders)), Embedder.named("+".join(folders))
    both.save(tmp_path / "vectors.npz", TITLES)
    again.load(tmp_path / "vectors.npz")
    for part, loaded in zip(parts_of(both), parts_of(again), strict=True):
        assert loaded._known.keys() == set(TITLES)
        assert all((loaded._known[title] == part._known[title]).all() for title in TITLES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("minilm+openai:small@http://localhost:1/v1", "is on a server; embedders side by side are on this machine"),
        ("minilm+nothing", "no embedder called 'nothing'"),
        ("minilm+", "no embedder called ''"),
        ("minilm+smollm2-135m", "smollm2-135m is a student"),
    ],
)
def test_a_name_that_cannot_stand_beside_others_is_refused(minilm: Path, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Embedder.named(spec)


def test_an_embedder_named_twice_is_refused(folders: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="is named twice"):
        Embedder.named(f"{folders[0]}+{folders[0]}")
    with pytest.raises(UsageError, match="is on a server"):
        SideBySide([BagOfWords()])


def test_a_knowledge_base_of_one_embedder_refuses_two_until_it_is_reindexed(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    store = KnowledgeStore(tmp_path / "kb", Embedder.named(folders[0]))
    store.change(Change("distil", THOUGHTS, sessions=[KnownSession.of(each) for each in SESSIONS]))
    both = "+".join(folders)
    with pytest.raises(KnowledgeError, match=r"bundlewise kb reindex .* --embedder "):
        KnowledgeStore.open(tmp_path / "kb", Embedder.named(both))
    reindex(tmp_path / "kb", Embedder.named(both))
    assert KnowledgeStore.open(tmp_path / "kb").embedder.name == both
