"""Words beyond ASCII: their normal form, words of scripts without spaces, and the head word of a phrase."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import regex

_HEAD_LAST = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u30fc]&&[\p{L}\p{Nl}]]"
_JOINED = r"[[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]&&[\p{L}\p{Nd}]]"
_SPACED = rf"[[\p{{L}}\p{{Nd}}]--[{_HEAD_LAST}{_JOINED}]]"
_LETTER = rf"[\p{{L}}--[{_HEAD_LAST}{_JOINED}]]"
_RUN = rf"(?P<run>[{_HEAD_LAST}][{_HEAD_LAST}\p{{M}}]*|[{_JOINED}][{_JOINED}\p{{M}}]*)"
_WORD = regex.compile(rf"{_RUN}|{_SPACED}[{_SPACED}\p{{M}}]*(?:[-'.]{_SPACED}[{_SPACED}\p{{M}}]*)*", regex.V1)
_KIND_WORD = regex.compile(rf"{_RUN}|{_LETTER}\p{{M}}*[{_LETTER}\p{{M}}'&+-]+", regex.V1)
_RUNS = regex.compile(_RUN, regex.V1)
_UNSPACED = regex.compile(rf"[{_HEAD_LAST}{_JOINED}]", regex.V1)
_LATIN = regex.compile(r"\p{Script=Latin}", regex.V1)
_CYRILLIC = regex.compile(r"\p{Script=Cyrillic}", regex.V1)
_HEAD_FIRST = regex.compile(r"[\p{Script=Hebrew}\p{Script=Arabic}]", regex.V1)
_THAI_LIKE = regex.compile(rf"[{_JOINED}]", regex.V1)
_ADJECTIVE = regex.compile(r"\w{2,}(?:ая|яя|ый|ий|ой|ое|ее|ые|ие|ого|его)")
_WIDE = regex.compile(r"[\uff01-\uffee]+")
_HIDDEN = regex.compile(r"[\p{Cf}--\u200b]", regex.V1)
_HYPHENS = str.maketrans("\u2010\u2011\ufe63", "---")
_CYRILLIC_APOSTROPHE = regex.compile(r"(?<=\p{Script=Cyrillic})\u2019(?=\p{Script=Cyrillic})", regex.V1)
_MARKS = regex.compile(r"(\p{M}{4})\p{M}+", regex.V1)
"""More than four marks on one letter, which no language writes."""
_ACCENTS = regex.compile(r"[\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0670]")
_ACCENTED = regex.compile(r"[[\p{Script=Latin}&&\p{L}]--[A-Za-z]]", regex.V1)
_LEADING_TAG = regex.compile(
    r"^\s*[\[(\u3010\u3014\u300c\u300e\u300a][^\])\u3011\u3015\u300d\u300f\u300b]*"
    r"[\])\u3011\u3015\u300d\u300f\u300b]\s*"
)
_BREAK = r"[,(\[|:;/\u3010\u3014\u300c\u300e\u300a\u3001\u3002\u2014\u2015\u2022\u2023\u25a0-\u25ff]"
_DASH_BREAK = r"\s(?:-|[\u2012-\u2015\u2212\u2022\u2043\u00b7\u2026~\u2605\u2606\u2714\u2794\u27a4]+)\s"
CONNECTORS = ("pour", "para", "avec", "für", "fuer", "för", "dla", "voor", "mit", "pentru", "için", "med")
"""Words of other languages that mean `for` or `with`, and that are not English words."""
AMBIGUOUS = (
    "de",
    "du",
    "des",
    "di",
    "da",
    "do",
    "del",
    "von",
    "pro",
    "per",
    "con",
    "com",
    "na",
    "za",
    "til",
    "z",
    "av",
)
"""Joining words of other languages that also occur in English names: `Cafe de Paris`, `Pro`."""
_ENGLISH_END = r"for|with|in|to|by|w/"
_OTHER_END = r"для|из|от|на|по|של|עם|עבור|ל|مع|من"
_KIND_END = regex.compile(rf"{_BREAK}|{_DASH_BREAK}| (?:{_ENGLISH_END}|{_OTHER_END}|{'|'.join(CONNECTORS)}) ")
_FOREIGN_END = regex.compile(
    rf"{_BREAK}|{_DASH_BREAK}| (?:{_ENGLISH_END}|{_OTHER_END}|{'|'.join((*CONNECTORS, *AMBIGUOUS))}) "
)
_CONNECTOR = regex.compile(rf"(?<= )(?:(?P<clear>{'|'.join(CONNECTORS)})|(?P<vague>{'|'.join(AMBIGUOUS)}))(?= )")
_ENGLISH = regex.compile(r"(?<= )(?:and|for|from|of|the|with)(?= )", regex.IGNORECASE)
STOP_WORDS = frozenset({"для", "из", "от", "на", "по", "или", "под", "без", "при", "של", "עם", "את", "על", "או"})
PARTICLES = frozenset("のにはをがとでもや的和与與及")
"""Single characters that join words, like `of` and `and`."""
SUBSTANTIAL = 4
"""A part between spaces with so many characters is more likely the product than a brand."""


def normal(text: str) -> str:
    """Return a text in one form: composed, without case, wide letters, invisible marks and piles of marks."""
    text = _HIDDEN.sub("", plain_forms(text)).replace("\u200b", " ")
    text = _CYRILLIC_APOSTROPHE.sub("'", text)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def plain_forms(text: str) -> str:
    """Return a text with normal letters for wide ones, one kind of hyphen, and at most four marks on a letter."""
    text = _WIDE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), _MARKS.sub(r"\1", text))
    return text.translate(_HYPHENS)


def tokens(text: str) -> list[str]:
    """Return the words of a text in order, in their normal form."""
    return list(_found(_WORD, normal(text)))


def is_unspaced(word: str) -> bool:
    """Say whether a word belongs to a script without spaces, where one character may be a word."""
    return _UNSPACED.search(word) is not None


def pairs_in(text: str) -> Iterator[str]:
    """Yield the characters and the pairs of characters of a text's parts in scripts without spaces."""
    if text.isascii():
        return
    for match in _RUNS.finditer(normal(text)):
        yield from match[0]
        yield from map("".join, pairwise(match[0]))


