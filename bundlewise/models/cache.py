"""The cache of models: a folder in it is made once, by one process at a time, and is complete or absent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundlewise.errors import ModelError
from bundlewise.files import sha256_file, write_json
from bundlewise.locks import held
from bundlewise.models.fingerprints import content_fingerprint
from bundlewise.scratch import follow_umask, scratch_folder
from bundlewise.settings import cache_folder

MANIFEST = "bundlewise-model.json"
OTHER_CACHE = "free space or set BUNDLEWISE_CACHE to another folder"
WEIGHTS = "model.safetensors"
Make = Callable[[Path, Path], dict[str, str]]
"""Makes a model: it gets an empty folder to work in and the path of the folder to make, and returns its facts."""


def models_folder() -> Path:
    """Return the folder that holds the fetched and converted models."""
    return cache_folder() / "models"


def is_complete(folder: Path) -> bool:
    """Say whether a folder of the cache is there; its manifest is written last."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a complete folder of the cache."""
    return dict(json.loads((folder / MANIFEST).read_text("utf-8")))


def fingerprint_of(folder: Path) -> str:
    """Return 12 hex digits that change with the configuration, the weights or the tokenizer."""
    # Only the manifest in our own cache is trusted; a copy elsewhere may have been edited.
    if folder.parent == models_folder() and is_complete(folder):
        return str(read_manifest(folder)["fingerprint"])
    return content_fingerprint(folder)


def folder_bytes(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk."""
    return sum(path.stat().st_size for path in folder.rglob("*"))


def provide(folder: Path, name: str, size: float, make: Make) -> Path:
    """Make a folder of the cache unless it is there; a second process waits for the first.

    Args:
        folder: the folder in the cache.
        name: what the user calls the model.
        size: the bytes that are needed on the disk while it is made.
        make: makes it; see `Make`.

    Raises:
        ModelError: the space is missing, the cache cannot be written, or `make` fails.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.parent / f"{folder.name}.lock", wait=True):
            if not is_complete(folder):
                shutil.rmtree(folder, ignore_errors=True)  # A killed process left it; this process holds the lock.
                require_space(folder.parent, name, size)
                _make(folder, make)
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error.strerror or error}; {OTHER_CACHE}") from error
    return folder


def _make(folder: Path, make: Make) -> None:
    """Make a folder in a hidden sibling, then rename it in one step."""
    with scratch_folder(folder) as work:
        ready = work / "ready"
        write_manifest(ready, make(work, ready))
        follow_umask(ready)
        ready.replace(folder)


def write_manifest(folder: Path, facts: dict[str, str]) -> None:
    """Write the content and origin of a folder; write it last, because it marks the folder as complete."""
    hashes = {"weights_sha256": sha256_file(folder / WEIGHTS), "fingerprint": content_fingerprint(folder)}
    write_json(folder / MANIFEST, facts | hashes)


def require_space(folder: Path, name: str, size: float) -> None:
    """Raise a ModelError if the disk of a folder lacks so many bytes for making a model."""
    if (free := shutil.disk_usage(folder).free) < size:
        raise ModelError(f"{name} needs {size / 1e6:.0f} MB in {folder}, got {free / 1e6:.0f} MB; {OTHER_CACHE}")
