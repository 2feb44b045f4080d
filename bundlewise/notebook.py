"""Output in notebooks: small HTML tables of records, and a progress line that is updated in its cell.

All text from data is escaped. IPython is used only if it runs already.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any

from bundlewise.terminal import one_line

if TYPE_CHECKING:
    from bundlewise.domain import Item, Record

SHOWN = 20
"""Most rows of a table; a line below it gives the number of the others."""
LONGEST = 240
BAR = 24


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]], count: int | None = None) -> str:
    """Return an HTML table of the first rows; `count` is the number of all rows if `rows` has fewer."""
    found = list(rows)
    more = (len(found) if count is None else count) - SHOWN
    cells = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in found[:SHOWN])
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    below = f"<p>and {more:,} more</p>" if more > 0 else ""
    return f"<table><caption>{_cell(caption)}</caption><tr>{header}</tr>{cells}</table>{below}"


def record(shown: "Record") -> str:
    """Return an HTML table of a record's fields that have a value."""
    told = [(name, getattr(shown, name)) for name in type(shown).model_fields]
    return table(type(shown).__name__, ("field", "value"), [row for row in told if row[1] not in ("", (), None)])


def products(caption: str, items: "Sequence[Item]") -> str:
    """Return an HTML table of products, numbered from 1."""
    rows = [(n, item.title, item.price, " > ".join(item.category)) for n, item in enumerate(items, 1)]
    return table(caption, ("", "title", "price", "category"), rows)


def first(rows: Iterable[Any]) -> list[Any]:
    """Return the rows that a table shows, and one more."""
    return list(islice(rows, SHOWN + 1))


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = one_line(f"{value:.3f}" if isinstance(value, float) else str(value))
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def is_running() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # IPython in a terminal shows the bar of rich instead.
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"


def rewritten() -> Callable[[str], None]:
    """Put an empty line into the cell, and return a function that replaces its text."""
    display: Any = sys.modules["IPython.display"]
    handle = display.display({"text/plain": ""}, raw=True, display_id=True)
    return lambda line: handle.update({"text/plain": line}, raw=True)


def bar(done: int, total: int) -> str:
    """Return the progress of work as a bar of blocks."""
    full = BAR * min(done, total) // max(1, total)
    return "█" * full + "░" * (BAR - full)
