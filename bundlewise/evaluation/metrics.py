"""Metrics of bundle generation over all sessions of a split; an unanswered session counts as zero.

A bundle is a set of products, stored as an integer with a bit for each position. Bundles of one product are
dropped in all metrics. Duplicates are merged, except in v1 and v2, which follow published code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Grouping
from bundlewise.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
BLOCK = 4_000_000
"""The number of resampled sessions in memory at a time, 32 MB."""


@lru_cache(maxsize=1 << 16)
def bit_sets(grouping: Grouping) -> tuple[int, ...]:
    """Return the bundles of two or more products as bit sets, in order, duplicates kept."""
    sets = (sum(1 << position for position in set(bundle)) for bundle in grouping)
    return tuple(bits for bits in sets if bits.bit_count() > 1)


@lru_cache(maxsize=1 << 16)
def distinct_sets(grouping: Grouping) -> tuple[int, ...]:
    """Return the bit sets without duplicates and sorted, so that the order of bundles does not change a score."""
    return tuple(sorted(set(bit_sets(grouping))))


def gjs(predicted: Grouping, truth: Grouping) -> float:
    """Return the GJS: the sum of the Jaccard similarities of matched bundles over the larger number of bundles.

    Bundles are matched one to one, the most similar first. An answer without bundles always scores 0, even if the
    truth has none.
    """
    left, right = distinct_sets(predicted), distinct_sets(truth)
    if not left or not right:
        return 0.0
    if left == right:
        return 1.0
    pairs = [((a & b).bit_count() / (a | b).bit_count(), a, b) for a in left for b in right if a & b]
    pairs.sort(reverse=True)
    total = 0.0
    free_left, free_right = set(left), set(right)
    for jaccard, a, b in pairs:
        if a in free_left and b in free_right:
            free_left.remove(a)
            free_right.remove(b)
            total += jaccard
    return total / max(len(left), len(right))


@dataclass(frozen=True)
class SessionScore:
    """The counts of one session, from which all metrics are computed."""

    predicted: int
    """Predicted bundles, duplicates counted."""
    annotated: int
    """Annotated bundles, duplicates counted."""
    v1_hits: int
    """Predictions inside an annotated bundle."""
    v1_covered: float
    """Sum of |prediction| / |first annotated bundle that contains it|."""
    v2_hits: int
    """Pairs of a prediction and an annotated bundle that contains it."""
    v2_covered: float
    """Sum of |prediction| / |annotated bundle| over these pairs."""
    v2_found: int
    """Annotated bundles that contain a prediction."""
    exact_hits: int
    """Distinct predictions equal to an annotated bundle."""
    exact_predicted: int
    """Distinct predictions."""
    exact_annotated: int
    """Distinct annotated bundles."""
    gjs: float

    @property
    def answered(self) -> bool:
        """Whether there is a predicted bundle of at least two products."""
        return self.predicted > 0


def score_session(predicted: Grouping, truth: Grouping) -> SessionScore:
    """Compare the predicted bundles of a session with the annotated ones."""
    guesses, bundles = bit_sets(predicted), bit_sets(truth)
    hits = [[(g, b) for b in bundles if g & b == g] for g in guesses]
    first = [found[0] for found in hits if found]
    every = [pair for found in hits for pair in found]
    distinct, expected = distinct_sets(predicted), distinct_sets(truth)
    return SessionScore(
        predicted=len(guesses),
        annotated=len(bundles),
        v1_hits=len(first),
        v1_covered=_covered(first),
        v2_hits=len(every),
        v2_covered=_covered(every),
        v2_found=sum(any(g & b == g for g in guesses) for b in bundles),
        exact_hits=len(set(distinct) & set(expected)),
        exact_predicted=len(distinct),
        exact_annotated=len(expected),
        gjs=gjs(predicted, truth),
    )


def _covered(pairs: Iterable[tuple[int, int]]) -> float:
    return sum(guess.bit_count() / bundle.bit_count() for guess, bundle in pairs)


@dataclass(frozen=True)
class Summary:
    """The metrics of a split: means over all its sessions; coverage is the mean over all hits."""

    n: int
    answered: int
    v1_precision: float
    v1_recall: float
    v1_coverage: float
    v2_precision: float
    v2_recall: float
    v2_coverage: float
    exact_precision: float
    exact_recall: float
    gjs: float

    def as_dict(self) -> dict[str, Any]:
        """Return the published JSON form, `{"n": .., "v1": {"precision": ..}, .., "gjs": ..}`."""
        return nested(asdict(self))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `v1_precision` into `v1: {precision}`, for values and intervals alike."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        family, _, member = name.partition("_")
        if member:
            tree.setdefault(family, {})[member] = value
        else:
            tree[name] = value
    return tree


def _terms(score: SessionScore) -> dict[str, tuple[float, float]]:
    """Return a numerator and a denominator for each metric; the metric is the ratio of their sums over sessions."""
    return {
        "v1_precision": (_share(score.v1_hits, score.predicted), 1),
        "v1_recall": (_share(score.v1_hits, score.annotated), 1),
        "v1_coverage": (score.v1_covered, score.v1_hits),
        "v2_precision": (_share(score.v2_hits, score.predicted), 1),
        "v2_recall": (_share(score.v2_found, score.annotated), 1),
        "v2_coverage": (score.v2_covered, score.v2_hits),
        "exact_precision": (_share(score.exact_hits, score.exact_predicted), 1),
        "exact_recall": (_share(score.exact_hits, score.exact_annotated), 1),
        "gjs": (score.gjs, 1),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def summarise(scores: Sequence[SessionScore]) -> Summary:
    """Summarise the scores of all sessions, including unanswered ones.

    Raises:
        DataError: there are no sessions.
    """
    if not scores:
        raise DataError("no sessions to score; choose another dataset or split")
    terms = [_terms(score) for score in scores]
    values = {name: _share(*map(sum, zip(*(t[name] for t in terms), strict=True))) for name in terms[0]}
    return Summary(n=len(scores), answered=sum(score.answered for score in scores), **values)


def intervals(scores: Sequence[SessionScore], *, seed: int = 0, samples: int = 10_000) -> dict[str, Interval]:
    """Return the 95 % interval of each metric, all from the same resampled sessions."""
    return {name: interval for name, (_, interval) in pooled([scores], seed=seed, samples=samples).items()}


def pooled(
    repeats: Sequence[Sequence[SessionScore]], *, seed: int = 0, samples: int = 10_000
) -> dict[str, tuple[float, Interval]]:
    """Return each metric over repeats (seeds) of the same sessions, with its 95 % interval.

    Numerators and denominators are summed over repeats, and a session is resampled with all its repeats, because
    repeats are not additional sessions.
    """
    by_session = [[_terms(score) for score in scores] for scores in zip(*repeats, strict=True)]
    names = list(by_session[0][0])
    parts, wholes = (
        [[sum(terms[name][side] for terms in row) for name in names] for row in by_session] for side in (0, 1)
    )
    bounds = _resampled(parts, wholes, seed, samples).T.tolist()
    columns = zip(zip(*parts, strict=True), zip(*wholes, strict=True), strict=True)
    totals = [_share(sum(part), sum(whole)) for part, whole in columns]
    return {name: (total, (low, high)) for name, total, (low, high) in zip(names, totals, bounds, strict=True)}


def ratio(a: Sequence[float], b: Sequence[float], *, seed: int = 0, samples: int = 10_000) -> tuple[float, Interval]:
    """Return sum(a) / sum(b) over the same sessions with its 95 % interval; 0 if sum(b) is 0."""
    low, high = _resampled([[value] for value in a], [[value] for value in b], seed, samples)[:, 0].tolist()
    return _share(sum(a), sum(b)), (low, high)


def paired_p(a: Sequence[float], b: Sequence[float], *, seed: int = 0, samples: int = 10_000) -> float:
    """Return the two-sided p-value of mean(a) = mean(b), by a bootstrap of the centred differences.

    It is the share of resamples whose mean is as far from 0 as the observed one; 1 is added to both counts, so
    that no p-value is 0.
    """
    import numpy as np

    if len(a) != len(b):
        raise UsageError(f"a paired test needs the same sessions, got {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    centred, observed = differences - differences.mean(), abs(differences.mean())
    # If all differences are equal, the resamples are constant, and without the tolerance rounding would decide.
    far = sum(
        int((np.abs(draws @ centred) >= (observed - 1e-12) * len(centred)).sum())
        for draws in _draws(len(centred), seed, samples)
    )
    return (far + 1) / (samples + 1)


def holm(p_values: Sequence[float], size: int = 0) -> list[float]:
    """Return p-values corrected by Holm's step-down method for multiple tests, in the given order.

    `size` is the number of planned comparisons; those that were not made count as the largest p-values.
    Source: S. Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest, count = [0.0] * len(p_values), 0.0, max(size, len(p_values))
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def bootstrap(values: Sequence[float], *, seed: int = 0, samples: int = 10_000) -> Interval:
    """Return the 95 % percentile interval of the mean of values, one per session."""
    low, high = _resampled([[value] for value in values], [[1.0]] * len(values), seed, samples)[:, 0].tolist()
    return low, high


