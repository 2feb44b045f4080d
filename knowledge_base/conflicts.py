"""Find rules that contradict each other, or their own measured gain."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.embedding import Vectors

Numbers = npt.NDArray[np.int64]

JOINS = (
    "together|bundled?|forms?|group|groups|grouped|joins?|joined|combined?|merged?|pooled|pools?|paired?|pairs"
    "|unites?|collects?|mix|mixes|sweeps?|goe?s? with|belongs?|whole session|take all"
)
PARTS = (
    "apart|separated?|separately|splits?|stays? out(?:side)?|left out|leaves? out|leaving|leftovers|unbundled"
    "|excluded?|excludes|drops?|dropped|outside"
)
NEGATION = r"\b(?:not|never|rarely|seldom|no|without|cannot|don't)\b(?: \w+)? "

_WORD = re.compile(rf"(?P<no>{NEGATION})?\b(?:(?P<joins>{JOINS})|(?P<parts>{PARTS}))\b", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.;:]\s")
_MEASURED = re.compile(r"(?:Put together|Keep apart) (.+): \d+ of \d+ such pairs are bundled")


def stance(text: str) -> int:
    """Return the advice of a rule: 1 to put products together, -1 to keep them apart, 0 for neither.

    The first clause with a clear advice decides, because rules begin with their advice and continue with
    its exceptions.
    """
    for clause in _CLAUSE_END.split(text):
        signs = [(1 if found["joins"] else -1) * (-1 if found["no"] else 1) for found in _WORD.finditer(clause)]
        if sum(signs):
            return 1 if sum(signs) > 0 else -1
    return 0


def condition(text: str) -> str | None:
    """Return the condition of a rule that the template `rule` has worded; None for any other rule."""
    found = _MEASURED.fullmatch(text)
    return found[1] if found else None


def conditions(records: list[Knowledge]) -> Numbers:
    """Return a number for the condition of each record: equal numbers for equal conditions, -1 for none."""
    numbers: dict[str, int] = {}
    found = [condition(record.text) for record in records]
    return np.array([-1 if text is None else numbers.setdefault(text, len(numbers)) for text in found], np.int64)


def alike(cosine: Vectors, rows: Numbers, columns: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which pairs of rules have the same subject, by their cosine and the numbers of their conditions.

    Two rules of the template share most of their words, even about different subjects. So their conditions
    must be equal; for all other pairs the cosine must reach the threshold.
    """
    measured = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    return np.where(measured, rows[:, None] == columns[None, :], cosine >= threshold)


THRESHOLD = 0.6
BLOCK = 256


@dataclass(frozen=True)
class Conflict:
    """Two rules that contradict each other, or one rule that harmed held-out sessions, and the reason.

    `similarity` is the cosine of the two rules, 1 for a single rule.
    """

    records: tuple[Knowledge, ...]
    similarity: float
    reason: str


def conflicts(records: Sequence[Knowledge], vectors: Vectors, threshold: float = THRESHOLD) -> list[Conflict]:
    """Return the conflicts among active rules, the most similar pairs first.

    Two rules of one domain conflict if they have the same subject and opposite advice; `vectors[i]`, of
    length one, belongs to `records[i]`. A rule with a negative gain is a conflict by itself.

    A person should read the conflicts and decide. The threshold was chosen on two passes of one large model
    over the same sessions (145 rules, three domains, minilm): it finds 6 pairs, of which 3 really
    contradict each other; a threshold of .5 finds 25 pairs, of which 5 do.
    """
    rules = [index for index, r in enumerate(records) if r.kind == "rule" and r.status == "active"]
    found = [_harm(records[index]) for index in rules if (records[index].gain or 0.0) < 0]
    for domain in sorted({records[index].domain for index in rules}):
        here = [index for index in rules if records[index].domain == domain]
        found += _opposites([records[index] for index in here], vectors[here], threshold)
    return sorted(found, key=lambda c: (-c.similarity, [record.id for record in c.records]))


def _harm(rule: Knowledge) -> Conflict:
    return Conflict((rule,), 1.0, f"it is active, though it harmed held-out sessions: gain {rule.gain:+.4f}")


def _opposites(rules: list[Knowledge], vectors: Vectors, threshold: float) -> list[Conflict]:
    """Return the conflicting pairs of one domain; in each pair the rule that puts together comes first."""
    topics, stances = conditions(rules), np.array([stance(rule.text) for rule in rules])
    joining, parting = np.flatnonzero(stances > 0), np.flatnonzero(stances < 0)
    found = []
    for start in range(0, len(joining), BLOCK):
        rows = joining[start : start + BLOCK]
        cosine = vectors[rows] @ vectors[parting].T
        for a, b in np.argwhere(alike(cosine, topics[rows], topics[parting], threshold)).tolist():
            first, second = int(rows[a]), int(parting[b])
            same = "the same products" if 0 <= topics[first] == topics[second] else "similar products"
            reason = f"the first puts together, the second keeps apart {same}"
            found.append(Conflict((rules[first], rules[second]), round(float(cosine[a, b]), 4), reason))
    return found
