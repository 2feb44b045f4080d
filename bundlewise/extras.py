"""The extras of the installation: the packages of each extra, and the error about a missing package."""

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
    "llama": ("llama_cpp",),
}
"""The packages of each extra, by their import names."""


def missing_from(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if not _is_installed(name)]


def require(extra: str, use: str) -> None:
    """Check that the packages of an extra are installed.

    Args:
        extra: the name of the extra.
        use: the command, option or function that needs the packages; the message begins with it.

    Raises:
        UsageError: packages are missing; the message names them and says how to install them.
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
    except ImportError:  # The parent package is missing.
        return False