def paired_bootstrap(a: Sequence[float], b: Sequence[float], *, seed: int = 0, samples: int = 10_000) -> Interval:
    """Return the 95 % interval of mean(a) - mean(b); both have the same sessions in the same order."""
    if len(a) != len(b):
        raise UsageError(f"a paired difference needs the same sessions, got {len(a)} and {len(b)}")
    return bootstrap([x - y for x, y in zip(a, b, strict=True)], seed=seed, samples=samples)


def _resampled(parts: ArrayLike, wholes: ArrayLike, seed: int, samples: int) -> NDArray[Any]:
    """Return both ends of the 95 % interval of sum(parts) / sum(wholes): sessions x metrics to 2 x metrics."""
    import numpy as np

    parts, wholes = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    ratios = []
    for draws in _draws(len(parts), seed, samples):
        top, bottom = draws @ parts, draws @ wholes
        ratios.append(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0))
    bounds: NDArray[Any] = np.percentile(np.concatenate(ratios), (2.5, 97.5), axis=0)
    return bounds


def _draws(n: int, seed: int, samples: int) -> Iterator[NDArray[Any]]:
    """Yield how often each of n sessions is drawn with replacement, samples x n in blocks."""
    import numpy as np

    if n == 0 or samples < 1:
        raise UsageError(f"a bootstrap needs at least 1 session and 1 sample, got {n} and {samples}")
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // n)
    for done in range(0, samples, block):
        yield generator.multinomial(n, np.full(n, 1 / n), size=min(block, samples - done))
