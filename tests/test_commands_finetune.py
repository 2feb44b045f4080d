"""`bundlewise finetune`: an adapter with manifest, losses and their picture; never half a one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kb_samples import RECORDS, fill, use_words

from bundlewise.agents.student.compose import unreadable
from bundlewise.cli import main
from bundlewise.data.sessions import load, write_sessions
from bundlewise.domain import Bundle, Item, Session
from bundlewise.finetune import training
from bundlewise.finetune.adapters import Manifest, read_manifest
from bundlewise.finetune.deadline import Deadline

Finetune = Callable[..., tuple[int, str, str]]
SPLITS = {"train": 3, "validation": 1}


@pytest.fixture
def finetune(capsys: pytest.CaptureFixture[str], tiny_student: Path, tmp_path: Path) -> Finetune:
    known = [s for s in load("electronics") if len(s.items) == 3]
    chosen = [s for split, count in SPLITS.items() for s in [s for s in known if s.split == split][:count]]
    write_sessions(tmp_path / "data.jsonl", chosen)

    def call(*arguments: object) -> tuple[int, str, str]:
        fixed = ["--data", tmp_path / "data.jsonl", "-o", tmp_path / "adapter", "--student", tiny_student]
        with pytest.raises(SystemExit) as left:
            main(["finetune", *map(str, (*fixed, "--layers", 1, "--rank", 2, *arguments))])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_the_printed_manifest_is_the_one_in_the_folder(finetune: Finetune, tmp_path: Path) -> None:
    code, out, _ = finetune("--json", "--limit", 2, "--seed", 5)
    manifest = Manifest.model_validate(json.loads(out))
    assert code == 0 and manifest == read_manifest(tmp_path / "adapter")
    assert manifest.sessions == 2
    assert manifest.training | {"layers": 1, "rank": 2, "seed": 5} == manifest.training


def test_an_adapter_is_told_of_drawn_and_followed_by_the_next_step(finetune: Finetune, tmp_path: Path) -> None:
    code, out, err = finetune()
    assert code == 0 and out.startswith("3 sessions, ") and "validation GJS " in out
    assert f"next: bundlewise generate --data {tmp_path / 'data.jsonl'} --adapter {tmp_path / 'adapter'} -o" in err
    assert (tmp_path / "adapter" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "loss.jsonl",
        "loss.png",
        "manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def large(count: int, split: str = "train") -> list[Session]:
    """Return annotated sessions of sixty products."""
    items = tuple(Item(id=f"i{n}", title=f"Thing {n}") for n in range(60))
    bundles = (Bundle(item_ids=("i0", "i1")),)
    return [
        Session(session_id=f"{split}{n}", domain="d", split=split, items=items, bundles=bundles) for n in range(count)
    ]


def test_sessions_of_too_many_products_are_left_out_and_told_of_as_in_serving(
    finetune: Finetune, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    write_sessions(path, [*load(str(path)), *large(2), *large(1, "validation"), *large(1, "test")])
    code, out, err = finetune()
    assert code == 0 and out.startswith("3 sessions, ")
    said = "session train0 has 60 products; the student reads 2 to 30: leave some out or split it"
    assert f"note: not tuned on: {said} (3 such sessions)\n" in err
    assert said == unreadable(large(1)[0])


def test_sessions_of_too_many_products_alone_are_an_error_that_says_so(finetune: Finetune, tmp_path: Path) -> None:
    write_sessions(tmp_path / "data.jsonl", large(1))
    code, _, err = finetune()
    assert code == 2 and "no training session that the student can read: session train0 has 60" in " ".join(err.split())


def test_a_finished_adapter_is_told_of_again_without_training(
    finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finetune("--json")
    monkeypatch.setattr(training.Training, "_step", None)
    assert finetune("--json") == first


def test_a_training_stopped_by_ctrl_c_goes_on(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, left = training.Training._step, [3]

    def stopping(*arguments: object) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training.Training, "_step", stopping)
    code, out, err = finetune("--epochs", 5)
    assert (code, out) == (130, "") and "the same command goes on" in err
    assert not (tmp_path / "adapter" / "manifest.json").exists()
    left[0] = 99
    code, out, _ = finetune("--epochs", 5, "--json")
    assert code == 0 and json.loads(out)["steps"] - 3 == 99 - left[0]


def test_other_settings_on_a_finished_folder_are_refused_and_leave_it_alone(finetune: Finetune, tmp_path: Path) -> None:
    finetune()
    before = {path: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    code, out, err = finetune("--epochs", 2)
    assert (code, out) == (2, "") and "another training" in err and "choose another folder or remove it" in err
    assert {path: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == before


def test_more_layers_than_the_student_has_are_a_usage_error(finetune: Finetune) -> None:
    code, _, err = finetune("--layers", 9)
    assert code == 2 and "layers must be at most 2 for this student, got 9" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mode", "icl+sft"), "mode icl+sft does not match the given options, which make mode sft: add --kb"),
        (("--mode", "plain"), "Invalid value for '--mode'"),
        (("--preset", "huge"), "Invalid value for '--preset'"),
        (("--four-bit",), "four bits need a GPU"),
        (("--max-minutes", 0), "Invalid value for '--max-minutes'"),
        (("--evaluations", -1), "evaluations: input should be greater than or equal to 0, got -1"),
    ],
)
def test_what_cannot_be_is_a_usage_error(finetune: Finetune, options: tuple[object, ...], said: str) -> None:
    code, out, err = finetune(*options)
    assert (code, out) == (2, "") and said in err


def test_a_training_out_of_minutes_says_so_and_what_was_kept(
    finetune: Finetune, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([*[60.0] * 30, *[-1.0] * 1000])
    monkeypatch.setattr(Deadline, "left", property(lambda _: next(left)))
    code, out, err = finetune("--epochs", 9, "--max-minutes", 3, "--json")
    told = json.loads(out)
    assert code == 0 and 0 < told["steps"] < 27
    assert f"stopped early: 3 minutes are over; kept the weights of step {told['best_step']}" in err


def test_a_training_without_time_for_a_step_is_a_failure_with_a_remedy(finetune: Finetune, tmp_path: Path) -> None:
    code, out, err = finetune("--max-minutes", 1e-9)
    assert (code, out) == (1, "") and "1e-09 minutes are over before the first step; give more with --max-mi" in err
    assert not (tmp_path / "adapter").exists()


def test_the_presets_offered_are_the_presets_there_are() -> None:
    from bundlewise.commands.finetune import PRESET_NAMES
    from bundlewise.finetune.config import PRESETS

    assert list(PRESETS) == PRESET_NAMES


def test_taught_records_are_learnt_too_and_need_a_knowledge_base(
    finetune: Finetune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_words(monkeypatch)
    fill(tmp_path / "kb")
    plain = json.loads(finetune("--json")[1])
    (tmp_path / "adapter").rename(tmp_path / "plain")
    taught = json.loads(finetune("--json", "--kb", tmp_path / "kb", "--hints", 0, "--teach", "rules,patterns")[1])
    assert not taught["policy"] and taught["tokens"] > plain["tokens"]
    (tmp_path / "adapter").rename(tmp_path / "taught")

    code, _, err = finetune("--teach", "rules")
    assert code == 2 and "--teach needs a knowledge base: add --kb, or leave it out" in err
    fill(tmp_path / "less", [record for record in RECORDS if record.kind != "thought"])
    code, _, err = finetune("--teach", "thoughts", "--kb", tmp_path / "less")
    assert code == 2 and "less holds no active thoughts to teach; distil with --formats thoughts" in err
    code, _, err = finetune("--teach", "ideas", "--kb", tmp_path / "kb")
    assert code == 2 and "no format named 'ideas'; choose any of patterns, rules, thoughts" in err
