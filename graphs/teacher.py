"""The teacher graph: it reads training sessions and makes grounded knowledge records step by step.

sample -> describe* -> mine -> study* -> formalise -> prove -> think* -> check -> store. A stage with * runs one node
per session, in waves, so that even a hundred thousand sessions are never in progress at once.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from bundlewise.agents.teacher import grounding, patterns
from bundlewise.agents.teacher.protocol import Rule, compare
from bundlewise.agents.teacher.samplers import sample
from bundlewise.agents.teacher.trials import proved, without_a_case
from bundlewise.domain import Knowledge, KnowledgeKind, KnownSession, Provenance, Session
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.graphs.teacher_state import One, TeacherContext, TeacherState, TeacherUpdate
from bundlewise.knowledge_base.duplicates import duplicates
from bundlewise.knowledge_base.packs import write_pack
from bundlewise.prompts import render

WAVE = 1024
"""The number of sessions in a wave; many more than the parallel calls to any endpoint."""

SHOWN = 1000
"""With more sessions than this, mining takes long enough to be shown as a stage."""

Run = Runtime[TeacherContext]


def choose(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Keep only annotated training sessions, and of these the share of each domain that the sampler chooses."""
    usable = [s for s in state.sessions if s.split == "train" and s.bundles]
    if not usable:
        raise UsageError("no annotated training session to learn from; give data whose train split has bundles")
    context, dials = runtime.context, runtime.context.dials
    chosen = [
        session
        for _, sessions in sorted(_by_domain(usable).items())
        for session in sample(sessions, dials.sampler, dials.ratio, dials.seed, embed=context.embed)
    ]
    context.teacher.begin(chosen)
    context.tally.expect("describe", len(chosen))
    return {"sessions": chosen}


def describe(one: One, runtime: Run) -> TeacherUpdate:
    """Give a kind to every product of a session."""
    found = runtime.context.teacher.kinds(one.session)
    runtime.context.tally.done("describe", one.session.session_id)
    return {"kinds": {one.session.session_id: found}}


