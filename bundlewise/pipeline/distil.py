"""Distilling as functions: open teachers by name, run the teacher graph, and plan a run before anything is paid."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.agents.teacher.failures import MAX_FAILED
from bundlewise.agents.teacher.samplers import SAMPLERS, Sampler
from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, KnowledgeKind, KnownSession, Session
from bundlewise.errors import UsageError
from bundlewise.models.endpoints import Endpoint, is_served
from bundlewise.stopping import stoppable

if TYPE_CHECKING:
    from bundlewise.agents.chat.client import ChatEndpoint
    from bundlewise.agents.teacher.ask import Asker, Asks
    from bundlewise.agents.teacher.grounding import RefusedKnowledge
    from bundlewise.agents.teacher.protocol import Teacher
    from bundlewise.agents.teacher.tally import Tally
    from bundlewise.graphs.teacher_state import Dials
    from bundlewise.knowledge_base.embedding import Embedder

TEACHERS = "grounded, recorded:FILE, or openai:MODEL[@URL] for an OpenAI-compatible endpoint"
LEDGER = Path("bundlewise-calls.sqlite")
MANY_STEPS = 10**7
FORMATS: Mapping[str, KnowledgeKind] = {f"{kind}s": kind for kind in KNOWLEDGE_KINDS}
"""The kinds of knowledge by the names of their formats."""


@dataclass(frozen=True)
class Payment:
    """The settings for asking and paying a large teacher; grounded and recorded teachers do not use them.

    `rpm` and `tpm` are the most requests and tokens per minute. A cap of None is no cap. `max_failed` is the share of
    a stage that may fail; if more fails, or all of it, the run replaces nothing. `retry_failed` asks again where the
    ledger has an unusable answer: an empty one, a refusal, or one against its contract.
    """

    ledger: Path = LEDGER
    prices: Path | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    temperature: float = 0.0
    effort: str | None = None
    concurrency: int = 8
    rpm: int | None = None
    tpm: int | None = None
    timeout: float = 120.0
    patience: float = 600.0
    max_output: int = 2000
    repairs: int = 2
    max_failed: float = MAX_FAILED
    retry_failed: bool = False


@dataclass(frozen=True)
class Distilled:
    """The result of a teacher's run: the records, the refused knowledge, and the cost of each stage.

    `failures` has the reasons of failures by stage, `cut` says which patterns were left out because there were many.
    """

    records: list[Knowledge]
    refused: "list[RefusedKnowledge]"
    stages: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)


def dials_of(sampler: str, ratio: float, seed: int, formats: str | None) -> "Dials":
    """Read the dials of quantity; formats are names with commas between, such as `patterns,rules`.

    Raises:
        UsageError: a dial is out of its range.
    """
    from bundlewise.graphs.teacher_state import Dials

    if not 0 < ratio <= 1:
        raise UsageError(f"ratio must be above 0 and at most 1, got {ratio}")
    if sampler not in SAMPLERS:
        raise UsageError(f"no sampler named {sampler!r}; choose {', '.join(SAMPLERS)}")
    kind: Sampler = sampler
    return Dials(kind, ratio, seed, formats_named(formats) if formats else KNOWLEDGE_KINDS)


def formats_named(formats: str) -> tuple[KnowledgeKind, ...]:
    """Return the kinds of knowledge of formats given by name, such as `patterns,rules`.

    Raises:
        UsageError: there is no such format.
    """
    wanted = [name.strip() for name in formats.split(",")]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise UsageError(f"no format named {unknown[0]!r}; choose any of {', '.join(FORMATS)}, with commas between")
    return tuple(FORMATS[name] for name in FORMATS if name in wanted)


def endpoint_of(name: str, payment: Payment) -> "ChatEndpoint":
    """Return the endpoint that `openai:MODEL[@URL]` names."""
    from bundlewise.agents.chat.client import ChatEndpoint
    from bundlewise.agents.chat.pace import Pace

    named = Endpoint.named(name)
    return ChatEndpoint(
        named.model,
        named.url,
        temperature=payment.temperature,
        effort=payment.effort,
        max_output=payment.max_output,
        timeout=payment.timeout,
        patience=payment.patience,
        connections=payment.concurrency,
        pace=Pace(payment.rpm, payment.tpm),
    )


def teacher_named(name: str, sessions: Sequence[Session], asker: "Asks | None" = None) -> "Teacher":
    """Return the teacher of a name; a large teacher asks through `asker`.

    Raises:
        UsageError: there is no such teacher.
    """
    from bundlewise.agents.teacher.grounded import GroundedTeacher
    from bundlewise.agents.teacher.large import LargeTeacher
    from bundlewise.agents.teacher.recorded import RecordedTeacher

    if name == "grounded":
        return GroundedTeacher()
    if name.startswith("recorded:"):
        return RecordedTeacher(Path(name.removeprefix("recorded:")), sessions)
    if asker is not None:
        return LargeTeacher(asker)
    raise UsageError(f"no teacher named {name!r}; choose {TEACHERS}")


def run_teacher(
    sessions: Sequence[Session],
    teacher: str,
    kb: Path | str | None,
    *,
    embedder: "Embedder | None" = None,
    pack: Path | None = None,
    dials: "Dials | None" = None,
    payment: Payment | None = None,
    tally: "Tally | None" = None,
    log: Path | None = None,
    remarks: Sequence[Knowledge] = (),
) -> Distilled:
    """Let a teacher distil the training sessions among these into a knowledge base, and a pack.

    A new knowledge base gets the given embedder, or the default one. Answers of a large teacher go through the
    ledger: after a stop or a kill, the same call continues without paying twice. `remarks` are stored beside the
    distilled records. `tally` counts work and payments while the run goes on. Knowledge base and pack are replaced
    only at the end of a successful run. Without a knowledge base, the result is only returned.

    Raises:
        UsageError: there is no such teacher, or nothing to learn from.
        CapError: a cap was reached; the ledger has the answers that were paid for.
        ModelError: the endpoint cannot be used.
        StageError: more of a stage failed than `max_failed` allows.
    """
    from bundlewise.agents.teacher.failures import Outcomes
    from bundlewise.agents.teacher.recorded import RecordedTeacher
    from bundlewise.agents.teacher.tally import Tally
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.store import KnowledgeStore
    from bundlewise.pipeline.watch import watching

    payment, tally = payment or Payment(), tally or Tally()
    outcomes = Outcomes(payment.max_failed)
    with _asker(teacher, payment, tally) as asker, watching(tally, log):
        if asker is not None:
            with stoppable(asker):
                asker.probe()
        who = teacher_named(teacher, sessions, asker)
        store = KnowledgeStore.create(kb, embedder) if kb is not None else None
        model = lambda: store.embedder if store else embedder or Embedder.named()  # noqa: E731
        with stoppable(asker) if asker else nullcontext():
            places: dict[str, Any] = {"store": store, "pack": pack, "remarks": remarks, "outcomes": outcomes}
            try:
                found = _run(who, sessions, dials, payment, tally, model, **places)
            finally:
                tally.sum_up()
    failures = {name: stage.rows for name, stage in outcomes.stages.items() if stage.reasons}
    refused = [*(who.refused if isinstance(who, RecordedTeacher) else ()), *found["refused"]]
    return Distilled([*found["records"], *remarks], refused, tally.rows(), failures, found["cut"])


def plan(
    sessions: Sequence[Session],
    teacher: str,
    *,
    embedder: "Embedder | None" = None,
    dials: "Dials | None" = None,
    payment: Payment | None = None,
) -> list[dict[str, Any]]:
    """Return the expected calls and cost of a large teacher's run, stage by stage, without a call: see `Planner`.

    Raises:
        UsageError: the teacher costs nothing, so it needs no plan.
    """
    from bundlewise.agents.ledger.calls import CallLedger
    from bundlewise.agents.teacher.large import LargeTeacher
    from bundlewise.agents.teacher.plan import Planner
    from bundlewise.agents.teacher.tally import Tally
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.models.prices import price_of

    if not is_served(teacher):
        raise UsageError(f"{teacher} makes no calls and costs nothing; leave out --dry-run")
    payment = payment or Payment()
    endpoint = endpoint_of(teacher, payment)
    price = price_of(endpoint.model, payment.prices)
    with closing(CallLedger.open_for_reading(payment.ledger)) as ledger:
        planner = Planner(endpoint, ledger, repairs=payment.repairs, retry_failed=payment.retry_failed)
        model = lambda: embedder or Embedder.named()  # noqa: E731
        _run(LargeTeacher(planner), sessions, dials, payment, Tally(), model, is_plan=True)
    return planner.rows(price)


def _run(
    who: "Teacher",
    sessions: Sequence[Session],
    dials: "Dials | None",
    payment: Payment,
    tally: "Tally",
    embedder: Any,
    **places: Any,
) -> dict[str, Any]:
    from bundlewise.graphs.teacher import build_teacher_graph
    from bundlewise.graphs.teacher_state import Dials, TeacherContext, TeacherState

    training = [session for session in sessions if session.split == "train"]
    context = TeacherContext(
        who,
        known=[KnownSession.of(session) for session in sessions],
        validation=[session for session in sessions if session.split == "validation"],
        dials=dials or Dials(),
        embed=lambda texts: embedder().embed(texts),
        training=training,
        tally=tally,
        **places,
    )
    settings: Any = {"max_concurrency": payment.concurrency, "recursion_limit": MANY_STEPS}
    found: dict[str, Any] = build_teacher_graph().invoke(TeacherState(training), settings, context=context)
    return found


@contextmanager
def _asker(teacher: str, payment: Payment, tally: "Tally") -> "Iterator[Asker | None]":
    """Open the ledger of a large teacher and look up its price; yield None for other teachers."""
    from bundlewise.agents.ledger.calls import CallLedger
    from bundlewise.agents.teacher.ask import Asker
    from bundlewise.agents.teacher.caps import Caps
    from bundlewise.models.prices import price_of

    if not is_served(teacher):
        yield None
        return
    endpoint = endpoint_of(teacher, payment)
    endpoint.tell = tally.waits
    tally.price = price_of(endpoint.model, payment.prices)
    caps = Caps(payment.max_cost, payment.max_tokens, payment.max_calls)
    ledger = CallLedger(payment.ledger)
    try:
        yield Asker(endpoint, ledger, tally, caps, repairs=payment.repairs, retry_failed=payment.retry_failed)
    finally:
        endpoint.close()
        ledger.close()


@contextmanager
def asking(teacher: str, payment: Payment, tally: "Tally | None" = None) -> "Iterator[Asks]":
    """Open and probe a large teacher for questions besides distilling; Ctrl-C ends the waiting.

    Raises:
        UsageError: the teacher is not a large one.
    """
    from bundlewise.agents.teacher.tally import Tally
    from bundlewise.pipeline.watch import telling

    tally = tally or Tally()
    with _asker(teacher, payment, tally) as asker:
        if asker is None:
            raise UsageError(f"teacher {teacher} is not a language model; give openai:MODEL[@URL]")
        with telling(tally), stoppable(asker):
            asker.probe()
            yield asker
