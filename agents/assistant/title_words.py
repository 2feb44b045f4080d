"""A fast index of the words in a list of titles: finds titles with a word, a longer word, or a mistyped word."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from bundlewise.text import head_noun, is_unspaced, normal, tokens

BEGINNING, SLIP = 3, 4
"""The fewest letters of a word that may begin a longer word, and of a word that may be mistyped."""
LONGEST_SLIP = 40
"""The most letters of a word that may be mistyped."""
MOST_TRIED = 50
"""The most words to compare with a word that no title contains."""


def words_of(text: str) -> list[str]:
    """Return the singular forms of the words of a text."""
    return [head_noun(word) for word in tokens(text.replace("\u2019", "'"))]


class TitleWords:
    """An index of the words of titles; the cost of a search depends on the matches rather than on all titles."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Index the words of titles at the positions 0, 1 and so on."""
        self._titles = [normal(title) for title in titles]
        self._places: dict[str, set[int]] = defaultdict(set)
        for place, title in enumerate(titles):
            for word in words_of(title):
                self._places[word].add(place)
        self._sorted = sorted(self._places)
        self._near: dict[str, list[str]] = defaultdict(list)
        for word in self._sorted:
            for form in shorter(word):
                self._near[form].append(word)

    def meets(self, word: str) -> dict[int, float]:
        """Return the titles that match a word: 1 for the word itself, 0.9 for a longer word, 0.8 for a mistyped one."""
        found = dict.fromkeys(self._holding(word), 0.9)
        for score, others in ((0.8, self._slips(word)), (0.9, self._begun(word)), (1.0, [word])):
            for other in others:
                found.update(dict.fromkeys(self._places.get(other, ()), score))
        return found

    def _holding(self, word: str) -> list[int]:
        """Return the titles that contain a word anywhere, if its script has no spaces between words."""
        if word in self._places or not is_unspaced(word):
            return []
        return [place for place, title in enumerate(self._titles) if word in title]

    def _begun(self, word: str) -> Iterator[str]:
        if len(word) < BEGINNING and not is_unspaced(word):
            return
        for place in range(bisect_left(self._sorted, word), len(self._sorted)):
            if not self._sorted[place].startswith(word):
                return
            yield self._sorted[place]

    def _slips(self, word: str) -> list[str]:
        if len(word) < SLIP:
            return []
        near = dict.fromkeys(other for form in shorter(word) for other in self._near.get(form, ())[:MOST_TRIED])
        return [other for other in list(near)[:MOST_TRIED] if slip(word, other)]


@lru_cache(64)
def title_words(titles: tuple[str, ...]) -> TitleWords:
    """Return the index of some titles; the cache helps because a turn needs the same cart several times."""
    return TitleWords(titles)


def shorter(word: str) -> Iterator[str]:
    """Yield a word, and the word without each of its letters; two words that are one slip apart share such a form."""
    yield word
    if len(word) <= LONGEST_SLIP:
        yield from (word[:place] + word[place + 1 :] for place in range(len(word)))


def slip(a: str, b: str) -> bool:
    """Say whether two words are equal or differ by one typing slip: an added, missing, wrong or swapped letter."""
    if a == b or abs(len(a) - len(b)) > 1:
        return a == b
    start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[start:], b[start:]
    if len(a) == len(b):
        return rest_a[1:] == rest_b[1:] or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
    return rest_a[1:] == rest_b or rest_a == rest_b[1:]
