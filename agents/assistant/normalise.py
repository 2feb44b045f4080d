"""The normal form of a message: without polite words, with the spellings of chat and typing slips corrected."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from bundlewise.agents.assistant.conversation import Desk
from bundlewise.agents.assistant.meaning import Meaning
from bundlewise.agents.assistant.money import COINS, TENS
from bundlewise.agents.assistant.phrases import Phrases, expanded
from bundlewise.agents.assistant.title_words import shorter, slip
from bundlewise.agents.assistant.wishes import BUDGET, FROM, OVER, THINGS, TOTAL, UNDER, UPTO
from bundlewise.domain import Item
from bundlewise.text import MOST_WORDS, is_foreign, line, words
from bundlewise.titles import LONGEST

SHORTEST_SLIP = 4
STOPS = " \t?!.,;\u3002\u3001\u061f\uff1f\uff01\uff0e\uff0c\uff1b"
"""The characters that may end a message, in any script."""
WISHED = frozenset(
    re.findall(r"[a-z]{3,}", f"{UNDER} {OVER} {UPTO} {FROM} {BUDGET} {TOTAL} {THINGS} smaller fewer pairs between from")
)
"""Words of limits and prices, which are read by patterns."""
POLITE = re.compile(
    r"(?:(?:please|pls|plz|ok|okay|now|then|so|and|also|(?:hey|hi|hello)(?: there)?|good (?:morning|afternoon|evening)"
    r"|well|yes|yeah|yep|sure|alright|no(?=,)|no (?=wait|actually)|wait|actually|great|nice|cool|perfect|awesome|lovely"
    r"|excellent|got it|thanks|thank you|thx|cheers|let's|lets|let me|can (?:you|u)|could (?:you|u)|would you|will you"
    r"|can i|could i|may i|i (?:want|need)(?: you)? to|i(?:'d| would) (?:like|love)(?: you)? to|go ahead and"
    r"|just(?! [0-9]| one| two| three| four)|help me(?: to)?(?= \w)|kindly|maybe|sorry|h+m+|um+|uh+|oh|fine|ah)\b"
    r"[,!.\u2026]*\s*)+"
)
"""Polite words before a request."""
LAST_POLITE = re.compile(
    r"\s*,?\s*\b(?:please|pls|plz|for me|thanks|thank you|now|then|today|instead|thx|again|too|as well"
    r"|any ?more|after all)$"
)
LONGEST_COURTESY = 20
"""The number of characters at the end of a message to search for polite words."""
_DRAWN_OUT = re.compile(r"([a-z])\1{2,}")
_WORD = re.compile(r"(?<![^\x00-\x7f])[a-z]+(?:'[a-z]+)?(?![^\x00-\x7f])")


@dataclass(frozen=True)
class Seen:
    """The input of the router beside the sentence: the desk, the catalogue's words and titles, and the phrases."""

    desk: Desk = field(default_factory=Desk)
    knows: Callable[[str], bool] = lambda _: False
    spelt: Callable[[str], Sequence[str]] = lambda _: ()
    titled: Callable[[str], Item | None] = lambda _: None
    meaning: Meaning = field(default_factory=Meaning)


def heard(row: str, seen: Seen) -> str:
    """Return a line of a message in its normal form."""
    # A corrected word may be longer than the mistyped one.
    said = spelt(line(row).lower().replace("\u2019", "'"), seen.meaning.phrases)
    return corrected(plain(said), seen)[:LONGEST]


def plain(text: str) -> str:
    """Return a message in lower case, without polite words around it and punctuation at its end."""
    # Some letters are longer in lower case, and `line` breaks up text that a model would read as its own marker.
    said = line(text).lower().replace("\u2019", "'").strip()[:LONGEST]
    said = _without_last_courtesy(said)
    rest = said[match.end() :] if (match := POLITE.match(said)) else said
    return rest if rest and not is_courtesy(said) else said


