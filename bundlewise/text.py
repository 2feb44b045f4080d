"""Read product titles: their words, their kind, and a safe form on one line."""

import re

from bundlewise import scripts
from bundlewise.scripts import head, is_foreign, is_unspaced, normal, pairs_in, spaced, unaccented

__all__ = [
    "MAX_TITLE_WORDS",
    "MOST_WORDS",
    "NOT_KINDS",
    "STOP_WORDS",
    "UNITS",
    "head",
    "head_noun",
    "is_foreign",
    "is_unspaced",
    "kind",
    "line",
    "normal",
    "pairs_in",
    "shared_words",
    "short",
    "spaced",
    "tokens",
    "unaccented",
    "words",
]
STOP_WORDS = frozenset({"and", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"})
UNITS = {
    "cm",
    "count",
    "ct",
    "ft",
    "gb",
    "hz",
    "inch",
    "lb",
    "lbs",
    "mah",
    "mb",
    "ml",
    "mm",
    "oz",
    "pack",
    "pcs",
    "pk",
    "tb",
}
NOT_KINDS = STOP_WORDS | UNITS | {"compatible", "no", "size"}
MAX_TITLE_WORDS = 12
MOST_WORDS = 40
"""The most words of a text that a search uses; further words are ignored."""
LONGEST_WORD = 40
"""The most characters of a word, in a kind too; a longer word is cut."""
LONGEST_PART = 160
"""The most characters between spaces in a shortened title: some shops list the models for a battery without spaces."""

_WORD = re.compile(r"[a-z0-9]+(?:[-'.][a-z0-9]+)*")
_LEADING_TAG = re.compile(r"^\s*[\[(][^\])]*[\])]\s*")
_KIND_END = re.compile(r",|\(|\[| - |\||:|;|/| for | with | in | to | by | w/ ", re.IGNORECASE)
_KIND_WORD = re.compile(r"[a-z][a-z'&+-]+")


def line(text: str) -> str:
    """Return text on one line that prompts and tokenizers read as plain text.

    White space is collapsed, control characters are removed, and `<|` and `|>` (the marks of a model's special
    tokens) are split.
    """
    printable = (
        text if isinstance(text, str) and text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    )
    return " ".join(printable.split()).replace("<|", "< |").replace("|>", "| >")


def words(title: str) -> list[str]:
    """Return the lower-case words of a title in order, without stop words and single letters.

    In scripts without spaces a dictionary finds the words, and one character may be a word.
    """
    if title.isascii():
        return [w[:LONGEST_WORD] for w in _WORD.findall(title.lower()) if len(w) > 1 and w not in STOP_WORDS]
    unwanted = STOP_WORDS | scripts.STOP_WORDS
    return [w[:LONGEST_WORD] for w in scripts.tokens(title) if w not in unwanted and (len(w) > 1 or is_unspaced(w))]


def tokens(text: str) -> list[str]:
    """Return all lower-case words of a text in order."""
    return _WORD.findall(text.lower()) if text.isascii() else scripts.tokens(text)


def shared_words(a: str, b: str, limit: int = 3) -> list[str]:
    """Return up to `limit` words that both titles contain, in the order of the first title."""
    other = set(words(b))
    return list(dict.fromkeys(w for w in words(a) if w in other))[:limit]


def kind(title: str) -> str:
    """Return the kind of the product as one or two lower-case words, from the title alone.

    In an English title the kind is the end of the first phrase: 'Treskell FoldLite Case for Glide 11'
    is a 'foldlite case'. In other languages the head word stands where the language puts it. All products
    are treated alike, whether they are bundled or not.
    """
    whole = line(title)
    if not whole.isascii() or scripts.is_other_language(whole):
        return _cut(scripts.kind(title, NOT_KINDS), LONGEST_WORD) or "product"
    phrase = _KIND_END.split(_LEADING_TAG.sub("", whole), maxsplit=1)[0]
    for part in (phrase, title):
        found = [word for word in _KIND_WORD.findall(part.lower()) if word not in NOT_KINDS]
        if found:
            return _cut(" ".join(found[-2:] if part is phrase else found[:2]), LONGEST_WORD)
    return "product"


def head_noun(kind_words: str) -> str:
    """Return the head word of a kind in the singular: the coarse kind that patterns are made of."""
    parts = kind_words.split() or ["product"]
    word = parts[-1] if kind_words.isascii() else head(parts)
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def short(title: str, limit: int = MAX_TITLE_WORDS) -> str:
    """Return the first words of a title on one line."""
    whole = line(title)
    first = " ".join(whole.split()[:limit]) if whole.isascii() else scripts.first_words(whole, limit)
    return _cut(first, LONGEST_PART)


def _cut(text: str, longest: int) -> str:
    """Return a text; if it is too long, cut each of its words to that length."""
    return text if len(text) <= longest else " ".join(word[:longest] for word in text.split(" "))
