"""Publish a student: merge adapter and base into one model, and check that it gives the same answers."""

import shutil
from dataclasses import dataclass
from itertools import combinations, cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bundlewise.agents.student.answers import intent_grammar
from bundlewise.agents.student.compose import judge_prompt, name_prompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.engine import Engine, StudentEngine
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.data.sessions import STARTERS, load
from bundlewise.domain import Grouping, Record, Retrieved
from bundlewise.errors import ModelError, UsageError
from bundlewise.files import only_process, write_json
from bundlewise.finetune.adapters import MANIFEST, Manifest, check_fit
from bundlewise.scratch import follow_umask, scratch_folder

PARITY = "parity.json"
PROBES = 8
"""The number of probe sessions of each starter domain."""
HINTS = ("", "rarely", "often")
TOLERANCE: dict[str, float] = {"float32": 1e-3, "bfloat16": 0.25}
"""The largest allowed difference of log-odds: float32 rounds sums, bfloat16 also rounds weights to eight bits."""

Weights = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Probed:
    """The answers to all probes: log-odds, bundles decoded from them, and intents."""

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
    """Return the answers to the fixed probes: sessions of the starter data with different hints."""
    sessions = [session.blind() for name in STARTERS for session in load(name, "validation")[:PROBES]]
    pairs = [combinations(range(len(session.items)), 2) for session in sessions]
    hinted = [Retrieved(hints=dict(zip(found, cycle(HINTS), strict=False))) for found in pairs]
    judged = student.judge([judge_prompt(s, r) for s, r in zip(sessions, hinted, strict=True)])
    bundles = [manifest.reading.bundles(j.log_odds, np.zeros_like(j.log_odds)) for j in judged]
    written = student.write([name_prompt(s, (0, 1)) for s in sessions], [intent_grammar()] * len(sessions))
    return Probed([j.log_odds for j in judged], bundles, [text.text.strip() for text in written])


def compare(one: Probed, other: Probed) -> Parity:
    """Return the differences between two lists of answers to the probes."""
    differences = [float(np.abs(a - b).max()) for a, b in zip(one.log_odds, other.log_odds, strict=True)]
    return Parity(
        probes=len(differences),
        largest_difference=max(differences),
        other_bundles=tuple(n for n, (a, b) in enumerate(zip(one.bundles, other.bundles, strict=True), 1) if a != b),
        other_intents=tuple(n for n, (a, b) in enumerate(zip(one.intents, other.intents, strict=True), 1) if a != b),
    )


def publish(adapter: Path, base: Path, output: Path, weights: Weights = "float32") -> Parity:
    """Write adapter and base as one model with its tokenizer, if the model answers the probes in the same way.

    Raises:
        UsageError: the output folder exists.
        AdapterError: the adapter does not fit the base.
        ModelError: the merged model answers differently; it is removed.
    """
    manifest = check_fit(adapter, base)
    if output.exists() or output.is_symlink():
        raise UsageError(f"{output} exists; choose another folder or remove it")
    with only_process(output), scratch_folder(output) as work:
        ready = work / "ready"
        # A machine that prefers bfloat16 rounds both models differently, though their weights are equal.
        exact = weights == "float32"
        before = probe(_through_adapter(adapter, base, exact), manifest)
        _merge(adapter, base, ready, weights)
        shutil.copyfile(adapter / MANIFEST, ready / MANIFEST)
        parity = compare(before, probe(StudentEngine(*load_causal_lm(ready, exact=exact)), manifest))
        if fault := parity.fault(weights):
            raise ModelError(f"not published: merged in {weights}, {fault}; {_remedy(weights)}")
        write_json(ready / PARITY, parity.model_dump() | {"weights": weights})
        follow_umask(ready)
        ready.replace(output)
    return parity


def _remedy(weights: Weights) -> str:
    if weights == "bfloat16":
        return "publish in float32"
    return "tune again with a lower learning rate, or serve the adapter beside its base"


def _through_adapter(adapter: Path, base: Path, exact: bool) -> StudentEngine:
    """Return the student as it was tuned: the adapter is applied beside the weights, without merging."""
    from peft import PeftModel

    model, tokenizer = load_causal_lm(base, exact=exact)
    tuned = PeftModel.from_pretrained(model, str(adapter), local_files_only=True).eval()
    return StudentEngine(tuned.get_base_model(), tokenizer)


def _merge(adapter: Path, base: Path, folder: Path, weights: Weights) -> None:
    import torch

    engine = StudentEngine.load(base, adapter, exact=weights == "float32")
    model: Any = engine.model
    model.to(getattr(torch, weights)).save_pretrained(folder)
    engine.tokenizer.save_pretrained(folder)
