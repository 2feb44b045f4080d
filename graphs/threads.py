"""Storage of threads: checkpoints in a SQLite file, in memory, or in Postgres, separated by owner."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from bundlewise.agents.assistant import conversation
from bundlewise.domain import Record
from bundlewise.errors import BundlewiseError, UsageError
from bundlewise.extras import require

POSTGRES = ("postgres://", "postgresql://")
PATIENCE = 30.0
"""The most seconds that a write waits for another process."""
NAME = re.compile(r"[\w.:-]{1,100}")


def allowed() -> list[type]:
    """Return the classes of a conversation's records, the only classes that reading a checkpoint may create."""
    return [kind for kind in vars(conversation).values() if isinstance(kind, type) and issubclass(kind, Record)]


@contextmanager
def thread_saver(place: Path | str | None) -> Iterator[BaseCheckpointSaver[Any]]:
    """Open the storage of threads: a file, a Postgres URL, or None for memory.

    Raises:
        UsageError: it is a Postgres URL, and its packages are not installed.
        BundlewiseError: the file or the server cannot be used.
    """
    serde = JsonPlusSerializer(allowed_msgpack_modules=allowed())
    if place is None:
        from langgraph.checkpoint.memory import InMemorySaver

        yield InMemorySaver(serde=serde)
    elif str(place).startswith(POSTGRES):
        yield from _postgres(str(place), serde)
    else:
        yield from _sqlite(Path(place), serde)


def _sqlite(path: Path, serde: JsonPlusSerializer) -> Iterator[BaseCheckpointSaver[Any]]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
        saver = SqliteSaver(connection, serde=serde)
        saver.setup()
    except (sqlite3.Error, OSError) as error:
        raise BundlewiseError(f"cannot keep threads in {path}: {error}; choose another file") from error
    try:
        yield saver
    finally:
        # Closing the connection while a thread of langgraph writes through it would crash the process.
        with saver.lock:
            connection.close()


def _postgres(url: str, serde: JsonPlusSerializer) -> Iterator[BaseCheckpointSaver[Any]]:
    require("postgres", "keeping threads in Postgres")
    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    try:
        # A single connection fails at once if there is no server; a pool would retry for long.
        psycopg.connect(url, connect_timeout=10).close()
        pool: Any = ConnectionPool(url, kwargs=settings, min_size=1, max_size=8, open=False)
        with pool:
            pool.wait(timeout=10)
            saver = PostgresSaver(pool, serde=serde)
            saver.setup()
            yield saver
    except (psycopg.Error, OSError) as error:
        # The text of the error may contain the address with its password.
        raise BundlewiseError(
            f"cannot keep threads in Postgres ({type(error).__name__}); check address and rights"
        ) from error


def mark_of(owner: str) -> str:
    """Return the digits that stand for an owner in stored data."""
    return hashlib.sha256(owner.encode()).hexdigest()[:24]


def config_for(owner: str, thread: str) -> RunnableConfig:
    """Return the key of a thread; it includes the owner, so that other owners cannot reach the thread.

    Raises:
        UsageError: the name of the thread is invalid.
    """
    if not NAME.fullmatch(thread):
        raise UsageError(f"a thread is named by 1 to 100 letters, digits, dots, colons and dashes, got {thread[:40]!r}")
    mark = mark_of(owner)
    return {"configurable": {"thread_id": f"{mark}/{thread}"}, "metadata": {"owner": mark}}


def threads_of(saver: BaseCheckpointSaver[Any], owner: str) -> dict[str, Any]:
    """Return the newest checkpoint of each of an owner's threads by the thread's name, the latest first."""
    mark = mark_of(owner)
    found: dict[str, Any] = {}
    for kept in list(saver.list(None, filter={"owner": mark})):
        whose, _, name = str(kept.config["configurable"]["thread_id"]).partition("/")
        if whose == mark:
            found.setdefault(name, kept)
    return found


def forget_steps(saver: BaseCheckpointSaver[Any], config: RunnableConfig) -> None:
    """Delete all steps of a thread except the newest, which is enough to continue; Postgres keeps all steps."""
    connection = getattr(saver, "conn", None)
    if not isinstance(connection, sqlite3.Connection):
        return
    name = config["configurable"]["thread_id"]
    newest = "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = '')"
    with saver.cursor() as cursor:  # type: ignore[attr-defined]
        for table in ("checkpoints", "writes"):
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id < {newest}", (name, name))
