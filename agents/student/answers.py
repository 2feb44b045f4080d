"""The student's answer: bundles with intents, the grammar of an answer as text, its parser and its check."""

import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bundlewise.agents.student import intent_form
from bundlewise.agents.student.intent_form import CLASSES, INTENT
from bundlewise.domain import Grouping, PredictedBundle, Session

LABELS = string.ascii_uppercase
OUTSIDE = "-"
INTENT_TOKENS = 10
"""The most tokens of an intent in ASCII letters, where most words are one token."""
OTHER_TOKENS = 40
"""The most tokens of an intent in other letters, where most tokenizers need one or more tokens per letter."""

_LINE = re.compile(r"([0-9]{1,3}): ([A-Z-])")
_INTENT_LINE = re.compile(r"([A-Z]) = (.+)")
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
        """Return the answer for disjoint bundles with intents; a missing intent is a fault, and so is no bundle."""
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


def labels_for(products: int) -> str:
    """Return the letters for the bundles of a session: one for every two products."""
    return LABELS[: max(1, min(len(LABELS), products // 2))]


def answer_grammar(products: int) -> str:
    """Return the Lark grammar of a whole answer: a label for every product in order, then the intents."""
    labels = labels_for(products)
    numbered = " ".join(f'"{number}: " LABEL "\\n"' for number in range(1, products + 1))
    intents = " ".join(f'("{label} = " INTENT "\\n")?' for label in labels)
    return f"start: {numbered} {intents}\nLABEL: /[{labels}{OUTSIDE}]/\nINTENT: /{INTENT}/\n"


def intent_grammar(asked: str = "") -> str:
    """Return the Lark grammar of one intent on a line; a prompt with letters beyond ASCII allows more tokens."""
    tokens = INTENT_TOKENS if asked.isascii() else OTHER_TOKENS
    return f'start: " " intent "\\n"\nintent[max_tokens={tokens}]: /{INTENT}/\n'


def intent_tokens(grammar: str) -> int | None:
    """Return the most tokens in a grammar of one intent; None for any other grammar."""
    found = _TOKENS.search(grammar)
    return int(found[1]) if found else None


def gbnf(grammar: str) -> str:
    """Return one of the grammars above in GBNF, the format of vLLM and llama.cpp, without its token limits.

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


def parse(text: str, products: int) -> Answer:
    """Read an answer and list everything that is wrong with it in `faults`.

    A product that is alone under its label is in no bundle; this is allowed.
    """
    labels: dict[int, str] = {}
    intents: dict[str, str] = {}
    faults = []
    for row in filter(None, (row.strip() for row in text.splitlines())):
        if (found := _LINE.fullmatch(row)) and 1 <= int(found[1]) <= products:
            if int(found[1]) in labels:
                faults.append(f"product {found[1]} has two labels")
            labels[int(found[1])] = found[2]
        elif found := _INTENT_LINE.fullmatch(row):
            if found[1] in intents:
                faults.append(f"label {found[1]} has two intents")
            intents[found[1]] = intent_form.said(found[2])
        else:
            faults.append(f"line {row[:40]!r} is neither a label nor an intent")
    faults += [f"product {number} has no label" for number in range(1, products + 1) if number not in labels]
    return _assemble(labels, intents, faults)


def _assemble(labels: dict[int, str], intents: dict[str, str], faults: list[str]) -> Answer:
    members: dict[str, list[int]] = {}
    for number in sorted(labels):
        if labels[number] != OUTSIDE:
            members.setdefault(labels[number], []).append(number - 1)
    kept = {label: tuple(group) for label, group in members.items() if len(group) > 1}
    faults += [f"bundle {label} has no intent" for label in kept if not intents.get(label)]
    if not kept:
        faults.append("no two products share a letter")
    return Answer(tuple(kept.values()), tuple(intents.get(label, "") for label in kept), tuple(faults))
