"""References: the rows without a language model, chosen on validation alone."""

import pytest
from samples import BagOfWords, session

from bundlewise.errors import UsageError
from bundlewise.experiment.references import References

DESK = session("desk", ["red mouse", "red keyboard", "oat milk"], ((0, 1),))
TRIP = session("trip", ["travel bag", "travel sleeve", "toothbrush"], ((0, 1), (1, 2)))
VALIDATION = [session("valid", ["blue mouse", "blue keyboard", "tea"], ((0, 1),), split="validation")]


def test_the_bundles_of_the_nearest_training_session_are_carried_over_product_by_product() -> None:
    asked = [
        session("a", ["oat milk drink", "keyboard red", "mouse red"], split="test"),
        session("b", ["toothbrush soft", "sleeve travel", "bag travel"], split="test"),
    ]
    found = References(VALIDATION, asked).nearest([DESK, TRIP], BagOfWords())
    # A product of two bundles takes its neighbour into the first of them.
    assert found.groups == [((1, 2),), ((1, 2),)]
    assert found.name == "nearest training session"


def test_the_annotation_of_the_session_asked_changes_nothing() -> None:
    asked = session("a", ["red mouse", "oat milk"], ((0, 1),), split="test")
    for one in (asked, asked.blind()):
        assert References(VALIDATION, [one]).nearest([DESK, TRIP], BagOfWords()).groups == [()]


def test_clusters_have_the_threshold_that_is_best_on_validation() -> None:
    asked = [session("a", ["green mouse", "green keyboard", "tea"], split="test")]
    found = References(VALIDATION, asked)
    assert found.lexical().groups == [((0, 1),)] and found.lexical().note.startswith("threshold ")
    assert found.embedding(BagOfWords()).groups == [((0, 1),)]
    assert found.whole_session().groups == [((0, 1, 2),)]


def test_a_session_without_a_cluster_is_answered_as_a_whole_and_the_threshold_chosen_so() -> None:
    asked = [session("a", ["green mouse", "oat milk", "tea"], split="test")]
    found = References(VALIDATION, asked)
    assert found.lexical().groups == found.embedding(BagOfWords()).groups == [((0, 1, 2),)]
    # Left empty, the session without common words would be answered best at 0, which spoils the other.
    apart = session("apart", ["red mouse", "blue tea"], ((0, 1),), split="validation")
    assert References([*VALIDATION, apart], asked).lexical().note == "threshold 0.01"


def test_without_validation_sessions_nothing_can_be_chosen() -> None:
    with pytest.raises(UsageError, match="baselines need annotated validation sessions, and there are none"):
        References([], [DESK])
