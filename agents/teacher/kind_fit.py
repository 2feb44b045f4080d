"""The check of a teacher's kinds against the words of the products' titles and of similar titles."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from math import log

from bundlewise.agents.teacher.contracts import MAX_FAULTS, as_kind, kinds_faults
from bundlewise.agents.teacher.word_lists import FREE, same_root
from bundlewise.domain import Session
from bundlewise.text import head_noun, short, words
from bundlewise.text import kind as kind_of

NEIGHBOURS = 20
COMMON = 0.02
"""The largest share of all titles with a word for which the word makes two titles similar."""
FEW = 5
WEARERS = frozenset(("baby", "boy", "child", "girl", "kid", "lady", "man", "men", "toddler", "woman", "women", "youth"))
"""Words for the people that a product is for; they do not name the product."""


class TitleIndex:
    """Titles by their words, for finding similar titles, which share the rarest words."""

    def __init__(self, titles: Iterable[str], common: float) -> None:
        """Index titles; a word in more than the share `common` of them makes no two titles similar."""
        self.titles = sorted(set(titles))
        self.stems = [stems_of(title) for title in self.titles]
        self.counts = Counter(stem for stems in self.stems for stem in stems)
        most = max(FEW, round(common * len(self.titles)))
        self._holding: dict[str, list[int]] = {}
        for place, stems in enumerate(self.stems):
            for stem in stems:
                if self.counts[stem] <= most:
                    self._holding.setdefault(stem, []).append(place)

    def similar(self, own: frozenset[str]) -> dict[int, float]:
        """Return the similarity of titles to these words by their positions, the most similar first."""
        shared = dict[int, float]()
        for stem in sorted(own & self._holding.keys()):
            weight = log(1 + len(self.titles) / self.counts[stem])
            for place in self._holding[stem]:
                shared[place] = shared.get(place, 0.0) + weight
        return dict(sorted(shared.items(), key=lambda found: (-found[1], found[0])))


class AlikeTitles:
    """The words of all titles of a run, for finding similar titles."""

    def __init__(self, sessions: Sequence[Session] = ()) -> None:
        self._index = TitleIndex((title for session in sessions for title in session.titles), COMMON)

    def fits(self, kind: str, title: str) -> bool:
        """Say whether the last word of a kind has one root with a word of its title, or occurs in similar titles.

        If the last word fits anything, as in `camera accessory`, the words before it count as well.
        """
        named = [stem for word in words(kind) if (stem := stem_of(word)) not in WEARERS] or [stem_of(kind)]
        asked = named if named[-1] in FREE else named[-1:]
        own = stems_of(title) | {head_noun(kind_of(title))}
        return any(same_root(one, other) for one in asked for other in own) or not self._like(own).isdisjoint(asked)

    def _like(self, own: frozenset[str]) -> set[str]:
        """Return the words of similar titles, which share the rarest words with a title."""
        nearest = islice(self._index.similar(own), NEIGHBOURS)
        return {stem for place in nearest for stem in self._index.stems[place]}


class KindsCheck:
    """The check of one session's kinds: it reports the kinds that do not fit their titles to the teacher once.

    If the teacher repeats them and most kinds fit, the reply is accepted, and the title replaces the other kinds.
    """

    def __init__(self, session: Session, titles: AlikeTitles) -> None:
        self._session, self._titles = session, titles
        self._told = False

    def faults(self, kinds: Sequence[str]) -> list[str]:
        """Return the faults of the kinds, in words for the teacher."""
        if wrong := kinds_faults(kinds, self._session):
            return wrong
        rows = enumerate(zip(kinds, self._session.titles, strict=True), 1)
        strange = [(n, kind, title) for n, (kind, title) in rows if not self._titles.fits(kind, title)]
        if self._told and 2 * len(strange) < len(kinds):
            return []
        self._told = True
        said = "has no word of its title {title!r}, nor of titles like it; say what the title says it is"
        return [f"kind {n}, {kind!r}, {said.format(title=short(title))}" for n, kind, title in strange][:MAX_FAULTS]

    def settled(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """Return the kinds in the form for comparison; the title's kind replaces one that does not fit."""
        pairs = zip(kinds, self._session.titles, strict=True)
        return tuple(as_kind(kind) if self._titles.fits(kind, title) else kind_of(title) for kind, title in pairs)


def stems_of(title: str) -> frozenset[str]:
    """Return the singular forms of the words of a title."""
    return frozenset(stem_of(word) for word in words(title))


def stem_of(word: str) -> str:
    """Return the singular form of a word, without a possessive ending."""
    return head_noun(word.removesuffix("'s").removesuffix("s'"))
