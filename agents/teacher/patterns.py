"""Frequent patterns: kinds of products that occur together in training bundles, found level by level (Apriori).

The number of patterns is limited, because a few similar large orders would otherwise support hundreds of thousands of
similar sets. The search for larger sets stops when they can no longer be among the best supported.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bundlewise.agents.teacher.protocol import Pattern
from bundlewise.domain import Session

MIN_SUPPORT = 2
MIN_SHARE = 0.005
LONGEST = 4
WIDEST = 100
"""The number of kinds to use from one bundle, the most frequent first; a larger bundle is a stock list."""
FEWEST, PER_BUNDLE, MOST = 100, 2, 2000
"""The number of patterns to keep in a domain: `PER_BUNDLE` for each bundle, between `FEWEST` and `MOST`."""

Kinds = tuple[str, ...]
Places = npt.NDArray[np.int64]
Tell = Callable[[str], None]


def mine(
    sessions: Sequence[Session],
    kinds: Mapping[str, Kinds],
    min_share: float = MIN_SHARE,
    *,
    seen: Tell | None = None,
    cut: Tell | None = None,
) -> list[Pattern]:
    """Return frequent sets of two to four different kinds that several sessions bundle, the best supported first.

    Args:
        sessions: training sessions.
        kinds: session id -> kind of every product in order.
        min_share: smallest share of all bundles that must contain a pattern; two bundles are always required.
        seen: called with every session id after the bundles of the session were read.
        cut: called with a message when patterns or kinds are left out.
    """
    baskets = [
        (session.session_id, frozenset(kinds[session.session_id][place] for place in group))
        for session in sessions
        for group in session.groups
    ]
    seen, cut = seen or _say_nothing, cut or _say_nothing
    miner = _Miner(baskets, max(MIN_SUPPORT, min_share * len(baskets)) - 1e-9, cut)
    pairs = miner.pairs(seen)
    for session in sessions:
        if not session.bundles:
            seen(session.session_id)
    holding = _holding({session.session_id: kinds[session.session_id] for session in sessions})
    patterns = [miner.pattern(found, holding) for found in miner.grown(pairs)]
    return sorted(patterns, key=lambda pattern: (-pattern.support, -pattern.confidence, pattern.kinds))


def _say_nothing(what: str) -> None:
    pass


def _holding(kinds: Mapping[str, Kinds]) -> dict[str, set[str]]:
    """Return the sessions that contain each kind, bundled or not."""
    holding: dict[str, set[str]] = {}
    for session_id, present in kinds.items():
        for kind in present:
            holding.setdefault(kind, set()).add(session_id)
    return holding


@dataclass(frozen=True, eq=False)
class _Set:
    """A set of kinds, the positions of the bundles that contain it, and the number of their sessions."""

    kinds: Kinds
    bundles: Places
    support: int


Level = dict[Kinds, _Set]


class _Miner:
    """The search over the bundles of one domain."""

    def __init__(self, baskets: Sequence[tuple[str, frozenset[str]]], least: float, cut: Tell) -> None:
        self._baskets, self._least, self._cut = baskets, least, cut
        self._share = Counter(kind for _, basket in baskets for kind in basket)
        self._most = max(FEWEST, min(MOST, PER_BUNDLE * len(baskets)))
        numbers: dict[str, int] = {}
        self._session = np.array([numbers.setdefault(session_id, len(numbers)) for session_id, _ in baskets], int)

    def pairs(self, seen: Tell) -> Level:
        """Return the frequent pairs of kinds."""
        found: dict[Kinds, list[int]] = {}
        wide = 0
        for place, (session_id, basket) in enumerate(self._baskets):
            often = [kind for kind in basket if self._share[kind] >= self._least]
            wide += len(often) > WIDEST
            often = sorted(often, key=lambda kind: (-self._share[kind], kind))[:WIDEST]
            for pair in combinations(sorted(often), 2):
                found.setdefault(pair, []).append(place)
            if place + 1 == len(self._baskets) or self._baskets[place + 1][0] != session_id:
                seen(session_id)
        if wide:
            self._cut(
                f"{wide:,} bundles have more than {WIDEST} kinds; only their {WIDEST} most frequent kinds are used"
            )
        many = ((pair, np.array(places)) for pair, places in found.items() if len(places) >= self._least)
        return self._frequent(many)

    def _frequent(self, found: Iterator[tuple[Kinds, Places]]) -> Level:
        sets = (self._set(kinds, bundles) for kinds, bundles in found)
        return {one.kinds: one for one in sets if one is not None}

    def _set(self, kinds: Kinds, bundles: Places) -> _Set | None:
        if len(bundles) < self._least:
            return None
        support = len(np.unique(self._session[bundles]))
        return _Set(kinds, bundles, support) if support >= MIN_SUPPORT else None

    def grown(self, level: Level) -> list[_Set]:
        """Return the best supported frequent sets, ties to sets of fewer kinds; report when sets are left out."""
        best, cut = self._kept(level), len(level) > self._most
        for _ in range(LONGEST - 2):
            level, left_out = self._next(level, best)
            cut |= left_out or len(best) + len(level) > self._most
            best = self._kept({**{one.kinds: one for one in best}, **level})
        if cut:
            self._cut(
                f"only the {self._most:,} best supported sets of kinds are kept; other frequent sets are left out"
            )
        return best

    def _next(self, level: Level, best: Sequence[_Set]) -> tuple[Level, bool]:
        """Return the frequent sets with one more kind that can be among the best, and whether some were left out.

        The support of a set is at most that of its parts, and smaller sets of equal support rank higher. The search
        takes sets by their possible support, and stops when the remaining ones cannot be among the best.
        """
        supports = [one.support for one in best]
        heapify(supports)
        floor = supports[0] if len(supports) >= self._most else 0
        parts = {kinds: one for kinds, one in level.items() if one.support > floor}
        found: Level = {}
        for bound, kinds, one, other in sorted(_joined(parts), key=lambda row: (-row[0], row[1])):
            if len(supports) >= self._most and supports[0] >= bound:
                return found, True
            bundles = np.intersect1d(one.bundles, other.bundles, assume_unique=True)
            if (larger := self._set(kinds, bundles)) is not None:
                found[kinds] = larger
                heappush(supports, larger.support)
                if len(supports) > self._most:
                    heappop(supports)
        return found, len(parts) < len(level)

    def _kept(self, level: Level) -> list[_Set]:
        ranked = sorted(level.values(), key=lambda one: (-one.support, len(one.kinds), -len(one.bundles), one.kinds))
        return ranked[: self._most]

    def pattern(self, found: _Set, holding: Mapping[str, set[str]]) -> Pattern:
        """Return a set of kinds with its evidence."""
        expected = float(len(self._baskets))
        for kind in found.kinds:
            expected *= self._share[kind] / len(self._baskets)
        supporters = tuple(sorted({self._baskets[place][0] for place in found.bundles.tolist()}))
        holders = tuple(sorted(set.intersection(*(holding[kind] for kind in found.kinds))))
        return Pattern(found.kinds, holders, supporters, round(len(found.bundles) / expected, 3))


def _joined(level: Level) -> Iterator[tuple[int, Kinds, _Set, _Set]]:
    """Yield each set with one more kind whose parts are all frequent: its possible support, its kinds, two parts."""
    ends: dict[Kinds, list[str]] = {}
    for kinds in sorted(level):
        ends.setdefault(kinds[:-1], []).append(kinds[-1])
    for start, last in ends.items():
        for one, other in combinations(last, 2):
            whole = (*start, one, other)
            if all(whole[:place] + whole[place + 1 :] in level for place in range(len(start))):
                sides = level[(*start, one)], level[(*start, other)]
                yield min(side.support for side in sides), whole, *sides
