"""The examples of the assistant and the student run as they stand."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module


@pytest.mark.parametrize("name", ["products.csv", "products.parquet"])
def test_your_own_catalogue_is_talked_about(
    example: Any, name: str, tiny_student: Path, minilm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example("own_catalogue").main([str(tmp_path / name), "--student", str(tiny_student)])
    out = capsys.readouterr().out
    assert (tmp_path / name).is_file() and "1. Clip-on Reading Lamp, USB-C · 18.50" in out
    assert "Bundle 1: " in out and "among 4 products" in out


def test_the_student_works_inside_another_graph(
    example: Any, tiny_student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example("student_in_langgraph").main(["--student", str(tiny_student)])
    rows = capsys.readouterr().out.splitlines()
    assert "order-2: order-2-1, order-2-2 for 92.70" in rows[-1]
