"""The layout of the project: one import namespace, imports that point downwards, a README that names every file."""

import ast
import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS = {name.removeprefix("bundlewise."): path for name, path in SETUPTOOLS["package-dir"].items()}
LINKED = sorted(FOLDERS.keys() - {"bundlewise"})
FACES = {
    "chain",
    "distilling",
    "watching",
    "doctor",
    "live",
    "assistant",
    "readers",
    "recordings",
    "references",
    "spreading",
    "studio",
    "kb_report",
    "kb_pictures",
    "cli",
}
FACES |= {"commands", "experiment", "server", "workbench", "__main__"}
MAY_IMPORT = {
    "kernel": {"kernel"},
    "prompts": {"kernel", "prompts"},
    "agents": {"kernel", "prompts", "agents"},
    "finetune": {"kernel", "prompts", "agents", "finetune"},
    "knowledge_base": {"kernel", "prompts", "knowledge_base"},
    "graphs": {"kernel", "prompts", "agents", "knowledge_base", "graphs"},
    "faces": {"kernel", "prompts", "agents", "finetune", "knowledge_base", "graphs", "faces"},
}
NOT_ON_THE_GPU_MACHINE = {
    "chromadb",
    "langchain",
    "langchain_core",
    "langchain_chroma",
    "langchain_openai",
    "langgraph",
}


def modules() -> dict[str, Path]:
    """Return the source file of every module by its import name."""
    found = {}
    for name, folder in SETUPTOOLS["package-dir"].items():
        for path in sorted((ROOT / folder).glob("*.py")):
            found[name if path.stem == "__init__" else f"{name}.{path.stem}"] = path
    for package in ("commands", "experiment", "server", "starter", "workbench"):
        for path in sorted((ROOT / "bundlewise" / package).glob("*.py")):
            stem = "" if path.stem == "__init__" else f".{path.stem}"
            found[f"bundlewise.{package}{stem}"] = path
    return found


MODULES = modules()


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes, those in functions too, but for what is only there for the type checker."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from running_code(child)


def imports(path: Path) -> set[str]:
    """Return the names of all modules that a file imports anywhere."""
    found = set()
    for node in running_code(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & MODULES.keys()) or {str(node.module)}
    return found


def part(module: str) -> str:
    """Return the part of the project that a module belongs to."""
    name = [*module.split("."), ""][1]
    return name if name in MAY_IMPORT else "faces" if name in FACES else "kernel"


def test_the_packages_listed_are_the_packages_mapped_and_the_links() -> None:
    links = {path.name: os.readlink(path) for path in (ROOT / "bundlewise").iterdir() if path.is_symlink()}
    assert links == {name: f"../{name}" for name in LINKED}
    assert {name: FOLDERS[name] for name in LINKED} == {name: name for name in LINKED}
    inside = {f"bundlewise.{path.parent.name}" for path in (ROOT / "bundlewise").glob("*/__init__.py")}
    assert set(SETUPTOOLS["packages"]) == inside | {"bundlewise"}
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))


def test_the_package_is_typed_and_ships_the_marker() -> None:
    assert (ROOT / "bundlewise" / "py.typed").is_file()
    assert "py.typed" in SETUPTOOLS["package-data"]["bundlewise"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downwards_only(module: str) -> None:
    inside = {name for name in imports(MODULES[module]) if name.split(".")[0] == "bundlewise"}
    upwards = {name for name in inside if part(name) not in MAY_IMPORT[part(module)]}
    assert not upwards


def test_no_module_imports_itself_by_detours() -> None:
    graph = {name: imports(path) & MODULES.keys() - {"bundlewise", name} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES) - 1


@pytest.mark.parametrize("path", [*MODULES.values(), *sorted((ROOT / "tests").glob("*.py"))], ids=lambda p: p.name)
def test_folders_are_imported_by_their_full_names(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & set(LINKED)


@pytest.mark.parametrize("module", sorted(name for name in MODULES if part(name) in ("agents", "finetune")))
def test_agents_and_finetune_need_neither_chroma_nor_langchain(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & NOT_ON_THE_GPU_MACHINE


def test_the_student_is_tuned_and_loaded_where_chroma_and_langchain_are_missing() -> None:
    code = f"""
import sys
sys.modules |= dict.fromkeys({sorted(NOT_ON_THE_GPU_MACHINE)})
import bundlewise.finetune.plotting, bundlewise.finetune.tuning
import bundlewise.agents.constrained, bundlewise.agents.student
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["generate", "--help"], ["finetune", "--help"], ["distil", "--help"]]
)
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    code = f"""
import sys
from bundlewise.cli import main
try:
    main({arguments})
finally:
    heavy = {{"torch", "transformers", "peft", "chromadb", "langgraph", "langchain_core", "numpy"}}
    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Usage: bundlewise" in done.stdout
    assert done.stderr == "[]\n"


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


@pytest.mark.parametrize("path", [p for p in MODULES.values() if p.stem != "__init__"], ids=lambda p: p.name)
def test_the_readme_says_what_each_module_is(path: Path) -> None:
    rows = [row.split(maxsplit=1) for row in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if row]
    assert any(len(row) == 2 and row[0] == path.name and len(row[1].split()) > 2 for row in rows)


def test_the_readme_names_each_top_level_folder() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    assert {name for name in folders if not name.startswith(".") and f"{name}/" not in text} == set()


def test_no_shared_data_is_tracked(shared: Path) -> None:
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    foreign = [p for folder in ("datasets", "packs", "teacher") for p in (shared / folder).rglob("*") if p.is_file()]
    assert foreign
    assert not {digest(path) for path in foreign} & {digest(path) for path in tracked() if path.is_file()}
