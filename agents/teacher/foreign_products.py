"""The check of a text about a session: its product numbers, quoted phrases and product words must fit the session."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest

from bundlewise.agents.teacher.contracts import as_kind
from bundlewise.agents.teacher.product_numbers import foreign_number
from bundlewise.agents.teacher.things import Spoken
from bundlewise.agents.teacher.word_lists import AT_LARGE, FREE, GOODS, ORDINARY, SHELVES
from bundlewise.domain import Session
from bundlewise.text import head_noun, words

_QUOTED = re.compile(
    r'(?<!\w)["\u201c\u201e\u00ab]([^"\u201c\u201d\u201e\u00ab\u00bb]{2,200})["\u201c\u201d\u00bb]'
    r"|(?<!\w)['\u2018\u201a\u2039`](?=\w)((?:[^'\u2018\u2019\u201a\u2039\u203a`]|(?<=\w)['\u2019](?=\w)){2,200})"
    r"(?<=\w)['\u2019\u2018\u203a`](?!\w)"
)
_SENTENCE = re.compile(r"(?<=[.;:!?])\s+")
SHARE = 0.05
"""The share of a kind's titles that must contain a word for it to count as another word for the kind."""
_ABSENT = re.compile(r"\b(?:missing|absent|lacks?|without)\b", re.IGNORECASE)
_PREDICATES = ("is", "are", "was", "be", "as", "like", "to", "for", "of", "not", "really", "from", "into", "than", "on")
_BEFORE = "".join(rf"(?<!\b{word} )" for word in _PREDICATES)
_DOES = (
    r"(?:go|goes|stays?|serves?|belongs?|pairs?|completes?|complements?|is|are)"
    r" (?:out|apart|left|one|with|together|to|the|well|in)\b"
)
_LIKE = r"(?:(?!(?:no|other|another|same|different|duplicate|its|their)\b)[\w'-]+\s+){0,2}?"
_SOME = rf"(?:(?:the|an?|this|that|these|both)\s+)?{_LIKE}"
_THE = rf"(?:the|these|both)\s+{_LIKE}"
_ENDS = rf"(?=\s*(?:[,.;:!?]|$)|\s+(?:and|or|but|with|as|for|{_DOES})\b)"
_DONE = (
    "^{some}{product}\\s(?:and (?:[\\w'-]+ ){{1,4}})?" + _DOES,
    "\\b(?:and|with|but)\\s+{some}{product}\\s" + _DOES,
    "\\b(?:goe?s?|pairs?|belongs?|together|bundled?|joins?|joined|combined?) (?:well )?(?:with|to) {some}{product}"
    + _ENDS,
    "\\b(?:leaves?|leaving|keeps?|keeping) {some}{product} (?:out|apart)\\b",
)
"""Patterns for a present product: it goes with another one, or stays out."""
_ALONE = (
    "(?:\\b(?:the|this|these|both)|"
    + _BEFORE
    + "\\ban?)\\s+"
    + _LIKE.replace("{", "{{").replace("}", "}}")
    + "{product}"
    + _ENDS
)


@dataclass(frozen=True)
class Vocabulary:
    """The product words of the data: the last word, the last two words and all words of every kind.

    `akin` has, for each kind, the words that its titles share.
    """

    nouns: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    akin: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, kinds: Iterable[str], titled: Iterable[tuple[str, str]] = ()) -> "Vocabulary":
        """Return the vocabulary of some kinds; `titled` has pairs of a kind and a title."""
        named = [stems for each in set(kinds) if (stems := _stems(each))]
        phrases = {" ".join(stems[-2:]) for stems in named if len(stems) > 1 and not FREE.intersection(stems[-2:])}
        known = frozenset(stem for stems in named for stem in stems)
        return cls(frozenset(stems[-1] for stems in named) - FREE, frozenset(phrases), known, _akin(titled))

    def like(self, kinds: Sequence[str]) -> frozenset[str]:
        """Return words that the titles of the same kinds share, which are other words for the same products."""
        return frozenset[str]().union(*(self.akin.get(as_kind(kind), frozenset()) for kind in kinds))


def foreign(text: str, session: Session, kinds: Sequence[str], vocabulary: Vocabulary) -> str:
    """Return a message about a product in the text that its session does not contain; empty without one."""
    said = _Said(text, session, tuple(kinds), vocabulary)
    return foreign_number(text, session.titles) or said.foreign_quote() or said.foreign_product()


def strangers(text: str, session: Session, kinds: Sequence[str], vocabulary: Vocabulary) -> str:
    """Return the product words of a text that its session does not contain; empty without any.

    This check is stricter than `foreign`: a word that is merely mentioned counts too, unless its sentence says that it
    is missing. The result is feedback for a teacher, who can then rephrase the thought.
    """
    said, akin = _Said(text, session, tuple(kinds), vocabulary), vocabulary.like(kinds)
    # A word such as "shoe" is general where the data contain shoes, and names a foreign product elsewhere.
    shelves = SHELVES - vocabulary.known if vocabulary.known else frozenset[str]()
    goods = (vocabulary.nouns - AT_LARGE) | GOODS | shelves
    there = [Spoken(part, said.own, akin, goods) for part in _SENTENCE.split(text) if not _ABSENT.search(part)]
    return _listed([noun for each in there for noun in each.mentioned()])


