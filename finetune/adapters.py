"""Adapters and their manifests: a manifest records what an adapter was made from, and is checked before use."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.agents.student.dials import AnswerDials, Form
from bundlewise.agents.student.modes import Utilisation
from bundlewise.agents.student.reading import Reading
from bundlewise.domain import Record
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import sha256_file, write_text
from bundlewise.models.cache import fingerprint_of
from bundlewise.models.fingerprints import chat_template_fingerprint, tokenizer_fingerprint
from bundlewise.models.origin import BaseOrigin
from bundlewise.prompts.library import current
from bundlewise.prompts.render import student_fingerprints

MANIFEST = "manifest.json"
FILES = ("adapter_config.json", "adapter_model.safetensors")


class Manifest(Record):
    """Everything that an adapter depends on, and the results of its training.

    `mode` says how knowledge is used, `policy` which knowledge the prompts hold. `lessons` is a hash of the
    records whose texts were taught. More hashes are those of the base, its tokenizer and its chat template, of
    each prompt template and the code that reads titles, of the annotated data, and of the adapter's files.
    `answering` has the form of the answers that were taught, and their dials. `reading` says how the tuned student's
    judgements become bundles; it is chosen on validation. `origin` says where the base's weights come from, and
    `domains` are those of the sessions; both are for readers, and adapters of before have none.
    """

    mode: Utilisation
    base: str
    base_fingerprint: str
    tokenizer: str
    chat_template: str
    prompts: dict[str, str]
    policy: dict[str, Any]
    teacher: str | None
    data: str
    sessions: int
    training: dict[str, Any]
    seed: int
    files: dict[str, str]
    trainable_parameters: int
    lessons: str = ""
    answering: AnswerDials = AnswerDials()
    reading: Reading
    validation_gjs: float | None
    validations: tuple[tuple[int, float], ...]
    best_step: int
    stopped: str
    steps: int
    tokens: int
    seconds: float
    final_loss: float
    origin: BaseOrigin | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Adapter:
    """A tuned student's adapter: its folder, and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Adapter":
        """Read a finished adapter.

        Raises:
            UsageError: there is none in the folder.
            AdapterError: its manifest cannot be understood.
        """
        return cls(Path(path), read_manifest(Path(path)))

    def __fspath__(self) -> str:
        """Return its folder: it can be given wherever a path to an adapter can."""
        return str(self.path)

    @property
    def validation_gjs(self) -> float | None:
        """The mean GJS that the tuned student reached on validation; None where there was nothing to validate on."""
        return self.manifest.validation_gjs

    def __repr__(self) -> str:
        """Return where it is and how its training went."""
        told, score = self.manifest, self.validation_gjs
        reached = "" if score is None else f", validation GJS {score:.3f}"
        return f"Adapter({self.path}: {told.mode}, {told.sessions} sessions, {told.steps} steps{reached})"


def identity_of(base: Path, form: Form = "pairs") -> dict[str, Any]:
    """Return the part of a manifest that follows from a base and the current prompts of a form."""
    return {
        "base_fingerprint": fingerprint_of(base),
        "tokenizer": tokenizer_fingerprint(base),
        "chat_template": chat_template_fingerprint(base),
        "prompts": student_fingerprints(form),
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; write it last, because an adapter without a manifest is unfinished."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a finished adapter.

    Raises:
        UsageError: the folder holds no finished adapter.
        AdapterError: the manifest is damaged or of an older version.
    """
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"no finished adapter in {folder}; make one: bundlewise finetune --data D -o {folder}")
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise AdapterError(f"{folder / MANIFEST} is damaged, or of an older version; tune the adapter again") from error


def check_fit(folder: Path, base: Path, *, any_prompts: bool = False) -> Manifest:
    """Check an adapter against a base model and, without `any_prompts`, the current prompts; return its manifest.

    Raises:
        AdapterError: it was trained on another base, tokenizer or chat template, the prompts have
            changed since, or its files have changed.
    """
    manifest, found = read_manifest(folder), identity_of(base)
    whose = f"the adapter in {folder}"
    for part, name in (("tokenizer", "tokenizer"), ("chat_template", "chat template"), ("base_fingerprint", "base")):
        if found[part] != (wanted := getattr(manifest, part)):
            raise AdapterError(
                f"{whose} belongs to base {manifest.base} with {name} {wanted}, {base.name} has {found[part]}; "
                f"give --student {manifest.base}, or fetch it again"
            )
    if not any_prompts:
        check_prompts(folder, manifest)
    check_files(folder, manifest)
    return manifest


def check_prompts(folder: Path, manifest: Manifest) -> None:
    """Compare the prompts that a student was tuned on with the current prompts.

    Raises:
        AdapterError: a template, or the code that reads titles, has changed since.
    """
    changed = changed_prompts(manifest)
    if not changed:
        return
    own = current().folder
    whose = f", or leave out those in {own} (--prompts, BUNDLEWISE_PROMPTS)" if own else ""
    raise AdapterError(
        f"the student in {folder} was tuned on other prompts ({', '.join(changed)}); "
        f"tune it again or restore the templates{whose}"
    )


def changed_prompts(manifest: Manifest) -> list[str]:
    """Return what has changed since a student was tuned: names of templates, or `text` for the reading of titles."""
    found, known = student_fingerprints(manifest.answering.form), manifest.prompts
    return sorted(name for name in found.keys() | known.keys() if found.get(name) != known.get(name))


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each existing file of an adapter."""
    return {name: sha256_file(folder / name) for name in FILES if (folder / name).is_file()}


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare an adapter's files with its manifest.

    Raises:
        AdapterError: a file is missing or has changed.
    """
    found = hashes_of(folder)
    for name, wanted in manifest.files.items():
        if name not in found:
            raise AdapterError(f"{folder / name} is missing; copy the whole folder, or tune the adapter again")
        if found[name] != wanted:
            raise AdapterError(
                f"{folder / name} is not the file that was trained (SHA-256 {found[name][:12]}..., the manifest "
                f"says {wanted[:12]}...); copy it again or tune the adapter again"
            )
