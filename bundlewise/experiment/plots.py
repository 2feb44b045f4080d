"""Plots of an experiment as PNG data: rows with intervals, quality against quantity, quality against cost."""

from collections.abc import Mapping, Sequence

from bundlewise.experiment.rows import Row
from bundlewise.reports.page import data_url, new_figure

COLOURS: Mapping[str, str] = {"cell": "#c8553d", "baseline": "#9db4c0", "teacher": "#12343b"}
ROLES: Mapping[str, str] = {"cell": "student", "baseline": "no language model", "teacher": "large teacher"}
LINES = ("#c8553d", "#12343b", "#588b8b", "#e09f3e", "#7b5e7b", "#5c7480", "#9a3b26", "#2a7f62")
LONG_LABEL = 45
"""Labels with more letters than this do not fit side by side."""
QUANTITIES = ("ratio", "k", "domains", "formats", "tuned")
LABELS: Mapping[str, str] = {
    "ratio": "share of the training sessions that teach",
    "k": "records of each format in a prompt",
    "domains": "domains that teach",
    "formats": "formats of knowledge",
    "tuned": "sessions tuned on",
}


def quality(rows: Sequence[Row]) -> str:
    """Draw every row's GJS with its interval; return a data URL."""
    figure, axes = new_figure(0.34 * len(rows) + 1)
    for place, row in enumerate(reversed(rows)):
        colour = COLOURS[row.role]
        axes.plot([row.gjs.low, row.gjs.high], [place, place], color=colour, linewidth=2)
        axes.plot(row.gjs.value, place, "o", color=colour)
    names = [f"{number}. {row.name}" for number, row in enumerate(rows, 1)]
    axes.set_yticks(range(len(rows)), list(reversed(names)))
    axes.set_xlabel("GJS, 95 % bootstrap interval over sessions")
    return data_url(figure)


def quantity_of(row: Row, dial: str) -> float | None:
    """Return the value of a dial in a cell as a number; a list counts by its length, the scored domain as one."""
    value = row.settings.get(dial)
    if isinstance(value, list | tuple):
        return float(max(1, len(value)) if dial == "domains" else len(value))
    return None if value is None else float(value)


def varied(rows: Sequence[Row]) -> list[str]:
    """Return the dials of quantity that differ between the cells with knowledge, in a fixed order."""
    cells = [row for row in rows if row.role == "cell" and row.settings.get("utilisation") != "plain"]
    return [dial for dial in QUANTITIES if len({quantity_of(row, dial) for row in cells}) > 1]


def series(rows: Sequence[Row], dial: str) -> dict[str, list[Row]]:
    """Return the groups of cells that differ only in one dial, by their common settings; single cells are left out."""
    cells = [row for row in rows if row.role == "cell" and quantity_of(row, dial) is not None]
    groups: dict[str, list[Row]] = {}
    for row in cells:
        groups.setdefault(_rest(row, dial), []).append(row)
    if dial == "ratio":
        # A cell with all sessions has no sampler, so it is the last point of every sampler's line.
        for whole in [row for row in cells if row.settings["ratio"] == 1]:
            for group in groups.values():
                if whole not in group and _rest(group[0], dial, "sampler") == _rest(whole, dial, "sampler"):
                    group.append(whole)
    found: dict[str, list[Row]] = {}
    for group in groups.values():
        if len(group) > 1:
            ordered = sorted(group, key=lambda row: quantity_of(row, dial) or 0)
            found[_common(ordered, dial)] = ordered
    return found


def _rest(row: Row, *dials: str) -> str:
    return repr(sorted(((name, value) for name, value in row.settings.items() if name not in dials), key=str))


def _common(rows: Sequence[Row], dial: str) -> str:
    parts = [row.name.split(", ") for row in rows[:-1]]
    shared = [part for part in parts[0] if all(part in other for other in parts) and not part.startswith(f"{dial} ")]
    return ", ".join(shared) or "all else equal"


def quantity(rows: Sequence[Row], dial: str) -> str:
    """Draw GJS with intervals against a dial of quantity, one line per setting of the others; return a data URL."""
    figure, axes = new_figure(3.6)
    lines = series(rows, dial)
    for number, (name, line) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        # The lines are shifted, so that their intervals do not cover each other.
        shift = (number - (len(lines) - 1) / 2) * 0.008 * _span(rows, dial)
        at = [(quantity_of(row, dial) or 0) + shift for row in line]
        low = [row.gjs.value - row.gjs.low for row in line]
        high = [row.gjs.high - row.gjs.value for row in line]
        values = [row.gjs.value for row in line]
        axes.errorbar(at, values, yerr=[low, high], color=colour, marker="o", capsize=2, linewidth=1.5, label=name)
    axes.set(xlabel=LABELS[dial], ylabel="GJS, 95 % interval")
    if dial != "ratio":
        axes.xaxis.get_major_locator().set_params(integer=True)
    columns = 2 if max(map(len, lines)) < LONG_LABEL else 1
    figure.set_figheight(3.6 + 0.2 * -(-len(lines) // columns))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=columns)
    return data_url(figure)


def _span(rows: Sequence[Row], dial: str) -> float:
    found = [value for row in rows if (value := quantity_of(row, dial)) is not None]
    return max(found) - min(found)


def cost(rows: Sequence[Row]) -> str:
    """Draw GJS against the cost of 1,000 sessions, or against seconds if no price is known; return a data URL.

    Points are labelled with the numbers of their rows, since names would cover each other.
    """
    from matplotlib.lines import Line2D

    dollars = sum(bool(row.cost.dollars) for row in rows) > 1
    figure, axes = new_figure(3.8)
    for number, row in enumerate(rows, 1):
        at = row.cost.dollars if dollars else row.cost.seconds
        if at:
            axes.plot(at, row.gjs.value, "o", color=COLOURS[row.role], alpha=0.8)
            axes.annotate(str(number), (at, row.gjs.value), xytext=(4, 4), textcoords="offset points", fontsize=8)
    if dollars:
        axes.set_xscale("log")
    axes.set(xlabel="US dollars for 1,000 sessions" if dollars else "seconds a session", ylabel="GJS")
    axes.margins(x=0.1, y=0.15)
    roles = list(dict.fromkeys(row.role for row in rows if (row.cost.dollars if dollars else row.cost.seconds)))
    points = [Line2D([], [], marker="o", linestyle="", color=COLOURS[role], label=ROLES[role]) for role in roles]
    axes.legend(handles=points, fontsize=8, frameon=False)
    return data_url(figure)