@dataclass(frozen=True)
class _Said:
    """A text about a session, with the session's words."""

    text: str
    session: Session
    kinds: tuple[str, ...]
    vocabulary: Vocabulary

    @cached_property
    def own(self) -> frozenset[str]:
        """The singular forms of the words in the session's titles, intents and kinds."""
        intents = (bundle.intent for bundle in self.session.bundles)
        texts = (*self.session.titles, *intents, *self.kinds)
        return frozenset(stem for each in texts for stem in _stems(each))

    def foreign_quote(self) -> str:
        """Compare every quoted phrase with the words of the session; return a message about a foreign one."""
        for found in _QUOTED.findall(self.text):
            strictly, loosely = found
            # Single quotes also mark words in a loose sense.
            known = self.own if strictly else self.own | FREE | ORDINARY
            if not set(_stems(quoted := strictly or loosely)) <= known:
                return f'it quotes "{quoted}", which is no product or intent of its session'
        return ""

    def foreign_product(self) -> str:
        """Compare every product word with the words of the session; return a message about a foreign one.

        A word that a sentence merely mentions, such as the use of a product, has no article or is next to words of
        the session's own products; docs/teachers.md describes the check and its limits.
        """
        sentences = [_Sentence(part, self.own, self.vocabulary) for part in _SENTENCE.split(self.text)]
        for sentence in sentences:
            if named := sentence.named():
                return f"it speaks of {_listed(named)}, which no title or kind of its session holds"
        strange = [noun for sentence in sentences for noun in sentence.strange]
        ours = {stem for sentence in sentences for stem in sentence.stems} & self.own
        if len(set(strange)) > 1 and 2 * len(set(strange)) >= len(ours):
            return f"it speaks of {_listed(strange)}, which no title or kind of its session holds"
        unknown = [noun for sentence in sentences for noun in sentence.spoken.unknown()]
        own_kinds = {stem for each in self.kinds for stem in _stems(each)}
        if unknown and not ours - (FREE - own_kinds) - ORDINARY:
            return f"it speaks of {_listed(unknown)} and of no product of its session"
        return ""


@dataclass(frozen=True)
class _Sentence:
    """One sentence, with the words of its session and the vocabulary of all data."""

    text: str
    own: frozenset[str]
    vocabulary: Vocabulary

    @cached_property
    def stems(self) -> list[str]:
        """The singular forms of its words."""
        return _stems(self.text)

    @cached_property
    def spoken(self) -> Spoken:
        """Its words with their grammatical signs."""
        return Spoken(self.text, self.own)

    @cached_property
    def strange(self) -> list[str]:
        """Its product words that are foreign to the session, except those that only qualify one of its own words."""
        pairs = list(zip_longest(self.stems, self.stems[1:], fillvalue=""))
        nouns = [one for one, after in pairs if one in self.vocabulary.nouns - self.own and after not in self.own]
        return nouns + [f"{one} {after}" for one, after in pairs if self._is_strange(one, after)]

    def _is_strange(self, one: str, after: str) -> bool:
        known = f"{one} {after}" in self.vocabulary.phrases
        return known and one not in self.own and after not in self.own

    def named(self) -> list[str]:
        """Return the foreign products that the sentence treats as present."""
        ours = set(self.stems) & self.own
        nouns = {stem for stem in self.strange if " " not in stem}
        if _ABSENT.search(self.text):
            return []
        if len(nouns) > max(1, len(ours)):
            return self.strange
        return [each for each in self.strange if self._is_met(each)] or self.spoken.met()

    def _is_met(self, product: str) -> bool:
        """Say whether the product acts in the sentence, or has an article in a sentence without the session's words."""
        one = r"(?:e?s)?\s+".join(re.escape(word) for word in product.split())
        forms = _DONE if set(self.stems) & self.own - FREE else (*_DONE, _ALONE)
        # A plural without an article means products in general.
        named = (
            form.format(some=some, product=each) for form in forms for some, each in ((_SOME, one), (_THE, one + "e?s"))
        )
        return any(re.search(each, self.text, re.IGNORECASE) for each in named)


def _akin(titled: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Return for every kind the words in at least two of its titles and in at least a share `SHARE` of them."""
    titles: dict[str, set[str]] = {}
    for kind, title in titled:
        titles.setdefault(as_kind(kind), set()).add(title)
    found = {}
    for kind, those in titles.items():
        counts = Counter(stem for title in those for stem in set(_stems(title)))
        found[kind] = frozenset(stem for stem, count in counts.items() if count >= max(2, SHARE * len(those)))
    return found


def _stems(text: str) -> list[str]:
    return [head_noun(word) for word in words(text)]


def _listed(nouns: Sequence[str]) -> str:
    return " and ".join(list(dict.fromkeys(nouns))[:3])
