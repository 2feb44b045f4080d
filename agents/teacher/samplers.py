"""Samplers: which of the annotated training sessions a teacher reads when it cannot read them all.

Each sampler is defined by the docstring of its function and returns places in the list of sessions.
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
"""Texts to one unit row each."""

BLOCK = 4096
"""Sessions whose titles are embedded at a time, some 40 MB of vectors."""
EQUAL = 1e-6
"""Cosines closer than this are equal: single precision tells them no further apart."""

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
        sessions: annotated training sessions; of none, none are chosen.
        sampler: how they are chosen; at ratio 1 that changes nothing and nothing is embedded.
        ratio: share to choose, above 0 and at most 1.
        seed: determines what the sampler leaves to chance.
        embed: titles to unit rows, for diversity.

    Raises:
        UsageError: the ratio or sampler is none, or diversity has no embedder.
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
    """Draw places without replacement, each as likely as any other: `Random(seed).sample(range(n), count)`."""
    return Random(seed).sample(range(n), count)


def by_length(sessions: Sequence[Session], count: int, seed: int) -> list[int]:
    """Keep the distribution of lengths: sort by number of products and take evenly spaced sessions.

    Ties are shuffled by seed, and so is drawn where the spacing starts. Each session is equally likely,
    and each length gets its share of `count`, rounded down or up.
    """
    n, chance = len(sessions), Random(seed)
    shuffled = chance.sample(range(n), n)
    ordered = sorted(shuffled, key=lambda place: len(sessions[place].items))
    # In integers, as a rounded step could run past the end or meet one session twice.
    start = chance.randrange(n)
    return [ordered[(start + step * n) // count] for step in range(count)]


def by_diversity(sessions: Sequence[Session], count: int, seed: int, embed: Embed) -> list[int]:
    """Take the farthest point each time: the session whose largest cosine to the chosen ones is smallest.

    A session's vector is the mean of its titles' vectors, normalised. The first session is
    `Random(seed).randrange(n)`; of cosines within a millionth of the smallest, the earlier session's counts.
    """
    rows = _embedded(sessions, embed)
    nearest = np.full(len(rows), -np.inf, np.float32)
    chosen = [Random(seed).randrange(len(rows))]
    while len(chosen) < count:
        # One row against all at a time: the cosines of all pairs would not fit in memory.
        np.maximum(nearest, rows @ rows[chosen[-1]], out=nearest)
        nearest[chosen[-1]] = np.inf
        chosen.append(int(np.argmax(nearest <= nearest.min() + EQUAL)))
    return chosen


def _embedded(sessions: Sequence[Session], embed: Embed) -> Rows:
    """Return one unit row a session; one whose titles cancel out gets zeros and resembles nothing."""
    blocks = []
    for start in range(0, len(sessions), BLOCK):
        block = [session.titles for session in sessions[start : start + BLOCK]]
        vectors = embed([title for titles in block for title in titles])
        ends = np.cumsum([len(titles) for titles in block])[:-1]
        # Sums point where means do. Double precision, so that the order of titles does not show.
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in np.split(vectors, ends)])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        units = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > EQUAL)
        blocks.append(units.astype(np.float32))
    return np.concatenate(blocks)


def by_difficulty(scores: Sequence[float], count: int, seed: int) -> list[int]:
    """Take the hardest: the sessions with the lowest scores, ties shuffled by seed."""
    shuffled = Random(seed).sample(range(len(scores)), len(scores))
    return sorted(shuffled, key=lambda place: scores[place])[:count]


def _lexical_scores(sessions: Sequence[Session]) -> list[float]:
    """Return the GJS of word-overlap clusters on each session, their threshold chosen on these very sessions."""
    similarity = [baselines.overlap(session.titles) for session in sessions]
    truths = [session.groups for session in sessions]
    threshold = baselines.choose_threshold(similarity, truths)
    return [gjs(baselines.clusters(m, threshold), truth) for m, truth in zip(similarity, truths, strict=True)]
