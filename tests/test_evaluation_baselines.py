"""Baselines: the whole session, similarities and clusters."""

import subprocess
import sys
from statistics import fmean

import numpy as np
import pytest

from bundlewise.data.sessions import load
from bundlewise.domain import Grouping
from bundlewise.errors import UsageError
from bundlewise.evaluation.baselines import choose_threshold, clusters, cosine, labelled, overlap, whole_session
from bundlewise.evaluation.metrics import gjs


def similar(n: int, **pairs: float) -> np.ndarray:
    """Build a symmetric matrix: `similar(3, p01=.5)`."""
    matrix = np.eye(n)
    for name, value in pairs.items():
        i, j = int(name[1]), int(name[2])
        matrix[i, j] = matrix[j, i] = value
    return matrix


@pytest.mark.parametrize(("n", "expected"), [(0, ()), (1, ()), (2, ((0, 1),)), (4, ((0, 1, 2, 3),))])
def test_the_whole_session_is_a_bundle_of_two_or_more(n: int, expected: Grouping) -> None:
    assert whole_session(n) == expected


def test_overlap_is_the_jaccard_similarity_of_title_words() -> None:
    matrix = overlap(["Kelb Tablet Case", "Case for the KELB tablet", "Mouse Pad", "x"])
    assert matrix[0].tolist() == [1, 1, 0, 0]
    assert overlap(["Kelb Tablet", "Kelb Tablet Case Blue"])[0, 1] == 0.5
    assert (matrix == matrix.T).all()


@pytest.mark.parametrize("titles", [[], ["Mouse"]])
def test_overlap_of_fewer_than_two_titles_is_square(titles: list[str]) -> None:
    assert overlap(titles).shape == (len(titles), len(titles))


def test_cosine_compares_directions_and_a_zero_vector_resembles_nothing() -> None:
    matrix = cosine(np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=np.float32))
    assert matrix == pytest.approx(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]))


@pytest.mark.parametrize(
    ("similarity", "threshold", "expected"),
    [
        (np.empty((0, 0)), 0.5, ()),
        (np.eye(1), 0.5, ()),
        (similar(2, p01=0.5), 0.5, ((0, 1),)),
        (similar(2, p01=0.5), 0.51, ()),
        (similar(4, p02=0.9, p13=0.8), 0.5, ((0, 2), (1, 3))),
        (similar(3, p01=0.9, p02=0.4, p12=0.2), 0.3, ((0, 1, 2),)),
        (similar(3, p01=0.9, p02=0.4, p12=0.2), 0.31, ((0, 1),)),
        (similar(4), 0.0, ((0, 1, 2, 3),)),
        (similar(3, p01=1.0000002, p02=-1, p12=-1), 0.5, ((0, 1),)),
    ],
    ids=["none", "one", "at the threshold", "below it", "two", "average", "below average", "all", "rounding"],
)
def test_clusters_merge_while_the_average_reaches_the_threshold(
    similarity: np.ndarray, threshold: float, expected: Grouping
) -> None:
    assert clusters(similarity, threshold) == expected


def test_clusters_hold_plain_integers() -> None:
    assert {type(position) for group in clusters(np.ones((3, 3)), 0.5) for position in group} == {int}


def test_the_threshold_is_the_best_on_validation_and_the_smaller_of_equals() -> None:
    similarities = [similar(3, p01=0.8, p12=0.3), similar(2, p01=0.6)]
    truths: list[Grouping] = [((0, 1),), ((0, 1),)]
    assert choose_threshold(similarities, truths, grid=(0.9, 0.5, 0.4, 0.1)) == 0.4


@pytest.mark.parametrize("truths", [[], [((0, 1),)] * 2])
def test_a_threshold_needs_a_matrix_for_each_session(truths: list[Grouping]) -> None:
    with pytest.raises(UsageError, match=f"got 1 and {len(truths)}"):
        choose_threshold([np.eye(2)], truths)


def test_the_lexical_baseline_beats_the_whole_session_on_starter_electronics() -> None:
    validation, test = load("electronics", "validation"), load("electronics", "test")
    threshold = choose_threshold(
        [overlap(s.titles) for s in validation], [s.groups for s in validation], grid=(0.0, 0.01, 0.02)
    )
    whole = fmean(gjs(whole_session(len(s.items)), s.groups) for s in test)
    lexical = fmean(gjs(clusters(overlap(s.titles), threshold), s.groups) for s in test)

    assert round(whole, 3) == 0.495
    assert 0.5 < lexical < 0.6


def test_importing_the_baselines_imports_neither_torch_nor_scipy() -> None:
    code = "import sys, bundlewise.evaluation.baselines; print(*{'torch', 'scipy', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    ("bags", "expected"),
    [
        ([], ()),
        ([0, 0], ((0, 1),)),
        ([1, 0, 1, 0], ((0, 2), (1, 3))),
        ([None, None], ()),
        ([0, None, 1, 0], ((0, 3),)),
    ],
)
def test_products_that_were_given_one_bundle_are_one_if_they_are_two_or_more(
    bags: list[int | None], expected: Grouping
) -> None:
    assert labelled(bags) == expected
