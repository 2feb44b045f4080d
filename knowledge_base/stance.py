"""What a rule says to do, by its words, and whether two rules speak of the same."""

import re

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
    """Return what a rule says to do: 1 to put products together, -1 to keep them apart, 0 neither.

    The first clause that leans to one side decides: rules begin with what they say and go on with
    its exceptions.
    """
    for clause in _CLAUSE_END.split(text):
        signs = [(1 if found["joins"] else -1) * (-1 if found["no"] else 1) for found in _WORD.finditer(clause)]
        if sum(signs):
            return 1 if sum(signs) > 0 else -1
    return 0


def condition(text: str) -> str | None:
    """Return what a rule of the template `rule` is about; None for a rule in other words."""
    found = _MEASURED.fullmatch(text)
    return found[1] if found else None


def conditions(records: list[Knowledge]) -> Numbers:
    """Return a number for the condition of each record, the same for equal ones; -1 for none."""
    numbers: dict[str, int] = {}
    found = [condition(record.text) for record in records]
    return np.array([-1 if text is None else numbers.setdefault(text, len(numbers)) for text in found], np.int64)


def alike(cosine: Vectors, rows: Numbers, columns: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """Say which pairs of rules speak of the same, by their cosine and the numbers of their conditions.

    Two rules of the template share most of their words whatever they are about, so that for them the
    condition must be equal; for any others the cosine must reach the threshold.
    """
    measured = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    return np.where(measured, rows[:, None] == columns[None, :], cosine >= threshold)
