"""The context and the state of the teacher graph: its dials and objects, and the knowledge distilled so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypedDict, TypeVar

from bundlewise.agents.teacher.failures import Outcomes
from bundlewise.agents.teacher.grounding import RefusedKnowledge
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Teacher, Thought
from bundlewise.agents.teacher.samplers import Embed, Sampler
from bundlewise.agents.teacher.tally import Tally
from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, KnowledgeKind, KnownSession, Session
from bundlewise.knowledge_base.store import KnowledgeStore

Found = TypeVar("Found")


@dataclass(frozen=True)
class Dials:
    """The user's choice of how much knowledge is distilled, from which sessions, and in which formats."""

    sampler: Sampler = "random"
    ratio: float = 1.0
    seed: int = 0
    formats: tuple[KnowledgeKind, ...] = KNOWLEDGE_KINDS


@dataclass(frozen=True)
class TeacherContext:
    """The objects and dials of one run.

    `known` lists the sessions of all splits, so that the store can check sources. Rules are tested on `validation`. A
    rule without a case in `training` (or in the sampled sessions, if it is empty) is refused. `remarks` are
    records that no teacher worded, such as bundles that shoppers rejected; they are stored with the teacher's records.
    `outcomes` ends a run with too many failures.
    """

    teacher: Teacher
    store: KnowledgeStore | None = None
    pack: Path | None = None
    known: Sequence[KnownSession] = ()
    validation: Sequence[Session] = ()
    training: Sequence[Session] = ()
    dials: Dials = field(default_factory=Dials)
    embed: Embed | None = None
    remarks: Sequence[Knowledge] = ()
    tally: Tally = field(default_factory=Tally)
    outcomes: Outcomes = field(default_factory=Outcomes)
    is_plan: bool = False

    def __post_init__(self) -> None:
        self.tally.listeners.append(self.outcomes.hear)


def gather(before: dict[str, Found], found: dict[str, Found]) -> dict[str, Found]:
    """Add the results of one session to those of all, in place, because copying would take quadratic time."""
    before.update(found)
    return before


@dataclass(frozen=True)
class TeacherState:
    """The knowledge distilled so far; results of single sessions are kept by session id, None if the teacher failed."""

    sessions: list[Session]
    kinds: Annotated[dict[str, tuple[str, ...] | None], gather] = field(default_factory=dict)
    patterns: dict[str, list[Pattern]] = field(default_factory=dict)
    reflections: Annotated[dict[str, Reflection | None], gather] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    thoughts: Annotated[dict[str, Thought | None], gather] = field(default_factory=dict)
    records: list[Knowledge] = field(default_factory=list)
    refused: list[RefusedKnowledge] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


class TeacherUpdate(TypedDict, total=False):
    """The parts of the state that a node changes."""

    sessions: list[Session]
    kinds: Mapping[str, tuple[str, ...] | None]
    patterns: dict[str, list[Pattern]]
    reflections: Mapping[str, Reflection | None]
    rules: list[Rule]
    thoughts: Mapping[str, Thought | None]
    records: list[Knowledge]
    refused: list[RefusedKnowledge]
    cut: list[str]


@dataclass(frozen=True)
class One:
    """One session in a stage, with the results of earlier stages that concern it."""

    session: Session
    kinds: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    rules: tuple[Rule, ...] = ()
