"""The finder of physical things in a sentence: nouns of WordNet, recognised with the words around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import zip_longest
from pathlib import Path

from bundlewise.agents.teacher.word_lists import AT_LARGE, FREE, ORDINARY, QUALIFIERS, same_root, set_of
from bundlewise.text import UNITS, head_noun

_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_][\w'\u2019-]*|[^\s\"'`\u2018-\u201f\u00ab\u00bb]")
_BRITISH = (("our", "or"), ("ellery", "elry"), ("tre", "ter"), ("fibre", "fiber"), ("ise", "ize"))
_THE = set_of("the this that these those")
_JOINERS = set_of(", & + / and plus")
_WITH = set_of("with alongside beside")
_DETERMINERS = set_of("""
    the a an this that these those both its their his her my your our one each every some
""")
_DOES = set_of("""
    goes going belongs belonging stays completes complements serves joins forms makes combines
    accompanies sits stands remains
""")
_DO = set_of("""
    go belong stay complete complement serve join form make combine accompany sit stand remain
""")
"""Verbs of a plural subject; after a singular thing, a word such as `pair` or `match` is a noun."""
_STATES = set_of("left out apart together bundled paired joined combined excluded dropped")
"""Words that form a verb with "to be" and say what happens to a product."""
_GRAMMAR = set_of("along alike too does do did can must thus could would should may might")
_ABSTRACT = set_of("""
    accessory assortment blend brand item part piece product bundle collection color colour fit flavor flavour
    form group kind label line link match mix other pair point purpose range series set setup side size style
    theme thing two type unit use variety version way work
""")
"""Words that turn the thing before them into something abstract, as in "scarf theme"."""
_LOOSE = _ABSTRACT - set_of("accessory assortment blend collection mix part set setup")
_PAIRS, _PAIRED = set_of("pair pairs match matches"), set_of("with well together nicely")
"""Words that are verbs before a word of the second set; elsewhere they are often nouns."""
_ADVERBS = set_of("alone apart aside away elsewhere here instead later next outside there together")
_IS = set_of("is are was were")
_TAKES = set_of("""
    want wants buy buys buying take takes taking add adds adding get gets pick picks choose chooses purchase
    purchases pairing leave leaves leaving keeps keeping
""")
_PLACES = set_of("""
    for in on of at to from like than by over under as into onto inside near between or versus
