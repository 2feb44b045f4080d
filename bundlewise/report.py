"""The demo's report: one self-contained HTML file with the table, two plots, verdicts and three sessions."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from bundlewise import scoring
from bundlewise.domain import Knowledge, Prediction, Session
from bundlewise.figures import data_url, new_figure
from bundlewise.files import write_text
from bundlewise.scoring import decimal

if TYPE_CHECKING:
    from bundlewise.demo import Demo, Entry

PLAIN, LEXICAL = "plain student", "lexical clusters"
WIDE_GAP = 0.05
INK, SOFT, ACCENT = "#12343b", "#9db4c0", "#c8553d"


def verdicts(entries: "dict[str, Entry]") -> list[str]:
    """Say for each tuned student whether it beats the untuned one, the heuristic and its evidence, and why not."""
    said = []
    for name in (name for name in entries if "SFT" in name):
        evidence = name.replace("ICL+SFT", "evidence")
        for other in (PLAIN, LEXICAL, *([evidence] if evidence != name and evidence in entries else [])):
            gain, (low, high) = entries[name].row.difference(entries[other].row)
            verb = "beats" if low > 0 else "is ahead of" if gain > 0 else "does not beat"
            tail = "" if low > 0 else "; the interval holds zero" if gain > 0 else f"; {why_not(entries[name])}"
            said.append(
                f"{name} {verb} {other}: {decimal(gain, '+')} GJS [{decimal(low, '+')}, {decimal(high, '+')}]{tail}"
            )
    return said


def why_not(entry: "Entry") -> str:
    """Return what the validation score and the shape of the answers tell about a row that fell short."""
    shape = f"it makes {bundles_per_session(entry):.2f} bundles a session"
    if entry.validation_gjs is None:
        return shape
    score = f"GJS {decimal(entry.validation_gjs)} on validation and {decimal(entry.row.summary.gjs)} on test"
    if entry.validation_gjs > entry.row.summary.gjs + WIDE_GAP:
        return f"{shape}; {score}: chosen on few validation sessions, it does not carry over"
    return f"{shape}; {score}: it has not learnt more from so few training sessions and one epoch"


def bundles_per_session(entry: "Entry") -> float:
    """Return the mean number of bundles an entry answers with."""
    return sum(len(groups) for groups in entry.groups) / max(1, len(entry.groups))


def telling_sessions(entries: "dict[str, Entry]", count: int = 3) -> list[int]:
    """Return the sessions where the best tuned row gains most, loses most, and is nearest to its mean."""
    best = best_tuned(entries)
    gain = [a.gjs - b.gjs for a, b in zip(best.row.scores, entries[PLAIN].row.scores, strict=True)]
    order = sorted(range(len(gain)), key=lambda place: (-gain[place], place))
    mean = sum(gain) / len(gain)
    typical = min(order[1:-1] or order, key=lambda place: abs(gain[place] - mean))
    return list(dict.fromkeys([order[0], order[-1], typical]))[:count]


def best_tuned(entries: "dict[str, Entry]") -> "Entry":
    """Return the tuned row with the best GJS on validation: the choice never looks at test."""
    tuned = [entry for name, entry in entries.items() if "SFT" in name]
    return max(tuned, key=lambda entry: entry.validation_gjs or 0.0)


def plot_quality(entries: "dict[str, Entry]") -> str:
    """Draw GJS with its interval for every row; return the picture as a data URL."""
    names = list(entries)[::-1]
    figure, axes = new_figure(0.36 * len(names) + 0.9)
    for place, name in enumerate(names):
        row = entries[name].row
        low, high = row.ci["gjs"]
        colour = ACCENT if "SFT" in name else INK if entries[name].predictions else SOFT
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(row.summary.gjs, place, "o", color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("GJS on test, 95 % bootstrap interval")
    return data_url(figure)


def plot_cost(entries: "dict[str, Entry]") -> str:
    """Draw GJS against seconds per session for the students; return the picture as a data URL."""
    figure, axes = new_figure(3.2)
    for name, entry in entries.items():
        if entry.predictions and entry.row.seconds is not None:
            seconds = entry.row.seconds / len(entry.predictions)
            axes.plot(seconds, entry.row.summary.gjs, "o", color=ACCENT if "SFT" in name else INK)
            axes.annotate(name, (seconds, entry.row.summary.gjs), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.25, y=0.2)
    axes.set(xlabel="seconds per session on this machine", ylabel="GJS on test")
    return data_url(figure)


def _table(entries: "dict[str, Entry]") -> list[dict[str, str]]:
    reference = entries[PLAIN].row
    rows = []
    for name, entry in entries.items():
        summary, (low, high) = entry.row.summary, entry.row.ci["gjs"]
        gain, (worst, best) = entry.row.difference(reference)
        cost = entry.row
        rows.append(
            {
                "name": name,
                "note": cost.note,
                "answered": f"{summary.answered}/{summary.n}",
                "exact": f"{decimal(summary.exact_precision)} / {decimal(summary.exact_recall)}",
                "v1": "/".join(map(decimal, (summary.v1_precision, summary.v1_recall, summary.v1_coverage))),
                "v2": "/".join(map(decimal, (summary.v2_precision, summary.v2_recall, summary.v2_coverage))),
                "gjs": f"{decimal(summary.gjs)} [{decimal(low)}, {decimal(high)}]",
                "gain": "" if name == PLAIN else f"{decimal(gain, '+')} [{decimal(worst, '+')}, {decimal(best, '+')}]",
                "bundles": f"{bundles_per_session(entry):.2f}",
                "intent": "" if entry.intent is None else decimal(entry.intent),
                "tokens": "" if cost.tokens_in is None else f"{cost.tokens_in:,} + {cost.tokens_out:,}",
                "seconds": "" if cost.seconds is None else f"{cost.seconds:,.1f}",
                "training": "" if entry.training_seconds is None else f"{entry.training_seconds:,.0f}",
            }
        )
    return rows


def _session(demo: "Demo", place: int, records: dict[str, Knowledge]) -> dict[str, Any]:
    session = demo.test[place]
    rows = [
        {"name": name, "gjs": decimal(e.row.scores[place].gjs), "bundles": _bundles(session, e, place)}
        for name, e in demo.entries.items()
    ]
    used = best_tuned(demo.entries).predictions[place].knowledge
    knowledge = [
        {"kind": records[use.id].kind, "score": f"{use.score:.2f}", "text": records[use.id].text}
        for use in used
        if use.id in records
    ]
    truth = [
        {"numbers": ", ".join(str(n + 1) for n in group), "intent": bundle.intent}
        for group, bundle in zip(session.groups, session.bundles, strict=True)
    ]
    return {"id": session.session_id, "titles": session.titles, "truth": truth, "rows": rows, "knowledge": knowledge}


def _bundles(session: Session, entry: "Entry", place: int) -> list[dict[str, str]]:
    prediction: Prediction | None = entry.predictions[place] if entry.predictions else None
    intents: Sequence[str] = [b.intent for b in prediction.bundles] if prediction else [""] * len(entry.groups[place])
    return [
        {"numbers": ", ".join(str(number + 1) for number in group), "intent": intent}
        for group, intent in zip(entry.groups[place], intents, strict=True)
    ]


def write_report(demo: "Demo", records: dict[str, Knowledge]) -> Path:
    """Write report.html into the run's folder and return its path."""
    template = files("bundlewise").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    libraries = ("torch", "transformers", "peft", "langgraph", "chromadb", "llguidance")
    text = environment.from_string(template).render(
        config=demo.config,
        run_id=demo.folder.name,
        rows=_table(demo.entries),
        tested=len(demo.test),
        annotated=decimal(sum(len(s.groups) for s in demo.test) / len(demo.test)),
        verdicts=verdicts(demo.entries),
        quality=plot_quality(demo.entries),
        cost=plot_cost(demo.entries),
        sessions=[_session(demo, place, records) for place in telling_sessions(demo.entries)],
        knowledge=demo.knowledge,
        memory=f"{demo.peak_memory():.1f}",
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in libraries),
    )
    path = demo.folder / "report.html"
    write_text(path, text)
    return path


def terminal_table(entries: "dict[str, Entry]") -> str:
    """Return the table for the terminal."""
    return scoring.table([entry.row for entry in entries.values()], reference=entries[PLAIN].row)
