"""The playground of prompts: an edited template rendered for a session, tried on the student, and kept."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundlewise.domain import Item, Prediction, Record, Retrieved, Session
from bundlewise.errors import BundlewiseError, DataError, PromptError, UsageError
from bundlewise.evaluation.metrics import score_session, summarise
from bundlewise.files import fingerprint
from bundlewise.finetune.adapters import changed_prompts
from bundlewise.pipeline.student import Student
from bundlewise.prompts.allowance import allowance
from bundlewise.prompts.library import TEMPLATES, Library, check_name, current, forget, using
from bundlewise.prompts.outside import rendering_outside
from bundlewise.prompts.render import STUDENT_TEMPLATES
from bundlewise.workbench.answer_cache import READ
from bundlewise.workbench.preview import Reader, Rendered, World, rehearse, rendered
from bundlewise.workbench.variants import library_with, save_template

PASTED = "pasted"
SCORES = ("gjs", "v2_precision", "v2_recall", "v2_coverage", "exact_precision", "exact_recall")
_LINE = re.compile(r"line (\d+)")


class TemplateFault(Record):
    """What is wrong with a template as it was edited, and in which line, where one is known."""

    message: str
    line: int | None = None


class TemplateLine(Record):
    """A template in a list."""

    name: str
    purpose: str
    role: str
    own: bool


class Source(Record):
    """A template as it is in force: its file, its variables, and the mark by which a later save knows it."""

    name: str
    text: str
    purpose: str
    role: str
    fingerprint: str
    own: bool
    mark: str
    variables: dict[str, str]


class Shown(Record):
    """What an edited template makes of a session; a fault instead where it cannot be used."""

    fingerprint: str = ""
    prompts: tuple[Rendered, ...] = ()
    note: str = ""
    fault: TemplateFault | None = None


class Answered(Record):
    """The student's answer under some prompts, and how it compares with the annotated bundles, where there are any."""

    prediction: Prediction
    scores: dict[str, float] | None = None


class Tried(Record):
    """The answers before and after an edit; `changes` says whether the student's answer depends on the template."""

    items: tuple[Item, ...]
    truth: tuple[tuple[int, ...], ...]
    changes: bool = True
    before: Answered | None = None
    after: Answered | None = None
    warning: str = ""
    fault: TemplateFault | None = None


