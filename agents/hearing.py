"""A message as it is understood: without politeness, its slips mended, said as the phrases say it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bundlewise.agents.conversation import Desk
from bundlewise.agents.naming import slip
from bundlewise.agents.phrases import PHRASES, POLITE, REWRITTEN, compiled, lexicon, meant
from bundlewise.text import line, words

SHORTEST_SLIP = 4


@dataclass(frozen=True)
class Seen:
    """What the router may look at: the desk, and whether a word stands in the catalogue."""

    desk: Desk = field(default_factory=Desk)
    knows: Callable[[str], bool] = lambda _: False


def heard(row: str, seen: Seen) -> str:
    """Return a line of a message as it is understood."""
    return rewritten(corrected(plain(row), seen))


def plain(text: str) -> str:
    """Return a message in lower case, without politeness around it and punctuation at its end."""
    said = line(text).lower().replace("\u2019", "'").strip()
    before = None
    while said != before:
        before = said
        said = re.sub(r"[\s?!.,;]+$", "", said)
        said = re.sub(POLITE[1], "", said) or said
    shorter = re.sub(POLITE[0], "", said)
    return shorter if shorter and not is_courtesy(said) else said


def is_courtesy(said: str) -> bool:
    """Say whether a message is a greeting or thanks, and nothing else."""
    return any(name in ("greet", "thanks") and compiled(pattern).fullmatch(said) for name, pattern in PHRASES)


def corrected(said: str, seen: Seen) -> str:
    """Return a message with the slips in its command words mended; words of products stay."""
    known = lexicon()
    titles = {word for item in (*seen.desk.cart, *seen.desk.found) for word in words(item.title)}

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < SHORTEST_SLIP or word in known or word in titles or seen.knows(word):
            return word
        close = sorted(other for other in meant() if len(other) >= SHORTEST_SLIP and _is_slip(word, other))
        return close[0] if close else word

    return re.sub(r"[a-z]+(?:'[a-z]+)?", mend, said)


def _is_slip(word: str, other: str) -> bool:
    """Say whether a word is another one mistyped; the first letter is hardly ever another one, but may be swapped."""
    return slip(word, other) and (word[0] == other[0] or sorted(word) == sorted(other))


def rewritten(said: str) -> str:
    """Return a sentence in the words in which it is understood."""
    for pattern, other in REWRITTEN:
        if match := compiled(pattern).fullmatch(said):
            return match.expand(other)
    return said
