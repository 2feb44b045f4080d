"""Parity: the answers of two models to the same fixed probes, and their differences."""

from dataclasses import dataclass
from itertools import combinations, cycle
from typing import Literal

import numpy as np

from bundlewise.agents.student.answer_text import answer_grammar, grouping_text, read_answer
from bundlewise.agents.student.answers import intent_grammar
from bundlewise.agents.student.compose import judge_prompt, name_prompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.engine import Engine
from bundlewise.agents.student.whole_replies import whole_prompt
from bundlewise.data.sessions import STARTERS, load
from bundlewise.domain import BlindSession, Grouping, Knowledge, Provenance, Record, Retrieved
from bundlewise.finetune.adapters import Manifest

PROBES = 8
"""The number of probe sessions of each starter domain."""
HINTS = ("", "rarely", "often")
TOLERANCE: dict[str, float] = {"float32": 1e-3, "bfloat16": 0.25}
"""The largest allowed difference of log-odds: float32 rounds sums, bfloat16 also rounds weights to eight bits."""

Weights = Literal["float32", "bfloat16"]
_FROM = Provenance(teacher="probe", prompt="probe", run="probe")
_RULE = Knowledge(id="rule-probe", kind="rule", domain="", text="Put a device and its case together", provenance=_FROM)
_SOLVED = Knowledge(
    id="thought-probe",
    kind="thought",
    domain="",
    text="A case belongs to its device.",
    kinds=("tablet", "tablet case", "batteries"),
    groups=((0, 1),),
    intents=("Protect a new tablet",),
    titles=("Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"),
    provenance=_FROM,
)
KNOWN = Retrieved(records=((_RULE, 1.0),), demonstrations=((_SOLVED, 1.0),))
"""The knowledge of every second probe of whole answers."""


@dataclass(frozen=True)
class Probed:
    """The answers to all probes: log-odds or log-likelihoods, bundles, and intents; a server may give no numbers."""

    log_odds: list[Matrix]
    bundles: list[Grouping]
    intents: list[str]


class Parity(Record):
    """The differences between the answers of two models to the probes."""

    probes: int
    largest_difference: float
    other_bundles: tuple[int, ...]
    other_intents: tuple[int, ...]

    def fault(self, weights: Weights) -> str:
        """Return the first difference that is too large, or an empty text; intents must agree only in float32."""
        if self.other_bundles:
            return f"bundles of probes {', '.join(map(str, self.other_bundles))} differ"
        if self.largest_difference > TOLERANCE[weights]:
            return f"log-odds differ by {self.largest_difference:.3g}, allowed are {TOLERANCE[weights]:g}"
        if self.other_intents and weights == "float32":
            return f"intents of probes {', '.join(map(str, self.other_intents))} differ"
        return ""


def probe(student: Engine, manifest: Manifest) -> Probed:
    """Return the answers to the fixed probes: sessions of the starter data with different knowledge."""
    sessions = [session.blind() for name in STARTERS for session in load(name, "validation")[:PROBES]]
    return (
        _whole(student, sessions, manifest)
        if manifest.answering.form == "write"
        else _judged(student, sessions, manifest)
    )


def _judged(student: Engine, sessions: list[BlindSession], manifest: Manifest) -> Probed:
    pairs = [combinations(range(len(session.items)), 2) for session in sessions]
    hinted = [Retrieved(hints=dict(zip(found, cycle(HINTS), strict=False))) for found in pairs]
    judged = student.judge([judge_prompt(s, r) for s, r in zip(sessions, hinted, strict=True)])
    bundles = [manifest.reading.bundles(j.log_odds, np.zeros_like(j.log_odds)) for j in judged]
    written = student.write([name_prompt(s, (0, 1)) for s in sessions], [intent_grammar()] * len(sessions))
    return Probed([j.log_odds for j in judged], bundles, [text.text.strip() for text in written])


def _whole(student: Engine, sessions: list[BlindSession], manifest: Manifest) -> Probed:
    """Return the likeliest whole answers; the numbers are the log-likelihoods of one bundle, of its products 1 and 2.

    Every second session is shown with a rule and a solved session.
    """
    dials = manifest.answering
    known = [KNOWN if number % 2 else Retrieved() for number in range(len(sessions))]
    prompts = [whole_prompt(s, r, student, dials)[0] for s, r in zip(sessions, known, strict=True)]
    sizes = [len(session.items) for session in sessions]
    written = student.write(prompts, [answer_grammar(size, dials.thinks) for size in sizes])
    answers = [read_answer(text.text, size) for text, size in zip(written, sizes, strict=True)]
    scores = student.score(prompts, [[grouping_text(((0, 1),))]] * len(prompts))
    numbers = [np.array(row) for row in scores] if scores else []
    return Probed(numbers, [answer.groups for answer in answers], [" | ".join(answer.intents) for answer in answers])


def compare(one: Probed, other: Probed) -> Parity:
    """Return the differences between two lists of answers to the probes."""
    differences = [float(np.abs(a - b).max()) for a, b in zip(one.log_odds, other.log_odds, strict=False)]
    return Parity(
        probes=len(one.bundles),
        largest_difference=max(differences, default=0.0),
        other_bundles=tuple(n for n, (a, b) in enumerate(zip(one.bundles, other.bundles, strict=True), 1) if a != b),
        other_intents=tuple(n for n, (a, b) in enumerate(zip(one.intents, other.intents, strict=True), 1) if a != b),
    )
