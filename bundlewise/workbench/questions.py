"""The questions that a large teacher is asked about a session, recorded from the teacher's own code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

from bundlewise.agents.chat.client import ChatEndpoint
from bundlewise.agents.ledger.calls import CallLedger, Reply
from bundlewise.agents.teacher import contracts
from bundlewise.agents.teacher.ask import Asks, messages_of, repaired
from bundlewise.agents.teacher.contracts import Kinds, Typed, schema_of
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.large import LargeTeacher
from bundlewise.agents.teacher.patterns import mine
from bundlewise.agents.teacher.protocol import Pattern, Rule, compare
from bundlewise.domain import Grouping, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.prompts.library import current
from bundlewise.prompts.render import Messages, messages

SESSIONS_OF_LESSONS = 8
THRESHOLD_SESSIONS = 40
LEAST_LESSONS = 3
"""Lessons that an example of a rule is based on."""


@dataclass(frozen=True)
class Question:
    """A template with its variables, and the contract of its answer, if it has one."""

    template: str
    variables: dict[str, Any]
    about: str
    schema: dict[str, Any] | None = None
    chat: Messages | None = None

    def messages(self) -> Messages:
        """Return the chat messages, or the one text as a message."""
        if self.chat is not None:
            return self.chat
        if self.schema is not None:
            return messages_of(self.template, self.schema, **self.variables)
        return messages(self.template, **self.variables)

    @property
    def sources(self) -> list[str]:
        """The template of each message."""
        if self.chat is not None:
            return ["teacher", "teacher_kinds", "answer", self.template]
        front = current().front(self.template)
        return [front.system, self.template] if front.system else [self.template]


class QuestionRecorder(Asks):
    """Records questions without asking them, and gives stand-in answers of the usual size."""

    def __init__(self) -> None:
        super().__init__(ChatEndpoint("nobody"), cast(CallLedger, None))
        self.heard: list[Question] = []

    def ask(
        self,
        stage: str,
        subject: str,
        template: str,
        contract: type[Typed],
        faults: Callable[[Typed], list[str]],
        stand_in: Callable[[], Typed],
        **variables: Any,
    ) -> Typed | None:
        """Record a question."""
        about = f"{stage}: session {subject}" if stage != "formalise" else f"{stage}: {subject}"
        self.heard.append(Question(template, variables, about, schema_of(contract)))
        return stand_in()

    def _answer(self, call: Any, messages: Messages, schema: dict[str, Any]) -> Reply | None:
        return None

    def _failed(self, stage: str, subject: str, reason: str) -> None:
        """Ignore a failure, since nothing was asked."""


def questions(name: str, session: Session, retrieved: Retrieved, known: Sequence[Session]) -> list[Question]:
    """Return the questions of a template about a session; an example if the template is about no session.

    Raises:
        UsageError: the template asks nothing about the session.
    """
    makers: dict[str, Callable[[Session, Retrieved, Sequence[Session]], list[Question]]] = {
        "teacher_kinds": lambda s, r, k: _heard(lambda teacher: teacher.kinds(s)),
        "teacher_propose": lambda s, r, k: _heard(lambda teacher: teacher.propose(s, _patterns(s, k))),
        "teacher_reflect": _reflected,
        "teacher_rules": _drawn,
        "teacher_think": _thought_through,
        "teacher_repair": _repaired,
        "products": lambda s, r, k: [Question("products", {"titles": s.titles}, f"session {s.session_id}")],
        "knowledge": lambda s, r, k: [Question("knowledge", {"records": _records(r)}, f"session {s.session_id}")],
    }
    return makers[name](session, retrieved, known) if name in makers else [example_of(name)]


def example_of(name: str) -> Question:
    """Return a template with the examples of its front matter."""
    front = current().front(name)
    variables = {key: as_object(variable.example) for key, variable in front.variables.items()}
    contract = (front.output or {}).get("contract")
    schema = schema_of(getattr(contracts, contract)) if contract else None
    return Question(name, variables, "the examples of its front matter", schema)


def as_object(value: Any) -> Any:
    """Return an example whose fields can be read as attributes, like those of real records."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: as_object(each) for key, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


def _records(retrieved: Retrieved) -> list[Any]:
    return [record for record, _ in retrieved.records]


def _heard(ask: Callable[[LargeTeacher], object]) -> list[Question]:
    asker = QuestionRecorder()
    ask(LargeTeacher(asker))
    return asker.heard


def _patterns(session: Session, known: Sequence[Session]) -> list[Pattern]:
    """Return the patterns of the other training sessions, by the head nouns of their titles."""
    teacher = GroundedTeacher()
    others = [s for s in known if s.split == "train" and s.bundles and s.session_id != session.session_id]
    return mine(others, {s.session_id: teacher.kinds(s) for s in others}) if others else []


def _reflected(session: Session, _: Retrieved, known: Sequence[Session]) -> list[Question]:
    reflection = compare(_annotated(session, "teacher_reflect"), _proposal(session, known))
    found = _heard(lambda teacher: teacher.reflect(reflection))
    if not found:
        raise UsageError(
            f"session {session.session_id} is proposed as it is annotated, so nothing is reflected on; choose another"
        )
    return found


def _drawn(session: Session, _: Retrieved, known: Sequence[Session]) -> list[Question]:
    """Ask about the lessons of a few sessions, this one first if it has a lesson."""
    teacher = LargeTeacher(QuestionRecorder())
    others = [s for s in known if s.split == "train" and s.bundles and s.session_id != session.session_id]
    reflections, propose = [], _proposer(session, known)
    for each in [_annotated(session, "teacher_rules"), *others[:SESSIONS_OF_LESSONS]]:
        reflection = compare(each, propose(each))
        reflections.append(replace(reflection, lessons=teacher.reflect(reflection)))
    if sum(len(reflection.lessons) for reflection in reflections) < LEAST_LESSONS:
        raise UsageError(f"too few sessions teach something beside {session.session_id}; give --data with training")
    return _heard(lambda large: large.formalise(reflections, _patterns(session, known)))


def _thought_through(session: Session, retrieved: Retrieved, known: Sequence[Session]) -> list[Question]:
    rules = [Rule(r.text, (), gain=r.gain, harm=r.harm) for r in _records(retrieved) if r.kind == "rule"]
    kinds = GroundedTeacher().kinds(session)
    seen = _annotated(session, "teacher_think")
    return _heard(lambda teacher: teacher.think(seen, kinds, _patterns(session, known), rules))


def _repaired(session: Session, *_: object) -> list[Question]:
    faults = [f"there must be {len(session.items)} kinds, one per product, not 0"]
    first = messages_of("teacher_kinds", schema_of(Kinds), titles=session.titles)
    chat = repaired(first, '{"kinds": []}', faults)
    about = f"session {session.session_id}, after an answer without kinds"
    return [Question("teacher_repair", {"faults": faults}, about, chat=chat)]


def _annotated(session: Session, name: str) -> Session:
    if not session.bundles:
        raise UsageError(f"{name} asks about annotated sessions, {session.session_id} has no bundles; choose another")
    return session


def _proposal(session: Session, known: Sequence[Session]) -> Grouping:
    """Return the clusters that the grounded teacher proposes, in place of a large teacher's proposal."""
    return _proposer(session, known)(session)


def _proposer(session: Session, known: Sequence[Session]) -> Callable[[Session], Grouping]:
    teacher = GroundedTeacher()
    teacher.begin([s for s in known if s.split == "train" and s.bundles][:THRESHOLD_SESSIONS] or [session])
    return lambda each: teacher.propose(each, []) or ()