""")
_NO = set_of("no neither nor not never")
_SIGNS = (
    ("D", _DETERMINERS),
    ("J", _JOINERS),
    ("W", _WITH),
    ("Q", _NO),
    ("P", _PLACES),
    ("V", _DOES),
    ("v", _DO),
    ("I", _IS),
    ("T", _TAKES),
    ("H", frozenset(("there",))),
    ("F", _GRAMMAR),
)
_PHRASE = "D?O{0,2}[SXx]*[SXx]N?(?![SXxO])"
"""A noun phrase in signs: a determiner, other words, then words of the session and things outside the session."""
_DEFINITE = f"(?=D){_PHRASE}"
_LIST = f"{_PHRASE}(?:J{{1,2}}{_PHRASE})*"
_STARTS = "(?<![DPOSXxQIT])"
_DONE = re.compile(
    f"{_STARTS}(?P<list>{_LIST}(?=F{{0,2}}V)|{_DEFINITE}(?<=X)(?=FF?O)|{_PHRASE}(?:J{{1,2}}{_PHRASE})+(?=F{{0,2}}v)|{_PHRASE}(?<=x)(?=F{{0,2}}v))"
)
_JOINED = re.compile(f"[Vv][FSXxO]{{0,3}}W(?P<list>{_DEFINITE}(?:J{{1,2}}{_PHRASE})*)")
_TOLD = re.compile(f"HI(?P<list>{_LIST})")
_TAKEN = re.compile(f"T(?P<list>{_LIST}(?:F?W{_LIST})*)")
_ALONE = re.compile(f"^(?P<list>{_LIST})E?$")
_UNKNOWN = re.compile("DO*(?P<list>O)(?=F{0,2}[Vv]|E|$)")
_BEFORE = re.compile("D{0,2}[OSXx]*$")
_HEAD = re.compile("[Xx](?!N?[SXxO])")


@lru_cache(1)
def things() -> frozenset[str]:
    """Return the nouns for things, of one or two words; the first call reads the file."""
    lines = (Path(__file__).parent / "things.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#")) - FREE - ORDINARY - AT_LARGE


def _is_plain(stem: str) -> bool:
    return stem in FREE or stem in AT_LARGE or stem in UNITS or any(character.isdigit() for character in stem)


def _is_verb(word: str, after: str) -> bool:
    """Say whether a word after a thing is its verb or adverb, as in `looks alike`, rather than part of its name."""
    return word.endswith("ly") or (
        word.endswith("s") and not word.endswith("ss") and after[:1].isalpha() and after not in _JOINERS
    )


def _spelled(stem: str) -> str:
    """Return a word in American spelling, for comparison."""
    for british, american in _BRITISH:
        stem = stem.replace(british, american)
    return stem


def is_own(stem: str, own: frozenset[str]) -> bool:
    """Say whether a word has one root with a word of the session, or one of them is a compound of the other."""
    if stem in own or not own.isdisjoint((f"{stem}s", stem.removesuffix("e"), stem.removesuffix("se"))):
        return True
    parts = stem.split("-")
    return (len(parts) > 1 and own.issuperset(parts)) or any(
        same_root(_spelled(stem), _spelled(other)) for other in own
    )


@dataclass(frozen=True)
class Spoken:
    """One sentence with a sign for every word.

    S is a word of the session, X a thing outside the session, x several such things, N a number, D a determiner,
    J a word that joins two phrases, W "with", P another preposition, V a verb of one product, v a verb of several,
    I a form of "to be", H "there", T a verb for taking a product, Q a negation, F another word of grammar, O any
    other word, and E a punctuation mark. `akin` has other words for the session's products, and `goods` has things
    in addition to the list; with `goods` the sentence is read more strictly.
    """

    text: str
    own: frozenset[str]
    akin: frozenset[str] = frozenset()
    goods: frozenset[str] = frozenset()

    @cached_property
    def words(self) -> list[tuple[str, str]]:
        """The signs, each with its word in the singular."""
        found: list[tuple[str, str]] = []
        tokens = [token.lower() for token in _TOKEN.findall(self.text.replace("\u2019", "'"))]
        for word, after in zip_longest(tokens, tokens[1:], fillvalue=""):
            stem = head_noun(word.removesuffix("'s"))
            before = found[-1][0] if found else ""
            sign = self._sign(word, stem, before, after)
            if self._is_joined(found[-1:], sign, stem):
                found[-1] = ("X", f"{found[-1][1]} {stem}")
            elif before == "I" and word in _STATES:
                found[-1] = ("V", word)
            else:
                found.append((self._counted(sign, word, stem), stem))
        return found

    def _is_joined(self, last: list[tuple[str, str]], sign: str, stem: str) -> bool:
        """Say whether a plain word and the word before it name one thing."""
        if not last or sign != "O":
            return False
        if last[0][0] == "X":
            return stem in FREE - (_LOOSE if self.goods else _ABSTRACT)
        return last[0][0] == "O" and self._is_compound(last[0][1], stem)

    def _is_compound(self, one: str, other: str) -> bool:
        """Say whether two plain words name a product together, as in `phone case`."""
        return bool(self.goods) and {one, other} <= FREE - QUALIFIERS and not is_own(one, self.own)

    def _counted(self, sign: str, word: str, stem: str) -> str:
        """Return the sign of a thing outside the session, in lower case if the word is a plural."""
        return sign.lower() if sign == "X" and word != stem else sign

    def _sign(self, word: str, stem: str, before: str, after: str) -> str:
        if word in _PAIRS and (after in _PAIRED or after.endswith("ly")):
            return "V" if word.endswith("s") else "v"
        for sign, known in _SIGNS:
            if word in known:
                return sign
        if not word[0].isalpha():
            return "N" if word[0].isdigit() else "E"
        if stem in self.own or stem in self.akin:
            return "S"
        if self.goods and before in ("N", "S", "x") and after in _DETERMINERS:
            return "v"
        if before in ("S", "X") and (word.endswith("ed") or (after in _DETERMINERS and word.endswith("s"))):
            return "V"
        if (stem in self.goods or word in self.goods or stem in things()) and not is_own(stem, self.own):
            return "X"
        if self.goods and before == "X" and (word in _ADVERBS or _is_verb(word, after)):
            return "F"
        return "F" if stem in ORDINARY else "O"

    @cached_property
    def signs(self) -> str:
        """The signs without the words."""
        return "".join(sign for sign, _ in self.words)

    def met(self) -> list[str]:
        """Return the things that the sentence treats as present: they have a verb, are taken, or stand alone.

        A thing with a number, or after a word of the session, may be the teacher's own name for a product, so it is
        skipped. A plural without an article means products in general.
        """
        done = [place for each in (_DONE, _JOINED, _TOLD) for place in self._heads(each)]
        alone = [] if "S" in self.signs else sorted({*done, *self._heads(_ALONE)})
        named = [place for place in done if self.signs[place] == "X" or self._is_definite(place)]
        found = [*named, *self._heads(_TAKEN), *(alone if len(alone) > 1 else [])]
        return [self.words[place][1] for place in found if not self._is_named(place)]

    def mentioned(self) -> list[str]:
        """Return the things in the sentence, except negated things and the purposes of other things.

        A purpose is a thing after a preposition, as in `for a tent and a stove`. Things with the number of a product
        are also left out.
        """
        found, spared = [], -1
        for head in _HEAD.finditer(self.signs):
            place = head.start()
            if self._is_spared(self._start(place), spared):
                spared = place
            elif self.signs[place + 1 : place + 2] != "N":
                found.append(self.words[place][1])
        return found

    def _is_spared(self, start: int, spared: int) -> bool:
        """Say whether a phrase, by its start, is negated, a purpose, or listed after another such phrase."""
        before, word = self.words[start - 1] if start else ("", "")
        if before == "J" or word == "or":
            return 0 <= spared == start - 2
        return before in ("P", "Q") and self.words[start][1] not in _THE

    def _start(self, place: int) -> int:
        """Return the start of a thing's phrase."""
        before = _BEFORE.search(self.signs, 0, place)
        return before.start() if before else place

    def unknown(self) -> list[str]:
        """Return the unknown words after an article that have a verb or end the sentence."""
        places = (found.start("list") for found in _UNKNOWN.finditer(self.signs))
        return [stem for place in places if not _is_plain(stem := self.words[place][1])]

    def _heads(self, pattern: re.Pattern[str]) -> Iterator[int]:
        for found in pattern.finditer(self.signs):
            start, end = found.span("list")
            yield from (each.start() for each in _HEAD.finditer(self.signs, start, end))

    def _is_definite(self, place: int) -> bool:
        return re.search("D[OSXx]*$", self.signs[:place]) is not None

    def _is_named(self, place: int) -> bool:
        return self.signs[place - 1 : place] == "S" or self.signs[place + 1 : place + 2] == "N"
