"""Make bundles without a language model: the whole session, or clusters of similar titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Grouping, Session
from bundlewise.errors import UsageError
from bundlewise.evaluation.metrics import gjs
from bundlewise.text import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = tuple(step / 100 for step in range(100))
"""The thresholds to choose from; with 0, similarities of at least 0 make the whole session one bundle."""
ROUNDING = 1e-9
"""The tolerance for rounding, so that an average similarity equal to the threshold still merges."""


def whole_session(n: int) -> Grouping:
    """Return all n products as one bundle, or no bundle for fewer than two products."""
    return (tuple(range(n)),) if n > 1 else ()


def overlap(titles: Sequence[str]) -> NDArray[Any]:
    """Return the Jaccard similarity of the words of each pair of titles: n x n, 0 to 1."""
    import numpy as np

    bags = [set(words(title)) for title in titles]
    rows = [[len(a & b) / (len(a | b) or 1) for b in bags] for a in bags]
    return np.array(rows, dtype=float).reshape(len(bags), len(bags))


def cosine(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the cosine of each pair of rows: n x d to n x n; the cosine with a zero vector is 0."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    similarity: NDArray[Any] = units @ units.T
    return similarity


def clusters(similarity: NDArray[Any], threshold: float, *, never_none: bool = False) -> Grouping:
    """Merge clusters while their average similarity is at least the threshold; keep those of two or more.

    `similarity` is n x n and symmetric; its diagonal is not read. With `never_none` a session in which nothing merges
    becomes one bundle, for data in which every session has a bundle, so that an answer without bundles is wrong.
    """
    found = _cut(_tree(similarity), threshold) if len(similarity) > 1 else ()
    return found or (whole_session(len(similarity)) if never_none else ())


def _tree(similarity: NDArray[Any]) -> NDArray[Any]:
    """Return the merges of average-link clustering in scipy's format, the nearest first."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    # Rounding makes a cosine a little larger than 1, and a distance must not be negative.
    found: NDArray[Any] = linkage(squareform((1 - similarity).clip(min=0), checks=False), "average")
    return found


def _cut(tree: NDArray[Any], threshold: float) -> Grouping:
    from scipy.cluster.hierarchy import fcluster

    return labelled(fcluster(tree, 1 - threshold + ROUNDING, "distance").tolist())


def labelled(labels: Sequence[int | None]) -> Grouping:
    """Return the bundles from a label per product (None is no bundle); bundles of one product are dropped."""
    members: dict[int, list[int]] = {}
    for place, number in enumerate(labels):
        if number is not None:
            members.setdefault(number, []).append(place)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def choose_threshold(
    similarities: Sequence[NDArray[Any]],
    truths: Sequence[Grouping],
    grid: Iterable[float] = GRID,
    *,
    never_none: bool = False,
) -> float:
    """Return the threshold whose clusters have the best mean GJS over validation sessions; ties go to the smallest.

    Raises:
        UsageError: there are no sessions, or their number is not that of the similarity matrices.
    """
    if not truths or len(similarities) != len(truths):
        counts = f"{len(similarities)} and {len(truths)}"
        raise UsageError(f"a threshold needs a similarity matrix for each session, got {counts}")

    thresholds = sorted(grid)
    known = zip(similarities, truths, strict=True)
    scores = [_scores(matrix, truth, thresholds, never_none) for matrix, truth in known]
    means = [fmean(column) for column in zip(*scores, strict=True)]
    return thresholds[means.index(max(means))]


def lexical_threshold(sessions: Sequence[Session]) -> float:
    """Return the best threshold for word overlap on annotated sessions."""
    return choose_threshold([overlap(s.titles) for s in sessions], [s.groups for s in sessions])


def _scores(similarity: NDArray[Any], truth: Grouping, thresholds: Sequence[float], never_none: bool) -> list[float]:
    """Return the GJS of the clusters at each threshold; it is computed once for thresholds with the same clusters."""
    if len(similarity) < 2:
        return [gjs((), truth)] * len(thresholds)
    tree, known = _tree(similarity), dict[int, float]()
    merges = [int((tree[:, 2] <= 1 - threshold + ROUNDING).sum()) for threshold in thresholds]
    for count, threshold in zip(merges, thresholds, strict=True):
        if count not in known:
            found = _cut(tree, threshold)
            known[count] = gjs(found or (whole_session(len(similarity)) if never_none else ()), truth)
    return [known[count] for count in merges]