class Playground:
    """Edits templates on sessions of a data set, with the student and the knowledge that the server has."""

    def __init__(self, live: Student, sessions: Sequence[Session], folder: Path | None = None) -> None:
        """Take a student, sessions to choose from, and the folder to save in; without one nothing is saved."""
        self.live, self.folder = live, folder
        self.sessions = {session.session_id: session for session in sessions}
        self._known = sessions
        self._reader = Reader(live.model.base) if live.model.base else None

    def session(self, key: str, titles: Sequence[str] = ()) -> Session:
        """Return a session of the data set, or one of titles.

        Raises:
            UsageError: there is none.
        """
        if titles:
            items = tuple(Item(id=str(n), title=title) for n, title in enumerate(titles, 1))
            return Session(session_id=PASTED, items=items)
        if key not in self.sessions:
            raise UsageError(f"no session {key!r} in the data of this server; choose one of the list")
        return self.sessions[key]

    def templates(self) -> list[TemplateLine]:
        """Return all templates, and which of them are one's own."""
        library = current()
        fronts = [(name, library.front(name)) for name in TEMPLATES]
        return [
            TemplateLine(name=name, purpose=front.purpose, role=front.role, own=name in library.own)
            for name, front in fronts
        ]

    def source(self, name: str) -> Source:
        """Return a template in force.

        Raises:
            UsageError: there is none of that name.
        """
        library = current()
        template, front = library.template(name), library.front(name)
        return Source(
            name=name,
            text=template.text,
            purpose=front.purpose,
            role=front.role,
            fingerprint=library.fingerprint(name),
            own=name in library.own,
            mark=fingerprint(template.text),
            variables={key: variable.about for key, variable in front.variables.items()},
        )

    def retrieved(self, session: Session) -> Retrieved:
        """Return the knowledge for a session; run where the student is alone."""
        return self.live.retriever.retrieve([session.blind()])[0] if self.live.retriever else Retrieved()

    def render(self, name: str, text: str, session: Session, retrieved: Retrieved | None = None) -> Shown:
        """Return what a model gets for a session, and knowledge for it, under an edited template.

        Raises:
            UsageError: there is no template of that name.
        """
        check_name(name)
        known = self.retrieved(session) if retrieved is None else retrieved
        with rendering_outside(), allowance():
            try:
                library = library_with(name, text)
                with using(library):
                    prompts = rendered(name, session, World(known, self._known, self._reader))
                return Shown(fingerprint=library.fingerprint(name), prompts=tuple(prompts))
            except DataError as error:
                return Shown(fault=fault_of(error))
            except UsageError as error:  # The template is sound; this session is nothing that it is asked about.
                return Shown(fingerprint=library.fingerprint(name), note=str(error))

    def rehearsed(self, name: str, text: str, session: Session, retrieved: Retrieved) -> TemplateFault | None:
        """Return what is wrong with an edited template before the student is kept by it, if anything is."""
        check_name(name)
        with rendering_outside(), allowance():
            try:
                with using(library_with(name, text)):
                    rehearse(name, session, World(retrieved, reader=self._reader))
            except DataError as error:
                return fault_of(error)
        return None

    def attempt(self, name: str, text: str, session: Session) -> Tried:
        """Return the student's answers under the prompts in force and the edited ones; run where it is alone."""
        with rendering_outside(), allowance():
            try:
                return self._attempt(library_with(name, text), session)
            except (DataError, PromptError) as error:
                return self._tried(session, fault=fault_of(error))

    def _attempt(self, library: Library, session: Session) -> Tried:
        before = self._answered(current(), session)
        if _of_student(library) == _of_student(current()):
            return self._tried(session, changes=False, before=before)
        after = self._answered(library, session)
        return self._tried(session, before=before, after=after, warning=self._warning(library))

    @staticmethod
    def _tried(session: Session, **found: Any) -> Tried:
        titles = tuple(Item(id=item.id, title=item.title, price=item.price) for item in session.items)
        truth = tuple(tuple(place + 1 for place in group) for group in session.groups)
        return Tried(items=titles, truth=truth, **found)

    def save(self, name: str, text: str, mark: str) -> Source:
        """Keep an edited template in the folder of one's own.

        Raises:
            UsageError: there is no such folder, or the template has changed since its `mark` was taken.
            DataError: it cannot be used.
        """
        if self.folder is None:
            raise UsageError("nothing is saved here; start the server with --prompts DIR, a folder of your own")
        forget()
        if mark != fingerprint(current().template(name).text):
            raise UsageError(f"{name} was changed by somebody else meanwhile; load it again and redo your edit")
        with rendering_outside(), allowance():
            save_template(name, text, self.folder)
            return self.source(name)

    def _answered(self, library: Library, session: Session) -> Answered:
        with using(library):
            (prediction,) = self.live.answer([session])
        if not session.bundles:
            return Answered(prediction=prediction)
        found = summarise([score_session(prediction.groups, session.groups)])
        return Answered(prediction=prediction, scores={name: round(getattr(found, name), 4) for name in SCORES})

    def _warning(self, library: Library) -> str:
        manifest = self.live.model.manifest
        if manifest is None:
            return ""
        with using(library):
            changed = changed_prompts(manifest)
        what = ", ".join(changed)
        return f"the student was tuned on another {what}; what it loses may be habit and not wording" if changed else ""


def fault_of(error: BundlewiseError) -> TemplateFault:
    """Return an error about a template with the line that it names."""
    found = _LINE.search(str(error))
    return TemplateFault(message=str(error), line=int(found[1]) if found else None)


def _of_student(library: Library) -> str:
    return library.fingerprint(*STUDENT_TEMPLATES, *READ)
