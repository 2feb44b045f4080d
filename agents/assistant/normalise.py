"""The normal form of a message: without polite words, with typing slips corrected, and in the words of the phrases."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from bundlewise.agents.assistant.conversation import Desk
from bundlewise.agents.assistant.phrases import (
    LAST_POLITE,
    LONGEST_COURTESY,
    PHRASES,
    POLITE,
    REWRITTEN,
    compiled,
    lexicon,
    meant,
)
from bundlewise.agents.assistant.title_words import shorter, slip
from bundlewise.text import line, words
from bundlewise.titles import LONGEST

SHORTEST_SLIP = 4
STOPS = " \t?!.,;\u3002\u3001\u061f\uff1f\uff01\uff0e\uff0c\uff1b"
"""The characters that may end a message, in any script."""
_WORD = re.compile(r"(?<![^\x00-\x7f])[a-z]+(?:'[a-z]+)?(?![^\x00-\x7f])")


@dataclass(frozen=True)
class Seen:
    """The information for the router: the desk, and a function that says whether a word is in the catalogue."""

    desk: Desk = field(default_factory=Desk)
    knows: Callable[[str], bool] = lambda _: False


def heard(row: str, seen: Seen) -> str:
    """Return a line of a message in its normal form."""
    # A corrected word may be longer than the mistyped one.
    return rewritten(corrected(plain(row), seen)[:LONGEST])[:LONGEST]


def plain(text: str) -> str:
    """Return a message in lower case, without polite words around it and punctuation at its end."""
    # Some letters are longer in lower case, and `line` breaks up text that a model would read as its own marker.
    said = line(text).lower().replace("\u2019", "'").strip()[:LONGEST]
    said = _without_last_courtesy(said)
    rest = re.sub(POLITE, "", said, count=1)
    return rest if rest and not is_courtesy(said) else said


def _without_last_courtesy(said: str) -> str:
    """Return a message without the punctuation and the polite words at its end, even if they repeat."""
    end = len(said)
    while True:
        end = len(said[:end].rstrip(STOPS))
        match = LAST_POLITE.search(said, max(0, end - LONGEST_COURTESY), end)
        if not match or not match.start():
            return said[:end]
        end = match.start()


def is_courtesy(said: str) -> bool:
    """Say whether a message is only a greeting or thanks."""
    return any(name in ("greet", "thanks") and compiled(pattern).fullmatch(said) for name, pattern in PHRASES)


def corrected(said: str, seen: Seen) -> str:
    """Return a message with typing slips in its command words corrected; words of products stay."""
    known = lexicon()
    titles = _words_in(tuple(item.title for item in (*seen.desk.cart, *seen.desk.found)))

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < SHORTEST_SLIP or word in known or word in titles or seen.knows(word):
            return word
        close = [other for form in shorter(word) for other in _near().get(form, ()) if _is_slip(word, other)]
        return min(close, default=word)

    return _WORD.sub(mend, said)


@lru_cache(64)
def _words_in(titles: tuple[str, ...]) -> frozenset[str]:
    """Return the words of titles; the cache helps because every line of a message needs the same desk."""
    return frozenset(word for title in titles for word in words(title))


@cache
def _near() -> Mapping[str, Sequence[str]]:
    """Return the command words by the forms that `shorter` yields for them."""
    found: dict[str, list[str]] = defaultdict(list)
    for word in meant():
        for form in shorter(word) if len(word) >= SHORTEST_SLIP else ():
            found[form].append(word)
    return dict(found)


def _is_slip(word: str, other: str) -> bool:
    """Say whether a word is another one mistyped; the first letter is rarely wrong, but it may be swapped."""
    return slip(word, other) and (word[0] == other[0] or sorted(word) == sorted(other))


def rewritten(said: str) -> str:
    """Return a sentence in the words of the phrases, by the first pattern of `REWRITTEN` that matches."""
    for pattern, other in REWRITTEN:
        if match := compiled(pattern).fullmatch(said):
            return match.expand(other)
    return said
