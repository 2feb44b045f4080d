"""The languages that embedders know, judged by the script of a text."""

from collections.abc import Sequence

from bundlewise.models.known import MINILM, MPNET, MULTILINGUAL
from bundlewise.text import is_foreign

BESIDE = "+"
"""What stands between the names of embedders side by side, as in `minilm+mpnet`."""
ENGLISH = frozenset({MINILM.name, MPNET.name, MPNET.hub, "sentence-transformers/all-MiniLM-L6-v2"})
"""Embedders that were trained on English only."""
CHOOSE = f"choose an embedder of more languages: --embedder {MULTILINGUAL}"


def is_english(embedder: str) -> bool:
    """Say whether an embedder, or the first of several side by side, was trained on English only."""
    return embedder.partition(BESIDE)[0] in ENGLISH


def reads(embedder: str, text: str) -> bool:
    """Say whether an embedder knows the language of a text."""
    return not is_english(embedder) or not is_foreign(text)


def language_note(embedder: str, titles: Sequence[str], remedy: str = CHOOSE) -> str:
    """Return a warning if an English embedder gets titles that are mostly in other scripts; else an empty text."""
    foreign = sum(map(is_foreign, titles))
    if not is_english(embedder) or 2 * foreign <= len(titles):
        return ""
    return (
        f"{foreign:,} of {len(titles):,} titles are not in Latin script, and {embedder} knows only English: "
        f"it does not recognise similar meanings; {remedy}"
    )
