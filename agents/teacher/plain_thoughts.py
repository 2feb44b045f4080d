"""Thoughts with kinds in place of product numbers: `3, 4 join` becomes `the mouse and the pad join`, reversibly."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundlewise.agents.teacher.word_lists import AT_LARGE, FREE, set_of
from bundlewise.prompts.kind_lists import in_words, listed, ordinal, plural
from bundlewise.text import head_noun, words

_UNITS = (
    r"(?:[gmkt]b|inch(?:es)?|f(?:oo|ee)?t|[cm]m|mah|watts?|volts?|[gm]?hz|megapixels?|oz|ounces?|lbs?|pounds?|grams?"
    r"|ml|lit(?:er|re)s?|ct|packs?|pcs|pieces?|ports?|pins?|years?|months?|days?|hours?|times|sizes|bundles|products"
    r"|items|generations?)\b"
)
_NUM = rf"\d{{1,2}}(?!\w|[.,]\d|\s?%|\s?[\"\u2033]|-[a-z]|\s{_UNITS}|/\d)"
_PRODUCT = r"(?:\b(?:items?|products?|numbers?|nos?\.)\s+|#)"
_AND = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|to|through)\s+|\s*[&+]\s*|\s?[-\u2013]\s?)"
_LISTED = re.compile(
    rf"(?<![\w.$\u20ac\u00a3/-])(?<!\d\sof\s)({_PRODUCT}?)({_NUM}(?:{_AND}{_PRODUCT}?{_NUM})*)", re.IGNORECASE
)
_RANGE = re.compile(r"(\d+)(?:\s+(?:to|through)\s+|\s?[-\u2013]\s?)#?(\d+)", re.IGNORECASE)
_BEFORE = re.compile(r"([\w'\u2019-]+)(\s+|\s*\()$")
_AFTER = re.compile(r"\s([a-z][\w'\u2019-]*)", re.IGNORECASE)
_GRAMMAR = set_of("""
    a about across add added adds after again all alone along already also although among an anchor anchors and any
    appear appears are as at back be because belong belongs beside both bring brings bundle bundled but by can carries
    carry charges clearly combine combines come comes complement complements complete completes concern concerns connect
    connects could differ do does each either even except exclude excludes excluding extend extends feed feeds fit fits
    follow for form forms from gets give gives go goes group groups has have hold holds however if in include includes
    including instead into is isolate its join joined joining joins just keep keeping keeps lack lacks largely leave
    leaves leaving left lets like likely links look looks made mainly make makes match matches may mean means might
    mostly must name names need needing needs neither no nor not of offer offers on one only or out over own pair paired
    pairing pairs per perhaps plus plug power powers probably protect protects pull pulls put puts rather reach remain
    remains replace resemble resembles see seems serve serves share shares should sit sits so some stay stays still suit
    suits support supports take taken takes than that the them then there these they this those though tie ties to
    together too treat under unites unlike use used uses via was were what when where whereas whether which while with
    within without work works would yet bind binds lead leads cover covers drop drops omit omits
    omitting says since around title titles intent hence list lists suggest suggests between every why off through cite
    cites gather gathers mixes during
