"""The report page of a knowledge base: counts, a map, the strongest patterns, rules with their gain, a search box."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup

from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, Status
from bundlewise.files import write_text
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.reports.page import filled
from bundlewise.reports.pictures import GRAPH_PATTERNS, MAP_RECORDS, graph_of, map_of, names_of, sample, strongest

STATUSES: tuple[Status, ...] = get_args(Status)
PAGE_RECORDS = 5000
PAGE_SOURCES = 50


def write_report(path: Path, records: Sequence[Knowledge], vectors: Vectors, about: Mapping[str, Any]) -> None:
    """Write the page about a knowledge base; the same records make the same bytes.

    Args:
        path: the file to write.
        records: all records, of every status and domain.
        vectors: a unit vector for each record, in the same order.
        about: facts about the knowledge base for the header, by name.
    """
    places = page_places(records, PAGE_RECORDS)
    shown = [records[place] for place in places]
    mapped = sample([record.id for record in shown], MAP_RECORDS)
    dots = map_of(vectors[[places[number] for number in mapped]])
    data = {
        "records": [_row(record) for record in shown],
        "map": [[number, *dot] for number, dot in zip(mapped, dots, strict=True)],
        "names": names_of([shown[number] for number in mapped], dots),
        "domains": sorted({record.domain for record in shown}),
        "graphs": _graphs(shown),
    }
    told = {
        "about": {name: str(value) for name, value in about.items()},
        "counts": counts(records),
        "totals": {kind: sum(record.kind == kind for record in records) for kind in KNOWLEDGE_KINDS},
        "columns": {kind: _statuses(r for r in records if r.kind == kind) or ["active"] for kind in KNOWLEDGE_KINDS},
        "statuses": _statuses(records),
        "total": len(records),
        "shown": len(shown),
        "mapped": len(mapped),
        "strongest": GRAPH_PATTERNS,
        "cut": PAGE_SOURCES if any(len(record.source_session_ids) > PAGE_SOURCES for record in shown) else 0,
        "script": Markup(files("bundlewise.reports").joinpath("knowledge.js").read_text("utf-8")),
        "data": inline_json(data),
    }
    write_text(path, filled("bundlewise.reports", "knowledge.html", told))


def inline_json(value: Any) -> Markup:
    """Return JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def counts(records: Iterable[Knowledge]) -> list[dict[str, Any]]:
    """Return a row for each domain and teacher with its number of records by (kind, status)."""
    number: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for record in records:
        row = number.setdefault((record.domain, record.provenance.teacher), Counter())
        row[record.kind, record.status] += 1
    return [{"domain": key[0], "teacher": key[1], "by": number[key]} for key in sorted(number)]


def _statuses(records: Iterable[Knowledge]) -> list[Status]:
    found = {record.status for record in records}
    return [status for status in STATUSES if status in found]


def page_places(records: Sequence[Knowledge], count: int = PAGE_RECORDS) -> list[int]:
    """Return the positions of the page's records: kind by kind, active and strong records first.

    If there are more than `count` records, each kind gives its strongest, the same number from each as far as possible.
    """
    ordered = sorted(range(len(records)), key=lambda place: _strength(records[place]))
    rank: Counter[str] = Counter()
    ranked = []
    for position, place in enumerate(ordered):
        kind = records[place].kind
        ranked.append((rank[kind], position, place))
        rank[kind] += 1
    return [place for _, place in sorted((position, place) for _, position, place in sorted(ranked)[:count])]


def _strength(record: Knowledge) -> tuple[Any, ...]:
    """Return a key that sorts strong records first; thoughts have no strength, so they are sorted by hash."""
    return (
        KNOWLEDGE_KINDS.index(record.kind),
        STATUSES.index(record.status),
        float("inf") if record.gain is None else -record.gain,
        -(record.support or 0),
        -(record.lift or 0.0),
        sha256(record.id.encode()).hexdigest(),
    )


def _row(record: Knowledge) -> dict[str, Any]:
    row = record.model_dump(exclude={"supporters", "source_session_ids", "provenance"}, exclude_defaults=True)
    return row | {
        "status": record.status,
        "sources": record.source_session_ids[:PAGE_SOURCES],
        "from": len(record.source_session_ids),
        "by": record.provenance.model_dump(),
    }


def _graphs(records: Sequence[Knowledge]) -> list[dict[str, Any]]:
    """Return the graph of all domains, and if there are several, the graph of each domain in order."""
    domains = sorted({record.domain for record in records})
    alone = [[r for r in records if r.domain == name] for name in domains] if len(domains) > 1 else []
    return [graph_of(strongest(some)) for some in (records, *alone)]
