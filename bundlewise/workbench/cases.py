"""Test cases of a template: a session or variables, with requirements on the rendered text and on the answer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field, ValidationError

from bundlewise.data.sessions import load
from bundlewise.domain import Bundle, Item, Knowledge, Provenance, Record, Retrieved, Session
from bundlewise.errors import BundlewiseError, DataError
from bundlewise.evaluation.metrics import gjs
from bundlewise.prompts.library import TEMPLATES, current
from bundlewise.strictly import read_yaml
from bundlewise.text import tokens
from bundlewise.titles import titles_fault
from bundlewise.workbench.preview import World, rendered
from bundlewise.workbench.questions import as_object

if TYPE_CHECKING:
    from bundlewise.domain import Prediction

ENDING = ".test.yaml"


class CaseSession(Record):
    """A session given by titles, with bundles by product numbers, or by its id in a dataset."""

    titles: tuple[str, ...] = ()
    bundles: tuple[tuple[int, ...], ...] = ()
    intents: tuple[str, ...] = ()
    data: str = ""
    id: str = ""


class Text(Record):
    """The requirements on the rendered text, which is all prompts of a case one after the other."""

    equals: str | None = None
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    lines: int | None = None
    most_characters: int | None = None
    most_tokens: int | None = None


class ExpectedAnswer(Record):
    """The requirements on a model's answer, if a model is given: bundles by product numbers, or a smallest GJS."""

    answered: bool | None = None
    bundles: tuple[tuple[int, ...], ...] | None = None
    least_gjs: float | None = None
    intent_words: tuple[int, int] | None = None


class Case(Record):
    """A test case: its input and its requirements."""

    name: str
    session: CaseSession | None = None
    variables: dict[str, Any] | None = None
    knowledge: tuple[str, ...] = ()
    hints: dict[str, str] = Field(default={}, description="'1+2': often")
    rendered: Text = Text()
    answer: ExpectedAnswer | None = None


class AnswersCase(Protocol):
    """A student that answers a session with what was retrieved for it."""

    def __call__(self, session: Session, retrieved: Retrieved) -> "Prediction":
        """Return its prediction."""


@dataclass(frozen=True)
class Outcome:
    """A case that was run, with its faults, if any; `skipped` says that no answer was asked for."""

    template: str
    case: str
    faults: tuple[str, ...]
    skipped: bool = False


@dataclass(frozen=True)
class Cases:
    """The cases of one template in one file."""

    template: str
    path: str
    content: str

    @cached_property
    def cases(self) -> list[Case]:
        """The cases.

        Raises:
            DataError: the file has an invalid case, or no list; the message names the line or the case.
        """
        found = read_yaml(self.content, self.path, "write a list of cases in YAML")
        if not isinstance(found, list) or not found:
            raise DataError(f"{self.path}, line 1: not a list of cases; write `- name: ...` for each case")
        return [self._case(number, each) for number, each in enumerate(found, 1)]

    def _case(self, number: int, value: Any) -> Case:
        try:
            case = Case.model_validate(value)
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"])) or "it"
            raise DataError(
                f"{self.path}, case {number}: {field}: {fault['msg'].lower()}; see docs/prompts.md"
            ) from error
        if (case.session is None) == (case.variables is None):
            raise DataError(f"{self.path}, case {number} ({case.name}): give either a session or variables")
        return case


