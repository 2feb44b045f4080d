"""`bundlewise doctor`: check this machine, and print a remedy for each fault."""

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from bundlewise.extras import EXTRAS, missing_from
from bundlewise.models.cache import OTHER_CACHE
from bundlewise.models.folders import is_cached
from bundlewise.models.known import MULTILINGUAL, USUAL, KnownModel
from bundlewise.settings import cache_folder, quiet_libraries
from bundlewise.terminal import styled

if TYPE_CHECKING:
    from bundlewise.finetune.config import Preset
    from bundlewise.models.memory import Format

COMFORTABLE_MEMORY = 4e9
"""Bytes of free memory that are ample for tuning the default student."""
SMALLEST_MEMORY = 1.5e9
"""Bytes of free memory below which even answering with the default student does not fit."""


@dataclass(frozen=True)
class Check:
    """One finding; the remedy is empty when all is well."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def diagnose() -> list[Check]:
    """Return every finding about this machine; this takes some seconds, most of them for imports."""
    quiet_libraries()
    checks: list[Callable[[], list[Check]]]
    checks = [check_python, check_torch, check_memory, check_presets, check_disk, check_models, check_key, check_chroma]
    checks.append(check_extras)
    return [finding for check in checks for finding in check()]


def check_python() -> list[Check]:
    """Report the interpreter; it is recent enough, since an older one cannot import this module."""
    return [Check("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]


def check_torch() -> list[Check]:
    """Import torch, name its device and compare its number formats."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Check("torch", "fail", f"cannot be imported: {error}", "run `pip install torch`")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.cuda.get_device_name() if device == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    return [Check("torch", "ok", f"{torch.__version__} on {place}"), check_bfloat16(device)]


def check_bfloat16(device: str) -> Check:
    """Report whether bfloat16 is faster than float32 on a device; this takes under a second."""
    import torch

    speedup = products_per_second(torch.bfloat16, device) / products_per_second(torch.float32, device)
    found = f"matrix products run {speedup:.1f} times as fast as in float32"
    if speedup >= 1:
        return Check("bfloat16", "ok", found)
    return Check("bfloat16", "warn", found, "tuning is slow here: use a CPU with AMX, or a GPU")


def products_per_second(dtype: Any, device: str, seconds: float = 0.2) -> float:
    """Measure how many products of the default student's feed-forward shape run in a second."""
    import torch

    left = torch.randn(256, 576).to(device, dtype)
    right = torch.randn(576, 1536).to(device, dtype)
    (left @ right).sum().item()  # the first product pays for set-up
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not done:
        (left @ right)[0, 0].item()  # waits for the device
        done += 1
    return done / elapsed


def check_memory() -> list[Check]:
    """Compare the free memory with what the default student needs."""
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
    if memory.available >= COMFORTABLE_MEMORY:
        return [Check("memory", "ok", found)]
    status: Literal["warn", "fail"] = "warn" if memory.available >= SMALLEST_MEMORY else "fail"
    return [Check("memory", status, found, "close other programs, or lower the batch size when tuning")]


def check_presets() -> list[Check]:
    """Report for each preset whether tuning it, or at least answering with it, fits into the free memory."""
    try:
        import torch

        from bundlewise.agents.student.load import preferred_dtype
    except (ImportError, OSError):
        return []  # check_torch reports this fault.
    from bundlewise.finetune.config import PRESETS
    from bundlewise.models import memory

    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain: memory.Format = "bfloat16" if preferred_dtype() is torch.bfloat16 else "float32"
    return [check_preset(preset, memory.free_bytes(device), device, plain) for preset in PRESETS.values()]


def check_preset(preset: "Preset", free: float, device: str, plain: "Format") -> Check:
    """Compare the memory that a preset needs, in the number format of this machine, with the free memory."""
    weights: Format = "four_bit" if preset.config.four_bit else plain
    tuning, serving = preset.tuning_bytes(weights), preset.serving_bytes(weights)
    found = f"{preset.student} in {weights}: tuning takes {tuning / 1e9:.1f} GB, answering {serving / 1e9:.1f} GB"
    if preset.config.four_bit and device != "cuda":
        return Check(f"preset {preset.name}", "warn", found, "four bits need a GPU; choose a smaller preset here")
    if tuning <= free:
        return Check(f"preset {preset.name}", "ok", found)
    remedy = f"{free / 1e9:.1f} GB are free; " + ("only answer with it here" if serving <= free else "choose tiny")
    return Check(f"preset {preset.name}", "warn", found, remedy)


