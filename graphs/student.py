"""The student graph: it reads a batch of sessions and returns checked bundles with intents.

retrieve -> compose -> generate -> check -> answer, with check -> repair -> check at most n times.
Training composes its prompts with the same functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from bundlewise.agents.student.answers import Answer
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import TOO_LONG, JudgePrompt, fitting, judge_prompt
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Engine
from bundlewise.agents.student.limits import Bounds
from bundlewise.agents.student.reading import Reading, cohesion
from bundlewise.agents.student.replies import NO_BOUNDS, StudentReply, reply_by_pairs
from bundlewise.agents.student.tokens import Progress
from bundlewise.agents.student.whole_replies import reply_by_writing, whole_prompt
from bundlewise.domain import BlindSession, Outcome, Prediction, Retrieved
from bundlewise.knowledge_base.retrieval import Retriever


@dataclass(frozen=True)
class StudentContext:
    """The objects and dials of one run; without a retriever the student is the plain one.

    `bounds` are limits by session id. A session with bounds is never repaired, because a repair does not know them.
    """

    engine: Engine
    retriever: Retriever | None = None
    reading: Reading = field(default_factory=Reading)
    progress: Progress | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=lambda: NO_BOUNDS)
    dials: AnswerDials = field(default_factory=AnswerDials)


@dataclass(frozen=True)
class StudentState:
    """The state of a batch; the lists are parallel to `sessions`.

    `unread` says why the student cannot read a session's prompt; empty if it can.
    """

    sessions: list[BlindSession]
    retrieved: list[Retrieved] = field(default_factory=list)
    prompts: list[JudgePrompt] | list[ChatPrompt] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    replies: list[StudentReply] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    attempts: int = 0
    started: float = 0.0
    predictions: list[Prediction] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse sessions that are not blind, because a user's own prompts could read more than the titles."""
        for session in self.sessions:
            if not isinstance(session, BlindSession):
                raise TypeError(f"the student graph reads blind sessions; give {session.session_id} as Session.blind()")


class Update(TypedDict, total=False):
    """The parts of the state that a node changes."""

    retrieved: list[Retrieved]
    prompts: list[JudgePrompt] | list[ChatPrompt]
    cuts: list[str]
    unread: list[str]
    replies: list[StudentReply]
    faults: list[str]
    attempts: int
    started: float
    predictions: list[Prediction]


Run = Runtime[StudentContext]


def retrieve(state: StudentState, runtime: Run) -> Update:
    """Retrieve the knowledge for each session."""
    started = perf_counter()
    retriever = runtime.context.retriever
    found = retriever.retrieve(state.sessions) if retriever else [Retrieved() for _ in state.sessions]
    return {"retrieved": found, "started": started}


def compose(state: StudentState, runtime: Run) -> Update:
    """Compose the prompts, cut to the length that the student can read."""
    engine, dials = runtime.context.engine, runtime.context.dials
    rows = zip(state.sessions, state.retrieved, strict=True)
    fitted: list[tuple[Any, str]]
    if dials.form == "pairs":
        fitted = [fitting(session, found, judge_prompt, engine.fits) for session, found in rows]
    else:
        fitted = [whole_prompt(session, found, engine, dials) for session, found in rows]
    prompts, cuts = [prompt for prompt, _ in fitted], [note for _, note in fitted]
    return {"prompts": prompts, "cuts": cuts, "unread": ["" if engine.fits(prompt) else TOO_LONG for prompt in prompts]}


def generate(state: StudentState, runtime: Run) -> Update:
    """Let the student answer the prompts that it can read."""
    places = [place for place, reason in enumerate(state.unread) if not reason]
    if runtime.context.progress and len(places) < len(state.sessions):
        runtime.context.progress(len(state.sessions) - len(places))
    found = dict(zip(places, _replies(state, runtime.context, places), strict=True)) if places else {}
    refused = (StudentReply(Answer((), (), (reason,)), "", 0, 0) for reason in state.unread)
    return {"replies": [found.get(place, reply) for place, reply in enumerate(refused)]}


def _replies(state: StudentState, context: StudentContext, places: list[int]) -> list[StudentReply]:
    sessions, retrieved = [state.sessions[n] for n in places], [state.retrieved[n] for n in places]
    reading = context.reading.aimed(context.dials.aiming)
    judging = [prompt for n in places if isinstance(prompt := state.prompts[n], JudgePrompt)]
    if judging:
        settings = (judging, reading, context.progress, context.bounds)
        return reply_by_pairs(context.engine, sessions, retrieved, *settings)
    writing = [prompt for n in places if isinstance(prompt := state.prompts[n], ChatPrompt)]
    given = (writing, reading, context.dials, context.progress, context.bounds)
    return reply_by_writing(context.engine, sessions, retrieved, *given)


