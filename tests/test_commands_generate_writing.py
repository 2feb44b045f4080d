"""`bundlewise generate --form write`: whole answers with a knowledge base, and dials that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kb_samples import fill, use_words

from bundlewise.cli import main

Generate = Callable[..., tuple[int, str, str]]
ITEMS = ["--items", "Red Mouse", "Blue Keyboard", "Oat Milk"]


@pytest.fixture
def generate(capsys: pytest.CaptureFixture[str], tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> Generate:
    use_words(monkeypatch)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["generate", "--student", str(tiny_student), *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_whole_answers_are_written_with_a_knowledge_base(generate: Generate, tmp_path: Path) -> None:
    kb = fill(tmp_path / "kb")
    code, out, err = generate("--form", "write", "--kb", kb, "--samples", 3, "--min-score", -1, "--json", *ITEMS)
    assert code == 0, err
    found = json.loads(out)
    assert len(found["knowledge"]) > 3 and found["tokens_out"]
    assert (found["outcome"] == "failed") is (not found["bundles"])
    assert generate("--form", "write", "--kb", kb, "--samples", 3, "--min-score", -1, "--json", *ITEMS)[1] == out
    plain = json.loads(generate("--form", "write", "--samples", 3, "--json", *ITEMS)[1])
    assert not plain["knowledge"] and plain["tokens_in"] < found["tokens_in"]


def test_the_reasons_of_a_written_answer_are_printed(generate: Generate, tmp_path: Path) -> None:
    little = ["--rules", 1, "--patterns", 0, "--thoughts", 0, "--demonstrations", 0]
    kb = fill(tmp_path / "kb")
    code, out, err = generate("--form", "write", "--kb", kb, *little, "--why", "--samples", 2, *ITEMS)
    assert code == 0, err
    assert out.startswith("given: 3 products, ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--samples", "0"], "0 is not in the range 1<=x<=64"),
        (["--repairs", "4"], "4 is not in the range 0<=x<=3"),
        (["--form", "labels"], "'labels' is not one of 'pairs', 'write'"),
        (["--reasoning", "long"], "'long' is not one of 'none', 'brief'"),
        (["--demonstrations", "2"], "--demonstrations needs a knowledge base: add --kb, or leave it out"),
    ],
)
def test_a_dial_that_cannot_be_used_is_told(generate: Generate, options: list[str], told: str) -> None:
    code, out, err = generate(*options, *ITEMS)
    assert code == 2 and not out and told in err


def test_demonstrations_are_for_a_student_that_writes(generate: Generate, tmp_path: Path) -> None:
    code, _, err = generate("--kb", fill(tmp_path / "kb"), "--demonstrations", 2, *ITEMS)
    assert code == 2 and "demonstrations are shown to a student that writes; add --form write" in err
