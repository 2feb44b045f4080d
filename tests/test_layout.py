"""The layout of the project: one import namespace, imports that point downwards, files of a size to read."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS = {name.removeprefix("bundlewise."): path for name, path in SETUPTOOLS["package-dir"].items()}
LINKED = sorted(FOLDERS.keys() - {"bundlewise"})
TOP = ("bundlewise", "bundlewise.cli", "bundlewise.__main__")
"""The Python face and the command line lie at the top of the package and open every room."""
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
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            if name == "bundlewise" and inside.parts[0] in LINKED:
                continue
            parts = [name, *inside.parent.parts, *([] if path.stem == "__init__" else [path.stem])]
            found[".".join(parts)] = path
    return found


def floors() -> list[str]:
    """Return the packages from the ground up, as the table of docs/architecture.md lists them."""
    rows = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("## Floors")[1].split("\n## ")[0].splitlines()
    named = [found[1] for row in rows if (found := re.match(r"\| `([\w/]+)/` \|", row))]
    return [f"bundlewise.{name}".replace("/", ".").replace("bundlewise.bundlewise", "bundlewise") for name in named]


MODULES = modules()
FLOORS = floors()


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


def floor(module: str) -> int:
    """Return the number of the floor that a module lies on, counted from the ground."""
    if module in TOP:
        return len(FLOORS)
    rooms = [name for name in FLOORS if module == name or module.startswith(f"{name}.")]
    return FLOORS.index(max(rooms, key=len))


def test_the_packages_listed_are_the_packages_mapped_and_the_links() -> None:
    links = {path.name: os.readlink(path) for path in (ROOT / "bundlewise").iterdir() if path.is_symlink()}
    assert links == {name: f"../{name}" for name in LINKED}
    assert {name: FOLDERS[name] for name in LINKED} == {name: name for name in LINKED}
    assert sorted(SETUPTOOLS["packages"]) == sorted(name for name, path in MODULES.items() if path.stem == "__init__")


def test_the_table_of_floors_names_every_room_once() -> None:
    rooms = {name for name, path in MODULES.items() if path.stem == "__init__"} - {"bundlewise.agents"}
    assert sorted(FLOORS) == sorted(rooms)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_can_be_read_in_one_sitting(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= 300


def test_the_package_is_typed_and_ships_the_marker() -> None:
    assert (ROOT / "bundlewise" / "py.typed").is_file()
    assert "py.typed" in SETUPTOOLS["package-data"]["bundlewise"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downwards_only(module: str) -> None:
    inside = {name for name in imports(MODULES[module]) if name.startswith("bundlewise.")}
    assert not {name for name in inside if floor(name) > floor(module)}


def test_no_module_imports_itself_by_detours() -> None:
    graph = {name: imports(path) & MODULES.keys() - {"bundlewise", name} for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES) - 1


def public_classes(path: Path) -> list[str]:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_a_class_has_a_name_of_its_own() -> None:
    counts = Counter(name for path in MODULES.values() for name in public_classes(path))
    assert not {name for name, count in counts.items() if count > 1}


@pytest.mark.parametrize("path", [*MODULES.values(), *sorted((ROOT / "tests").glob("*.py"))], ids=lambda p: p.name)
def test_folders_are_imported_by_their_full_names(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & set(LINKED)


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if name.split(".")[1:2] in (["agents"], ["finetune"]))
)
def test_agents_and_finetune_need_neither_chroma_nor_langchain(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(MODULES[module])} & NOT_ON_THE_GPU_MACHINE


def test_the_student_is_tuned_and_loaded_where_chroma_and_langchain_are_missing() -> None:
    code = f"""
import sys
sys.modules |= dict.fromkeys({sorted(NOT_ON_THE_GPU_MACHINE)})
import bundlewise.reports.loss, bundlewise.finetune.tuning
import bundlewise.agents.student.grammar, bundlewise.agents.student.replies
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
