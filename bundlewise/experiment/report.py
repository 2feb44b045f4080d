"""An experiment's report: one self-contained HTML page and the same as Markdown."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from bundlewise.experiment import plots
from bundlewise.experiment.results import Results
from bundlewise.experiment.rows import Difference, Estimate, Row
from bundlewise.files import write_text
from bundlewise.prices import in_dollars
from bundlewise.scoring import decimal

HTML, MARKDOWN = "report.html", "report.md"


def write_reports(results: Results, folder: Path) -> list[Path]:
    """Write both reports into a folder; return their paths."""
    told = _told(results)
    paths = []
    for name, escape in ((HTML, True), (MARKDOWN, False)):
        spaces: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
        environment = Environment(autoescape=escape, undefined=StrictUndefined, **spaces)
        environment.filters |= {"cell": _cell, "decimal": decimal}
        source = files("bundlewise.experiment").joinpath(f"{name}.jinja").read_text("utf-8")
        write_text(folder / name, environment.from_string(source).render(told))
        paths.append(folder / name)
    return paths


def _told(results: Results) -> dict[str, Any]:
    return {
        "results": results,
        "experiment": results.experiment,
        "columns": COLUMNS,
        "rows": [{"role": row.role, "cells": _cells(row)} for row in results.rows],
        "quality": plots.quality(results.rows),
        "quantities": [
            {"dial": dial, "picture": plots.quantity(results.rows, dial)}
            for dial in plots.varied(results.rows)
            if plots.series(results.rows, dial)
        ],
        "cost": plots.cost(results.rows) if any(row.cost.seconds for row in results.rows) else "",
        "verdicts": verdicts(results),
        "file": yaml.safe_dump(results.experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "shared": shared_settings(results.rows) or {"nothing": "in common"},
        "chosen": "validation" if results.experiment.split == "validation" else "",
    }


COLUMNS = (
    *("row", "GJS [95 %]", "against plain student", "p (Holm)", "over seeds", "retention", "exact P / R", "v1 P/R/C"),
    *("v2 P/R/C", "intent", "bundles", "not answered", "tokens in + out", "seconds", "$ per 1,000", "cost saved"),
    *("memory GB", "trained weights", "tuning s", "distil s", "knowledge"),
)


def _cells(row: Row) -> list[str]:
    m, c = row.metrics, row.cost
    spread = (
        f"{decimal(min(row.by_repeat))} to {decimal(max(row.by_repeat))} ({row.repeats})" if row.repeats > 1 else ""
    )
    tokens = "" if c.tokens_in is None else f"{c.tokens_in:,.0f} + {c.tokens_out or 0:,.0f}"
    return [
        f"{row.name}{f' ({row.note})' if row.note else ''}",
        interval(row.gjs),
        "" if row.difference is None else interval(row.difference, "+"),
        _p(row.difference),
        spread,
        "" if row.retention is None else interval(row.retention),
        _slashed(m, "exact_precision", "exact_recall"),
        _slashed(m, "v1_precision", "v1_recall", "v1_coverage"),
        _slashed(m, "v2_precision", "v2_recall", "v2_coverage"),
        "" if row.intent is None else decimal(row.intent),
        f"{row.bundles:.2f}",
        f"{row.unanswered} of {row.sessions * row.repeats}" + (f", {row.failed} failed" if row.failed else ""),
        tokens,
        "" if c.seconds is None else f"{c.seconds:.2f}",
        "" if c.seconds is None and c.dollars is None and row.role != "teacher" else in_dollars(c.dollars),
        "" if row.cost_reduction is None else f"{100 * row.cost_reduction:.1f} %",
        "" if c.memory_gb is None else f"{c.memory_gb:.2f}",
        f"{c.trainable_parameters:,}" if c.trainable_parameters else "",
        f"{c.tuning_seconds:,.0f}" if c.tuning_seconds else "",
        f"{c.distil_seconds:,.0f}" if c.distil_seconds else "",
        ", ".join(f"{count} {kind}s" for kind, count in row.knowledge.items()),
    ]


def interval(estimate: Estimate, sign: str = "") -> str:
    """Write a number with its interval, `.658 [.611, .702]`."""
    value, low, high = (decimal(number, sign) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _p(difference: Difference | None) -> str:
    if difference is None:
        return ""
    corrected = "" if difference.holm is None else f" ({decimal(difference.holm)})"
    return f"{decimal(difference.p)}{corrected}"


def _slashed(metrics: Mapping[str, Estimate], *names: str) -> str:
    return "/".join(decimal(metrics[name].value) for name in names)


def _cell(text: str) -> str:
    """Return text as a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def verdicts(results: Results) -> list[str]:
    """Say in plain words what the table shows, and what it does not."""
    cells = [row for row in results.rows if row.role == "cell" and row.difference]
    if not cells:
        return ["There is only the plain student."]
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
    """Return the settings that all cells with knowledge have in common."""
    cells = [row.settings for row in rows if row.role == "cell" and row.settings.get("utilisation") != "plain"]
    if not cells:
        return {}
    same = {name: value for name, value in cells[0].items() if all(cell.get(name) == value for cell in cells)}
    return {name: value for name, value in same.items() if value not in (None, {}, [], ())}
