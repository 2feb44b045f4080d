"""The prompts that a model gets for a session, part by part, made by the functions of training and serving."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, TypeVar

from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import TOO_LONG, JudgePrompt, fitting, judge_prompt, size_of, write_prompt
from bundlewise.agents.student.replies import fitting_name
from bundlewise.domain import BlindSession, Record, Retrieved, Session
from bundlewise.errors import DataError
from bundlewise.prompts.library import current
from bundlewise.prompts.outside import charged
from bundlewise.workbench.questions import Question, questions
from bundlewise.workbench.reader import AnyPrompt, Reader

KNOWLEDGE: dict[str, Any] = {"records": [], "patterns": [], "rules": [], "demonstrations": [], "hint": ""}
"""The variables that hold knowledge, and their values without knowledge."""
MOST_COMPARED = 250_000
"""Most pairs of lines for a comparison line by line, since its cost is the square of the number of equal lines."""
Span = tuple[int, int]
Prompt = TypeVar("Prompt", JudgePrompt, ChatPrompt, str)


class PromptPart(Record):
    """A piece of a prompt: its role (text, system, user, assistant), and the spans of knowledge in it."""

    template: str
    role: str
    text: str
    tokens: int | None = None
    knowledge: tuple[Span, ...] = ()


class Rendered(Record):
    """One prompt exactly as a model gets it: the texts of its parts one after the other, or as chat messages.

    `about` names the subject of the prompt, `cut` what was left out to make it fit the student. `opening` is the
    number of tokens that open a document. `estimated` says that tokens are estimated from characters, because the
    tokenizer is unknown.
    """

    template: str
    fingerprint: str
    about: str
    parts: tuple[PromptPart, ...]
    cut: str = ""
    opening: int = 0
    estimated: bool = False

    @property
    def text(self) -> str:
        """The whole prompt as text."""
        return "".join(part.text for part in self.parts)

    @property
    def tokens(self) -> int | None:
        """The tokens of all parts, and those that open the document."""
        counts = [part.tokens for part in self.parts]
        return None if None in counts else self.opening + sum(count or 0 for count in counts)


@dataclass(frozen=True)
class World:
    """Everything that a prompt depends on besides session and template: knowledge, other sessions, and the reader."""

    retrieved: Retrieved = field(default_factory=Retrieved)
    known: Sequence[Session] = ()
    reader: Reader | None = None

    def count(self, text: str) -> int | None:
        """Return the number of the student's tokens of a text; None if the tokenizer is unknown."""
        return self.reader.count(text) if self.reader else None

    @property
    def opening(self) -> int:
        """The number of tokens that open the student's document."""
        return self.reader.opening if self.reader else 0

    def around(self, prompt: ChatPrompt) -> int:
        """Return the number of tokens that the base's chat template adds to the texts of a prompt."""
        return self.reader.around(prompt) if self.reader else 0

    def fits(self, name: str, prompt: AnyPrompt) -> bool:
        """Say whether a prompt of a template fits the student."""
        with charged(current().template(name)):
            return self.reader is None or self.reader.fits(prompt)

    def refuse_long(self, name: str, prompt: AnyPrompt) -> None:
        """Raise an error for a prompt that is too long for its tokens to be counted.

        Raises:
            DataError: the prompt is too long; the message names the template.
        """
        if self.reader and (size := size_of(prompt)) > self.reader.most_bytes:
            found = f"a prompt of {size:,} bytes, the student reads about {self.reader.most_bytes:,.0f} at most"
            raise DataError(f"{current().template(name).at(1)}: {found}; write less")


def rendered(name: str, session: Session, world: World | None = None) -> list[Rendered]:
    """Return the prompts that a template makes for a session, or is a part of.

    Raises:
        UsageError: there is no such template, or it asks nothing about the session.
    """
    world = world or World()
    current().template(name)
    if name in ("judge", "pair"):
        return [_judge(name, session, world)]
    if name in ("write", "write_system"):
        return [_whole(name, session, world)]
    if name == "name":
        return list(_names(session, world))
    return [_asked(question, world) for question in questions(name, session, world.retrieved, world.known)]


def rehearse(name: str, session: Session, world: World) -> None:
    """Make the prompts for a session without asking the student.

    Raises:
        DataError: an edited template cannot be used; the message names file and line.
    """
    seen = session.blind()
    prompt, _ = fitting(seen, world.retrieved, judge_prompt, lambda prompt: world.fits(name, prompt))
    if not world.fits(name, prompt):
        raise DataError(f"{current().template(name).at(1)}: {TOO_LONG}")
    fitting(seen, world.retrieved, write_prompt, lambda prompt: world.fits(name, prompt))
    naming = fitting_name(seen, tuple(range(len(seen.items))), lambda prompt: world.fits(name, prompt))
    if not world.fits(name, naming):
        raise DataError(f"{current().template(name).at(1)}: {TOO_LONG}")


