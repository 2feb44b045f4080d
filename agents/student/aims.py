"""Aims: the decoder answers with the highest expected GJS, the most exact bundles, or the surest bundles."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, get_args

from pydantic import Field

from bundlewise.domain import Grouping, Record
from bundlewise.evaluation.metrics import distinct_sets, gjs

AimName = Literal["gjs", "exact", "precision"]
AIMS: tuple[AimName, ...] = get_args(AimName)
Worlds = Sequence[tuple[Grouping, float]]
"""Possible truths with their weights."""


class Aim(Record):
    """What an answer is chosen for.

    `gjs` is the expected GJS. `exact` is the mean of exact precision and exact recall: bundles count only if they equal
    an annotated bundle. `precision` is exact precision, as long as exact recall stays at or above `recall`.
    """

    name: AimName = "gjs"
    recall: float = Field(default=0.3, ge=0, le=1)


GJS = Aim()


@lru_cache(maxsize=1 << 16)
def gain(answer: Grouping, truth: Grouping) -> float:
    """Return the GJS of an answer; the cache helps because a decoder compares the same few groupings many times."""
    return gjs(answer, truth)


@lru_cache(maxsize=1 << 16)
def exact_shares(answer: Grouping, truth: Grouping) -> tuple[float, float]:
    """Return exact precision and exact recall of an answer, each from 0 to 1; both are 0 without bundles."""
    said, known = distinct_sets(answer), distinct_sets(truth)
    hits = len(set(said) & set(known))
    return (hits / len(said) if said else 0.0), (hits / len(known) if known else 0.0)


def best_expected(candidates: Iterable[Grouping], worlds: Worlds, aim: Aim = GJS) -> Grouping:
    """Return the candidate that is best over the possible truths; ties go to the first one.

    With the aim `precision`, candidates whose expected recall is below the floor lose against all others.
    """
    listed = list(candidates)
    if aim.name == "gjs":
        return max(listed, key=lambda a: sum(w * gain(a, world) for world, w in worlds), default=())
    shares = {a: _expected_shares(a, worlds) for a in listed}
    if aim.name == "exact":
        return max(listed, key=lambda a: sum(shares[a]), default=())
    return max(listed, key=lambda a: (min(shares[a][1], aim.recall), *shares[a]), default=())


def _expected_shares(answer: Grouping, worlds: Worlds) -> tuple[float, float]:
    found = [(exact_shares(answer, world), weight) for world, weight in worlds]
    total = sum(weight for _, weight in found) or 1.0
    precision, recall = (sum(weight * each[side] for each, weight in found) / total for side in (0, 1))
    return round(precision, 9), round(recall, 9)
