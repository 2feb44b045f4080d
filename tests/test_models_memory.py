"""Memory estimates: parameters as published, and a refusal before anything is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bundlewise.agents.student.load import four_bit_settings, load_causal_lm
from bundlewise.commands.doctor import check_preset
from bundlewise.errors import ModelError, UsageError
from bundlewise.finetune.config import PRESETS, preset_named
from bundlewise.finetune.lora import with_lora
from bundlewise.models import memory
from bundlewise.models.memory import ModelShape, require_memory, serving_bytes, tuning_bytes

PUBLISHED = {"tiny": 134.5e6, "small": 494e6, "base": 4.02e9, "large": 8.03e9}


@pytest.mark.parametrize("name", PRESETS)
def test_the_parameters_of_a_preset_are_those_its_makers_publish(name: str) -> None:
    assert PRESETS[name].shape.parameters == pytest.approx(PUBLISHED[name], rel=2e-3)


def test_a_shape_read_from_a_folder_counts_what_the_loaded_model_has(tiny_student: Path) -> None:
    model, _ = load_causal_lm(tiny_student)
    shape = ModelShape.of(tiny_student)
    assert shape is not None
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    config = PRESETS["tiny"].config.model_copy(update={"layers": 1, "rank": 4})
    tuned = with_lora(model, config)
    assert shape.lora_parameters(4, 1) == sum(p.numel() for p in tuned.parameters() if p.requires_grad)


def test_the_default_student_has_the_shape_of_the_preset(smollm2: Path) -> None:
    found = ModelShape.of(smollm2)
    assert found is not None and found.parameters == PRESETS["tiny"].shape.parameters


@pytest.mark.parametrize("config", [{}, "not json", {"hidden_size": 5}])
def test_a_model_of_unknown_shape_is_let_through(tmp_path: Path, config: object) -> None:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    assert ModelShape.of(tmp_path) is None
    require_memory(tmp_path, "float32")


def test_a_base_that_does_not_fit_is_refused_before_it_is_loaded(
    tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1e3)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    with pytest.raises(ModelError, match=r"takes 0\.0 GB in .*, 0\.0 GB are free; choose a smaller student"):
        load_causal_lm(tiny_student)


def test_four_bits_without_a_gpu_are_refused_with_the_remedy(tiny_student: Path) -> None:
    with pytest.raises(UsageError, match="four bits need a GPU"):
        four_bit_settings("cpu")


def test_checkpointing_and_fewer_layers_take_less_and_tuning_more_than_serving() -> None:
    shape = PRESETS["base"].shape
    usual = {"rank": 16, "batch_tokens": 4000}
    whole = tuning_bytes(shape, "bfloat16", layers=0, **usual)
    assert tuning_bytes(shape, "bfloat16", layers=0, checkpointing=True, **usual) < whole
    assert tuning_bytes(shape, "bfloat16", layers=8, **usual) < whole
    assert serving_bytes(shape, "bfloat16") < whole


def test_the_doctor_says_what_fits() -> None:
    tiny, base, large = (PRESETS[name] for name in ("tiny", "base", "large"))
    assert check_preset(tiny, 4e9, "cpu", "float32").status == "ok"
    little = check_preset(base, 19e9, "cpu", "float32")
    assert little.status == "warn" and little.remedy == "19.0 GB are free; only answer with it here"
    assert check_preset(base, 20e9, "cuda", "bfloat16").status == "ok"
    assert "four bits need a GPU" in check_preset(large, 99e9, "cpu", "bfloat16").remedy
    assert check_preset(large, 24e9, "cuda", "bfloat16").status == "ok"


def test_a_preset_is_known_by_name() -> None:
    assert preset_named("tiny").student == "smollm2-135m"
    with pytest.raises(UsageError, match="no preset named 'huge'; choose tiny, small, base, large"):
        preset_named("huge")


@pytest.mark.skipif(sys.platform != "linux", reason="what is kept of freed memory is the C library's matter")
def test_what_is_freed_is_given_back() -> None:
    code = """
import psutil
from bundlewise.models.memory import give_back_memory
rss = lambda: psutil.Process().memory_info().rss / 2**20
many = [bytes(60_000) for _ in range(3000)]
kept = many[::50]
full = rss()
del many
before = rss()
give_back_memory()
print(full - before, full - rss())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    by_itself, in_all = map(float, told.split())
    assert in_all > 100 and in_all > by_itself + 50
