"""An experiment's report: one self-contained HTML page, and the same content as Markdown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bundlewise.evaluation.scores import decimal
from bundlewise.experiment import plots
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.file import PLAIN, written
from bundlewise.experiment.results import Results
from bundlewise.experiment.rows import Estimate, GjsDifference, Row
from bundlewise.files import write_text
from bundlewise.models.prices import in_dollars
from bundlewise.reports.page import filled

HTML, MARKDOWN = "report.html", "report.md"


def write_reports(results: Results, folder: Path) -> list[Path]:
    """Write both reports into a folder; return their paths."""
    told = _told(results)
    for name in (HTML, MARKDOWN):
        write_text(folder / name, filled("bundlewise.experiment", name, told, cell=cell, decimal=decimal))
    return [folder / HTML, folder / MARKDOWN]


def _told(results: Results) -> dict[str, Any]:
    return {
        "results": results,
        "experiment": results.experiment,
        "tables": {"main": _table(results.rows, _verdict), "details": _table(results.rows, _details)},
        "quality": plots.quality(results.rows),
        "quantities": [
            {"dial": dial, "picture": plots.quantity(results.rows, dial)}
            for dial in plots.varied(results.rows)
            if plots.series(results.rows, dial)
        ],
        "cost": plots.cost(results.rows) if any(row.cost.seconds for row in results.rows) else "",
        "verdicts": verdicts(results),
        "file": written(results.experiment),
        "shared": shared_settings(results.rows),
        "chosen": results.experiment.split == "validation",
    }


def _table(rows: Sequence[Row], told: Callable[[Row], dict[str, str]]) -> dict[str, Any]:
    """Return a table with numbered rows, without the columns that are empty in all rows."""
    found = [{"row": f"{number}. {_named(row)}", **told(row)} for number, row in enumerate(rows, 1)]
    columns = [name for name in found[0] if any(row[name] for row in found)]
    lines = [
        {"role": row.role, "cells": [cells[name] for name in columns]} for row, cells in zip(rows, found, strict=True)
    ]
    return {"columns": columns, "rows": lines}


def _named(row: Row) -> str:
    return f"{row.name} ({row.note})" if row.note else row.name


def _verdict(row: Row) -> dict[str, str]:
    """Return the main columns of a row: quality with its uncertainty, and cost."""
    cost, repeats = row.cost, row.by_repeat
    priced = cost.dollars is not None or cost.seconds is not None or row.role == "teacher"
    return {
        "GJS [95 %]": interval(row.gjs),
        f"against {PLAIN}": "" if row.difference is None else interval(row.difference, "+"),
        "p (Holm)": _p(row.difference),
        "over seeds": f"{decimal(min(repeats))} to {decimal(max(repeats))} ({row.repeats})" if row.repeats > 1 else "",
        "retention": "" if row.retention is None else interval(row.retention),
        "not answered": f"{row.unanswered} of {row.sessions * row.repeats}",
        "tokens in + out": "" if cost.tokens_in is None else f"{cost.tokens_in:,.0f} + {cost.tokens_out or 0:,.0f}",
        "seconds": "" if cost.seconds is None else f"{cost.seconds:.2f}",
        "$ per 1,000": in_dollars(cost.dollars) if priced else "",
        "cost saved": "" if row.cost_reduction is None else f"{100 * row.cost_reduction:.1f} %",
    }


def _details(row: Row) -> dict[str, str]:
    """Return the other metrics, and the cost of work that is done once."""
    cost = row.cost
    return {
        "exact P / R": _slashed(row, "exact_precision", "exact_recall"),
        "v1 P / R / C": _slashed(row, "v1_precision", "v1_recall", "v1_coverage"),
        "v2 P / R / C": _slashed(row, "v2_precision", "v2_recall", "v2_coverage"),
        "intent": "" if row.intent is None else decimal(row.intent),
        "bundles": f"{row.bundles:.2f}",
        "failed": f"{row.failed}" if row.failed else "",
        "repaired": f"{row.repaired}" if row.repaired else "",
        "validation GJS": "" if row.validation_gjs is None else decimal(row.validation_gjs),
        "memory GB": "" if cost.memory_gb is None else f"{cost.memory_gb:.2f}",
        "trained weights": f"{cost.trainable_parameters:,}" if cost.trainable_parameters else "",
        "tuning s": f"{cost.tuning_seconds:,.0f}" if cost.tuning_seconds else "",
        "distilling s": f"{cost.distil_seconds:,.1f}" if cost.distil_seconds else "",
        "distilling tokens": f"{cost.distil_tokens:,}" if cost.distil_tokens else "",
        "distilling $": in_dollars(cost.distil_dollars) if cost.distil_tokens else "",
        "distilling failed": f"{cost.distil_failed:,}" if cost.distil_failed else "",
        "teaching sessions": f"{row.teaching_sessions:,}" if row.teaching_sessions else "",
        "knowledge": ", ".join(f"{count} {kind}s" for kind, count in row.knowledge.items()),
    }


def interval(estimate: Estimate, sign: str = "") -> str:
    """Return a number with its interval, such as `.658 [.611, .702]`."""
    value, low, high = (decimal(number, sign) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _p(difference: GjsDifference | None) -> str:
    if difference is None:
        return ""
    corrected = "" if difference.holm is None else f" ({probability(difference.holm)})"
    return f"{probability(difference.p)}{corrected}"


def probability(p: float) -> str:
    """Return a p-value as text; `< .001` for a smaller one."""
    return decimal(p) if p >= 0.001 else "< .001"


def _slashed(row: Row, *names: str) -> str:
    return " / ".join(decimal(row.metrics[name].value) for name in names)


def cell(text: str) -> str:
    """Return text as a cell of a Markdown table."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("<", "&lt;").replace("`", "\\`")


def verdicts(results: Results) -> list[str]:
    """Return sentences that say what the table shows."""
    cells = [row for row in results.rows if row.role == "cell" and row.difference]
    if not cells:
        return ["The table has only the plain student."]
    best = max(cells, key=lambda row: row.gjs.value)
    shown = [row for row in cells if row.difference and row.difference.holm is not None and row.difference.holm < 0.05]
    better = [row.name for row in shown if row.difference and row.difference.value > 0]
    worse = [row.name for row in shown if row.difference and row.difference.value < 0]
    said = [f"Highest: {best.name}, {interval(best.gjs)}."]
    said.append(f"Better than the {results.reference} beyond chance (Holm, 5 %): {'; '.join(better) or 'none'}.")
    if worse:
        said.append(f"Worse beyond chance: {'; '.join(worse)}.")
    beaten = [row.name for row in results.rows if row.role == "baseline" and row.gjs.value >= best.gjs.value]
    if beaten:
        said.append(f"Not better than {', '.join(beaten)}, which need no student.")
    if best.retention is not None:
        said.append(f"It keeps {interval(best.retention)} of {results.teacher}'s GJS.")
    return said


def shared_settings(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the settings that all cells with knowledge or tuning share, and that have an effect in them."""
    cells = [row.settings for row in rows if row.role == "cell" and row.settings.get("utilisation") != "plain"]
    if not cells:
        return {}
    idle = set[str].intersection(*(Cell.model_validate(cell).idle for cell in cells))
    same = {name: value for name, value in cells[0].items() if all(cell.get(name) == value for cell in cells)}
    same = {name: value for name, value in same.items() if name not in idle}
    return {name: _told_as(value) for name, value in same.items() if value not in (None, {}, [], ())}


def _told_as(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {setting}" for name, setting in value.items())
    return " + ".join(value) if isinstance(value, list | tuple) else value
