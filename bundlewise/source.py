"""Fingerprints of source code: they change with the code, and stay when only docstrings and comments change."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bundlewise.files import fingerprint, sha256_file

ROOT = Path(__file__).parent
ANSWERING = (
    *("agents", "evaluation", "finetune", "graphs", "knowledge_base", "prompts"),
    *("domain.py", "scripts.py", "text.py", "titles.py"),
    *(f"data/{name}.py" for name in ("amounts", "columns", "price_column", "rows", "sessions", "tables")),
    *("models/folders.py", "models/known.py"),
    *(f"experiment/{name}.py" for name in ("inputs", "knowledge", "maker", "references")),
    *(f"pipeline/{name}.py" for name in ("calibration", "distil", "kind_readers")),
    *(f"pipeline/{name}.py" for name in ("knowledge", "predictions", "student")),
)
"""Folders, read recursively, and files whose code decides what teachers, students and baselines answer."""
SILENT = (
    *("agents/assistant/", "agents/ledger/", "prompts/overview.py"),
    *(f"finetune/{name}.py" for name in ("card", "parity", "publish", "push")),
    *(f"graphs/{name}.py" for name in ("assistant", "chat_pilot", "replay", "threads")),
    *(f"knowledge_base/{name}.py" for name in ("mirror", "reindex", "upkeep")),
)
"""Code within these folders that does not influence predictions: it assists, stores or describes."""
READ = {".py", ".txt"}
"""Suffixes of the files that count: code and word lists. Templates have fingerprints of their own."""
UNTOLD = {"ctx", "type_comment", "kind"}
"""Fields of syntax trees that do not influence what the code does."""


@cache
def code_fingerprint() -> str:
    """Return 12 hex digits over the code that decides answers, without docstrings and comments.

    The code of the assistant and of the ledger is left out, because predictions do not depend on it.
    """
    return fingerprint(fingerprints_below(ROOT))


def fingerprints_below(root: Path) -> dict[str, str]:
    """Return the fingerprint of each file that decides answers, by its path below the package's folder."""
    found = sorted(path for place in ANSWERING for path in _files(root / place))
    named = {path.relative_to(root).as_posix(): path for path in found}
    return {name: _fingerprint_of(path) for name, path in named.items() if not name.startswith(SILENT)}


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        for child in sorted(place.iterdir()):
            yield from _files(child)
    elif place.suffix in READ:
        yield place


def _fingerprint_of(path: Path) -> str:
    return syntax_fingerprint(path) if path.suffix == ".py" else sha256_file(path)[:12]


def syntax_fingerprint(*paths: Path) -> str:
    """Return 12 hex digits that change with the syntax trees of Python files, docstrings left out.

    The digits are the same in every version of Python that reads the files as the same trees.
    """
    trees = [_plain(ast.parse(path.read_bytes())) for path in paths]
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:12]


def _plain(node: Any) -> Any:
    """Return a syntax tree as lists, without empty fields, because newer versions of Python add fields."""
    if isinstance(node, ast.AST):
        fields: Mapping[str, Any] = dict(ast.iter_fields(node))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            fields = {**fields, "body": [part for part in node.body if not _is_text(part)]}
        kept = [[name, _plain(value)] for name, value in sorted(fields.items()) if name not in UNTOLD]
        return [type(node).__name__, *(pair for pair in kept if pair[1] not in (None, []))]
    if isinstance(node, list):
        return [_plain(each) for each in node]
    return node if node is None else repr(node)


def _is_text(statement: ast.stmt) -> bool:
    """Say whether a statement is only a text: a docstring of a module, class, function or constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
