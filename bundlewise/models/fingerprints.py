"""Fingerprints of models: short hashes of what a model's folder holds, by which a change is noticed."""

import json
from pathlib import Path
from typing import Any

from bundlewise.errors import ModelError
from bundlewise.files import fingerprint, sha256_file

CONTENT = ["config.json", "*.safetensors", "pytorch*.bin", "tokenizer*", "vocab*", "merges.txt", "*.jinja"]
TOKENIZER = ["tokenizer.json", "tokenizer.model", "vocab*", "merges.txt"]
SETTINGS = {"config.json", "tokenizer_config.json", "config_sentence_transformers.json"}
# Libraries write these keys about themselves; the same weights converted by two versions are one model.
VOLATILE = {"transformers_version", "is_local", "local_files_only", "_name_or_path", "__version__"}


def content_fingerprint(folder: Path) -> str:
    """Return 12 hex digits that change with the configuration, the weights or the tokenizer."""
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
