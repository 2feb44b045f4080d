"""`import bundlewise`: a few public names, imported when they are used, and the example of its docstring."""

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import bundlewise

NEEDED = {"load_sessions", "distil", "finetune", "Student", "Assistant", "KnowledgeBase", "evaluate"}
TITLES = ["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"]


def python(code: str) -> str:
    """Run code in a process of its own and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_import_takes_no_library_and_no_module_of_its_own() -> None:
    out = python("""
        import sys
        before = set(sys.modules)
        import bundlewise
        dir(bundlewise)
        print(*sorted({name.split(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names))
        print(*sorted(name for name in sys.modules if name.startswith("bundlewise")))
    """)
    assert out.split() == ["bundlewise", "bundlewise"]


def test_the_import_takes_less_than_a_third_of_a_second() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import bundlewise"]
    # The least of some runs: a busy machine makes each run longer.
    took = []
    for _ in range(5):
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
        took.append(int(next(row for row in rows if row.endswith(" bundlewise")).split("|")[1]))
    assert min(took) < 300_000


def test_a_notebook_finds_what_it_needs_and_nothing_else_is_public() -> None:
    assert set(bundlewise.__all__) >= NEEDED and dir(bundlewise) == sorted(bundlewise.__all__)
    for name in bundlewise.__all__:
        assert getattr(bundlewise, name), name
    assert dir(bundlewise) == sorted(bundlewise.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'finetun'; public are: Adapter, "):
        _ = bundlewise.finetun  # type: ignore[attr-defined]


def test_the_type_checker_sees_each_name_where_it_is() -> None:
    tree = ast.parse(Path(str(bundlewise.__file__)).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, name.name) for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert {name for _, name in seen} | {"__version__"} == set(bundlewise.__all__)
    for module, name in seen - {("bundlewise.pipeline.tune", "finetune")}:
        assert getattr(bundlewise, name) is getattr(sys.modules[str(module)], name)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_is_public_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(bundlewise, name))


@pytest.mark.parametrize(
    "first", ["import bundlewise", "import bundlewise.finetune.config", "from bundlewise import finetune"]
)
def test_finetune_is_a_function_and_a_package_whatever_is_imported_first(first: str) -> None:
    out = python(f"""
        {first}
        import bundlewise, inspect
        import bundlewise.finetune.config as config
        print(callable(bundlewise.finetune), bundlewise.finetune.config is config)
        print(list(inspect.signature(bundlewise.finetune).parameters)[:3])
    """)
    assert out.splitlines() == ["True True", "['sessions', 'kb', 'path']"]


def example() -> str:
    """Return the example of the docstring."""
    rows = str(bundlewise.__doc__).splitlines()
    return textwrap.dedent("\n".join(row for row in rows if row.startswith("    ")))


def test_the_example_runs_on_few_sessions_with_a_tiny_student(
    small_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(example(), names)
    kb, adapter, student = names["kb"], names["adapter"], names["student"]
    out = capsys.readouterr().out
    assert TITLES[0] in out and "GJS" in out
    assert kb.counts["thought"] == 8 and kb.run.records and os.fspath(kb) == "kb"
    assert adapter.path == Path("adapter") and adapter.manifest.mode == "icl+sft"
    told = f"8 sessions, {adapter.manifest.steps} steps, validation GJS {adapter.validation_gjs:.3f}"
    assert repr(adapter) == f"Adapter(adapter: icl+sft, {told})"
    assert bundlewise.Adapter.open("adapter") == adapter
    assert student.retriever is not None and student.model.manifest == adapter.manifest
    again = bundlewise.Student.open(kb="kb", adapter="adapter")
    assert again.bundle(TITLES) == student.bundle(TITLES)


@pytest.mark.slow
def test_the_example_runs_as_it_stands_with_the_real_student(
    smollm2: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example(), names)
    scores = bundlewise.evaluate(names["sessions"], names["student"].answer(names["sessions"].test))
    assert scores.gjs > 0.5 and scores.missing == 0
