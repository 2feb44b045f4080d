"""Publish a student: merge adapter and base into one model, and check that it gives the same answers."""

import shutil
from pathlib import Path
from typing import Any

from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.errors import ModelError, UsageError
from bundlewise.files import only_process, write_json
from bundlewise.finetune.adapters import MANIFEST, check_fit
from bundlewise.finetune.card import FACTS, write_card
from bundlewise.finetune.parity import Parity, Weights, compare, probe
from bundlewise.scratch import follow_umask, scratch_folder

PARITY = "parity.json"


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
        for name in (MANIFEST, FACTS):
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, ready / name)
        parity = compare(before, probe(StudentEngine(*load_causal_lm(ready, exact=exact)), manifest))
        if fault := parity.fault(weights):
            raise ModelError(f"not published: merged in {weights}, {fault}; {_remedy(weights)}")
        write_json(ready / PARITY, parity.model_dump() | {"weights": weights})
        write_card(ready, manifest, published=True)
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