def _judge(name: str, session: Session, world: World) -> Rendered:
    prompt, cut = _fitted(name, session, world, judge_prompt)
    plain = judge_prompt(session.blind(), Retrieved())
    parts = [] if name == "pair" else [_part("judge", f"{prompt.head}\n", f"{plain.head}\n", world)]
    with charged(current().template(name)):
        for question, without in zip(prompt.questions, plain.questions, strict=True):
            parts.append(_part("pair", f"{question}\n", None if cut else f"{without}\n", world))
    about = f"session {session.session_id}, {len(prompt.pairs)} pairs"
    return Rendered(
        template=name,
        fingerprint=current().fingerprint(name),
        about=about,
        parts=tuple(parts),
        cut=cut,
        opening=world.opening,
    )


def _whole(name: str, session: Session, world: World) -> Rendered:
    """Render the conversation that asks for a whole answer: the system text, and the question."""
    prompt, cut = _fitted(name, session, world, write_prompt)
    plain = write_prompt(session.blind(), Retrieved())
    with charged(current().template(name)):
        parts = (
            _part("write_system", prompt.system, plain.system, world, "system"),
            _part("write", prompt.user, plain.user, world, "user"),
        )
        opening = world.around(prompt)
    about, known = f"session {session.session_id}", current().fingerprint(name)
    return Rendered(template=name, fingerprint=known, about=about, parts=parts, cut=cut, opening=opening)


def _fitted(
    name: str, session: Session, world: World, compose: Callable[[BlindSession, Retrieved], Prompt]
) -> tuple[Prompt, str]:
    prompt, cut = fitting(session.blind(), world.retrieved, compose, lambda prompt: world.fits(name, prompt))
    world.refuse_long(name, prompt)
    return prompt, cut


def _names(session: Session, world: World) -> Iterator[Rendered]:
    """Yield a prompt for every annotated bundle, or one for all products together."""
    for group in session.groups or (tuple(range(len(session.items))),):
        text = fitting_name(session.blind(), group, lambda prompt: world.fits("name", prompt))
        world.refuse_long("name", text)
        about = f"session {session.session_id}, products {', '.join(str(place + 1) for place in group)}"
        with charged(current().template("name")):
            part = _part("name", text, None, world)
        yield Rendered(
            template="name",
            fingerprint=current().fingerprint("name"),
            about=about,
            parts=(part,),
            opening=world.opening,
        )


def _asked(question: Question, world: World) -> Rendered:
    """Render a question; its tokens are estimated for a large model."""
    name, library = question.template, current()
    plain = None
    if question.variables.keys() & KNOWLEDGE.keys():
        without = {key: KNOWLEDGE.get(key, value) for key, value in question.variables.items()}
        plain = library.render(name, without)
    chat = question.messages()
    if len(chat) == 1:
        world.refuse_long(name, chat[0]["content"])
    with charged(library.template(name)):
        parts = [
            _part(question.sources[place], message["content"], plain if place == len(chat) - 1 else None, world)
            if len(chat) == 1
            else _estimated(question.sources[place], message, plain if place == len(chat) - 1 else None)
            for place, message in enumerate(chat)
        ]
    return Rendered(
        template=name,
        fingerprint=library.fingerprint(name),
        about=question.about,
        parts=tuple(parts),
        estimated=len(chat) > 1,
    )


def _part(template: str, text: str, plain: str | None, world: World, role: str = "text") -> PromptPart:
    spans = added(plain, text) if plain is not None else ()
    return PromptPart(template=template, role=role, text=text, tokens=world.count(text), knowledge=spans)


def _estimated(template: str, message: dict[str, str], plain: str | None) -> PromptPart:
    text = message["content"]
    spans = added(plain, text) if plain is not None else ()
    return PromptPart(template=template, role=message["role"], text=text, tokens=estimate(text), knowledge=spans)


def estimate(text: str) -> int:
    """Return the estimated number of a large model's tokens of a text: one per four bytes."""
    return round(len(text.encode()) / 4)


def added(plain: str, told: str) -> tuple[Span, ...]:
    """Return the spans of a text that the same text without knowledge lacks: whole lines, or parts of a line."""
    before, after = plain.splitlines(keepends=True), told.splitlines(keepends=True)
    if len(before) * len(after) > MOST_COMPARED:
        start, end = _within(plain, told, 0)
        return ((start, end),) if start < end else ()
    starts = [0]
    for line in after:
        starts.append(starts[-1] + len(line))
    spans = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "insert":
            spans.append((starts[c], starts[d]))
        elif kind == "replace":
            spans.append(_within("".join(before[a:b]), "".join(after[c:d]), starts[c]))
    return tuple((start, end) for start, end in spans if start < end)


def _within(before: str, after: str, start: int) -> Span:
    """Return the span of a text that differs from another text, without their equal beginnings and ends."""
    shortest = min(len(before), len(after))
    head = next((n for n in range(shortest) if before[n] != after[n]), shortest)
    tail = next((n for n in range(shortest - head) if before[-1 - n] != after[-1 - n]), shortest - head)
    return start + head, start + len(after) - tail
