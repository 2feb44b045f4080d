"""Frequent patterns: kinds of products that training bundles hold together, found level by level (Apriori).

What is kept is bounded: a few large orders that are alike would otherwise support hundreds of thousands of sets, all
of which say the same. A set of more kinds is looked for only while it can still be one of the best supported.
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
"""Kinds of one bundle that are looked at, the most frequent ones: a bundle of more is a stock list."""
FEWEST, PER_BUNDLE, MOST = 100, 2, 2000
"""Patterns kept of a domain: so many a bundle, within these bounds."""

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
        min_share: smallest share of all bundles that must hold a pattern; never fewer than two bundles.
        seen: hears of every session once its bundles were looked at.
        cut: hears what was left out where there is more than is kept.
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
    """Return the sessions that hold each kind, bundled or not."""
    holding: dict[str, set[str]] = {}
    for session_id, present in kinds.items():
        for kind in present:
            holding.setdefault(kind, set()).add(session_id)
    return holding


@dataclass(frozen=True, eq=False)
class _Set:
    """A set of kinds, the places of the bundles that hold it, and the number of their sessions."""

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
                f"{wide:,} bundles have more than {WIDEST} kinds; only their {WIDEST} most frequent were looked at"
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
        """Return the best supported frequent sets, of equal ones those of fewer kinds; tell what was cut."""
        best, cut = self._kept(level), len(level) > self._most
        for _ in range(LONGEST - 2):
            level, left_out = self._next(level, best)
            cut |= left_out or len(best) + len(level) > self._most
            best = self._kept({**{one.kinds: one for one in best}, **level})
        if cut:
            self._cut(
                f"only the {self._most:,} best supported sets of kinds are kept; others that are frequent are left out"
            )
        return best

    def _next(self, level: Level, best: Sequence[_Set]) -> tuple[Level, bool]:
        """Return the frequent sets of one kind more that can still be among the best, and whether any cannot.

        A larger set has no more support than its parts and stands behind smaller ones of equal support. So the likely
        best come first, and the search ends where none that is left can come in.
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
    """Yield the sets of one kind more all of whose parts are there: the most support it can have, and two parts."""
    ends: dict[Kinds, list[str]] = {}
    for kinds in sorted(level):
        ends.setdefault(kinds[:-1], []).append(kinds[-1])
    for start, last in ends.items():
        for one, other in combinations(last, 2):
            whole = (*start, one, other)
            if all(whole[:place] + whole[place + 1 :] in level for place in range(len(start))):
                sides = level[(*start, one)], level[(*start, other)]
                yield min(side.support for side in sides), whole, *sides
