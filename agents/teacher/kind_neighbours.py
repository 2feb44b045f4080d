"""The check of kinds against their titles and the kinds of similar titles; the title replaces a kind without a fit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundlewise.agents.teacher.kind_fit import FEW, WEARERS, TitleIndex, stem_of, stems_of
from bundlewise.agents.teacher.word_lists import same_root, set_of
from bundlewise.text import head_noun, words
from bundlewise.text import kind as kind_of

NEIGHBOURS = 80
COMMON = 0.1
"""The largest share of all titles with a word for which the word makes two titles similar."""
RARE = 0.02
"""The largest share of all titles with a word for which the word shows the use of a product, as in `drone part`."""
LIFT = 1.5
"""The smallest ratio of a kind's frequency among similar titles to that among all titles for the kind to fit."""
_LOOSE = set_of("""
    accessory assortment bundle collection component device equipment gear item kit pack part piece product set supply
""")
"""Last words of kinds that fit anything, so that the words before them count as well."""
Kinds = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Misfit:
    """A kind that fits neither its title nor the kinds of similar titles, and its replacement."""

    kind: str
    title: str
    instead: str


def settled(titles: Kinds, kinds: Kinds) -> tuple[dict[str, tuple[str, ...]], list[Misfit]]:
    """Return the kinds of every session, with the title's kind in place of a misfit, and the misfits."""
    around, found, misfits = KindsAround(titles, kinds), dict[str, tuple[str, ...]](), list[Misfit]()
    for key, named in kinds.items():
        right = []
        for kind, title in zip(named, titles[key], strict=True):
            right.append(kind if around.fits(kind, title, key) else kind_of(title))
            if right[-1] != kind:
                misfits.append(Misfit(kind, title, right[-1]))
        found[key] = tuple(right)
    return found, misfits


class KindsAround:
    """All titles, with their kinds in the sessions."""

    def __init__(self, titles: Kinds, kinds: Kinds) -> None:
        self._kinds: dict[str, list[tuple[str, str]]] = {}
        for key, named in kinds.items():
            for kind, title in zip(named, titles[key], strict=True):
                self._kinds.setdefault(title, []).append((key, _head(kind)))
        self._near: dict[tuple[str, str], dict[str, float]] = {}

    @cached_property
    def _index(self) -> TitleIndex:
        return TitleIndex(self._kinds, COMMON)

    @cached_property
    def _sessions(self) -> dict[str, set[str]]:
        """The sessions with a kind, by its last word."""
        found = dict[str, set[str]]()
        for key, head in (pair for pairs in self._kinds.values() for pair in pairs):
            found.setdefault(head, set()).add(key)
        return found

    @cached_property
    def _usual(self) -> Counter[str]:
        """The number of titles with a kind, by its last word."""
        return Counter(head for pairs in self._kinds.values() for head in {head for _, head in pairs})

    def fits(self, kind: str, title: str, key: str) -> bool:
        """Say whether a kind of a session fits its title.

        A kind fits if its last word has one root with a word of the title, or is frequent among the kinds of similar
        titles. A kind from other sessions also fits, unless the title names another frequent kind of similar titles.
        """
        named = [stem for word in words(kind) if (stem := stem_of(word)) not in WEARERS] or [stem_of(kind)]
        own = stems_of(title) | {head_noun(kind_of(title))}
        asked = named if named[-1] in _LOOSE else named[-1:]
        if any(same_root(one, other) for one in asked for other in own) or self._qualifies(named[:-1], own):
            return True
        near = self._heads_near(title, own, key)
        if self._is_frequent(named[-1], near):
            return True
        known = self._sessions.get(named[-1], set()) - {key}
        others = (head for head in near if head in own and len(self._sessions[head] - {key}) > 1)
        return bool(known) and not any(self._is_frequent(head, near) for head in others)

    def _qualifies(self, named: Sequence[str], own: frozenset[str]) -> bool:
        """Say whether a word before the last has one root with a rare word of the title."""
        most = max(FEW, RARE * len(self._index.titles))
        rare = [stem for stem in own if self._index.counts[stem] <= most and stem not in WEARERS]
        return any(same_root(one, other) for one in named for other in rare)

    def _is_frequent(self, head: str, near: Mapping[str, float]) -> bool:
        return near.get(head, 0.0) * len(self._index.titles) > LIFT * self._usual[head] > 0

    def _heads_near(self, title: str, own: frozenset[str], key: str) -> dict[str, float]:
        """Return the last words of the kinds of similar titles in other sessions, with their shares."""
        if (title, key) not in self._near:
            found, number = dict[str, float](), 0
            for place, similarity in self._index.similar(own).items():
                heads = {head: None for other, head in self._kinds[self._index.titles[place]] if other != key}
                for head in heads:
                    found[head] = found.get(head, 0.0) + similarity
                if (number := number + len(heads)) >= NEIGHBOURS:
                    break
            whole = sum(found.values())
            self._near[title, key] = {head: weight / whole for head, weight in found.items()}
        return self._near[title, key]


def _head(kind: str) -> str:
    found = words(kind)
    return stem_of(found[-1]) if found else ""
