"""Pair evidence: what is often bundled scores high, and no session meets its own evidence."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from samples import BagOfWords, session, thought

from bundlewise.domain import Grouping, Knowledge
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.evidence import LEVELS, PairEvidence

TITLES = ["glide mouse", "foam pad", "wool rug", "oat milk"]
KINDS = ["mouse", "pad", "rug", "milk"]


def desks(count: int, groups: Grouping = ((0, 1),)) -> list[Knowledge]:
    """Return thoughts about sessions whose mouse and pad are bundled, and nothing else."""
    return [
        thought(session(f"d{n}", [f"{title} {'abcdefghijkl'[n] * 3}" for title in TITLES], groups), KINDS)
        for n in range(count)
    ]


def scores(
    evidence: PairEvidence, titles: list[str], own: frozenset[int] = frozenset()
) -> dict[tuple[int, int], float]:
    found = evidence.affinity(titles, own)
    assert found is not None
    return dict(zip(combinations(range(len(titles)), 2), found.score.tolist(), strict=True))


def test_a_pair_that_is_often_bundled_scores_higher_than_every_other() -> None:
    evidence = PairEvidence(desks(8), BagOfWords())
    found = scores(evidence, ["red mouse", "blue pad", "green rug", "soy milk"])
    assert all(found[0, 1] > score for pair, score in found.items() if pair != (0, 1))
    assert evidence.word(found[0, 1]) == "usually"
    assert evidence.word(found[2, 3]) != "usually"


def test_products_nobody_has_seen_borrow_from_like_ones(minilm: Path) -> None:
    found = scores(PairEvidence(desks(8), Embedder.named(str(minilm))), ["trackball", "mousepad", "carpet"])
    assert found[0, 1] > max(found[0, 2], found[1, 2])


def test_a_thoughts_own_labels_never_reach_the_neighbours_of_its_own_session() -> None:
    """Turn over what one thought says: what is read off without it must not move."""
    told = desks(8)
    turned = [told[0].model_copy(update={"groups": ((2, 3),)}), *told[1:]]
    before, after = (PairEvidence(thoughts, BagOfWords()) for thoughts in (told, turned))
    (rows, credit), (same_rows, same_credit) = (e.features(told[0].titles, frozenset({0})) for e in (before, after))
    assert (rows == same_rows).all()
    assert credit == same_credit
    assert 0 not in credit
    assert (before.features(told[0].titles, frozenset())[0] != after.features(told[0].titles, frozenset())[0]).any()


def test_all_own_thoughts_at_once_are_left_out() -> None:
    evidence = PairEvidence(desks(4), BagOfWords())
    assert evidence.affinity(TITLES, frozenset(range(4))) is None
    found = evidence.affinity(TITLES, frozenset({0, 2, 3}))
    assert found is not None
    assert found.credit == {1: pytest.approx(1.0)}


def test_credit_is_the_share_of_the_thoughts_that_weighed_most() -> None:
    found = PairEvidence(desks(8), BagOfWords()).affinity(["glide mouse ccc", "foam pad ccc"])
    assert found is not None
    assert 1 <= len(found.credit) <= 3
    assert 0 < sum(found.credit.values()) <= 1 + 1e-6
    assert list(found.credit.values()) == sorted(found.credit.values(), reverse=True)


def test_words_rise_with_the_score_through_all_levels() -> None:
    evidence = PairEvidence(desks(8), BagOfWords())
    words = [evidence.word(score) for score in np.linspace(-20, 20, 2000)]
    places = [LEVELS.index(word) for word in words]
    assert places == sorted(places)
    assert (words[0], words[-1]) == (LEVELS[0], LEVELS[-1])


def test_the_order_of_the_titles_permutes_the_scores() -> None:
    evidence, titles = PairEvidence(desks(8), BagOfWords()), ["red mouse", "blue pad", "green rug", "soy milk"]
    order = [2, 0, 3, 1]
    matrix, moved = evidence.matrix(titles), evidence.matrix([titles[place] for place in order])
    np.testing.assert_allclose(moved, matrix[np.ix_(order, order)], atol=1e-5)
    assert (matrix == matrix.T).all()


@pytest.mark.parametrize(
    "thoughts",
    [
        [],
        desks(1),
        desks(6, ()),
        desks(6, ((0, 1, 2, 3),)),
        [*desks(1, ()), *desks(2)[1:]],
        [*desks(2)[:1], thought(session("x", ["tea"]), ["tea"])],
    ],
    ids=["none", "one", "never bundled", "always bundled", "one of each", "one product"],
)
def test_too_little_evidence_is_none_at_all(thoughts: list[Knowledge]) -> None:
    evidence = PairEvidence(thoughts, BagOfWords())
    assert evidence.affinity(TITLES) is None
    assert not evidence.matrix(TITLES).any()


def test_one_product_has_no_pairs() -> None:
    assert PairEvidence(desks(4), BagOfWords()).affinity(["mouse"]) is None


def test_what_was_fitted_once_is_read_back_for_the_same_thoughts_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = ["red mouse", "blue pad", "green rug", "soy milk"]
    before = scores(PairEvidence(desks(8), BagOfWords(), memory=tmp_path), titles)
    monkeypatch.setattr(PairEvidence, "_fit", lambda _: pytest.fail("fitted again"))
    assert scores(PairEvidence(desks(8), BagOfWords(), memory=tmp_path), titles) == before
    with pytest.raises(pytest.fail.Exception, match="fitted again"):
        PairEvidence(desks(7), BagOfWords(), memory=tmp_path)
    with pytest.raises(pytest.fail.Exception, match="fitted again"):
        PairEvidence(desks(8), BagOfWords(), 5, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"weights": 3}', b"\xff\x00"])
def test_a_damaged_memory_is_fitted_anew(tmp_path: Path, content: bytes) -> None:
    titles = ["red mouse", "blue pad", "green rug"]
    before = scores(PairEvidence(desks(8), BagOfWords(), memory=tmp_path), titles)
    (kept,) = tmp_path.iterdir()
    good = kept.read_bytes()
    kept.write_bytes(content)
    assert scores(PairEvidence(desks(8), BagOfWords(), memory=tmp_path), titles) == before
    assert kept.read_bytes() == good


def test_a_memory_that_cannot_be_written_to_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    PairEvidence(desks(8), BagOfWords(), memory=tmp_path / "file" / "folder")


def test_sessions_of_equal_titles_are_judged_by_the_same_regression() -> None:
    twin = desks(1)[0].model_copy(update={"id": "thought-twin", "source_session_ids": ("twin",)})
    evidence = PairEvidence([*desks(7), twin], BagOfWords())
    assert evidence._half[7] == evidence._half[0]
    assert 0 < evidence._half.sum() < 8
