"""A GGUF file is a base as any folder: checked, converted once for its content, complete or absent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from gguf.constants import GGMLQuantizationType
from gguf_samples import write_gguf

from bundlewise import cli
from bundlewise.data.sessions import load
from bundlewise.errors import ModelError, UsageError
from bundlewise.finetune.adapters import check_fit
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.students import manifest_for
from bundlewise.finetune.tuning import Tuning
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.models import gguf
from bundlewise.models.cache import MANIFEST, fingerprint_of, models_folder
from bundlewise.models.folders import resolve
from bundlewise.models.gguf_header import GgufHeader


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(cache))


@pytest.fixture(scope="module")
def file(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_student)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def start(file: Path) -> subprocess.Popen[str]:
    """Start another process that resolves a file."""
    code = f"from bundlewise.models.folders import resolve; print(resolve({str(file)!r}))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_the_same_content_is_converted_once_and_other_content_again(file: Path, tiny_student: Path) -> None:
    first = resolve(str(file))
    written = (first / MANIFEST).stat().st_mtime_ns
    elsewhere = shutil.copy(file, file.parent / "elsewhere.GGUF")
    assert resolve(str(elsewhere)) == resolve(str(elsewhere), offline=True) == resolve(str(file)) == first
    assert (first / MANIFEST).stat().st_mtime_ns == written
    told = json.loads((first / MANIFEST).read_text("utf-8"))
    assert (told["name"], told["licence"], told["gguf_sha256"]) == ("tiny.gguf", "apache-2.0", first.name[5:])
    write_gguf(elsewhere, tiny_student, facts={"llama.context_length": 512})
    # A file that lies beside a GGUF file is no part of it.
    (file.parent / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (file.parent / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    other = resolve(str(elsewhere))
    assert other != first and fingerprint_of(other) != fingerprint_of(first)
    weights, same = (json.loads((folder / MANIFEST).read_text("utf-8"))["weights_sha256"] for folder in (other, first))
    assert weights == same


def test_an_adapter_of_a_gguf_base_fits_the_same_content_on_another_path(file: Path, tmp_path: Path) -> None:
    known = [s for s in load("electronics") if len(s.items) <= 4 and s.split == "train"][:2]
    config = TrainingConfig(layers=1, rank=2)
    manifest = Tuning(known, tmp_path / "adapter", config, str(file)).run()
    assert (manifest.base, manifest.base_fingerprint) == (str(file), fingerprint_of(resolve(str(file))))
    moved = shutil.copy(file, tmp_path / "moved.gguf")
    assert manifest_for(str(moved), tmp_path / "adapter") == manifest
    assert check_fit(tmp_path / "adapter", resolve(str(moved))) == manifest
    assert Tuning(known, tmp_path / "adapter", config, str(moved)).run() == manifest


def test_two_processes_at_once_convert_once(file: Path, empty: Path) -> None:
    answers = [child.communicate()[0].strip() for child in [start(file), start(file)]]
    assert answers == [str(resolve(str(file), offline=True))] * 2
    assert [path.name for path in empty.iterdir()] == [Path(answers[0]).name]


def test_a_killed_conversion_ends_its_worker_and_leaves_nothing_that_is_taken_for_whole(
    file: Path, empty: Path
) -> None:
    child = start(file)
    process = psutil.Process(child.pid)
    while not (workers := process.children()):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    with pytest.raises(ModelError, match="run `bundlewise models fetch"):
        resolve(str(file), offline=True)
    assert resolve(str(file)).is_dir()
    assert len([path for path in empty.iterdir() if path.suffix != ".lock"]) == 1


def test_a_file_without_a_language_model_is_refused_and_leaves_nothing(tiny_student: Path, empty: Path) -> None:
    picture = write_gguf(empty.parent.parent / "mmproj.gguf", tiny_student, facts={"general.architecture": "clip"})
    with pytest.raises(ModelError, match=r"mmproj\.gguf holds a model of the family 'clip', which transformers cannot"):
        resolve(str(picture))
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(("name", "splits"), [("big-00001-of-00003.gguf", 1), ("first.gguf", 3)])
def test_a_part_of_a_model_is_refused(tiny_student: Path, tmp_path: Path, name: str, splits: int) -> None:
    part = write_gguf(tmp_path / name, tiny_student, facts={"split.count": splits})
    with pytest.raises(ModelError, match=r"is one of 3 parts of a model; join them with llama\.cpp"):
        resolve(str(part))


def test_a_file_that_is_cut_short_is_refused_before_the_conversion(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[:-100])
    with pytest.raises(ModelError, match=rf"cut short: it has {len(content) - 100:,} of {len(content):,} bytes"):
        resolve(str(tmp_path / "cut.gguf"))


@pytest.mark.parametrize(("kind", "name"), [(99, "99"), (GGMLQuantizationType.Q8_K, "Q8_K")])
def test_a_quantisation_that_cannot_be_undone_is_refused(file: Path, tmp_path: Path, kind: int, name: str) -> None:
    content, place = bytearray(file.read_bytes()), file.read_bytes().index(b"blk.0.ffn_up.weight")
    after = place + len("blk.0.ffn_up.weight") + 4 + 2 * 8
    content[after : after + 4] = int(kind).to_bytes(4, "little")
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=f"has the quantisation {name}, which cannot be undone here; give the model"):
        resolve(str(tmp_path / "odd.gguf"))


def test_a_file_without_weights_is_refused(tiny_student: Path, file: Path, tmp_path: Path) -> None:
    none = {tensor.name: None for tensor in GgufHeader.read(file).tensors}
    vocabulary = write_gguf(tmp_path / "vocabulary.gguf", tiny_student, tensors=none)
    with pytest.raises(ModelError, match="holds no weights"):
        resolve(str(vocabulary))


def test_too_little_memory_or_space_is_told_first(file: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "BESIDE_WEIGHTS", 10**18)
    with pytest.raises(ModelError, match=r"tiny\.gguf needs 10{12} MB in .*; free space or set"):
        resolve(str(file))
    monkeypatch.setattr(gguf, "PROGRAM", 1e15)
    with pytest.raises(ModelError, match=r"tiny\.gguf takes 1000000\.0 GB of memory, .* close other programs"):
        resolve(str(file))
    assert list(empty.iterdir()) == []


def test_a_path_that_leads_to_no_gguf_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file models/none\.gguf"):
        resolve("models/none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(UsageError, match=r"holds no config\.json; give a folder .* or a GGUF file"):
        resolve(str(tmp_path / "folder.gguf"))
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ModelError, match=r"notes\.txt is no GGUF file"):
        resolve(str(tmp_path / "notes.txt"))
    with pytest.raises(UsageError, match=r"is a file, not an embedder"):
        Embedder.named(str(tmp_path / "notes.txt"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return int(end.value.code or 0), *capsys.readouterr()


def test_the_command_line_answers_with_a_gguf_file_and_lists_its_conversion(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "generate", "--student", file, "--items", "Wireless mouse", "Mouse pad", "Garden hose")
    assert code == 0 and "given: 3 products" in out
    folder = resolve(str(file), offline=True)
    assert run(capsys, "models", "path", file) == (0, f"{folder}\n", "")
    rows = json.loads(run(capsys, "models", "list", "--json")[1])
    (row,) = (row for row in rows if row["path"] == str(folder))
    assert (row["name"], row["role"], row["fetched"]) == ("tiny.gguf", "student", True)
    assert row.keys() == rows[0].keys()
    assert f"tiny.gguf  student  converted  0 MB  {folder}" in run(capsys, "models", "list")[1]
    (file.parent / "broken.gguf").write_bytes(b"GGUF")
    code, _, err = run(capsys, "generate", "--student", file.parent / "broken.gguf", "--items", "Mouse", "Pad")
    assert code == 1 and "broken.gguf is cut short or damaged" in err
    assert models_folder() in folder.parents
