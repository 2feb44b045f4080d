"""What every test shares: no network, quiet libraries, the real models where fetched, a tiny student."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # The processes that run tests share the cores. Read when torch and numpy are imported, here and in commands.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

from bundlewise.data.sessions import load, write_sessions
from bundlewise.domain import Session
from bundlewise.errors import ModelError
from bundlewise.finetune.config import PRESETS, TrainingConfig
from bundlewise.models import folders, known
from bundlewise.models.cache import MANIFEST
from bundlewise.settings import quiet_libraries

quiet_libraries()
os.environ["HF_HUB_OFFLINE"] = "1"
# Taken by glibc when a process starts, so these reach the command lines that the tests start.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))
# A shell ignores Ctrl-C for what it runs in the background, and nohup a hang-up; whatever they start inherits it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Tests are not timed: machines are slow and busy, and the same examples every time make a failure repeatable.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "Wireless mouse with USB receiver",
    "Mechanical keyboard, black",
    "Laptop sleeve, 15 in",
    "A B - C",
    " yes no",
]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Block the network but for this machine; the marker `enable_socket` opens it for a test."""
    if not item.get_closest_marker("enable_socket"):
        socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


def pytest_collection_finish() -> None:
    """Let later searches for garbage, half a second each, leave out what importing and collecting made."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared data beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Return the folder of the default student."""
    return fetched("smollm2-135m")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Return the folder of the default embedder."""
    return fetched("minilm")


def fetched(name: str) -> Path:
    try:
        return folders.resolve(name, offline=True)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random Llama of two layers with a byte-level tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-student")
    tokens = save_tiny_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokens["<|im_start|>"],
        eos_token_id=tokens["<|im_end|>"],
        pad_token_id=tokens["<|im_end|>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_tiny_tokenizer(folder: Path) -> dict[str, int]:
    """Train and save a byte-level BPE tokenizer that can write any text; return its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = unk, bos, eos = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    roles = {"unk_token": unk, "bos_token": bos, "eos_token": eos, "pad_token": eos}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return tokenizer.get_vocab(with_added_tokens=True)


def few_sessions(name: str, counts: Mapping[str, int], products: int = 6) -> list[Session]:
    """Return the first annotated sessions of each split of data that have 3 to so many products."""
    known = [s for s in load(name) if 3 <= len(s.items) <= products and s.bundles]
    return [s for split, count in counts.items() for s in [s for s in known if s.split == split][:count]]


def make_small_world(folder: Path, student: Path, embedder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let examples run as they stand in a folder: the default student is a tiny one, electronics has few sessions."""
    cache = folder / "cache" / "models"
    place = cache / known.SMOLLM2.folder.name
    shutil.copytree(student, place)
    (place / MANIFEST).write_text('{"fingerprint": "tiny"}', encoding="utf-8")
    (cache / known.MINILM.folder.name).symlink_to(embedder)
    write_sessions(folder / "electronics.jsonl", few_sessions("electronics", {"train": 8, "validation": 2, "test": 2}))
    patch.setenv("BUNDLEWISE_CACHE", str(folder / "cache"))
    patch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], config=TrainingConfig(layers=1, rank=2)))
    patch.setattr("bundlewise.data.sessions.starter_path", lambda _: folder / "electronics.jsonl")
    patch.chdir(folder)


@pytest.fixture
def small_world(tiny_student: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder where examples run as they stand; see `make_small_world`."""
    make_small_world(tmp_path, tiny_student, minilm, monkeypatch)
    return tmp_path
