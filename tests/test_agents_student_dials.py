"""The dials of answering and the form that suits a base; an adapter remembers its own and refuses another form."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.student.dials import SMALLEST_WRITER, AnswerDials, Form, form_for
from bundlewise.errors import AdapterError, UsageError
from bundlewise.finetune.adapters import Manifest
from bundlewise.finetune.students import StudentModel, answer_dials
from bundlewise.knowledge_base.policy import WRITING, Policy

SERVED = "openai:some@http://127.0.0.1:9/v1"
QWEN = {
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
"""The sizes of a base with half a billion weights."""


@pytest.fixture
def large(tiny_student: Path, tmp_path: Path) -> Path:
    """Return a folder whose config is that of a large base; its weights are never loaded."""
    folder = Path(shutil.copytree(tiny_student, tmp_path / "large"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | QWEN), encoding="utf-8")
    return folder


def tuned(**dials: Any) -> Manifest:
    """Return the manifest of an adapter of which only the dials of answering are known."""
    return Manifest.model_construct(answering=AnswerDials(**dials))


@pytest.mark.parametrize(
    ("weights", "form"),
    [
        (135_000_000, "pairs"),
        (362_000_000, "pairs"),
        (SMALLEST_WRITER - 1, "pairs"),
        (SMALLEST_WRITER, "write"),
        (494_000_000, "write"),
        (8_000_000_000, "write"),
        (None, "write"),
    ],
)
def test_a_base_that_reads_prompts_writes(weights: int | None, form: Form) -> None:
    assert form_for(weights) == form


def test_the_form_of_an_untuned_student_follows_its_size(tiny_student: Path, large: Path) -> None:
    assert answer_dials(str(tiny_student), None, {}) == AnswerDials(form="pairs")
    assert answer_dials(str(large), None, {}) == AnswerDials(form="write")
    assert answer_dials(SERVED, None, {}) == AnswerDials(form="write")
    assert StudentModel(None, None, tiny_student, "x").dials.form == "pairs"  # type: ignore[arg-type]
    assert StudentModel(None, None, None, "x").dials.form == "write"  # type: ignore[arg-type]


def test_dials_that_are_given_come_first(tiny_student: Path, large: Path) -> None:
    assert answer_dials(str(tiny_student), None, {"form": "write", "samples": 3}) == AnswerDials(
        form="write", samples=3
    )
    assert answer_dials(str(large), None, {"form": "pairs"}).form == "pairs"
    assert answer_dials(SERVED, None, {"repairs": 0, "reasoning": None}) == AnswerDials(form="write", repairs=0)


def test_an_adapter_remembers_how_it_answers(tiny_student: Path) -> None:
    manifest = tuned(form="write", samples=4, reasoning="brief", repairs=2)
    assert answer_dials(str(tiny_student), manifest, {}) == manifest.answering
    assert answer_dials(str(tiny_student), manifest, {"form": "write", "samples": 1}).samples == 1
    assert StudentModel(None, manifest, tiny_student, "x").dials == manifest.answering  # type: ignore[arg-type]
    again = Manifest.model_fields["answering"].annotation.model_validate_json(manifest.answering.model_dump_json())
    assert again == manifest.answering


@pytest.mark.parametrize(
    ("dials", "given", "told"),
    [
        ({"form": "pairs"}, {"form": "write"}, "was tuned with form pairs, not write; leave form out"),
        ({"form": "write"}, {"form": "pairs"}, "was tuned with form write, not pairs; leave form out"),
        ({"form": "write"}, {"reasoning": "brief"}, "reasoning none, not brief; leave reasoning out"),
        (
            {"form": "write", "reasoning": "brief"},
            {"reasoning": "none"},
            "reasoning brief, not none; leave reasoning out",
        ),
    ],
)
def test_an_adapter_refuses_another_form(
    tiny_student: Path, dials: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    with pytest.raises(AdapterError, match=f"{told}, or tune another adapter"):
        answer_dials(str(tiny_student), tuned(**dials), given)


@pytest.mark.parametrize(
    ("dial", "value", "allowed"),
    [
        ("form", "labels", "pairs or write"),
        ("reasoning", "long", "none or brief"),
        ("samples", 0, "from 1 to 64"),
        ("samples", 65, "from 1 to 64"),
        ("repairs", -1, "from 0 to 3"),
        ("repairs", 4, "from 0 to 3"),
    ],
)
def test_a_value_that_a_dial_cannot_have_is_a_usage_error(
    tiny_student: Path, dial: str, value: Any, allowed: str
) -> None:
    with pytest.raises(UsageError, match=f"^{dial} must be {allowed}, got {value}$"):
        AnswerDials.of(**{dial: value})
    with pytest.raises(UsageError, match=f"^{dial} must be {allowed}"):
        answer_dials(str(tiny_student), None, {dial: value})


def test_an_unknown_dial_is_named_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no dial named 'mood'; choose form, reasoning, aim, recall, samples, repairs"):
        AnswerDials.of(mood="good")


def test_a_student_that_writes_reads_texts_within_a_budget() -> None:
    quotas = {"patterns": 2, "rules": 3, "thoughts": 2, "demonstrations": 3}
    assert Policy.for_form("write", {}) == Policy(**quotas, budget=1000, min_score=0.3)
    assert Policy.for_form("write", {}, counts=False) == Policy(**WRITING | {"budget": None})
    assert Policy.for_form("write", {"rules": 0, "budget": 50, "thoughts": None}) == Policy(
        **WRITING | {"rules": 0, "budget": 50}
    )
    zeros = {"patterns": 0, "rules": 0, "thoughts": 0, "demonstrations": 0, "hints": 0}
    assert Policy.for_form("write", zeros).is_plain


def test_a_student_that_judges_pairs_reads_no_demonstrations() -> None:
    assert Policy.for_form("pairs", {}) == Policy() and not Policy().demonstrations
    assert Policy.for_form("pairs", {"rules": 2, "demonstrations": 0}) == Policy(rules=2)
    with pytest.raises(UsageError, match="demonstrations are shown to a student that writes; add --form write"):
        Policy.for_form("pairs", {"demonstrations": 1})


def test_demonstrations_alone_are_knowledge() -> None:
    policy = Policy.of(demonstrations=1, hints=0)
    assert not policy.is_plain
    with pytest.raises(UsageError, match=r"^demonstrations must be at least 0, got -1$"):
        Policy.of(demonstrations=-1)


@pytest.mark.parametrize("dial", [{"samples": 3}, {"reasoning": "brief"}])
def test_dials_of_writing_are_refused_for_a_student_that_judges_pairs(tiny_student: Path, dial: dict[str, Any]) -> None:
    for manifest in (None, tuned(form="pairs")):
        with pytest.raises(UsageError, match=f"{next(iter(dial))} belongs to the form write, .*; leave it out"):
            answer_dials(str(tiny_student), manifest, dial)
