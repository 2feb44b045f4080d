"""The student's answer: bundles with intents and faults, the grammar of an intent, and grammars for servers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bundlewise.agents.student import intent_form
from bundlewise.agents.student.intent_form import CLASSES, INTENT
from bundlewise.domain import Grouping, PredictedBundle, Session

INTENT_TOKENS = 10
"""The most tokens of an intent in ASCII letters, where most words are one token."""
OTHER_TOKENS = 40
"""The most tokens of an intent in other letters, where most tokenizers need one or more tokens per letter."""

_RULE = re.compile(r"(?P<name>\w+)(\[.*?\])?: (?P<body>.*)")
_PATTERN = re.compile(r"/(.+)/")
_TOKENS = re.compile(r"intent\[max_tokens=([0-9]+)\]")


@dataclass(frozen=True)
class Answer:
    """Bundles as positions from 0 in the order of their first products, with their intents and the answer's faults."""

    groups: Grouping
    intents: tuple[str, ...]
    faults: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundles: Iterable[tuple[tuple[int, ...], str]]) -> "Answer":
        """Return the answer for bundles with intents; a missing intent is a fault, and so is no bundle."""
        rows = sorted(bundles)
        faults = [f"bundle of product {group[0] + 1} has no intent" for group, intent in rows if not intent]
        if not rows:
            faults.append("no two products go together")
        return cls(tuple(group for group, _ in rows), tuple(intent for _, intent in rows), tuple(faults))

    def bundles(
        self, session: Session, confidence: Mapping[tuple[int, ...], float] = MappingProxyType({})
    ) -> tuple[PredictedBundle, ...]:
        """Return the bundles with product numbers from 1 and product ids; `confidence` has positions as keys."""
        return tuple(
            PredictedBundle(
                items=tuple(place + 1 for place in group),
                item_ids=tuple(session.items[place].id for place in group),
                intent=intent,
                confidence=confidence.get(group),
            )
            for group, intent in zip(self.groups, self.intents, strict=True)
        )


def intent_grammar(asked: str = "") -> str:
    """Return the Lark grammar of one intent on a line; a prompt with letters beyond ASCII allows more tokens."""
    tokens = INTENT_TOKENS if asked.isascii() else OTHER_TOKENS
    return f'start: " " intent "\\n"\nintent[max_tokens={tokens}]: /{INTENT}/\n'


def intent_tokens(grammar: str) -> int | None:
    """Return the most tokens in a grammar of one intent; None for any other grammar."""
    found = _TOKENS.search(grammar)
    return int(found[1]) if found else None


def gbnf(grammar: str) -> str:
    """Return a student's grammar in GBNF, the format of vLLM and llama.cpp, without its token limits.

    Each set of letters becomes a rule with ranges of characters, which may contain characters that Unicode leaves free.
    """
    rules = [_gbnf_rule(line) for line in grammar.splitlines()]
    named = [name for name, letters in CLASSES.items() if letters in grammar]
    return "\n".join([*rules, *(f"{name} ::= {intent_form.ranges(name)}" for name in named)])


def _gbnf_rule(line: str) -> str:
    rule = _RULE.fullmatch(line)
    if rule is None:
        raise ValueError(f"not a rule that can be written in GBNF: {line!r}")
    name = "root" if rule["name"] == "start" else rule["name"]
    return f"{name} ::= {_PATTERN.sub(_spaced, rule['body'])}"


def _spaced(pattern: re.Match[str]) -> str:
    """Return a regular expression as GBNF, where spaces are quoted and sets of letters have names."""
    found = pattern[1].replace(" ", ' " " ')
    for name, letters in CLASSES.items():
        found = found.replace(letters, f" {name} ")
    return found
