"""Guards of output files: only with --force does a command overwrite a file that it reads or that is the user's."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from bundlewise.errors import UsageError
from bundlewise.extras import require
from bundlewise.files import is_special

ROW_LIMIT = 2**22
HEAD = 4096
Known = Callable[[Path], bool]
"""Says whether a file that is not empty is of the kind that a command writes."""

force_option = click.option(
    "--force", is_flag=True, help="Overwrite files that this command reads, or that bundlewise did not write."
)


def guard_file(output: Path | None, known: Known, force: bool) -> None:
    """Refuse an output file whose content would be lost; new, empty and special files are accepted.

    Raises:
        UsageError: another parameter of the command names the file too, or `known` does not recognise its content;
            one file for two outputs is refused even with --force.
    """
    if output is None or is_special(output):
        return
    _refuse_twice(output)
    if force:
        return
    if name := _reader(output):
        raise UsageError(f"{name} names {output} too; give another file, or overwrite it with --force")
    if not output.exists():
        return
    if output.stat().st_size and not _knows(known, output):
        raise UsageError(
            f"{output} exists and is not of the kind that this command writes; give another file, or overwrite it "
            "with --force"
        )


def note(output: Path) -> None:
    """Note a file that the running command writes in any case, so that no other output gets the same file."""
    if context := click.get_current_context(silent=True):
        context.meta.setdefault(f"{__name__}.written", []).append(output)


def guard_folder(output: Path, marks: tuple[str, ...], force: bool) -> None:
    """Refuse an output folder that has content, but none of the files that mark it as written by bundlewise.

    Raises:
        UsageError: the folder is refused, or the path is a file.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is not a folder; give the path of a folder")
    if force or not output.is_dir():
        return
    there = [path for path in output.iterdir() if not path.name.startswith(".")]
    if there and not any(True for mark in marks for _ in output.glob(mark)):
        raise UsageError(
            f"{output} holds {there[0].name} and nothing that this command has written; "
            "give another folder, or write into it with --force"
        )


def guard_knowledge(kb: str, force: bool) -> None:
    """Refuse a folder of other files for a knowledge base.

    Raises:
        UsageError: the folder has content, but no knowledge base.
    """
    from bundlewise.knowledge_base.place import Place

    place = Place(kb)
    if not place.is_server and not place.folder.is_file():
        guard_folder(place.folder, KNOWLEDGE, force)


def _refuse_twice(output: Path) -> None:
    """Refuse a file that the running command writes for another purpose too, and note it."""
    context = click.get_current_context(silent=True)
    if context is None:
        return
    noted: list[Path] = context.meta.setdefault(f"{__name__}.written", [])
    name = _reader(output, only=WRITTEN)
    if name:
        raise UsageError(f"{name} names {output} too; give another file")
    if any(_is_same(str(other), output) for other in noted):
        raise UsageError(f"this command writes something else to {output} too; give another file")
    noted.append(output)


def _reader(output: Path, only: tuple[str, ...] = ()) -> str:
    """Return the name of another parameter of the running command that means the same file, in any spelling."""
    context = click.get_current_context(silent=True)
    while context is not None:
        for parameter in context.command.params:
            value = context.params.get(str(parameter.name))
            if only and parameter.name not in only:
                continue
            if parameter.name == "kb" and value and _is_part(str(value), output):
                return _name_of(parameter, context)
            if isinstance(value, Path) and value is not output and _is_same(str(value), output):
                return _name_of(parameter, context)
            # If no such file exists, the word may be the name of a model or of starter data.
            if output.exists() and value is not output and any(_is_same(each, output) for each in _paths(value)):
                return _name_of(parameter, context)
        context = context.parent
    return ""


def _name_of(parameter: click.Parameter, context: click.Context) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(context)


def _is_part(kb: str, output: Path) -> bool:
    """Say whether a path is the folder of a knowledge base, or one of its files."""
    within = _is_same(kb, output.parent) and any(output.match(mark) for mark in KNOWLEDGE)
    return "://" not in kb and (within or _is_same(kb, output))


def _paths(value: Any) -> Iterator[str]:
    """Yield each text that may be a path in the value of a parameter: FILE, recorded:FILE or NAME=FILE."""
    if isinstance(value, tuple | list):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str | Path):
        yield str(value)
        for sign in ":=":
            yield str(value).partition(sign)[2]


def _is_same(name: str, output: Path) -> bool:
    """Say whether two paths lead to one file, whether it exists or not."""
    try:
        if not name or os.path.realpath(name) == os.path.realpath(output):
            return bool(name)
        return os.path.samefile(name, output)
    except (OSError, ValueError):
        return False


def _knows(known: Known, path: Path) -> bool:
    try:
        return known(path)
    except (OSError, ValueError, RecursionError):
        return False


def rows_with(*names: str, without: str = "") -> Known:
    """Return a check that recognises JSON lines by the keys of the first line."""

    def known(path: Path) -> bool:
        with path.open("rb") as stream:
            first = json.loads(stream.readline(ROW_LIMIT))
        return isinstance(first, dict) and first.keys() >= set(names) and without not in first

    return known


def begins_with(*texts: bytes) -> Known:
    """Return a check that recognises a file by texts near its beginning."""

    def known(path: Path) -> bool:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
        return all(text in head for text in texts)

    return known


def _is_table(path: Path) -> bool:
    """Recognise the table of an experiment by its columns."""
    if path.suffix.lower() == ".parquet":
        require("parquet", f"{path}, a Parquet file,")
        from pyarrow.lib import ArrowException
        from pyarrow.parquet import read_schema

        try:
            return set(TABLE) <= set(read_schema(path).names)
        except ArrowException:
            return False
    return begins_with(",".join(TABLE).encode())(path)


def _is_graph(path: Path) -> bool:
    """Recognise a graph in Mermaid text by its beginning and the mark at its end."""
    content = path.read_bytes()
    return content.startswith(b"---\nconfig:\n  flowchart:") and content.endswith(GRAPH_MARK.encode())


GRAPH_MARK = "\n%% bundlewise\n"
WRITTEN = ("cache", "draw", "html", "kb", "ledger", "log", "log_json", "output", "pack")
"""The names of parameters that commands write to."""
KNOWLEDGE = ("catalogue.sqlite", "index-*", "chroma.sqlite3")
TABLE = ("experiment", "row", "role", "split")
predictions = rows_with("session_id", "bundles", "outcome")
groups = rows_with("session_id", "bundles", without="items")
pack = rows_with("bundlewise_pack")
calls = rows_with("key", "stage", "subject", "template", "model", "text")
events = rows_with("time", "event")
tries = rows_with("number", "verdict")
refused_lines = rows_with("line", "reason", "text")
page = begins_with(b'<meta name="generator" content="bundlewise">')
table = _is_table
graph = _is_graph


def begun(path: Path) -> bool:
    """Recognise the partial file of a stopped `generate` by its only key."""
    with path.open("rb") as stream:
        return list(json.loads(stream.readline(HEAD))) == ["key"]


def cost(path: Path) -> bool:
    """Recognise the cost file beside predictions by its keys."""
    found = json.loads(path.read_bytes())
    return isinstance(found, dict) and found.keys() >= {"sessions", "tokens_in", "tokens_out", "seconds"}
