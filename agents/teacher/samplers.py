"""Samplers: choose the annotated training sessions for a teacher that cannot read all of them.

The docstring of each function defines its sampler; the function returns positions in the list of sessions.
The same sessions, options and seed give the same choice.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from bundlewise.domain import Session
from bundlewise.errors import UsageError
from bundlewise.evaluation import baselines
from bundlewise.evaluation.metrics import gjs

Sampler = Literal["random", "length", "diversity", "difficulty"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
Embed = Callable[[Sequence[str]], npt.NDArray[np.floating[Any]]]
"""A function from texts to unit vectors, one row per text."""

BLOCK = 4096
"""The number of sessions whose titles are embedded at once, about 40 MB of vectors."""
EQUAL = 1e-6
"""Cosines that differ by less count as equal, because of single precision."""

Rows = npt.NDArray[np.float32]


def sample(
    sessions: Sequence[Session],
    sampler: Sampler,
    ratio: float,
    seed: int,
    *,
    embed: Embed | None = None,
) -> list[Session]:
    """Return max(1, round(len(sessions) * ratio)) sessions in their original order.

    Args:
        sessions: annotated training sessions; an empty list gives an empty list.
        sampler: the way of choosing; it is not used at ratio 1.
        ratio: the share to choose, above 0 and at most 1.
        seed: the seed of the sampler's random choices.
        embed: a function from titles to unit rows, for diversity.

    Raises:
        UsageError: the ratio or sampler is invalid, or diversity has no embedder.
    """
    _check(sampler, ratio)
    if not sessions or ratio == 1:
        return list(sessions)
    count = max(1, round(len(sessions) * ratio))
    match sampler:
        case "random":
            places = at_random(len(sessions), count, seed)
        case "length":
            places = by_length(sessions, count, seed)
        case "diversity":
            if embed is None:
                raise UsageError("sampler 'diversity' has no embedder; give one, or choose another sampler")
            places = by_diversity(sessions, count, seed, embed)
        case "difficulty":
            places = by_difficulty(_lexical_scores(sessions), count, seed)
    return [sessions[place] for place in sorted(places)]


def _check(sampler: str, ratio: float) -> None:
    if sampler not in SAMPLERS:
        raise UsageError(f"no sampler {sampler!r}; choose from {', '.join(SAMPLERS)}")
    if not 0 < ratio <= 1:
        raise UsageError(f"ratio must be above 0 and at most 1, got {ratio}; 0.5 reads half of the sessions")


def at_random(n: int, count: int, seed: int) -> list[int]:
    """Draw positions uniformly without replacement: `Random(seed).sample(range(n), count)`."""
    return Random(seed).sample(range(n), count)


def by_length(sessions: Sequence[Session], count: int, seed: int) -> list[int]:
    """Keep the distribution of lengths: sort by number of products and take evenly spaced sessions.

    The seed shuffles ties and sets the start of the spacing. Each session is equally likely, and each length
    gets its share of `count`, rounded down or up.
    """
    n, chance = len(sessions), Random(seed)
    shuffled = chance.sample(range(n), n)
    ordered = sorted(shuffled, key=lambda place: len(sessions[place].items))
    # Integers are needed, because a rounded step could pass the end or take one session twice.
    start = chance.randrange(n)
    return [ordered[(start + step * n) // count] for step in range(count)]


def by_diversity(sessions: Sequence[Session], count: int, seed: int, embed: Embed) -> list[int]:
    """Take the farthest session each time: the one whose largest cosine to the chosen sessions is smallest.

    A session's vector is the normalised mean of its titles' vectors. The first session is
    `Random(seed).randrange(n)`; if cosines are within a millionth of the smallest, the earliest session is taken.
    """
    rows = _embedded(sessions, embed)
    nearest = np.full(len(rows), -np.inf, np.float32)
    chosen = [Random(seed).randrange(len(rows))]
    while len(chosen) < count:
        # Each step compares one row with all, because the cosines of all pairs would not fit in memory.
        np.maximum(nearest, rows @ rows[chosen[-1]], out=nearest)
        nearest[chosen[-1]] = np.inf
        chosen.append(int(np.argmax(nearest <= nearest.min() + EQUAL)))
    return chosen


def _embedded(sessions: Sequence[Session], embed: Embed) -> Rows:
    """Return one unit row per session; a session whose titles cancel out gets zeros."""
    blocks = []
    for start in range(0, len(sessions), BLOCK):
        block = [session.titles for session in sessions[start : start + BLOCK]]
        vectors = embed([title for titles in block for title in titles])
        ends = np.cumsum([len(titles) for titles in block])[:-1]
        # Sums have the direction of means. Double precision makes the result independent of the order of titles.
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in np.split(vectors, ends)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        units = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > EQUAL)
        blocks.append(units.astype(np.float32))
    return np.concatenate(blocks)


def by_difficulty(scores: Sequence[float], count: int, seed: int) -> list[int]:
    """Take the hardest sessions, which have the lowest scores; the seed shuffles ties."""
    shuffled = Random(seed).sample(range(len(scores)), len(scores))
    return sorted(shuffled, key=lambda place: scores[place])[:count]


def _lexical_scores(sessions: Sequence[Session]) -> list[float]:
    """Return the GJS of word-overlap clusters on each session, their threshold chosen on these very sessions."""
    similarity = [baselines.overlap(session.titles) for session in sessions]
    truths = [session.groups for session in sessions]
    threshold = baselines.choose_threshold(similarity, truths)
    return [gjs(baselines.clusters(m, threshold), truth) for m, truth in zip(similarity, truths, strict=True)]