def is_foreign(text: str) -> bool:
    """Say whether most letters of a text belong to a script other than Latin."""
    if text.isascii():
        return False
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(1 for letter in letters if not _LATIN.match(letter)) > len(letters)


def is_other_language(title: str) -> bool:
    """Say whether a title in Latin letters is clearly not English, judged by its joining words and accents."""
    if _ENGLISH.search(title):
        return False
    found = list(_CONNECTOR.finditer(title))
    accented = not title.isascii() and _ACCENTED.search(title) is not None
    return len(found) + accented > 1 or any(match["clear"] for match in found)


def first_words(text: str, limit: int) -> str:
    """Return the first words of a text; in scripts without spaces a dictionary finds the words."""
    parts: list[str] = []
    for part in _MARKS.sub(r"\1", text).split():
        if limit <= 0:
            break
        segments = list(_segments(part)) if is_unspaced(part) else [part]
        parts.append("".join(segments[:limit]))
        limit -= len(segments)
    return " ".join(parts)


def unaccented(word: str) -> str:
    """Return a word without the accents that people leave out when they type."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))


def spaced(text: str) -> str:
    """Return a text for a full-text index: its words, and pairs of characters in scripts without spaces."""
    return text if text.isascii() else " ".join([*tokens(text), *(pair for pair in pairs_in(text) if len(pair) > 1)])


def kind(title: str, unwanted: frozenset[str]) -> str:
    """Return one or two words that say what the product is; empty if no word does."""
    text, ends = " ".join(normal(title).split()), _FOREIGN_END if is_other_language(title) else _KIND_END
    for part in (ends.split(_LEADING_TAG.sub("", text), maxsplit=1)[0], text):
        found = [word for word in _found(_KIND_WORD, part) if word not in unwanted | STOP_WORDS]
        if found:
            return _kind_of(part, found)
    return ""


def head(words: Sequence[str]) -> str:
    """Return the word of a phrase that the others describe: the last one in English, the first in Hebrew."""
    if _CYRILLIC.match(words[-1]):
        return next((word for word in words if not _ADJECTIVE.fullmatch(word)), words[-1])
    return words[0] if _HEAD_FIRST.match(words[0]) else words[-1]


def _kind_of(phrase: str, found: Sequence[str]) -> str:
    """Return the head word of a phrase and the word that describes it; Latin words beside another script are brands."""
    native = [word for word in found if not _LATIN.search(word)] or list(found)
    if _THAI_LIKE.match(native[0]):
        return "".join(native[:2])
    if _HEAD_FIRST.match(native[0]):
        return " ".join(native[:2])
    if _CYRILLIC.match(native[0]):
        place = next((n for n, word in enumerate(native) if not _ADJECTIVE.fullmatch(word)), len(native) - 1)
        return " ".join(native[max(0, place - 1) : max(2, place + 1)])
    if is_unspaced(native[0]):
        return " ".join(_main_part(phrase)[-2:])
    return " ".join(native[-2:])


def _main_part(phrase: str) -> list[str]:
    """Return the words of the part between spaces that names the product: the first long part, else the longest."""
    runs = [match["run"] for match in _WORD.finditer(phrase) if match["run"]]
    chosen = next((run for run in runs if len(run) >= SUBSTANTIAL), max(runs, key=len))
    return list(_parted(chosen)) or [chosen]


def _found(pattern: "regex.Pattern[str]", text: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        if match["run"]:
            yield from _parted(match["run"])
        else:
            yield match[0]


def _parted(run: str) -> Iterator[str]:
    """Yield the words of a run without spaces; adjacent single characters are joined to pairs."""
    singles: list[str] = []
    for segment in _segments(run):
        if len(segment) == 1 and segment not in PARTICLES:
            singles.append(segment)
            continue
        yield from _pairs(singles)
        singles = []
        if segment not in PARTICLES:
            yield segment
    yield from _pairs(singles)


def _segments(run: str) -> Iterator[str]:
    # ICU's dictionaries take 7 MB of memory, and most shops use scripts with spaces.
    from icu4py.breakers import WordBreaker

    return iter(WordBreaker(run, "en"))


def _pairs(singles: Sequence[str]) -> Iterator[str]:
    if len(singles) == 1:
        yield singles[0]
    yield from map("".join, pairwise(singles))