def cases_of(names: Sequence[str] = ()) -> Iterator[Cases]:
    """Yield the cases of some templates, or of all with cases; the user's own cases replace the built-in ones."""
    library = current()
    for name in names or TEMPLATES:
        library.template(name)
        own = library.folder / f"{name}{ENDING}" if library.folder else None
        resource = own if own and own.is_file() else files("bundlewise.prompts").joinpath(f"{name}{ENDING}")
        if not resource.is_file():
            continue
        try:
            yield Cases(name, str(resource), resource.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DataError(f"{resource}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error


def run(template: str, case: Case, world: World, answers: AnswersCase | None = None) -> Outcome:
    """Render a case and check its text; if a model is given, check its answer too."""
    try:
        text, session, retrieved = _rendered(template, case, world)
    except BundlewiseError as error:
        return Outcome(template, case.name, (f"cannot be rendered: {error}",))
    faults = list(_text_faults(case.rendered, text, world))
    asked = case.answer is not None and session is not None
    if asked and answers is not None and case.answer is not None and session is not None:
        faults += _answer_faults(case.answer, session, answers(session, retrieved))
    return Outcome(template, case.name, tuple(faults), skipped=asked and answers is None)


def _rendered(template: str, case: Case, world: World) -> tuple[str, Session | None, Retrieved]:
    if case.variables is not None:
        variables = {name: as_object(value) for name, value in case.variables.items()}
        return current().render(template, variables).rstrip("\n"), None, Retrieved()
    assert case.session is not None
    session, known = _session(case.session), world.known
    if case.session.data:
        known = [*known] or load(case.session.data)
    retrieved = _retrieved(case)
    prompts = rendered(template, session, World(retrieved, known, world.reader))
    return "\n".join(prompt.text.rstrip("\n") for prompt in prompts), session, retrieved


def _session(given: CaseSession) -> Session:
    if given.data:
        known = {session.session_id: session for session in load(given.data)}
        if given.id not in known:
            raise DataError(f"no session {given.id!r} in {given.data}; it has {', '.join(list(known)[:3])}, ...")
        return known[given.id]
    if fault := titles_fault(given.titles):
        raise DataError(fault)
    items = tuple(Item(id=str(number), title=title) for number, title in enumerate(given.titles, 1))
    intents = given.intents or ("",) * len(given.bundles)
    bundles = tuple(
        Bundle(item_ids=tuple(map(str, numbers)), intent=intent)
        for numbers, intent in zip(given.bundles, intents, strict=True)
    )
    return Session(session_id="case", split="train", items=items, bundles=bundles)


def _retrieved(case: Case) -> Retrieved:
    source = Provenance(teacher="case", prompt="case", run="case")
    records = tuple(
        (Knowledge(id=f"rule-{n}", kind="rule", domain="", text=text, gain=0.0, harm=0.0, provenance=source), 1.0)
        for n, text in enumerate(case.knowledge)
    )
    pairs = {tuple(int(number) - 1 for number in pair.split("+")): word for pair, word in case.hints.items()}
    return Retrieved(records=records, hints={(a, b): word for (a, b), word in pairs.items()})


def _text_faults(wanted: Text, text: str, world: World) -> Iterator[str]:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    if wanted.equals is not None and text != wanted.equals.rstrip("\n"):
        yield f"the text is {shown!r}, not {wanted.equals!r}"
    yield from (f"{piece!r} is not in the text {shown!r}" for piece in wanted.contains if piece not in text)
    yield from (f"{piece!r} is in the text" for piece in wanted.lacks if piece in text)
    yield from (f"nothing in the text matches {p!r}" for p in wanted.matches if not re.search(p, text, re.MULTILINE))
    lines = text.count("\n") + 1
    if wanted.lines is not None and lines != wanted.lines:
        yield f"{lines} lines, not {wanted.lines}"
    if wanted.most_characters is not None and len(text) > wanted.most_characters:
        yield f"{len(text):,} characters, more than {wanted.most_characters:,}"
    tokens = world.count(text) if wanted.most_tokens is not None else None
    if tokens is not None and wanted.most_tokens is not None and tokens > wanted.most_tokens:
        yield f"{tokens:,} tokens, more than {wanted.most_tokens:,}"


def _answer_faults(wanted: ExpectedAnswer, session: Session, found: "Prediction") -> Iterator[str]:
    groups, said = found.groups, [list(bundle.items) for bundle in found.bundles]
    if wanted.answered is not None and bool(groups) != wanted.answered:
        yield f"answered {said or 'nothing'} ({found.reason or found.outcome})"
    if wanted.bundles is not None and {frozenset(b) for b in said} != {frozenset(b) for b in wanted.bundles}:
        yield f"the bundles are {said}, not {[list(b) for b in wanted.bundles]}"
    if wanted.least_gjs is not None and (score := gjs(groups, session.groups)) < wanted.least_gjs:
        yield f"GJS {score:.3f}, below {wanted.least_gjs:.3f}"
    if wanted.intent_words is not None:
        low, high = wanted.intent_words
        for bundle in found.bundles:
            count = len(bundle.intent.split() if bundle.intent.isascii() else tokens(bundle.intent))
            if not low <= count <= high:
                yield f"intent {bundle.intent!r} has {count} words, not {low} to {high}"
