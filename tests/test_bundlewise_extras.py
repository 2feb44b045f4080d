"""The extras: what the base install can do, what a missing extra is told as, and that what is declared is used."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from kb_samples import fill
from test_commands_generate import TITLES, some
from test_layout import MODULES, imports

from bundlewise.data.sessions import write_sessions
from bundlewise.errors import UsageError
from bundlewise.extras import EXTRAS, missing_from, require

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = ("all", "test", "bench")
HIDDEN = (
    *(
        "bitsandbytes",
        "datasets",
        "fastapi",
        "langchain",
        "langchain_openai",
        "llama_cpp",
        "matplotlib",
        "mcp",
        "mlflow",
        "openai",
        "pandas",
    ),
    *("prometheus_client", "psycopg", "psycopg_pool", "pyarrow", "ray", "starlette"),
)
"""The packages of extras that no package of the base depends on; it brings accelerate, anyio, httpx2 and uvicorn."""
DISTRIBUTIONS = {
    "llama_cpp": "llama-cpp-python",
    "langgraph.checkpoint": "langgraph-checkpoint",
    "langgraph.checkpoint.postgres": "langgraph-checkpoint-postgres",
    "langgraph.checkpoint.sqlite": "langgraph-checkpoint-sqlite",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
    "text_to_num": "text2num",
    "dotenv": "python-dotenv",
    "yaml": "pyyaml",
}
"""The names on the package index of what is imported by another name."""
USED_BY_OTHERS = {
    "alembic": "MLflow keeps runs in SQLite with it",
    "bitsandbytes": "transformers holds weights in four bits with it",
    "langchain-openai": "langchain makes the chat model with it",
    "sqlalchemy": "MLflow keeps runs in SQLite with it",
}
"""Declared, and imported by another package in our name."""


def distribution(module: str) -> str:
    """Return the package on the index that a module belongs to."""
    parts = module.split(".")
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS), parts[0].replace("_", "-"))


@cache
def imported(path: Path) -> set[str]:
    """Return the modules that a file imports at run time, in functions too."""
    return imports(path)


def foreign(path: Path) -> set[str]:
    """Return the packages on the index that a file imports."""
    ours = {"bundlewise", *sys.stdlib_module_names}
    return {distribution(name) for name in imported(path) if name.split(".")[0] not in ours}


def declared(requirements: Iterable[str]) -> set[str]:
    """Return the packages that requirements name."""
    return {re.split(r"[\[><=]", text)[0] for text in requirements}


BASE = declared(PROJECT["dependencies"])
OPTIONAL = {name: declared(texts) for name, texts in PROJECT["optional-dependencies"].items() if name not in GROUPS}


def test_each_extra_declares_what_is_imported_for_it() -> None:
    assert EXTRAS.keys() == OPTIONAL.keys()
    for extra, names in EXTRAS.items():
        assert OPTIONAL[extra] - set(map(distribution, names)) <= USED_BY_OTHERS.keys(), extra
        assert set(map(distribution, names)) <= OPTIONAL[extra], extra
        assert not OPTIONAL[extra] & BASE, extra


def test_what_is_declared_is_imported_and_what_is_imported_is_declared() -> None:
    used = set().union(*map(foreign, MODULES.values()))
    assert used | USED_BY_OTHERS.keys() == BASE.union(*OPTIONAL.values())
    assert not used & {"alembic", "bitsandbytes", "sqlalchemy"}


def test_all_and_the_tests_name_extras_that_there_are() -> None:
    groups = PROJECT["optional-dependencies"]
    # llama is compiled on installing, which needs a C++ compiler.
    assert re.findall(r"[\w-]+", groups["all"][0])[1:] == [name for name in OPTIONAL if name != "llama"]
    for name in ("test", "bench"):
        assert set(re.findall(r"[\w-]+", groups[name][0])[1:]) <= OPTIONAL.keys()


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_tests_benchmarks_and_examples_import_what_is_declared(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    known = BASE.union(*OPTIONAL.values(), *(declared(PROJECT["optional-dependencies"][name]) for name in GROUPS))
    ours = {distribution(path.stem) for path in paths} | {distribution(p.stem) for p in (ROOT / "tests").glob("*.py")}
    brought = {"tokenizers": "transformers", "ormsgpack": "langgraph-checkpoint"}
    peers = {"openvino-genai", "xllamacpp"}  # benchmarks/generation_peers.py says how to install them.
    assert set().union(*map(foreign, paths)) - known - ours - brought.keys() <= peers


def guards(name: str) -> set[str]:
    """Return the extras that a module, or the package it lies in, asks for."""
    package = MODULES.get(name.rpartition(".")[0], MODULES[name])
    text = MODULES[name].read_text("utf-8") + package.read_text("utf-8")
    return set(re.findall(r'(?<![.\w])require\("([\w-]+)"', text))


def test_whoever_imports_a_package_of_an_extra_asks_for_the_extra_first() -> None:
    inside = {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}
    for name, path in MODULES.items():
        near = {name, *inside[name], *(other for other, used in inside.items() if name in used)}
        brought = BASE.union(*(OPTIONAL[extra] for other in near for extra in guards(other)))
        assert foreign(path) <= brought, f"{name} imports a package of an extra; call bundlewise.extras.require"


def test_the_error_says_what_is_missing_who_needs_it_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as caught:
        require("parquet", "reading p.parquet")
    assert str(caught.value) == (
        'reading p.parquet needs the package pyarrow, which is not installed; run: pip install "bundlewise[parquet]"'
    )


def test_of_several_packages_all_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain", None)
    monkeypatch.setitem(sys.modules, "openai", None)
    assert missing_from("chat-model") == ["langchain", "openai"]
    with pytest.raises(UsageError, match=r"the packages langchain, openai, which are not installed; .*\[chat-model\]"):
        require("chat-model", "--chat-model")


def test_what_lies_in_a_package_that_is_missing_is_missing_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "odd", ("no_such_package.inside",))
    assert missing_from("odd") == ["no_such_package.inside"]


SHELL = f"""
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {HIDDEN} else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, context=None):
        found = super().find_distributions(*([] if context is None else [context]))
        return (each for each in found if each.name.replace("-", "_") not in {HIDDEN})

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from bundlewise.cli import main