def check(state: StudentState) -> Update:
    """Keep the faults of each session's first answer; they decide its outcome."""
    return {"faults": state.faults or ["; ".join(reply.answer.faults) for reply in state.replies]}


def repair(state: StudentState, runtime: Run) -> Update:
    """Ask again about the sessions whose answers have faults, with the faults as feedback."""
    engine, dials = runtime.context.engine, runtime.context.dials.model_copy(update={"samples": 1})
    composed = [(place, _asking_again(state, place, engine, dials)) for place in _broken(state, runtime.context)]
    asked = [(place, prompt) for place, prompt in composed if engine.fits(prompt)]
    seen, known = [state.sessions[place] for place, _ in asked], [Retrieved() for _ in asked]
    again = reply_by_writing(engine, seen, known, [prompt for _, prompt in asked], Reading(), dials) if asked else []
    replies = list(state.replies)
    for (place, _), reply in zip(asked, again, strict=True):
        before = replies[place]
        best = reply if len(reply.answer.faults) < len(before.answer.faults) else before
        tokens_in, tokens_out = before.tokens_in + reply.tokens_in, before.tokens_out + reply.tokens_out
        # Judged pairs hold for every answer, the shares of drawn answers only for these.
        likely = before.likely if runtime.context.dials.form == "pairs" else best.likely
        replies[place] = StudentReply(best.answer, best.raw, tokens_in, tokens_out, likely)
    return {"replies": replies, "attempts": state.attempts + 1}


def _asking_again(state: StudentState, place: int, engine: Engine, dials: AnswerDials) -> ChatPrompt:
    """Return the prompt with the faults of the student's answer, cut to the length that it can read."""
    faults = "; ".join(state.replies[place].answer.faults)
    return whole_prompt(state.sessions[place], state.retrieved[place], engine, dials, faults)[0]


def _broken(state: StudentState, context: StudentContext) -> list[int]:
    """Return the indices of the sessions whose answers have faults and that can be asked again."""
    rows = enumerate(zip(state.sessions, state.replies, strict=True))
    return [
        n
        for n, (session, reply) in rows
        if reply.answer.faults and not state.unread[n] and session.session_id not in context.bounds
    ]


def needs_repair(state: StudentState, runtime: Run) -> Literal["repair", "answer"]:
    """Choose `repair` while answers have faults and attempts are left, else `answer`."""
    faulty = _broken(state, runtime.context)
    return "repair" if faulty and state.attempts < runtime.context.dials.repairs else "answer"


def answer(state: StudentState) -> Update:
    """Turn the answers into predictions; an answer that still has faults becomes a failed prediction."""
    seconds = (perf_counter() - state.started) / max(1, len(state.sessions))
    rows = zip(state.sessions, state.retrieved, state.replies, state.faults, state.cuts, strict=True)
    predictions = []
    for session, retrieved, reply, fault, cut in rows:
        found = reply.answer
        outcome: Outcome = "failed" if found.faults else "repaired" if fault else "ok"
        predictions.append(
            Prediction(
                session_id=session.session_id,
                bundles=() if outcome == "failed" else found.bundles(session, _confidence(reply)),
                knowledge=retrieved.uses,
                raw=reply.raw,
                outcome=outcome,
                reason="; ".join(found.faults) or fault,
                cut=cut,
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
                seconds=round(seconds, 4),
            )
        )
    return {"predictions": predictions}


def _confidence(reply: StudentReply) -> dict[tuple[int, ...], float]:
    """Return the mean probability of the pairs of each bundle; empty if no pairs were judged."""
    likely = reply.likely
    return {} if likely is None else {group: round(cohesion(likely, group), 4) for group in reply.answer.groups}


def build_student_graph() -> CompiledStateGraph[StudentState, StudentContext, StudentState, StudentState]:
    """Build the graph; run it with `invoke(StudentState(sessions), context=StudentContext(...))`."""
    graph = StateGraph(StudentState, context_schema=StudentContext)
    for name, step in (
        ("retrieve", retrieve),
        ("compose", compose),
        ("generate", generate),
        ("check", check),
        ("answer", answer),
    ):
        graph.add_node(name, step)
    graph.add_node("repair", repair)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "compose")
    graph.add_edge("compose", "generate")
    graph.add_edge("generate", "check")
    graph.add_conditional_edges("check", needs_repair)
    graph.add_edge("repair", "check")
    graph.add_edge("answer", END)
    return graph.compile()
