"""The layout of pictures of knowledge: a map of embeddings, and the strongest patterns as a graph of kinds."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.embedding import Vectors

MAP_RECORDS = 2000
MAP_SIZE = 1000
NAMES, NAME_RECORDS, NAME_REACH, NAME_SHARE = 60, 5, 90, 0.6
GRAPH_PATTERNS = 40
GRAPH_WIDTH = 1240.0
LETTER, PILL, LABEL = 7.0, 24.0, 28
GAP_X, GAP_Y = 14.0, 14.0
EDGE_X, EDGE_Y = 210.0, 120.0
ROUNDS = 400


def sample(ids: Sequence[str], count: int = MAP_RECORDS) -> list[int]:
    """Return the positions of at most `count` ids in their order; the choice depends on the ids alone."""
    chosen = sorted(range(len(ids)), key=lambda place: hashlib.sha256(ids[place].encode()).digest())[:count]
    return sorted(chosen)


def map_of(vectors: Vectors) -> list[tuple[int, int]]:
    """Return a point (x, y), each 0 to 1000, for every vector, by PCA and t-SNE; similar vectors are close."""
    if not len(vectors):
        return []
    flat = _flattened(vectors)
    low, high = flat[:, :2].min(axis=0), flat[:, :2].max(axis=0)
    wide = np.where(high - low > 1e-6, high - low, 1.0)
    unit = np.where(high - low > 1e-6, (flat[:, :2] - low) / wide, 0.5)
    return [(int(x), int(y)) for x, y in np.rint(unit * MAP_SIZE)]


def _principal(vectors: Vectors, count: int = 50) -> Vectors:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    axes = (left * strengths)[:, :count]
    return np.pad(axes, ((0, 0), (0, max(0, 2 - axes.shape[1])))).astype(np.float32)


def _flattened(vectors: Vectors) -> Vectors:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # Sums over several threads differ in their last bits, and t-SNE turns that into different pictures. The limit
    # holds only for libraries that are loaded already.
    with threadpool_limits(limits=1):
        flat = _principal(vectors)
        if len(flat) < 5 or flat[:, 0].std() < 1e-6:
            return flat
        start, perplexity = flat[:, :2] / flat[:, 0].std() * 1e-4, min(30.0, (len(flat) - 1) / 3)
        places: Vectors = TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(flat)
    return places if np.isfinite(places).all() else flat


def names_of(records: Sequence[Knowledge], dots: Sequence[tuple[int, int]]) -> list[tuple[str, int, int]]:
    """Return kinds of products whose records are close on the map, with their centre; the most frequent first."""
    places: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for record, dot in zip(records, dots, strict=True):
        for kind in dict.fromkeys(record.kinds):
            places.setdefault((record.kind, record.domain, kind), []).append(dot)
    found = []
    for (_, _, kind), some in places.items():
        x, y = np.median(some, axis=0)
        near = int((np.abs(np.array(some) - (x, y)).max(axis=1) < NAME_REACH).sum())
        if near >= max(NAME_RECORDS, NAME_SHARE * len(some)):
            found.append((-near, kind, round(x), round(y)))
    return [(kind, x, y) for _, kind, x, y in sorted(found)[:NAMES]]


@dataclass
class Box:
    """A rectangle of a graph, given by its centre; one without a name joins the lines of three or more kinds."""

    name: str
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0


def strongest(records: Iterable[Knowledge]) -> list[Knowledge]:
    """Return the patterns for a graph: active, of two or more kinds, without duplicates, most support first."""
    patterns = [r for r in records if r.kind == "pattern" and r.status == "active" and len(set(r.kinds)) > 1]
    patterns.sort(key=lambda r: (-(r.support or 0), -(r.lift or 0.0), r.id))
    once: dict[Any, Knowledge] = {}
    for record in patterns:
        once.setdefault((record.domain, frozenset(record.kinds)), record)
    return list(once.values())[:GRAPH_PATTERNS]


def graph_of(patterns: Sequence[Knowledge]) -> dict[str, Any]:
    """Return boxes without overlap and lines between them: one line per pair, a star for three kinds or more."""
    import networkx as nx

    boxes: dict[Any, Box] = {}
    lines = [(record, ends) for record in patterns for ends in _lines(record, boxes)]
    number = {key: place for place, key in enumerate(boxes)}
    graph = nx.Graph(ends for _, ends in lines)
    # Sets have no fixed order, and the layout depends on the order of its nodes.
    parts = [sorted(part, key=number.__getitem__) for part in nx.connected_components(graph)]
    parts.sort(key=lambda part: (-len(part), number[part[0]]))
    for part in parts:
        inside = [ends for _, ends in lines if ends[0] in part]
        _arrange([boxes[key] for key in part], [(part.index(a), part.index(b)) for a, b in inside])
    height = _shelve([[boxes[key] for key in part] for part in parts])
    return {
        "width": round(GRAPH_WIDTH),
        "height": round(height),
        "boxes": [{"name": b.name, "w": round(b.width), "x": round(b.x), "y": round(b.y)} for b in boxes.values()],
        "lines": [{"id": record.id, "from": number[a], "to": number[b]} for record, (a, b) in lines],
    }


def _lines(record: Knowledge, boxes: dict[Any, Box]) -> list[tuple[Any, Any]]:
    ends = [(record.domain, kind) for kind in dict.fromkeys(record.kinds)]
    for key in ends:
        letters = min(len(key[1]), LABEL)
        boxes.setdefault(key, Box(key[1], LETTER * letters + 20, PILL))
    if len(ends) == 2:
        return [(ends[0], ends[1])]
    boxes[record.id] = Box("", 10, 10)
    return [(record.id, key) for key in ends]


def _arrange(boxes: Sequence[Box], lines: Sequence[tuple[int, int]]) -> None:
    """Arrange the boxes of one connected part around the origin, without overlap."""
    import networkx as nx

    if len(boxes) == 2:
        boxes[1].y = 2.6 * PILL
        return
    graph = nx.empty_graph(len(boxes))
    graph.add_edges_from(lines)
    places = nx.kamada_kawai_layout(graph)
    edge = sum(math.dist(places[a], places[b]) for a, b in graph.edges) / graph.number_of_edges()
    half = max(abs(places[number][0]) for number in graph)
    across = min(EDGE_X / edge, (GRAPH_WIDTH / 2 - 130) / max(half, 1e-9))
    for number, box in enumerate(boxes):
        box.x, box.y = places[number][0] * across, places[number][1] * EDGE_Y / edge
    for _ in range(ROUNDS):
        if not sum(_push(a, b) for a, b in combinations(boxes, 2)):
            break


def _push(a: Box, b: Box) -> bool:
    """Move two overlapping boxes apart in the shorter direction; return whether they overlapped."""
    over_x = (a.width + b.width) / 2 + GAP_X - abs(a.x - b.x)
    over_y = (a.height + b.height) / 2 + GAP_Y - abs(a.y - b.y)
    if over_x <= 0 or over_y <= 0:
        return False
    if over_y <= over_x:
        step = (over_y / 2 + 0.01) * (1 if b.y >= a.y else -1)
        a.y, b.y = a.y - step, b.y + step
    else:
        step = (over_x / 2 + 0.01) * (1 if b.x >= a.x else -1)
        a.x, b.x = a.x - step, b.x + step
    return True


def _shelve(parts: Sequence[Sequence[Box]]) -> float:
    """Arrange the parts of a graph side by side in rows; return the height of all rows."""
    top = 10.0
    for row in _rows(parts):
        spare = (GRAPH_WIDTH - sum(_size(part)[0] for part in row)) / (len(row) + 1)
        tall = max(_size(part)[1] for part in row)
        left = spare
        for part in row:
            _move(part, left, top + (tall - _size(part)[1]) / 2)
            left += _size(part)[0] + spare
        top += tall + 3 * GAP_Y
    return top


def _rows(parts: Sequence[Sequence[Box]]) -> Iterator[list[Sequence[Box]]]:
    row: list[Sequence[Box]] = []
    for part in parts:
        if row and sum(_size(p)[0] + 2 * GAP_X for p in [*row, part]) > GRAPH_WIDTH:
            yield row
            row = []
        row.append(part)
    if row:
        yield row


def _size(part: Sequence[Box]) -> tuple[float, float]:
    left, top = _corner(part)
    return max(b.x + b.width / 2 for b in part) - left, max(b.y + b.height / 2 for b in part) - top


def _corner(part: Sequence[Box]) -> tuple[float, float]:
    return min(b.x - b.width / 2 for b in part), min(b.y - b.height / 2 for b in part)


def _move(part: Sequence[Box], left: float, top: float) -> None:
    x, y = _corner(part)
    for box in part:
        box.x, box.y = box.x + left - x, box.y + top - y
