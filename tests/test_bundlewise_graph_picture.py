"""The picture of a graph: every node is named, what leads on goes down, and only what leads back is dashed."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from bundlewise.errors import UsageError
from bundlewise.graph_picture import FORMATS, draw, layers
from bundlewise.graphs.student import build_student_graph
from bundlewise.graphs.teacher import build_teacher_graph

GRAPHS = {"teacher": build_teacher_graph(), "student": build_student_graph()}
WAVES = {("describe_wave", "describe"), ("study_wave", "study"), ("think_wave", "think")}


@pytest.fixture(params=GRAPHS.values(), ids=GRAPHS)
def graph(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_mermaid_text_names_every_node_and_edge(graph: Any, tmp_path: Path) -> None:
    draw(graph, tmp_path / "g.mmd")
    text, drawn = (tmp_path / "g.mmd").read_text(), graph.get_graph()
    assert text.count("graph TD;") == 1
    assert all(f"\t{node}(" in text for node in drawn.nodes)
    assert all(f"{e.source} {'-.->' if e.conditional else '-->'} {e.target};" in text for e in drawn.edges)


def test_a_png_is_a_picture_that_is_large_enough_to_read_and_not_blank(graph: Any, tmp_path: Path) -> None:
    draw(graph, tmp_path / "g.png")
    picture = Image.open(tmp_path / "g.png")
    assert picture.format == "PNG"
    assert min(picture.size) > 400
    assert picture.convert("L").getextrema() == (0, 255)


def test_an_svg_names_every_node_as_text(graph: Any, tmp_path: Path) -> None:
    draw(graph, tmp_path / "g.svg")
    root = ElementTree.fromstring((tmp_path / "g.svg").read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert {found.text for found in root.iter("{http://www.w3.org/2000/svg}text")} == set(graph.get_graph().nodes)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_graph_gives_the_same_bytes(ending: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(build_teacher_graph(), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize(
    ("name", "called"),
    [("g.pdf", ".pdf"), ("g.PNG", ".PNG"), ("g", "file without an ending"), (".png", "file without an ending")],
)
def test_another_ending_is_a_usage_error_and_nothing_is_written(name: str, called: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot draw a {called}; choose one of .mmd, .png, .svg"):
        draw(build_teacher_graph(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("edges", "rows", "back"),
    [
        ("ab bc", "a b c", ""),
        ("ab bc ac", "a b c", ""),
        ("ac ab bc", "a b c", ""),
        ("ab ac bd cd", "a bc d", ""),
        ("ab bb", "a b", "bb"),
        ("ab bc cb cd", "a b c d", "cb"),
        ("ab bc cb cd ad", "a b c d", "cb"),
        ("ad ab bc cb cd", "a b c d", "cb"),
        ("ab bc cb cd da", "a b c d", "cb da"),
        ("", "abcd", ""),
    ],
)
def test_a_node_stands_below_all_that_lead_to_it_but_for_what_leads_back(edges: str, rows: str, back: str) -> None:
    pairs = [(pair[0], pair[1]) for pair in edges.split()]
    nodes = sorted({*edges} - {" "}) or [*"abcd"]
    assert layers(nodes, pairs) == ([[*row] for row in rows.split()], {(b[0], b[1]) for b in back.split()})


def test_in_the_teacher_graph_a_wave_leads_back_to_its_own_stage_and_nothing_else_does() -> None:
    drawn = build_teacher_graph().get_graph()
    edges = [(edge.source, edge.target) for edge in drawn.edges]
    rows, back = layers(list(drawn.nodes), edges)
    level = {node: number for number, row in enumerate(rows) for node in row}
    assert back == WAVES
    assert all(level[source] < level[target] for source, target in edges if (source, target) not in WAVES)
    assert [node for row in rows for node in row if not node.endswith("_wave")] == [
        *("__start__", "sample", "describe", "mine", "study", "formalise"),
        *("prove", "think", "check", "store", "__end__"),
    ]
