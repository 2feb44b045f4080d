"""Load students by name: a base with or without an adapter, a published student, or a student on a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlewise.agents.student.dials import AnswerDials, Form, form_for
from bundlewise.agents.student.engine import Engine, StudentEngine
from bundlewise.agents.student.reading import Reading
from bundlewise.errors import AdapterError, BundlewiseError, ModelError, UsageError
from bundlewise.extras import require
from bundlewise.finetune.adapters import MANIFEST, Manifest, check_fit, check_prompts, read_manifest
from bundlewise.finetune.config import PRESETS
from bundlewise.models.cache import fingerprint_of
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import resolve
from bundlewise.models.gguf import LLAMA
from bundlewise.models.llama import is_llama, weights_of
from bundlewise.models.memory import ModelShape


@dataclass(frozen=True)
class StudentModel:
    """A student's engine, the manifest of its tuning, and the fingerprint of its weights.

    `base` is the folder whose tokenizer counts tokens; None for a student on a server.
    """

    engine: Engine
    manifest: Manifest | None
    base: Path | None
    fingerprint: str

    @property
    def dials(self) -> AnswerDials:
        """The dials of answering that the student was tuned with; those of its base's form without tuning."""
        return self.manifest.answering if self.manifest else AnswerDials(form=_form_of(self.base))

    @property
    def reading(self) -> Reading:
        """The reading, which turns the student's judgements into bundles; an untuned student has the default."""
        return self.manifest.reading if self.manifest else Reading()


def manifest_for(name: str, adapter: Path | None, *, any_prompts: bool = False) -> Manifest | None:
    """Return the manifest of a student without loading a model; None for an untuned student.

    For a student on a server, `adapter` is the folder into which it was tuned or published. With
    `any_prompts` the prompts may have changed since the tuning; see `changed_prompts`.

    Raises:
        AdapterError: the adapter does not fit the base or its engine, or the prompts have changed since.
    """
    if is_llama(name) and adapter is not None:
        raise AdapterError(
            f"{name} runs the weights in its file, to which the adapter {adapter} cannot be added; "
            f"leave out {LLAMA} or --adapter"
        )
    if is_served(name):
        folder = adapter
    else:
        base = resolve(name)
        if adapter is not None:
            return check_fit(adapter, base, any_prompts=any_prompts)
        folder = base if (base / MANIFEST).is_file() else None
    if folder is None:
        return None
    manifest = read_manifest(folder)
    if not any_prompts:
        check_prompts(folder, manifest)
    return manifest


def open_model(name: str, adapter: Path | None, manifest: Manifest | None) -> StudentModel:
    """Load a student, or connect to its server."""
    if is_served(name):
        from bundlewise.agents.student.remote import RemoteStudent

        opening = opening_of(adapter, manifest) if adapter and manifest else ""
        return StudentModel(RemoteStudent.named(name, opening), manifest, None, name)
    if is_llama(name):
        return _in_llama(name)
    base = resolve(name)
    # The manifest of a fitting adapter has the base's fingerprint, which saves reading the weights once more.
    known = manifest.base_fingerprint if manifest and adapter else fingerprint_of(base)
    return StudentModel(StudentEngine.load(base, adapter), manifest, base, known)


def _in_llama(name: str) -> StudentModel:
    from bundlewise.agents.student.llama_engine import LlamaEngine

    require("llama", f"the student {name}")
    weights, base = weights_of(name), resolve(name)
    # Its answers differ from those of the converted weights, so what is kept of these is not taken for them.
    return StudentModel(LlamaEngine.load(weights, base), None, base, f"{LLAMA}{fingerprint_of(base)}")


def answer_dials(name: str, manifest: Manifest | None, given: dict[str, Any]) -> AnswerDials:
    """Return the dials of a student: those given, then those of its tuning, then the form that suits its base.

    Raises:
        UsageError: a dial has a value that is not allowed.
        AdapterError: the student was tuned in another form.
    """
    named = {key: value for key, value in given.items() if value is not None}
    usual = manifest.answering if manifest else AnswerDials.of(form=named.get("form") or own_form(name))
    found = AnswerDials.of(**usual.model_dump() | named)
    if found.form == "pairs" and (idle := [key for key in ("samples", "reasoning") if key in named]):
        raise UsageError(f"{idle[0]} belongs to the form write, and this student judges pairs; leave it out")
    if "recall" in named and found.aim != "precision":
        raise UsageError("recall belongs to the aim precision; add --aim precision, or leave it out")
    for key in ("form", "reasoning"):
        if manifest and getattr(found, key) != getattr(usual, key):
            tuned = f"the student was tuned with {key} {getattr(usual, key)}, not {getattr(found, key)}"
            raise AdapterError(f"{tuned}; leave {key} out, or tune another adapter")
    return found


def own_form(name: str) -> Form:
    """Return the form of answers that suits a student's base; the bases of presets need not be on this machine.

    Raises:
        ModelError: there is no such base.
    """
    if name in (shapes := {preset.student: preset.shape for preset in PRESETS.values()}):
        return form_for(shapes[name].parameters)
    return _form_of(None if is_served(name) else resolve(name))


def _form_of(base: Path | None) -> Form:
    shape = ModelShape.of(base) if base else None
    return form_for(shape.parameters if shape else None)


def opening_of(folder: Path, manifest: Manifest) -> str:
    """Return the text that must precede each text sent to a server of this student.

    It is the token that opens a document, as in training; empty if the tokenizer adds the token by itself.

    Raises:
        ModelError: the folder has no tokenizer, and its base is not on this machine.
    """
    from transformers import AutoTokenizer

    try:
        is_whole = (folder / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(folder if is_whole else resolve(manifest.base, offline=True))
    except (BundlewiseError, OSError, ValueError) as error:
        remedy = f"give --adapter the published folder, or run `bundlewise models fetch {manifest.base}`"
        what = f"cannot find out how the texts of {folder} begin: its base is not on this machine"
        raise ModelError(f"{what}; {remedy}") from error
    adds_it = tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]
    return "" if adds_it else tokenizer.bos_token or ""
