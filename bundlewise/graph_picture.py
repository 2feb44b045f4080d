"""A graph of LangGraph as a picture, without a network: Mermaid text, or PNG and SVG by networkx and matplotlib."""

from pathlib import Path
from typing import Any

from bundlewise.errors import UsageError
from bundlewise.files import write_bytes, write_text

FORMATS = (".mmd", ".png", ".svg")
MARK = "bundlewise"
"""Stands in every picture, and tells it from one of the user's own."""
Edge = tuple[str, str]


def draw(graph: Any, path: Path) -> None:
    """Write a compiled graph to a file; its ending says how.

    Raises:
        UsageError: the ending is none of FORMATS.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"cannot draw a {path.suffix or 'file without an ending'}; choose one of {', '.join(FORMATS)}")
    drawn = graph.get_graph()
    if path.suffix == ".mmd":
        write_text(path, f"{drawn.draw_mermaid()}%% {MARK}\n")
        return
    write_bytes(path, _picture(drawn, path.suffix.removeprefix(".")))


def _picture(drawn: Any, kind: str) -> bytes:
    """Draw what leads on from top to bottom, what skips rows bent to the left, what leads back dashed on the right."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges = [(edge.source, edge.target) for edge in drawn.edges]
    rows, back = layers(list(drawn.nodes), edges)
    level = {node: number for number, row in enumerate(rows) for node in row}
    # Names as text, that can be searched, and the same bytes for the same graph.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bundlewise"}):
        figure, axes = pyplot.subplots(figsize=(2 + 2 * max(map(len, rows)), 0.7 * len(rows)))
        boxes = {
            node: axes.text(
                2.0 * (number - (len(row) - 1) / 2),
                -level[node],
                node,
                fontsize=9,
                ha="center",
                va="center",
                bbox={"boxstyle": "round", "fc": "#eef2ff", "ec": "#475569"},
            )
            for row in rows
            for number, node in enumerate(row)
        }
        for source, target in edges:
            bend = 0.6 if (source, target) in back else 0.0 if level[target] - level[source] == 1 else 0.9
            arrow = {
                "arrowstyle": "-|>",
                "color": "#475569",
                "linestyle": "dashed" if (source, target) in back else "solid",
                "connectionstyle": f"arc3,rad={bend}",
                "patchA": boxes[source].get_bbox_patch(),
                "patchB": boxes[target].get_bbox_patch(),
            }
            axes.annotate("", boxes[target].get_position(), boxes[source].get_position(), arrowprops=arrow)
        axes.set(xlim=(-1.0 * max(map(len, rows)), 1.0 * max(map(len, rows))), ylim=(0.5 - len(rows), 0.5))
        axes.set_axis_off()
        content, metadata = io.BytesIO(), {"Date": None, "Creator": MARK} if kind == "svg" else {"Software": MARK}
        figure.savefig(content, format=kind, dpi=140, bbox_inches="tight", metadata=metadata)
        pyplot.close(figure)
    return content.getvalue()


def layers(nodes: list[str], edges: list[Edge]) -> tuple[list[list[str]], set[Edge]]:
    """Return nodes in rows, each by its longest way from the start, and the edges that lead back.

    An edge leads back where it ends on the way that a search in depth took to its beginning.
    """
    import networkx

    net = networkx.DiGraph()
    net.add_nodes_from(nodes)
    net.add_edges_from(edges)
    way, back = set[str](), set[Edge]()
    for source, target, step in networkx.dfs_labeled_edges(net):
        if step == "forward":
            way.add(target)
        elif step == "reverse":
            way.discard(target)
        elif target in way:
            back.add((source, target))
    net.remove_edges_from(back)
    return list(networkx.topological_generations(net)), back
