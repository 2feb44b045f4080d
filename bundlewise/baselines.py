"""Bundles without a language model: the whole session, and clusters of similar titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Grouping
from bundlewise.errors import UsageError
from bundlewise.metrics import gjs
from bundlewise.text import words

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = tuple(step / 100 for step in range(100))
"""Thresholds to choose from; at 0 every non-negative similarity makes one bundle of the session."""
ROUNDING = 1e-9
"""What an average of similarities may lose: one that equals the threshold still merges."""


def whole_session(n: int) -> Grouping:
    """Return all n products as one bundle, or none where there are fewer than two."""
    return (tuple(range(n)),) if n > 1 else ()


def overlap(titles: Sequence[str]) -> NDArray[Any]:
    """Return the Jaccard similarity of the words of each two titles: n x n, 0 to 1."""
    import numpy as np

    bags = [set(words(title)) for title in titles]
    rows = [[len(a & b) / (len(a | b) or 1) for b in bags] for a in bags]
    return np.array(rows, dtype=float).reshape(len(bags), len(bags))


def cosine(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the cosine of each two rows: n x d to n x n; a zero vector resembles nothing."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    similarity: NDArray[Any] = units @ units.T
    return similarity


def clusters(similarity: NDArray[Any], threshold: float) -> Grouping:
    """Merge clusters while their average similarity is at least the threshold; keep those of two or more.

    `similarity` is n x n and symmetric; its diagonal is not read.
    """
    n = len(similarity)
    if n < 2:
        return ()
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    # Rounding makes a cosine a little larger than 1, and a distance must not be negative.
    distances = squareform((1 - similarity).clip(min=0), checks=False)
    labels = fcluster(linkage(distances, "average"), 1 - threshold + ROUNDING, "distance").tolist()
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label, []).append(position)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def choose_threshold(
    similarities: Sequence[NDArray[Any]], truths: Sequence[Grouping], grid: Iterable[float] = GRID
) -> float:
    """Return the threshold with the best mean GJS over validation sessions, the smaller of equals.

    Raises:
        UsageError: there are no sessions, or not one similarity matrix for each.
    """
    if not truths or len(similarities) != len(truths):
        counts = f"{len(similarities)} and {len(truths)}"
        raise UsageError(f"a threshold needs a similarity matrix for each session, got {counts}")

    def quality(threshold: float) -> float:
        pairs = zip(similarities, truths, strict=True)
        return fmean(gjs(clusters(similarity, threshold), truth) for similarity, truth in pairs)

    return max(sorted(grid), key=quality)