results = []
for arguments in json.load(open("lines.json")):
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as left:
            code = left.code
    results.append([code, *(text.buffer.getvalue().decode() for text in (out, err))])
json.dump(results, sys.stdout)
"""
"""Runs command lines where the packages of the extras cannot be found."""


def run_with_the_base_alone(folder: Path, *lines: Sequence[object]) -> list[tuple[int, str, str]]:
    """Return code, stdout and stderr of each command line."""
    (folder / "lines.json").write_text(json.dumps([[str(word) for word in line] for line in lines]))
    shell = [sys.executable, "-c", SHELL]
    done = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    write_sessions(path, [*some("train"), *some("validation", 2), *some("test")])
    return path


@pytest.mark.usefixtures("minilm")
def test_the_base_answers_scores_and_looks_after_knowledge(tmp_path: Path, data: Path, tiny_student: Path) -> None:
    answering, titles = ("generate", "--student", tiny_student), ("--items", *TITLES)
    lines: list[list[object]] = [
        ["--help"],
        ["data", "show", "electronics"],
        ["data", "validate", data],
        ["distil", "--data", data, "--kb", "kb"],
        ["kb", "stats", "kb"],
        ["kb", "list", "kb"],
        ["kb", "search", "kb", "tablet case"],
        ["kb", "explain", "kb", *titles],
        ["kb", "verify", "kb"],
        ["kb", "report", "kb", "-o", "kb.html"],
        ["kb", "export", "kb", "-o", "pack.jsonl"],
        [*answering, *titles],
        [*answering, "--kb", "kb", *titles],
        [*answering, "--data", data, "-o", "predictions.jsonl"],
        ["evaluate", "--data", data, "--split", "test", "--predictions", "predictions.jsonl"],
        ["baselines", "--data", data, "-o", "baselines"],
        ["chat", "--student", tiny_student],
        ["prompts", "list"],
        ["experiment", "list"],
    ]
    for line, (code, _, err) in zip(lines, run_with_the_base_alone(tmp_path, *lines), strict=True):
        assert code == 0, (line, err)


def test_each_other_command_names_its_extra(tmp_path: Path, data: Path, tiny_student: Path) -> None:
    student = ("--student", tiny_student)
    large = "openai:large@http://127.0.0.1:9/v1"
    (tmp_path / "products.parquet").write_bytes(b"PAR1")
    lines: dict[str, list[list[object]]] = {
        "serve": [["serve", *student], ["mcp", *student]],
        "train": [["finetune", "--data", data, "-o", "adapter", *student]],
        "experiment": [["demo"], ["experiment", "run", "format"]],
        "teacher": [
            ["distil", "--data", data, "--kb", "kb", "--teacher", large],
            ["generate", "--student", large, "--items", *TITLES],
            ["kb", "reindex", fill(tmp_path / "words"), "--embedder", large],
        ],
        "chat-model": [["chat", *student, "--chat-model", large]],
        "parquet": [["chat", *student, "--catalogue", "products.parquet"]],
        "postgres": [["chat", *student, "--threads", "postgresql://127.0.0.1:9/none"]],
        "ray": [["generate", *student, "--data", data, "-o", "p.jsonl", "--engine", "ray"]],
        "mlflow": [["experiment", "run", "format", "--mlflow", "http://127.0.0.1:9"]],
    }
    given = [(extra, line) for extra, some_lines in lines.items() for line in some_lines]
    found = run_with_the_base_alone(tmp_path, *(line for _, line in given))
    for (extra, line), (code, out, err) in zip(given, found, strict=True):
        assert code == 2 and "Traceback" not in err and out == "", (line, code, err)
        assert f'run: pip install "bundlewise[{extra}]"' in err, (line, err)