def _without_last_courtesy(said: str) -> str:
    """Return a message without the punctuation and the polite words at its end, even if they repeat."""
    end = len(said)
    while True:
        end = len(said[:end].rstrip(STOPS))
        match = LAST_POLITE.search(said, max(0, end - LONGEST_COURTESY), end)
        if not match or not match.start() or match[0].strip() == "again":
            return said[:end]
        end = match.start()


@lru_cache(4096)
def is_courtesy(said: str) -> bool:
    """Say whether a message is only a greeting or thanks."""
    parts = re.split(r"[,.!\s]+", said.strip(STOPS), maxsplit=8) if len(said) <= 60 else []
    found = Phrases.read().matching(expanded(" ".join(parts)))
    return bool(parts) and any(phrase.act in ("greet", "thanks") for phrase, _ in found)


def spelt(said: str, phrases: Phrases) -> str:
    """Return a message with the spellings of chat replaced: `u` by `you`."""
    whole = (_drawn_in(phrases.spellings.get(word, word), phrases) for word in said.split(" "))
    return " ".join(filter(None, whole))


def _drawn_in(word: str, phrases: Phrases) -> str:
    """Return the word that a drawn-out one means: `heyyy`."""
    short = _DRAWN_OUT.sub(r"\1", word)
    return short if short in phrases.lexicon else word


def corrected(said: str, seen: Seen) -> str:
    """Return a message with typing slips in its command words corrected; words of products stay."""
    phrases = seen.meaning.phrases
    titles = _words_in(tuple(item.title for item in (*seen.desk.cart, *seen.desk.found)))
    near = _near(phrases)

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < SHORTEST_SLIP or word in phrases.lexicon | WISHED or word in titles or seen.knows(word):
            return word
        close = [other for form in shorter(word) for other in near.get(form, ()) if _is_slip(word, other)]
        return min(close, default=word)

    return _WORD.sub(mend, said)


@lru_cache(64)
def _words_in(titles: tuple[str, ...]) -> frozenset[str]:
    """Return the words of titles; the cache helps because every line of a message needs the same desk."""
    return frozenset(word for title in titles for word in words(title))


@lru_cache(8)
def _near(phrases: Phrases) -> Mapping[str, Sequence[str]]:
    """Return the command words by the forms that `shorter` yields for them."""
    found: dict[str, list[str]] = defaultdict(list)
    for word in phrases.commands | WISHED | set(TENS):
        for form in shorter(word) if len(word) >= SHORTEST_SLIP else ():
            found[form].append(word)
    return dict(found)


def _is_slip(word: str, other: str) -> bool:
    """Say whether a word is another one mistyped; in a short word, and at the beginning, only by swapped letters."""
    swapped = sorted(word) == sorted(other)
    return slip(word, other) and (swapped or (word[0] == other[0] and len(word) > SHORTEST_SLIP))


def named_in(said: str, seen: Seen) -> list[str]:
    """Return the words of a sentence that may name a product of the catalogue, also mistyped ones."""
    skip = seen.meaning.phrases.nameless | seen.meaning.phrases.lexicon | WISHED | {"around", "about"}
    parts = [word for word in words(expanded(said.lower()))[:MOST_WORDS] if word not in skip and not word.isdigit()]
    return [word for word in parts if seen.knows(word)] or [word for word in parts if seen.spelt(word)]


def is_other_language(said: str, seen: Seen) -> bool:
    """Say whether a sentence is probably not English: no phrase and no title has most of its words."""
    said = " ".join(said.split()[:MOST_WORDS])
    parts = set(re.findall(r"[^\W\d_]+", corrected(spelt(said, seen.meaning.phrases), seen)))
    known = seen.meaning.phrases.lexicon
    strange = [w for w in parts if w not in known | WISHED | COINS and not seen.knows(w) and not seen.spelt(w)]
    is_long = len(parts) > 2 or any(not word.isascii() for word in parts)
    return is_foreign(said) or (is_long and 2 * len(strange) > len(parts))
