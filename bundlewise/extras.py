"""The extras of the installation: which packages each one brings, and the error where one of them is missing."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec

from bundlewise.errors import UsageError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": ("accelerate", "matplotlib"),
    "experiment": ("accelerate", "matplotlib"),
    "teacher": ("httpcore2", "httpx2", "openai"),
    "chat-model": ("langchain", "langchain_openai", "openai"),
    "serve": ("anyio", "fastapi", "h11", "mcp", "prometheus_client", "starlette", "uvicorn"),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
    "mlflow": ("mlflow",),
    "postgres": ("langgraph.checkpoint.postgres", "psycopg", "psycopg_pool"),
    "four-bit": ("bitsandbytes",),
}
"""The packages of each extra, by the names that they are imported by."""


def missing_from(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if not _is_installed(name)]


def require(extra: str, use: str) -> None:
    """Raise a UsageError that names the packages missing, what needs them, and how to install them.

    Args:
        extra: the extra that brings the packages.
        use: the command, option or function that needs them; the message begins with it.
    """
    if missing := missing_from(extra):
        packages = f"the package {missing[0]}" if len(missing) == 1 else f"the packages {', '.join(missing)}"
        here = "which is not installed" if len(missing) == 1 else "which are not installed"
        raise UsageError(f'{use} needs {packages}, {here}; run: pip install "bundlewise[{extra}]"')


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        return find_spec(name) is not None
    except ImportError:  # The package that it lies in is missing.
        return False
