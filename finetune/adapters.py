"""Adapters and their manifest: what an adapter was made from, checked before it is used."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise import models
from bundlewise.agents.decoding import Calibration
from bundlewise.domain import Record
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import write_text
from bundlewise.prompts.render import student_fingerprint

MANIFEST = "manifest.json"


class Manifest(Record):
    """Everything an adapter depends on."""

    base: str
    base_fingerprint: str
    prompts: str
    policy: dict[str, Any]
    teacher: str | None
    data: str
    sessions: int
    training: dict[str, Any]
    trainable_parameters: int
    calibration: dict[str, float]
    validation_gjs: float | None
    steps: int
    tokens: int
    seconds: float
    final_loss: float

    @property
    def calibrated(self) -> Calibration:
        """How the tuned student's log-odds are read, chosen on validation."""
        return Calibration(**self.calibration)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest last: an adapter without one is not finished."""
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a finished adapter.

    Raises:
        UsageError: the folder holds no finished adapter.
        AdapterError: the manifest cannot be understood.
    """
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"no finished adapter in {folder}; make one: bundlewise finetune --data D -o {folder}")
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise AdapterError(f"{folder / MANIFEST} is damaged; tune the adapter again") from error


def check_fit(folder: Path, base: Path) -> Manifest:
    """Return the manifest of an adapter that fits this base model and these prompts.

    Raises:
        AdapterError: it was trained on another base, or on prompts that have changed since.
    """
    manifest = read_manifest(folder)
    if (found := models.fingerprint_of(base)) != manifest.base_fingerprint:
        raise AdapterError(
            f"the adapter in {folder} belongs to base {manifest.base} ({manifest.base_fingerprint}), "
            f"not to {base.name} ({found}); give --student {manifest.base}"
        )
    if (found := student_fingerprint()) != manifest.prompts:
        raise AdapterError(
            f"the adapter in {folder} was trained on prompts {manifest.prompts}, they are {found} now; "
            "tune it again or restore the templates"
        )
    return manifest
