"""`bundlewise generate`: bundles of a file or of a few titles, by the student that the options name."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlewise.cli import main
from bundlewise.data.sessions import load, write_sessions
from bundlewise.domain import Prediction, Session
from bundlewise.finetune.adapters import MANIFEST
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.tuning import Tuning

Generate = Callable[..., tuple[int, str, str]]
TITLES = ["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"]


def some(split: str, count: int = 3) -> list[Session]:
    return [s for s in load("electronics") if s.split == split and len(s.items) == 3][:count]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    write_sessions(path, [*some("train"), *some("validation", 2), *some("test")])
    return path


@pytest.fixture(scope="module")
def adapter(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    Tuning(
        [*some("train"), *some("validation", 2)],
        folder,
        TrainingConfig(learning_rate=0.3, epochs=4, layers=1),
        str(tiny_student),
    ).run()
    return folder


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str], tiny_student: Path) -> Generate:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["generate", "--student", str(tiny_student), *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def predictions(text: str) -> list[dict[str, Any]]:
    """Return predictions without their timings."""
    return [Prediction.model_validate_json(line).model_dump() | {"seconds": 0} for line in text.splitlines()]


def test_titles_become_bundles_with_intents_for_a_reader(generate: Generate) -> None:
    code, out, err = generate("--items", *TITLES)
    assert (code, err) == (0, "")
    first, *lines = out.splitlines()
    assert first.startswith("given: 3 products, ")
    numbered = [line.strip() for line in lines if line.startswith("    ")]
    assert numbered and set(numbered) <= {f"{number}. {title}" for number, title in enumerate(TITLES, 1)}


def test_titles_become_json_for_a_program(generate: Generate) -> None:
    (row,) = predictions(generate("--items", *TITLES, "--json")[1])
    assert row["session_id"] == "given"
    assert all(set(bundle["items"]) <= {1, 2, 3} and len(bundle["items"]) > 1 for bundle in row["bundles"])


def test_a_file_holds_what_json_prints_for_the_sessions_of_the_split(
    generate: Generate, data: Path, tmp_path: Path
) -> None:
    code, out, err = generate("--data", data, "-o", tmp_path / "p.jsonl")
    assert (code, out) == (0, "") and f"3 sessions in {tmp_path / 'p.jsonl'}, 0 failed" in err
    written = predictions((tmp_path / "p.jsonl").read_text())
    assert written == predictions(generate("--data", data, "--json")[1])
    assert [row["session_id"] for row in written] == [s.session_id for s in some("test")]


def test_the_limit_takes_the_first_sessions(generate: Generate, data: Path) -> None:
    rows = predictions(generate("--data", data, "--split", "train", "--limit", 2, "--json")[1])
    assert [row["session_id"] for row in rows] == [s.session_id for s in some("train", 2)]


def test_an_adapter_answers_other_than_its_base(generate: Generate, adapter: Path, data: Path) -> None:
    code, tuned, _ = generate("--data", data, "--adapter", adapter, "--json")
    assert code == 0
    assert predictions(tuned) != predictions(generate("--data", data, "--json")[1])


def test_an_adapter_tuned_without_knowledge_says_that_it_reads_none(
    generate: Generate, adapter: Path, tmp_path: Path
) -> None:
    code, _, err = generate("--adapter", adapter, "--kb", tmp_path / "kb", "--items", "a mouse", "a pad")
    assert code == 0 and "tuned without knowledge in its prompts" in err and "--hints 30" in err


def test_calibration_on_validation_is_told(
    generate: Generate, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    code, _, err = generate("--data", data, "--calibrate", "--limit", 1)
    assert code == 0 and "calibrated on 2 validation sessions, GJS there " in err


def test_calibration_without_annotations_is_refused(generate: Generate, tmp_path: Path) -> None:
    write_sessions(tmp_path / "d.jsonl", [*(s.blind() for s in some("validation")), *some("test")])
    code, out, err = generate("--data", tmp_path / "d.jsonl", "--calibrate")
    assert (code, out) == (2, "") and "validation" in err and "annotated" in err


def edited(adapter: Path, folder: Path, **changes: Any) -> Path:
    """Return a copy of an adapter with another manifest."""
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"base_fingerprint": "0"}, 1, "give --student"),
        ({"prompts": {"judge": "0"}}, 1, "tune it again or restore the templates"),
        ({"policy": {"hints": 30}}, 2, "was tuned with knowledge in its prompts: add --kb"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_with_the_remedy(
    generate: Generate, adapter: Path, tmp_path: Path, changes: dict[str, Any], code: int, said: str
) -> None:
    other = edited(adapter, tmp_path / "other", **changes)
    found, out, err = generate("--items", *TITLES, "--adapter", other)
    assert (found, out) == (code, "")
    assert said in err and str(other) in err


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{")])
def test_a_damaged_adapter_is_refused(
    generate: Generate, adapter: Path, tmp_path: Path, file: str, damage: Callable[[Path], object]
) -> None:
    other = edited(adapter, tmp_path / "other")
    damage(other / file)
    code, out, err = generate("--items", *TITLES, "--adapter", other)
    assert (code, out) == (1, "") and str(other / file) in err and "tune the adapter again" in err


def test_a_session_too_long_for_the_student_is_named(generate: Generate) -> None:
    code, _, err = generate("--items", *(f"Thing {number}" for number in range(31)))
    assert code == 2 and "session given has 31 products; the student reads 2 to 30" in err


def test_the_form_write_answers_too_or_says_why_not(generate: Generate, data: Path) -> None:
    code, out, err = generate("--data", data, "--form", "write", "--samples", 2, "--limit", 2, "--json")
    assert code == 0
    for row in predictions(out):
        assert row["bundles"] or f"{row['session_id']}: no bundle ({row['reason']})" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mode", "sft"), "mode sft does not match the given options, which make mode plain: add --adapter"),
        (("--mode", "icl+sft"), "which make mode plain: add --kb and add --adapter"),
    ],
)
def test_a_mode_that_was_not_given_its_means_is_refused(
    generate: Generate, options: tuple[str, ...], said: str
) -> None:
    code, out, err = generate("--items", *TITLES, *options)
    assert (code, out) == (2, "") and said in err


def test_the_mode_an_adapter_makes_is_accepted(generate: Generate, adapter: Path) -> None:
    assert generate("--items", *TITLES, "--adapter", adapter, "--mode", "sft")[0] == 0
    code, _, err = generate("--items", *TITLES, "--adapter", adapter, "--mode", "plain")
    assert code == 2 and "which make mode sft: leave out --adapter" in err


def test_a_title_that_is_too_long_is_refused_with_its_length(generate: Generate) -> None:
    code, _, err = generate("--items", "Desk Lamp", "x" * 1001)
    assert code == 2 and "title 2: title has 1,001 characters; shorten it to 1,000 or fewer" in err


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """Return a knowledge base of the grounded teacher."""
    folder = tmp_path_factory.mktemp("known") / "kb"
    with pytest.raises(SystemExit):
        main(["distil", "--data", "electronics", "--ratio", "0.1", "--kb", str(folder)])
    return folder


def test_why_prints_the_knowledge_that_a_bundle_rests_on_with_what_it_changes(generate: Generate, known: Path) -> None:
    plain = generate("--items", *TITLES, "--kb", known)[1].splitlines()
    code, out, _ = generate("--items", *TITLES, "--kb", known, "--why")
    reasons = [line.strip() for line in out.splitlines() if " points: " in line]
    assert code == 0 and [line for line in out.splitlines() if " points: " not in line] == plain
    assert reasons and all(re.match(r"[+-]\d+\.\d points: (rule|pattern|thought): \w", line) for line in reasons)
    (row,) = map(json.loads, generate("--items", *TITLES, "--kb", known, "--why", "--json")[1].splitlines())
    assert len(row["why"]) == len(row["bundles"])
    effects = [abs(reason["effect"]) for reason in row["why"][0]]
    assert effects == sorted(effects, reverse=True) and f"{100 * effects[0]:.1f}" in reasons[0]


@pytest.mark.parametrize("options", [(), ("--kb", "kb", "-o", "p.jsonl")])
def test_why_needs_knowledge_and_a_screen(generate: Generate, options: tuple[str, ...]) -> None:
    code, _, err = generate("--items", *TITLES, "--why", *options)
    assert code == 2 and "--why prints the knowledge behind each bundle; add --kb, and leave out -o" in err
