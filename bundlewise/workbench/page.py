"""The page of a comparison: the interval at each look, metrics, and the sessions with different scores side by side."""

from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any

from bundlewise.domain import Prediction, Session
from bundlewise.evaluation.metrics import SessionScore
from bundlewise.evaluation.scores import decimal
from bundlewise.files import write_text
from bundlewise.prompts.library import using
from bundlewise.reports.page import filled
from bundlewise.workbench.compare import Comparison, Entry
from bundlewise.workbench.preview import Rendered, World, rendered
from bundlewise.workbench.variants import Variant

FLIPS = 40
WIDTH, ROW, REACH = 640, 26, 0.5


def write_page(path: Path, comparison: Comparison, worlds: Sequence[World], about: dict[str, str]) -> None:
    """Write the page into one self-contained file; the same comparison makes the same bytes.

    Args:
        path: the file to write.
        comparison: the comparison, complete or stopped.
        worlds: for each session, everything that its prompts depend on.
        about: facts about the comparison for the header, by name.
    """
    first, *others = comparison.entries
    places = list(dict.fromkeys(place for entry in others for place in comparison.flips(entry)))
    told = {
        "about": about,
        "names": [entry.variant.name for entry in comparison.entries],
        "rows": [_row(entry, comparison) for entry in comparison.entries],
        "charts": [{"name": entry.variant.name, "svg": _chart(entry)} for entry in others],
        "sources": [_source(first.variant, entry.variant) for entry in others],
        "flipped": len(places),
        "seen": comparison.seen,
        "flips": [_flip(comparison, place, worlds[place]) for place in places[:FLIPS]],
    }
    write_text(path, filled("bundlewise.workbench", "compare.html", told))


def _row(entry: Entry, comparison: Comparison) -> dict[str, str]:
    summary, row = entry.row.summary, entry.row
    low, high = row.ci["gjs"]
    look = entry.looks[-1] if entry.looks else None
    return {
        "name": row.name,
        "n": f"{summary.answered}/{summary.n}",
        "gjs": f"{decimal(summary.gjs)} [{decimal(low)}, {decimal(high)}]",
        "exact": f"{decimal(summary.exact_precision)} / {decimal(summary.exact_recall)}",
        "tokens": f"{row.tokens_in:,} + {row.tokens_out:,}",
        "seconds": f"{row.seconds:,.1f}",
        "difference": "" if look is None else said(look.difference, look.low, look.high),
        "verdict": "" if look is None else verdict(entry),
        "flips": "" if look is None else str(len(comparison.flips(entry))),
    }


def said(value: float, low: float, high: float) -> str:
    """Return a difference with its interval as text."""
    return f"{decimal(value, '+')} [{decimal(low, '+')}, {decimal(high, '+')}]"


def verdict(entry: Entry) -> str:
    """Return the result of the last look in words."""
    look = entry.looks[-1]
    return "better" if look.low > 0 else "worse" if look.high < 0 else "not decided"


def _chart(entry: Entry) -> dict[str, Any]:
    """Return the layout of the intervals of all looks, one per line, with zero in the middle."""
    rows = []
    for number, look in enumerate(entry.looks):
        low, middle, high = (_x(value) for value in (look.low, look.difference, look.high))
        text = f"{look.sessions} sessions: {said(look.difference, look.low, look.high)}"
        rows.append({"y": ROW * number + 14, "low": low, "middle": middle, "high": high, "text": text})
    return {"height": ROW * len(rows) + 8, "zero": _x(0.0), "width": WIDTH, "rows": rows}


def _x(value: float) -> float:
    return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, value / REACH))), 1)


def _source(a: Variant, b: Variant) -> dict[str, Any]:
    """Return the differences between the bodies of two sets of templates."""
    lines: list[str] = []
    for name in b.differs(a):
        before, after = a.library.template(name).body, b.library.template(name).body
        lines += unified_diff(
            before.splitlines(), after.splitlines(), f"{a.name}: {name}", f"{b.name}: {name}", "", "", 1, ""
        )
    return {"name": b.name, "lines": [{"kind": _kind(line), "text": line} for line in lines]}


def _kind(line: str) -> str:
    return {"+": "plus", "-": "minus"}.get(line[:1], "") if line[:3] not in ("+++", "---") else "head"


def _flip(comparison: Comparison, place: int, world: World) -> dict[str, Any]:
    session = comparison.sessions[place]
    answers = [_answer(entry, place, session, world) for entry in comparison.entries if place < len(entry.predictions)]
    truth = [
        {"numbers": ", ".join(str(n + 1) for n in group), "intent": bundle.intent}
        for group, bundle in zip(session.groups, session.bundles, strict=True)
    ]
    return {"id": session.session_id, "titles": session.titles, "truth": truth, "answers": answers}


def _answer(entry: Entry, place: int, session: Session, world: World) -> dict[str, Any]:
    prediction: Prediction = entry.predictions[place]
    score: SessionScore = entry.scores[place]
    with using(entry.variant.library):
        prompt: Rendered = rendered("judge", session, world)[0]
    bundles = [{"numbers": ", ".join(map(str, b.items)), "intent": b.intent} for b in prediction.bundles]
    pieces = [piece for part in prompt.parts for piece in _pieces(part.text, part.knowledge)]
    reason = "" if bundles else prediction.reason or prediction.outcome
    about = {"name": entry.variant.name, "gjs": decimal(score.gjs), "tokens": prediction.tokens_in, "reason": reason}
    return {**about, "bundles": bundles, "pieces": pieces}


def _pieces(text: str, spans: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Cut a text into pieces that are knowledge and pieces that are not."""
    pieces, place = [], 0
    for start, end in spans:
        pieces += [{"text": text[place:start], "known": False}, {"text": text[start:end], "known": True}]
        place = end
    return [piece for piece in [*pieces, {"text": text[place:], "known": False}] if piece["text"]]
