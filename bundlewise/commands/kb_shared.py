"""Arguments, options, opening and printing that the commands of `bundlewise kb` share."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, Record
from bundlewise.errors import UsageError
from bundlewise.settings import quiet_libraries
from bundlewise.text import line

if TYPE_CHECKING:
    from bundlewise.knowledge_base.place import Place
    from bundlewise.knowledge_base.store import KnowledgeStore

SOURCES = 3

# A plain string, since click.Path would turn the `http://` of a server's address into `http:/`.
kb_argument = click.argument("kb")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
kind_option = click.option("--kind", type=click.Choice(KNOWLEDGE_KINDS), help="Only this kind.")
domain_option = click.option("--domain", help="Only this domain.")


def place_of(kb: str) -> "Place":
    """Return the place of a knowledge base, existing or new.

    Raises:
        UsageError: the place is a file.
    """
    from bundlewise.knowledge_base.place import Place

    quiet_libraries()
    place = Place(kb)
    if not place.is_server and place.folder.is_file():
        raise UsageError(f"{kb} is a file, not a knowledge base; import a pack: bundlewise kb import KB {kb}")
    return place


def opened(kb: str) -> "KnowledgeStore":
    """Open a knowledge base.

    Raises:
        UsageError: there is no knowledge base.
    """
    place_of(kb)
    from bundlewise.knowledge_base.store import KnowledgeStore

    return KnowledgeStore.open(kb)


def print_json(value: Any) -> None:
    """Print a value on one line of ASCII, so that no text can send control characters to a terminal."""
    click.echo(json.dumps(value.model_dump(mode="json") if isinstance(value, Record) else value))


def headline(record: Knowledge) -> str:
    """Return a record's id and domain, its status if it is not active, and whether it is an untested rule."""
    status = "" if record.status == "active" else f", {record.status}"
    untested = ", untested" if record.is_untested else ""
    return line(f"{record.id} ({record.domain or 'no domain'}{status}{untested})")


def sources(record: Knowledge) -> str:
    """Return the first few sessions that a record comes from, and the number of the others."""
    names, more = record.source_session_ids[:SOURCES], len(record.source_session_ids) - SOURCES
    return f"from {', '.join(names) or 'no session'}{f' and {more} more' if more > 0 else ''}"


def folded(text: str, indent: int = 0) -> str:
    """Return any text as one safe line; on a terminal it is wrapped to the width."""
    margin, safe = " " * indent, line(text)
    if not sys.stdout.isatty():
        return margin + safe
    return textwrap.fill(safe, _width(), initial_indent=margin, subsequent_indent=margin)


def clipped(text: str) -> str:
    """Return any text as one safe line; on a terminal it is shortened to the width."""
    safe = line(text)
    return textwrap.shorten(safe, _width(), placeholder=" ...") if sys.stdout.isatty() else safe


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns)


def table(header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Return rows as aligned columns under a header, numbers to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    right = [bool(rows) and isinstance(cell, int) for cell in (rows[0] if rows else header)]
    return "\n".join(
        "  ".join(f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(cells, widths, right, strict=True)).rstrip()
        for cells in (header, *texts)
    )