def check_disk() -> list[Check]:
    """Compare the free space of the cache folder with the size of the models that are not fetched yet."""
    folder = cache_folder()
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.is_dir())
    free = shutil.disk_usage(there).free
    needed = sum(2 * model.size for model in USUAL if not is_cached(model.name))
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if not os.access(there, os.W_OK):
        return [Check("disk", "fail", f"{folder} cannot be written", OTHER_CACHE)]
    if free < needed:
        return [Check("disk", "fail", f"{found}, {needed / 1e9:.1f} GB needed", OTHER_CACHE)]
    return [Check("disk", "ok", found)]


def check_models() -> list[Check]:
    """Report which of the usual models are fetched."""
    return [check_model(model) for model in USUAL]


def check_model(model: KnownModel) -> Check:
    """Report whether a known model is fetched, and its folder."""
    name = f"{model.role} {model.name}"
    if is_cached(model.name):
        language = f"for English, other languages: {MULTILINGUAL}, " if model.role == "embedder" else ""
        return Check(name, "ok", f"fetched, {language}{model.folder}")
    return Check(name, "warn", "not fetched yet", f"run `bundlewise models fetch {model.name}`")


def check_key() -> list[Check]:
    """Report whether a key for `openai:` models is set; no part of the key leaves this function."""
    if os.environ.get("OPENAI_API_KEY"):
        return [Check("OPENAI_API_KEY", "ok", "set")]
    remedy = "the built-in teacher and student work without a key; set it only for OpenAI-compatible endpoints"
    return [Check("OPENAI_API_KEY", "warn", "not set", remedy)]


def check_chroma() -> list[Check]:
    """Write two vectors to a Chroma store in a temporary folder and find the nearer one."""
    remedy = "run `pip install --force-reinstall chromadb`"
    try:
        import chromadb
        from chromadb.errors import ChromaError
    except (ImportError, RuntimeError) as error:  # a RuntimeError: an SQLite that is too old
        return [Check("Chroma", "fail", f"cannot be imported: {error}", remedy)]
    try:
        nearest = nearest_in_new_store(chromadb)
    except (ChromaError, OSError, RuntimeError, ValueError) as error:
        return [Check("Chroma", "fail", f"cannot open a store: {error}", remedy)]
    if nearest != "a":
        return [Check("Chroma", "fail", f"finds {nearest} where a is nearest", remedy)]
    return [Check("Chroma", "ok", f"{chromadb.__version__} stores and finds vectors")]


def nearest_in_new_store(chromadb: Any) -> str:
    """Return the id that a new store finds for a vector nearest to `a`."""
    with tempfile.TemporaryDirectory(prefix="bundlewise-", ignore_cleanup_errors=True) as folder:
        client = chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False))
        collection = client.create_collection("doctor", embedding_function=None)
        collection.upsert(ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
        found = collection.query(query_embeddings=[[0.9, 0.1]], n_results=1)
        client.close()
    return str(found["ids"][0][0])


def check_extras() -> list[Check]:
    """Report which extras are installed, and how to install the others."""
    absent = [extra for extra in EXTRAS if missing_from(extra)]
    found = f"installed: {', '.join(extra for extra in EXTRAS if extra not in absent) or 'none'}"
    if not absent:
        return [Check("extras", "ok", found)]
    return [Check("extras", "warn", found, f'for more, run `pip install "bundlewise[{",".join(absent)}]"`')]


COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this machine, and print a remedy for each fault.

    The exit code is 1 when a check fails. Keys are never printed.
    """
    checks = diagnose()
    works = all(check.status != "fail" for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": works, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        for check in checks:
            styled((f"{check.status:<6}", {"fg": COLOURS[check.status]}), (line(check), {}))
    ctx.exit(0 if works else 1)


def line(check: Check) -> str:
    """Return a finding as one line, with its remedy on the next."""
    remedy = f"\n{'':<6}-> {check.remedy}" if check.remedy else ""
    return f"{check.name:<22}{check.found}{remedy}"