""")
"""Words beside a number that do not name its product."""
_NOUNS_TOO = set_of("cover plug support match fit leaves")
_MODELS = set_of("ipad iphone ipod nano mini air galaxy tab note nexus kindle fire surface xbox pro core")
_SCALES = set_of("size sizes us eu usb hdmi ddr version windows type level gen generation cat class bluetooth series")
WHOLE = 4
"""The fewest products of a session that are called `the products` together."""


@dataclass(frozen=True)
class NumberChange:
    """A replaced part of a text: its start in the original, the part, and its replacement."""

    start: int
    before: str
    after: str


@dataclass(frozen=True)
class PlainText:
    """A text without product numbers, and the changes that made it."""

    text: str
    changes: tuple[NumberChange, ...]

    @property
    def original(self) -> str:
        """The text before the changes."""
        whole, place, end = "", 0, 0
        for change in self.changes:
            same = change.start - end
            whole += self.text[place : place + same] + change.before
            place, end = place + same + len(change.after), change.start + len(change.before)
        return whole + self.text[place:]


def plain(text: str, kinds: Sequence[str], titles: Sequence[str]) -> PlainText:
    """Return a text about a session with kinds in place of its product numbers.

    A number after or before a word for its product is removed (`desk lamp 1` becomes `desk lamp`); any other number is
    replaced by the kind. Products of one kind are told apart by their order (`the second case`) or counted (`the two
    cases`).

    Args:
        text: the text of a thought, or its lesson.
        kinds: the kind of every product in session order.
        titles: the titles in the same order; numbers that belong to a name in them are kept.
    """
    reader = _Reader(text, tuple(kinds), tuple(titles))
    changes = tuple(reader.changes())
    whole, end = "", 0
    for change in changes:
        whole += text[end : change.start] + change.after
        end = change.start + len(change.before)
    return PlainText(whole + text[end:], changes)


@dataclass(frozen=True)
class _Reader:
    """A text about a session, with the kinds and titles of its products."""

    text: str
    kinds: tuple[str, ...]
    titles: tuple[str, ...]

    @cached_property
    def _names(self) -> list[frozenset[str]]:
        """The words of every product's title and kind, in the singular."""
        pairs = zip(self.kinds, self.titles, strict=True)
        return [frozenset(head_noun(word) for word in words(f"{kind} {title}")) for kind, title in pairs]

    def changes(self) -> Iterator[NumberChange]:
        """Yield the changes in the order of the text."""
        place = 0
        while found := _LISTED.search(self.text, place):
            place = found.start(2) + self._named_until(found)
            if place > found.start(2):
                continue
            place, numbers = found.end(), _numbers(found[2])
            if all(1 <= number <= len(self.kinds) for number in numbers):
                yield self._change(found, numbers)

    def _named_until(self, found: re.Match[str]) -> int:
        """Return how far numbers belong to a name, such as `iPad 2, 3 and 4`, or to a measure, such as `size 8`."""
        before = _BEFORE.search(self.text[: found.start()])
        if before is None or found[1] or "(" in before[2] or (word := before[1].lower()) in _GRAMMAR or word.isdigit():
            return 0
        each = [*re.finditer(r"\d+", found[2])]
        if word in _SCALES or (word in _MODELS and not self._has(word, int(each[0][0]))):
            return len(found[2])
        names = [number for number in each if self._is_name(word, number[0])]
        if not names or names[0] is not each[0]:
            return 0
        return len(found[2]) if _RANGE.match(found[2]) else names[-1].end()

    def _has(self, word: str, number: int) -> bool:
        return 1 <= number <= len(self.kinds) and word in self._names[number - 1]

    def _is_name(self, word: str, number: str) -> bool:
        """Say whether a title holds a word and then a number that is no quantity."""
        between = r"(?:[\s,/&-]+\d+)*[\s,/&-]+"
        name = rf"(?<!\w){re.escape(word)}{between}{number}(?!\w|[.,]\d|\s?-?\s?{_UNITS}|-[a-z])"
        return any(re.search(name, title, re.IGNORECASE) for title in self.titles)

    def _change(self, found: re.Match[str], numbers: Sequence[int]) -> NumberChange:
        start, end = found.span()
        before = _BEFORE.search(self.text[:start])
        word = before[1].lower() if before and not found[1] else ""
        opened, closed = self.text[:start].endswith("("), self.text[end : end + 1] == ")"
        if word and self._is_noun(word, numbers):
            return self._dropped(start, end, opened, closed)
        if self._is_repeated(start, end, numbers):
            return NumberChange(start - 2, self.text[start - 2 : end + 1], "")
        if label := self._label(found, numbers):
            return label
        return self._replaced(found, numbers, word)

    def _is_noun(self, word: str, numbers: Sequence[int]) -> bool:
        """Say whether a word before numbers names their products; a general word, such as `parts`, does not."""
        stem = head_noun(word.split("-")[-1])
        named = any(stem in self._names[number - 1] for number in numbers)
        if word.isdigit() or (word in _GRAMMAR and not (named and word in _NOUNS_TOO)):
            return False
        return named or not (stem in FREE or stem in AT_LARGE or word.endswith("ing"))

    def _dropped(self, start: int, end: int, opened: bool, closed: bool) -> NumberChange:
        """Remove numbers that follow the word for their products, with their brackets."""
        if opened and closed:
            start, end = start - 1, end + 1
        elif opened:
            end += len(re.match(r"[\s,:]*", self.text[end:])[0])  # type: ignore[index]
            return NumberChange(start, self.text[start:end], "")
        start = len(self.text[:start].rstrip())
        return NumberChange(start, self.text[start:end], "")

    def _is_repeated(self, start: int, end: int, numbers: Sequence[int]) -> bool:
        """Say whether numbers between commas repeat the words before them, as in `two laptops, 1 and 6, are`."""
        before = re.search(r"([\w'\u2019-]+), $", self.text[:start])
        if before is None or self.text[end : end + 2] != ", ":
            return False
        stem = head_noun(before[1].lower())
        return all(stem in self._names[number - 1] for number in numbers)

    def _label(self, found: re.Match[str], numbers: Sequence[int]) -> NumberChange | None:
        """Return the removal of a number before its own name, as in `(3 flash drive, 4 hard drive)`."""
        start, end = found.span()
        if self.text[end : end + 2] == ": " and not _BEFORE.search(self.text[:start]):
            return NumberChange(start, self.text[start : end + 2], "")
        after = _AFTER.match(self.text, end)
        if after is None or after[1].lower() in _GRAMMAR or found[1]:
            return None
        told = self.text[:start]
        is_listed = told.rfind("(") > told.rfind(")") and told.endswith(("(", ", "))
        is_own = len(numbers) == 1 and head_noun(after[1].lower()) in self._names[numbers[0] - 1]
        if not is_listed and not is_own:
            return None
        return NumberChange(start, self.text[start : end + 1], "")

    def _replaced(self, found: re.Match[str], numbers: Sequence[int], word: str) -> NumberChange:
        start, end = found.span()
        named = self._named(numbers, word)
        if word and word not in _GRAMMAR and not word.endswith("ing") and not self.text[:start].endswith("("):
            named = f"({named})"
        if not self.text[:start].strip() or re.search(r"[.!?]\s+$", self.text[:start]):
            named = named[0].upper() + named[1:]
        return NumberChange(start, self.text[start:end], named)

    def _named(self, numbers: Sequence[int], word: str) -> str:
        """Return the kinds of products in words; `word` stands before them."""
        if len(numbers) == len(self.kinds) >= WHOLE:
            return "the products" if word in ("all", "of") else "all products"
        held = [self.kinds[number - 1] for number in numbers]
        groups = dict.fromkeys(held)
        if word == "with":
            # `1 with 3 and 2 with 4` is two pairs, so that no products may be counted together.
            return listed([self._group(self.kinds[number - 1], [number]) for number in numbers])
        if word in ("both", "all") and len(groups) == 1 and len(held) > 1:
            return plural(held[0])
        return listed([self._group(kind, [n for n in numbers if self.kinds[n - 1] == kind]) for kind in groups])

    def _group(self, kind: str, numbers: Sequence[int]) -> str:
        alike = [number for number, each in enumerate(self.kinds, 1) if each == kind]
        if len(alike) == 1:
            return kind
        if len(numbers) == len(alike):
            return f"the {in_words(len(alike))} {plural(kind)}"
        places = [ordinal(alike.index(number) + 1) for number in numbers]
        return f"the {listed(places)} {plural(kind) if len(numbers) > 1 else kind}"


def _numbers(said: str) -> list[int]:
    """Return the numbers of a list, each once; `1 to 3` are 1, 2 and 3."""
    whole = _RANGE.sub(lambda found: ",".join(map(str, range(int(found[1]), int(found[2]) + 1))) or found[0], said)
    return list(dict.fromkeys(int(number) for number in re.findall(r"\d+", whole)))