def mine(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Find the kinds that are frequently bundled in each domain."""
    tally = runtime.context.tally
    runtime.context.outcomes.require("describe")
    described = {key: found for key, found in state.kinds.items() if found}
    titles = {session.session_id: session.titles for session in state.sessions}
    kinds, refused = grounding.settled_kinds(titles, described)
    seen = partial(tally.done, "mine") if len(kinds) > SHOWN else None
    if seen:
        tally.expect("mine", len(kinds))
    mined, cut = {}, list[str]()
    for domain, sessions in _by_domain(state.sessions).items():
        told = list[str]()
        with_kinds = [s for s in sessions if s.session_id in kinds]
        mined[domain] = patterns.mine(with_kinds, kinds, seen=seen, cut=told.append)
        cut += [f"{domain}: {what}" if domain else what for what in told]
    if _studies(runtime.context):
        tally.expect("propose", len(kinds))
    return {"kinds": kinds, "patterns": mined, "cut": cut, "refused": refused}


def study(one: One, runtime: Run) -> TeacherUpdate:
    """Let the teacher propose bundles for a session, compare them with the annotation, and reflect on differences."""
    context, session = runtime.context, one.session
    proposal = context.teacher.propose(session, one.patterns)
    reflection = compare(session, proposal) if proposal is not None else None
    if reflection is not None:
        reflection = replace(reflection, lessons=context.teacher.reflect(reflection))
    context.tally.done("propose", session.session_id)
    return {"reflections": {session.session_id: reflection}}


def formalise(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Derive rules from the differences and patterns of each domain."""
    if not _studies(runtime.context):
        return {"rules": []}
    runtime.context.outcomes.require("propose", "reflect")
    tally = runtime.context.tally
    if lessons := sum(len(found.lessons) for found in state.reflections.values() if found is not None):
        tally.expect("formalise", lessons)
    rules, domains = [], _by_domain(state.sessions)
    for domain, sessions in domains.items():
        studied = [r for s in sessions if (r := state.reflections.get(s.session_id)) is not None]
        drawn = runtime.context.teacher.formalise(studied, state.patterns[domain], partial(tally.done, "formalise"))
        # A recording may hold rules of several domains; a rule of no known domain applies to each of them.
        rules += [replace(rule, domain=domain) for rule in drawn if rule.domain not in domains.keys() - {domain}]
    return {"rules": rules}


def prove(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Test every rule with a condition on the validation sessions of its domain."""
    context = runtime.context
    context.outcomes.require("formalise")
    validation, training = _by_domain(context.validation), _by_domain(context.training or state.sessions)
    rules, refused = list[Rule](), list[grounding.RefusedKnowledge]()
    for domain, sessions in _by_domain(state.sessions).items():
        drawn = [rule for rule in state.rules if rule.domain == domain]
        idle = [] if context.is_plan else without_a_case(drawn, training.get(domain, sessions))
        refused += [grounding.RefusedKnowledge(rule.text, grounding.NO_CASE) for rule in idle]
        rules += proved([rule for rule in drawn if rule not in idle], sessions, validation.get(domain, []))
    if "thought" in context.dials.formats:
        context.tally.expect("think", sum(found is not None for found in state.kinds.values()))
    if context.is_plan:
        # A plan counts the largest possible number of calls, so every untested rule counts as passed.
        rules = [replace(rule, gain=rule.gain or 0.0) for rule in rules]
    return {"rules": rules, "refused": [*state.refused, *refused]}


def think(one: One, runtime: Run) -> TeacherUpdate:
    """Let the teacher write a thought about a session."""
    found = runtime.context.teacher.think(one.session, one.kinds, one.patterns, one.rules)
    runtime.context.tally.done("think", one.session.session_id)
    return {"thoughts": {one.session.session_id: found}}


def check(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Word all knowledge as records, refuse records without grounds in their source, and retire repeated rules."""
    sessions, context = {s.session_id: s for s in state.sessions}, runtime.context
    dials = context.dials
    context.outcomes.require("think")
    run = fingerprint([context.teacher.name, dials.ratio, dials.seed, [s.model_dump() for s in state.sessions]])

    def source(kind: KnowledgeKind) -> Provenance:
        template = "pattern" if kind == "pattern" else context.teacher.worded_by.get(kind)
        prompt = render.fingerprint(template) if template else "import"
        return Provenance(teacher=context.teacher.name, prompt=prompt, run=run)

    worded = [
        *(grounding.pattern_record(p, domain, source("pattern")) for domain, ps in state.patterns.items() for p in ps),
        *(grounding.rule_record(rule, rule.domain, source("rule")) for rule in state.rules),
        *(
            grounding.thought_record(thought, session, source("thought"))
            for session in state.sessions
            if (thought := state.thoughts.get(session.session_id)) is not None
        ),
    ]
    kept, refused = grounding.check([record for record in worded if record.kind in dials.formats], sessions)
    _require_thoughts(state, refused, context)
    return {"records": _merged(kept, state.rules, context), "refused": [*dict.fromkeys([*state.refused, *refused])]}


def _require_thoughts(
    state: TeacherState, refused: Sequence[grounding.RefusedKnowledge], context: TeacherContext
) -> None:
    """Count a refused thought as a failure, because it was paid for."""
    if "think" in context.outcomes.stages:
        texts = {thought.text for thought in state.thoughts.values() if thought is not None}
        whole = [refusal for refusal in refused if refusal.what == "record" and refusal.text in texts]
        context.outcomes.require_grounded([refusal.reason for refusal in whole])


def _merged(records: list[Knowledge], rules: Sequence[Rule], context: TeacherContext) -> list[Knowledge]:
    """Retire rules that repeat another rule; they stay as records with the reason, and can be restored."""
    if not context.teacher.repeats_itself or context.embed is None:
        return records
    follows: dict[str, str] = {}
    for joins in (True, False):
        # Rules in almost the same words may say opposite things.
        texts = {rule.text for rule in rules if rule.joins is joins}
        same = [r for r in records if r.kind == "rule" and r.status == "active" and r.text in texts]
        for cluster in duplicates(same, context.embed([record.text for record in same])) if len(same) > 1 else ():
            follows |= {member.id: cluster.leader.id for member in cluster.members[1:]}
    return [
        record.model_copy(update={"status": "retired", "reason": f"says the same as {follows[record.id]}"})
        if record.id in follows
        else record
        for record in records
    ]


def store(state: TeacherState, runtime: Run) -> TeacherUpdate:
    """Write the records to the knowledge base and the pack."""
    context = runtime.context
    known = [*context.known] or [KnownSession.of(session) for session in state.sessions]
    records = [*state.records, *context.remarks]

    def replace_knowledge() -> None:
        if context.store is not None:
            context.store.replace(records, known, f"distil ({context.teacher.name})")

    if context.pack is None:
        replace_knowledge()
    else:
        # If the pack or the knowledge base cannot be replaced, both stay as they are.
        write_pack(context.pack, records, known, before=replace_knowledge)
    return {}


def dealt(
    node: str,
    after: str,
    done: Callable[[TeacherState], Mapping[str, object]],
    wanted: Callable[[TeacherContext], bool],
) -> Callable[[TeacherState, Run], list[Send] | str]:
    """Return the edge that sends sessions to a node, one wave at a time, until all are done."""

    def deal(state: TeacherState, runtime: Run) -> list[Send] | str:
        been, kinds = done(state), state.kinds
        # A session whose kinds are None has failed in `describe`, so later stages skip it.
        waiting = (s for s in state.sessions if s.session_id not in been and kinds.get(s.session_id, ()) is not None)
        wave = islice(waiting, WAVE if wanted(runtime.context) else 0)
        return [Send(node, _one(state, session)) for session in wave] or after

    return deal


def _one(state: TeacherState, session: Session) -> One:
    kinds = state.kinds.get(session.session_id) or ()
    present = set(kinds)
    near = tuple(p for p in state.patterns.get(session.domain, ()) if present.issuperset(p.kinds))
    return One(session, kinds, near, tuple(rule for rule in state.rules if rule.domain == session.domain))


def _by_domain(sessions: Sequence[Session]) -> dict[str, list[Session]]:
    found: dict[str, list[Session]] = {}
    for session in sessions:
        found.setdefault(session.domain, []).append(session)
    return found


def _studies(context: TeacherContext) -> bool:
    """Say whether sessions are studied, which is needed only for rules."""
    return "rule" in context.dials.formats


def _pass(state: TeacherState) -> TeacherUpdate:
    """Wait until all sessions of a wave are done."""
    return {}


def build_teacher_graph() -> CompiledStateGraph[TeacherState, TeacherContext, TeacherState, TeacherState]:
    """Build the graph; run it with `invoke(TeacherState(sessions), context=TeacherContext(...))`."""
    graph = StateGraph(TeacherState, context_schema=TeacherContext)
    steps: dict[str, Any] = {"sample": choose, "mine": mine, "formalise": formalise, "prove": prove}
    for name, step in {**steps, "check": check, "store": store}.items():
        graph.add_node(name, step)
    stages: list[tuple[str, Any, str, str, Any, Any]] = [
        ("sample", describe, "describe", "mine", lambda s: s.kinds, lambda c: True),
        ("mine", study, "study", "formalise", lambda s: s.reflections, _studies),
        ("prove", think, "think", "check", lambda s: s.thoughts, lambda c: "thought" in c.dials.formats),
    ]
    for before, step, name, after, done, wanted in stages:
        deal = dealt(name, after, done, wanted)
        targets: list[Hashable] = [name, after]
        graph.add_node(name, step, input_schema=One)
        graph.add_node(f"{name}_wave", _pass)
        graph.add_edge(name, f"{name}_wave")
        for source in (before, f"{name}_wave"):
            graph.add_conditional_edges(source, deal, targets)  # type: ignore[arg-type]
    for before, after in ((START, "sample"), ("formalise", "prove"), ("check", "store"), ("store", END)):
        graph.add_edge(before, after)
    return graph.compile()
