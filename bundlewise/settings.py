"""Folders on this machine, and settings of libraries."""

import os
import warnings
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the folder for fetched models: BUNDLEWISE_CACHE, or the user's cache folder."""
    given = os.environ.get("BUNDLEWISE_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("bundlewise"))


def quiet_libraries() -> None:
    """Turn off telemetry and messages of libraries; call it before torch, transformers or Chroma are imported."""
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # peft uses a name of transformers that is deprecated.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
