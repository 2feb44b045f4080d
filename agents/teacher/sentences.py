"""The sentences of a thought, and the removal of sentences about foreign products."""

import re
from collections.abc import Callable

_PARTS = re.compile(r"(?<=[.!?])(?=\s)\s*|(?<=[\u3002\uff01\uff1f])|\n+")
_SHORTENED = re.compile(r"(?:^|[\s(])(?:no|nos|nr|vs|e\.g|i\.e|approx|incl|ca|dr|mr|mrs|ms|st|\w)\.$", re.IGNORECASE)
"""Abbreviations with a point that does not end a sentence."""
_LEANING = re.compile(
    r"(?:they|them|it|its|their|these|those|this|that|both|so|thus|hence|therefore|instead|yet|but|and|such)\b",
    re.IGNORECASE,
)
"""First words of a sentence that depends on the sentence before it."""


def sentences(text: str) -> list[str]:
    """Return the sentences of a text."""
    found: list[str] = []
    for part in filter(None, map(str.strip, _PARTS.split(text))):
        if found and _SHORTENED.search(found[-1]):
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part)
    return found


def trimmed(text: str, strange: Callable[[str], str]) -> tuple[str, list[tuple[str, str]]]:
    """Return a text without its foreign sentences, and these sentences with their foreign products.

    A sentence that depends on a removed sentence is removed too. A text without foreign sentences stays unchanged.

    Args:
        text: the text of a thought.
        strange: a function that returns the foreign products of a sentence, or an empty text.
    """
    kept: list[str] = []
    left: list[tuple[str, str]] = []
    named = ""
    for sentence in sentences(text):
        named = strange(sentence) or (named if _LEANING.match(sentence) else "")
        if named:
            left.append((sentence, named))
        else:
            kept.append(sentence)
    return (" ".join(kept) if left else text), left
