"""Push an adapter or a published student to the model hub, in a form that holds nothing of this machine."""

import json
import shutil
from pathlib import Path

from bundlewise.errors import ModelError, UsageError
from bundlewise.files import write_json
from bundlewise.finetune.adapters import FILES, Manifest, check_files, hashes_of, read_manifest, write_manifest
from bundlewise.finetune.card import CARD, write_card
from bundlewise.finetune.checkpoint import CHECKPOINT
from bundlewise.finetune.publish import PARITY
from bundlewise.models.folders import HUB_ID
from bundlewise.scratch import scratch_folder
from bundlewise.settings import cache_folder, quiet_libraries

CONFIG = FILES[0]


def push(folder: Path, repository: str, *, private: bool = False, licence: str = "", revision: str = "main") -> str:
    """Upload a student's folder to a repository of the hub, which is made if it is missing; return its address.

    huggingface_hub does it: the token is that of `hf auth login` or HF_TOKEN, and HF_ENDPOINT names another hub.

    Args:
        folder: a finished adapter or a published student.
        repository: its id, OWNER/NAME.
        private: whether a new repository can be seen only by its owner.
        licence: the licence on the card; by default the one that was given before, else that of the base.
        revision: the branch to write to.

    Raises:
        UsageError: the folder holds no student, or the id is none.
        AdapterError: a file of the adapter has changed since the training.
        ModelError: the hub cannot be reached or refuses; the message holds its reason.
    """
    if not HUB_ID.fullmatch(repository):
        raise UsageError(f"{repository!r} is no id of a repository; write OWNER/NAME")
    manifest = read_manifest(folder)
    if not is_published(folder):
        check_files(folder, manifest)
    with scratch_folder(cache_folder() / "push") as work:
        copied = prepared(folder, work / "ready", manifest, repository, licence)
        return _upload(copied, repository, private, revision)


def is_published(folder: Path) -> bool:
    """Say whether a folder holds a published student: adapter and base in one."""
    return (folder / PARITY).is_file()


def prepared(folder: Path, ready: Path, manifest: Manifest, repository: str, licence: str = "") -> Path:
    """Copy a student for the hub: without hidden files, checkpoints and paths of this machine, and with its card.

    An adapter whose base is not on the hub names no base to load, and its card says how to get it. A card that was
    edited by hand is replaced.
    """
    skipped = shutil.ignore_patterns(".*", CHECKPOINT)
    shutil.copytree(folder, ready, ignore=skipped)
    origin = manifest.origin
    changes: dict[str, object] = {"base": origin.hub or origin.name if origin else Path(manifest.base).name}
    if not is_published(folder):
        settings = json.loads((ready / CONFIG).read_text("utf-8"))
        if not (origin and origin.hub):
            write_json(ready / CONFIG, settings | {"base_model_name_or_path": "", "revision": None})
        changes["files"] = hashes_of(ready)
    told = manifest.model_copy(update=changes)
    (ready / CARD).unlink(missing_ok=True)
    write_card(ready, told, published=is_published(folder), licence=licence, place=repository)
    write_manifest(ready, told)
    return ready


def _upload(folder: Path, repository: str, private: bool, revision: str) -> str:
    quiet_libraries()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    hub = HfApi()
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        if revision != "main":
            hub.create_branch(repository, branch=revision, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=folder, revision=revision, commit_message="Upload a student of bundlewise"
        )
    except HfHubHTTPError as error:
        remedy = "log in (`hf auth login`, or set HF_TOKEN) with the right to write there"
        raise ModelError(f"the hub refuses {repository}: {_first(error)}; {remedy}") from error
    except (HTTPError, OSError, ValueError) as error:
        raise ModelError(f"cannot push to {repository}: {_first(error)}; check the network and HF_ENDPOINT") from error
    return str(address)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
