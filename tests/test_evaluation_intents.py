"""How near named intents are to the annotators', over all annotated bundles."""

from pathlib import Path

import pytest
from samples import BagOfWords, session

from bundlewise.domain import Bundle, Grouping, PredictedBundle, Prediction
from bundlewise.evaluation.intents import intent_similarity, matched
from bundlewise.knowledge_base.embedding import Embedder

FOUR = session("s", ["a", "b", "c", "d"], ((0, 1), (2, 3)))


def prediction(groups: Grouping, intent: str = "set up a desk") -> Prediction:
    bundles = (PredictedBundle(items=tuple(p + 1 for p in g), item_ids=(), intent=intent) for g in groups)
    return Prediction(session_id="s", bundles=tuple(bundles))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (((0, 1), (2, 3)), [(0, 0), (1, 1)]),
        (((2, 3), (0, 1)), [(0, 1), (1, 0)]),
        (((0, 1, 2, 3),), [(0, 0)]),
        (((0, 1, 2), (0, 1)), [(1, 0), (0, 1)]),
        ((), []),
    ],
    ids=["the same", "another order", "one for two: the first of equals", "most similar first", "none"],
)
def test_bundles_are_matched_one_to_one_the_most_similar_first(
    groups: Grouping, expected: list[tuple[int, int]]
) -> None:
    assert matched(prediction(groups), FOUR) == expected


def test_bundles_that_share_no_product_are_not_matched() -> None:
    assert matched(prediction(((2, 3),)), session("s", ["a", "b", "c", "d"], ((0, 1),))) == []


@pytest.mark.parametrize(
    ("groups", "intent", "expected"),
    [
        (((0, 1), (2, 3)), "set up a desk", 1.0),
        (((0, 1),), "set up a desk", 0.5),
        (((0, 1), (2, 3)), "walk the dog", 0.0),
        ((), "", 0.0),
    ],
    ids=["all", "unmatched ones count 0", "no word shared", "no answer"],
)
def test_the_mean_is_taken_over_all_annotated_bundles(groups: Grouping, intent: str, expected: float) -> None:
    assert intent_similarity([prediction(groups, intent)], [FOUR], BagOfWords()) == pytest.approx(expected, abs=1e-6)


def test_sessions_without_annotation_score_zero_not_an_error() -> None:
    assert intent_similarity([prediction(((0, 1),))], [session("s", ["a", "b"])], BagOfWords()) == 0.0


def test_a_paraphrase_is_nearer_than_another_intent(minilm: Path) -> None:
    truth = FOUR.model_copy(update={"bundles": (Bundle(item_ids=("s-1", "s-2"), intent="equip a home office"),)})
    near, far = (
        intent_similarity([prediction(((0, 1),), said)], [truth], Embedder.named(str(minilm)))
        for said in ("furnish a work desk at home", "bake a birthday cake")
    )
    assert near > far + 0.2
