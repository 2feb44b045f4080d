"""What the commands of `bundlewise kb` share: arguments and options, opening, and records as text."""

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, Record
from bundlewise.errors import UsageError
from bundlewise.settings import quiet_libraries
from bundlewise.text import line

if TYPE_CHECKING:
    from bundlewise.agents.teacher.grounding import Refusal
    from bundlewise.knowledge_base.place import Place
    from bundlewise.knowledge_base.store import KnowledgeStore

SOURCES = 3

# Not a path to click: it would make `http:/` of a server's address.
kb_argument = click.argument("kb")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
kind_option = click.option("--kind", type=click.Choice(KNOWLEDGE_KINDS), help="Only this kind.")
domain_option = click.option("--domain", help="Only this domain.")


def place_of(kb: str) -> "Place":
    """Return where a knowledge base is or may be made.

    Raises:
        UsageError: a file is there.
    """
    from bundlewise.knowledge_base.place import Place

    quiet_libraries()
    place = Place(kb)
    if not place.is_server and place.folder.is_file():
        raise UsageError(f"{kb} is a file, no knowledge base; take a pack in: bundlewise kb import KB {kb}")
    return place


def opened(kb: str) -> "KnowledgeStore":
    """Open a knowledge base.

    Raises:
        UsageError: there is none.
    """
    place_of(kb)
    from bundlewise.knowledge_base.store import KnowledgeStore

    return KnowledgeStore.open(kb)


def print_json(value: Any) -> None:
    """Print a value on one line of ASCII, so that no character of a text can drive a terminal."""
    click.echo(json.dumps(value.model_dump(mode="json") if isinstance(value, Record) else value))


def headline(record: Knowledge) -> str:
    """Return a record's id and domain, its status where it is not active, and whether it is an untested rule."""
    status = "" if record.status == "active" else f", {record.status}"
    untested = ", untested" if record.is_untested else ""
    return line(f"{record.id} ({record.domain or 'no domain'}{status}{untested})")


def sources(record: Knowledge) -> str:
    """Return the sessions a record comes from, the first few by name."""
    names, more = record.source_session_ids[:SOURCES], len(record.source_session_ids) - SOURCES
    return f"from {', '.join(names) or 'no session'}{f' and {more} more' if more > 0 else ''}"


def folded(text: str, indent: int = 0) -> str:
    """Return any text as data on one safe line; a terminal gets it folded to its width."""
    margin, safe = " " * indent, line(text)
    if not sys.stdout.isatty():
        return margin + safe
    return textwrap.fill(safe, _width(), initial_indent=margin, subsequent_indent=margin)


def clipped(text: str) -> str:
    """Return any text as data on one safe line; a terminal gets what fits its width."""
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


def parts_refused(refused: "Sequence[Refusal]") -> dict[str, int]:
    """Count what is refused: whole records, sentences left out of thoughts, and kinds that gave way to their titles."""
    counts = Counter(refusal.what for refusal in refused)
    return {"refused": counts["record"], "left_out": counts["sentence"], "kinds_replaced": counts["kind"]}


def part_lines(refused: "Sequence[Refusal]", most: int) -> Iterator[str]:
    """Yield the first sentences that were left out and kinds that were replaced, why, and how many there are."""
    for what, verb, told in (
        ("sentence", "left out", "sentences left out of thoughts"),
        ("kind", "kind replaced", "kinds gave way to their titles"),
    ):
        parts = [refusal for refusal in refused if refusal.what == what]
        yield from (clipped(f"{verb}: {refusal.reason}: {refusal.text}"[:300]) for refusal in parts[:most])
        if parts:
            yield f"{len(parts):,} {told}" + (f", {most} of them shown" if len(parts) > most else "")
