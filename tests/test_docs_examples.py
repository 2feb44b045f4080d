"""Each Python example in README and docs runs as it stands, and so do the cells of the notebook."""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_small_world

import bundlewise

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^\n]*) -->\n)?```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
LIKE_PYTHON = re.compile(r"^    (?:import \w|from [\w.]+ import )", re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """Return the examples of a page that run, in their order; each knows what those before it have made."""
    return [found["code"] for found in BLOCK.finditer(page.read_text("utf-8")) if not found["why"]]


@pytest.fixture(scope="module")
def made(tiny_student: Path, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the knowledge base and the adapter that examples open."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        make_small_world(folder, tiny_student, minilm, patch)
        sessions = bundlewise.load_sessions("electronics")
        bundlewise.finetune(sessions, bundlewise.distil(sessions), "adapter")
        yield folder


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page: Path, made: Path, small_world: Path) -> None:
    begins_anew = "bundlewise.finetune(" in blocks(page)[0]
    for name in () if begins_anew else ("kb", "adapter"):
        shutil.copytree(made / name, small_world / name)
    names: dict[str, Any] = {"__name__": page.stem}
    for number, code in enumerate(blocks(page), 1):
        exec(compile(code, f"{page.name}, example {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_python_example_is_fenced_so_that_it_is_run(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    assert not LIKE_PYTHON.search(text) and "```python" not in text


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def run_cells() -> dict[str, Any]:
    """Run the cells one after the other, and show what the last line of each comes to, as a kernel does."""
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells(), 1):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            assert shown is None or repr(shown)
    return names


def test_the_notebook_runs_on_few_sessions(small_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_cells()
    assert names["scores"].missing == 0 and "Two-Person" not in names and "1:" in capsys.readouterr().out


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(
    smollm2: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cells()["scores"].gjs > 0.5


def test_the_notebook_holds_no_outputs() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells())
