"""The teacher graph: training sessions in, grounded knowledge records out, progressively.

sample -> describe -> mine -> reflect -> formalise -> think -> check -> store
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from bundlewise.agents import grounding, patterns
from bundlewise.agents.grounding import Refusal
from bundlewise.agents.teacher import Pattern, Reflection, Rule, Teacher, Thought, reflect
from bundlewise.domain import Knowledge, KnownSession, Provenance, Session
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.packs import write_pack
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts import render


@dataclass(frozen=True)
class TeacherContext:
    """The live things and dials of one run; `known` lists the sessions of all splits, for the store to guard."""

    teacher: Teacher
    store: KnowledgeStore | None = None
    pack: Path | None = None
    known: Sequence[KnownSession] = ()
    ratio: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class TeacherState:
    """What has been distilled so far; `kinds` maps session ids to the kind of every product."""

    sessions: list[Session]
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: list[Pattern] = field(default_factory=list)
    reflections: list[Reflection] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    thoughts: Mapping[str, Thought] = field(default_factory=dict)
    records: list[Knowledge] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class Update(TypedDict, total=False):
    """The parts of the state a node changes."""

    sessions: list[Session]
    kinds: Mapping[str, tuple[str, ...]]
    patterns: list[Pattern]
    reflections: list[Reflection]
    rules: list[Rule]
    thoughts: Mapping[str, Thought]
    records: list[Knowledge]
    refused: list[Refusal]


Run = Runtime[TeacherContext]


def sample(state: TeacherState, runtime: Run) -> Update:
    """Keep annotated training sessions only, and of those the given share, chosen by seed."""
    usable = [s for s in state.sessions if s.split == "train" and s.bundles]
    if not usable:
        raise UsageError("no annotated training session to learn from; give data whose train split has bundles")
    count = max(1, round(len(usable) * runtime.context.ratio))
    chosen = set(Random(runtime.context.seed).sample(range(len(usable)), count))
    return {"sessions": [session for place, session in enumerate(usable) if place in chosen]}


def describe(state: TeacherState, runtime: Run) -> Update:
    """Give every product a kind, bundled or not."""
    return {"kinds": {s.session_id: runtime.context.teacher.kinds(s) for s in state.sessions}}


def mine(state: TeacherState) -> Update:
    """Find the kinds that are frequently bundled."""
    return {"patterns": patterns.mine(state.sessions, state.kinds)}


def reflect_on(state: TeacherState, runtime: Run) -> Update:
    """Let the teacher propose bundles and set them beside the annotations."""
    proposals = runtime.context.teacher.propose(state.sessions)
    return {"reflections": [reflect(s, p) for s, p in zip(state.sessions, proposals, strict=True)]}


def formalise(state: TeacherState, runtime: Run) -> Update:
    """Draw rules from discrepancies and patterns."""
    return {"rules": runtime.context.teacher.formalise(state.reflections, state.patterns)}


def think(state: TeacherState, runtime: Run) -> Update:
    """Think each session through."""
    teacher = runtime.context.teacher
    thoughts = {s.session_id: teacher.think(s, state.kinds[s.session_id], state.patterns) for s in state.sessions}
    return {"thoughts": {session_id: thought for session_id, thought in thoughts.items() if thought}}


def check(state: TeacherState, runtime: Run) -> Update:
    """Word everything as records and refuse what is not grounded in its source."""
    sessions = {s.session_id: s for s in state.sessions}
    domain = "+".join(sorted({s.domain for s in state.sessions}))
    context = runtime.context
    run = fingerprint([context.teacher.name, context.ratio, context.seed, [s.model_dump() for s in state.sessions]])

    def source(template: str) -> Provenance:
        ours = template == "pattern" or context.teacher.words_by_template
        return Provenance(
            teacher=context.teacher.name, prompt=render.fingerprint(template) if ours else "import", run=run
        )

    records = [
        *(grounding.pattern_record(pattern, domain, source("pattern")) for pattern in state.patterns),
        *(grounding.rule_record(rule, domain, source("rule")) for rule in state.rules),
        *(grounding.thought_record(t, sessions[key], source("thought")) for key, t in state.thoughts.items()),
    ]
    kept, refused = grounding.check(records, sessions)
    return {"records": kept, "refused": refused}


def store(state: TeacherState, runtime: Run) -> Update:
    """Write the records to the knowledge base and the pack."""
    context = runtime.context
    known = [*context.known] or [KnownSession.of(session) for session in state.sessions]
    if context.store is not None:
        context.store.replace(state.records, known, f"distil ({context.teacher.name})")
    if context.pack is not None:
        write_pack(context.pack, state.records, known)
    return {}


def build_teacher_graph() -> CompiledStateGraph[TeacherState, TeacherContext, TeacherState, TeacherState]:
    """Build the graph; run it with `invoke(TeacherState(sessions), context=TeacherContext(...))`."""
    graph = StateGraph(TeacherState, context_schema=TeacherContext)
    steps: dict[str, Any] = {
        "sample": sample,
        "describe": describe,
        "mine": mine,
        "reflect": reflect_on,
        "formalise": formalise,
        "think": think,
        "check": check,
        "store": store,
    }
    for name, step in steps.items():
        graph.add_node(name, step)
    names = [START, *steps, END]
    for before, after in pairwise(names):
        graph.add_edge(before, after)
    return graph.compile()


graph = build_teacher_graph()
