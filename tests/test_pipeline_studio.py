"""What LangGraph Studio runs: the graphs of programs, on names and texts."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from kb_samples import use_words
from langgraph.checkpoint.memory import InMemorySaver

from bundlewise.data.sessions import load
from bundlewise.graphs.assistant import build_assistant_graph
from bundlewise.graphs.student import StudentContext, StudentState, build_student_graph
from bundlewise.graphs.teacher import build_teacher_graph
from bundlewise.graphs.teacher_state import TeacherContext, TeacherState
from bundlewise.pipeline import studio
from bundlewise.pipeline.distil import teacher_named
from bundlewise.pipeline.student import Student

ROOT = Path(__file__).resolve().parents[1]
TITLES = ["Padmoor Glide 11 Tablet", "Folio Case for Glide 11", "AA Alkaline Batteries, 48 Count"]


def nodes(graph: Any) -> set[str]:
    return {name.rpartition(":")[2] for name in graph.get_graph(xray=True).nodes} - {"__start__", "__end__"}


def test_langgraph_json_opens_the_graphs_of_programs_with_every_node() -> None:
    named = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))["graphs"]
    builders = {"teacher": build_teacher_graph, "student": build_student_graph, "assistant": build_assistant_graph}
    assert set(named) == set(builders)
    for name, target in named.items():
        module, attribute = target.split(":")
        found = getattr(importlib.import_module(module), attribute)
        assert nodes(found) - {"read"} == nodes(builders[name]())
        assert found.get_context_jsonschema()["properties"]["name"]["default"]
    assert set(studio.student.get_input_jsonschema()["properties"]) == {"carts"}
    assert "said" in studio.assistant.get_input_jsonschema()["properties"]


def test_carts_of_titles_are_bundled_as_a_program_bundles_them(tiny_student: Path) -> None:
    found = studio.student.invoke({"carts": [TITLES, TITLES[:2]]}, context={"name": str(tiny_student)})
    live = Student.open(student=str(tiny_student))
    context = StudentContext(live.model.engine, reading=live.reading)
    ours = build_student_graph().invoke(StudentState(found["sessions"]), context=context)
    assert [p.bundles for p in found["predictions"]] == [p.bundles for p in ours["predictions"]]
    assert [p.session_id for p in found["predictions"]] == ["cart-1", "cart-2"] and found["predictions"][0].bundles


def test_a_teacher_distils_the_first_sessions_of_the_data_and_writes_nothing() -> None:
    found = studio.teacher.invoke({}, context={"limit": 12, "formats": "patterns,thoughts"})
    sessions = [s for s in load("electronics", "train") if s.bundles][:12]
    assert found["sessions"] == sessions
    dials = studio.TeacherForm(formats="patterns,thoughts").dials
    context = TeacherContext(teacher_named("grounded", sessions), dials=dials)
    ours = build_teacher_graph().invoke(TeacherState(sessions), context=context)
    assert found["records"] == ours["records"] and {r.kind for r in found["records"]} == {"pattern", "thought"}


def test_the_assistant_talks_on_from_turn_to_turn(tiny_student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_words(monkeypatch)
    graph = build_assistant_graph(InMemorySaver(), studio.AssistantForm)
    config: Any = {"configurable": {"thread_id": "t"}}
    context = {"name": str(tiny_student), "catalogue": "grocery"}
    said = [graph.invoke({"said": text}, config, context=context) for text in ("find rice", "add 1 and 2", "bundle")]
    assert len(said[1]["desk"].cart) == 2 and len(said[2]["messages"]) == 6
    assert said[2]["messages"][-1].text.startswith(("I see", "The student found no bundle"))
