"""The phrases of shoppers, read from a YAML file: by act, by question with its answer, and by need."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from bundlewise.agents.assistant.mentions import COUNTS, ORDINALS
from bundlewise.agents.assistant.money import NUMBER_WORDS
from bundlewise.errors import DataError

Spoken = Literal[
    "help",
    "greet",
    "thanks",
    "undo",
    "dismiss",
    "agree",
    "clear",
    "show",
    "free",
    "include",
    "bundle",
    "explain",
    "complete",
    "exclude",
    "remove",
    "add",
    "take",
    "search",
    "more",
    "cheaper",
    "dearer",
    "sort",
    "compare",
    "details",
    "swap",
    "quantity",
    "checkout",
    "answer",
    "need",
]
"""What a shopper may want; `answer` and `need` have parts of their own in the file."""
LONGEST_MATCHED = 1000
"""The most characters of a sentence that is compared with phrases word by word."""
COUNT = rf"(?:[0-9]{{1,3}}|{'|'.join(COUNTS)})"
THESE = (
    r"(?:(?:all|both) (?:of )?(?:this|these|those|them|it|my (?:things|stuff))|all|both|everything|them|these|those"
    r"|this|that|it|my (?:things|stuff|picks|selection)"
    r"|(?:(?:the|my|these|those) )?(?:cart|basket|bag|trolley|products|items|things|ones|order))"
)
BUNDLE = (
    rf"(?:(?:the |this )?bundle(?: number| no\.?)? ?#?(?:[0-9]{{1,2}}|{'|'.join(COUNTS)})"
    rf"|(?:the )?(?:{'|'.join(ORDINALS)}) bundle)"
)
PLACES = {"X": r"(?P<x>\S(?:.*?\S)??)", "Y": r"(?P<y>\S(?:.*?\S)??)", "N": rf"(?P<n>{COUNT})", "THESE": THESE}
PLACES |= {"BUNDLE": f"(?P<bundle>{BUNDLE})"}
ASKED = ("show", "find", "give", "tell", "get", "make", "suggest", "recommend")
"""The words after which `me` says nothing."""

CONTRACTED = (
    (re.compile(r"\b(?P<w>what|that|it|where|who|how|there|here|let|which)(?:'s)\b"), r"\g<w> is"),
    (re.compile(r"\b(?:can't|cannot)\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(rf"\b(?P<w>{'|'.join(ASKED)}) me\b"), r"\g<w>"),
    (re.compile(r"\blet is\b"), "let us"),
)
"""Short forms and the words for them, in which the phrases are written."""


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reply: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    say: tuple[str, ...]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    acts: dict[Spoken, tuple[str, ...]]
    answers: dict[str, _Question] = {}
    language: Annotated[str, StringConstraints(max_length=1000)] = ""
    needs: dict[str, tuple[str, ...]] = {}
    filler: frozenset[str] = frozenset()
    spellings: dict[str, str] = {}
    superlatives: dict[Literal["cheapest", "dearest"], tuple[str, ...]] = {}


@dataclass(frozen=True)
class Phrase:
    """A phrase with its act; `told` is the reply to a question, or the words that find what a need describes."""

    act: Spoken
    text: str
    told: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The expression that whole sentences of this phrase match."""
        text = re.sub(r"\b(?:my|the) (?=cart\b|basket\b)", "", self.text)
        return re.compile("[,.;:]? ".join(_part(word) for word in text.split()))

    @property
    def weight(self) -> int:
        """The number of words that a sentence must have."""
        return sum(word not in ("X", "Y") for word in self.text.split())

    @property
    def spoken(self) -> str:
        """The phrase as a sentence about an unnamed product."""
        said = re.sub(r"\b[XY]\b", "product", self.text)
        return said.replace("THESE", "these").replace("BUNDLE", "bundle 1").replace("N", "2")


class Phrases:
    """All phrases of a shop, those with most words first, and the words that say nothing."""

    def __init__(self, file: _File) -> None:
        said = [Phrase(act, expanded(text)) for act, texts in file.acts.items() for text in texts]
        said += [Phrase("answer", expanded(text), each.reply) for each in file.answers.values() for text in each.say]
        self.all = tuple(sorted(said, key=lambda phrase: -phrase.weight))
        self.needs = tuple(Phrase("need", text, find) for find, texts in file.needs.items() for text in texts)
        self.filler, self.spellings, self.language = file.filler, file.spellings, file.language
        self.superlatives = {text: order for order, texts in file.superlatives.items() for text in texts}
        talk = ("answer", "thanks", "greet")
        self.commands = frozenset(word for act, words in self.frames.items() if act not in talk for word in words)
        """The words of commands, to which a typing slip may be corrected."""
        self.nameless = frozenset(self.commands | file.filler | NUMBER_WORDS | set(ORDINALS) | set(COUNTS))
        """The words that name no product."""
        self.lexicon = self.nameless.union(*self.frames.values())
        """All words of phrases."""

    @classmethod
    def read(cls, path: Path | None = None) -> "Phrases":
        """Read a file of phrases, or the phrases that come with the package.

        Raises:
            DataError: the file cannot be read, is not YAML, or has an unknown part; the message names the part.
        """
        return _own(path) if path else _packaged()

    @cached_property
    def frames(self) -> Mapping[Spoken, frozenset[str]]:
        """The words around the product in the phrases of an act."""
        found: dict[Spoken, set[str]] = {}
        for phrase in self.all:
            found.setdefault(phrase.act, set()).update(w for w in phrase.text.split() if w not in PLACES)
        return {act: frozenset(words) for act, words in found.items()}

    def content(self, said: str) -> str:
        """Return a sentence without the words that say nothing about a product."""
        return " ".join(word for word in said.split() if word.strip(".,!?") not in self.filler)

    @property
    def texts(self) -> list[str]:
        """All texts that sentences are compared with."""
        return [*(phrase.spoken for phrase in self.all), *(self.content(phrase.text) for phrase in self.needs)]

    def matching(self, said: str) -> "list[tuple[Phrase, Mapping[str, str]]]":
        """Return the phrases that a sentence is word by word, with what stands in their places."""
        if len(said) > LONGEST_MATCHED:
            return []
        found = [(phrase, phrase.pattern.fullmatch(said)) for phrase in self.all]
        return [
            (phrase, {k: v.strip(" ,;:") for k, v in match.groupdict().items() if v})
            for phrase, match in found
            if match
        ]


def expanded(said: str) -> str:
    """Return a sentence with short forms such as `what's` written out."""
    for pattern, whole in CONTRACTED:
        said = pattern.sub(whole, said)
    return said


def _part(word: str) -> str:
    return PLACES.get(word) or (
        r"(?:(?:the|my|this) )?(?:cart|basket|bag|trolley)" if word in ("cart", "basket") else re.escape(word)
    )


@cache
def _packaged() -> Phrases:
    return _phrases(resources.files(__package__).joinpath("phrases.yaml").read_text(encoding="utf-8"), "phrases.yaml")


def _own(path: Path) -> Phrases:
    try:
        return _phrases(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a YAML file of phrases in UTF-8") from error


def _phrases(text: str, name: str) -> Phrases:
    try:
        # The base loader reads every value as text, so that the words yes, no and on stay words.
        return Phrases(_File.model_validate(yaml.load(text, Loader=yaml.BaseLoader)))
    except yaml.YAMLError as error:
        raise DataError(f"{name}: not YAML ({' '.join(str(error).split())[:200]}); see docs/assistant.md") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(f"{name}: {where}: {fault['msg']}; copy the packaged phrases.yaml and edit it") from error
