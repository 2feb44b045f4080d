"""The playground of prompts: render an edited template for a session, try it on the student, and save it."""

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
from bundlewise.workbench.preview import Rendered, World, rehearse, rendered
from bundlewise.workbench.reader import Reader
from bundlewise.workbench.variants import library_with, save_template

PASTED = "pasted"
SCORES = ("gjs", "v2_precision", "v2_recall", "v2_coverage", "exact_precision", "exact_recall")
_LINE = re.compile(r"line (\d+)")


class TemplateFault(Record):
    """A fault of an edited template, with its line if it is known."""

    message: str
    line: int | None = None


class TemplateLine(Record):
    """A row of the list of templates."""

    name: str
    purpose: str
    role: str
    own: bool


class Source(Record):
    """A template in force: its file, its variables, and the mark by which a save notices a change meanwhile."""

    name: str
    text: str
    purpose: str
    role: str
    fingerprint: str
    own: bool
    mark: str
    variables: dict[str, str]


class Shown(Record):
    """The prompts that an edited template makes for a session, or the fault that makes it unusable."""

    fingerprint: str = ""
    prompts: tuple[Rendered, ...] = ()
    note: str = ""
    fault: TemplateFault | None = None


class Answered(Record):
    """The student's answer under some prompts, with its scores if the session is annotated."""

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
    """Tries edited templates on sessions of a data set, with the student and the knowledge of the server."""

    def __init__(self, live: Student, sessions: Sequence[Session], folder: Path | None = None) -> None:
        """Take a student, sessions to choose from, and the folder to save in; without a folder nothing is saved."""
        self.live, self.folder = live, folder
        self.sessions = {session.session_id: session for session in sessions}
        self._known = sessions
        self._reader = Reader(live.model.base) if live.model.base else None

    def session(self, key: str, titles: Sequence[str] = ()) -> Session:
        """Return a session of the data set, or a session made from titles.

        Raises:
            UsageError: there is no such session.
        """
        if titles:
            items = tuple(Item(id=str(n), title=title) for n, title in enumerate(titles, 1))
            return Session(session_id=PASTED, items=items)
        if key not in self.sessions:
            raise UsageError(f"no session {key!r} in the data of this server; choose one from the list")
        return self.sessions[key]

    def templates(self) -> list[TemplateLine]:
        """Return all templates; the user's own are marked."""
        library = current()
        fronts = [(name, library.front(name)) for name in TEMPLATES]
        return [
            TemplateLine(name=name, purpose=front.purpose, role=front.role, own=name in library.own)
            for name, front in fronts
        ]

    def source(self, name: str) -> Source:
        """Return a template in force.

        Raises:
            UsageError: there is no template of that name.
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
        """Return the knowledge for a session; call it only while nothing else uses the student."""
        return self.live.retriever.retrieve([session.blind()])[0] if self.live.retriever else Retrieved()

    def render(self, name: str, text: str, session: Session, retrieved: Retrieved | None = None) -> Shown:
        """Return the prompts that an edited template makes for a session and its knowledge.

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
            except UsageError as error:  # The template is valid, but it asks nothing about this session.
                return Shown(fingerprint=library.fingerprint(name), note=str(error))

    def rehearsed(self, name: str, text: str, session: Session, retrieved: Retrieved) -> TemplateFault | None:
        """Return the fault of an edited template, or None, before the student spends time on it."""
        check_name(name)
        with rendering_outside(), allowance():
            try:
                with using(library_with(name, text)):
                    rehearse(name, session, World(retrieved, reader=self._reader))
            except DataError as error:
                return fault_of(error)
        return None

    def attempt(self, name: str, text: str, session: Session) -> Tried:
        """Return the student's answers under the prompts in force and the edited ones, while nothing else uses it."""
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
        """Save an edited template in the user's own folder.

        Raises:
            UsageError: there is no such folder, or the template has changed since its `mark` was taken.
            DataError: the template cannot be used.
        """
        if self.folder is None:
            raise UsageError("this server saves no templates; start it with --prompts DIR, a folder of your own")
        forget()
        if mark != fingerprint(current().template(name).text):
            raise UsageError(f"{name} was changed by somebody else meanwhile; load it again and repeat your edit")
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
        return f"the student was tuned on another {what}, so that new wording may harm it by itself" if changed else ""


def fault_of(error: BundlewiseError) -> TemplateFault:
    """Return an error about a template as a fault, with the line that it names."""
    found = _LINE.search(str(error))
    return TemplateFault(message=str(error), line=int(found[1]) if found else None)


def _of_student(library: Library) -> str:
    return library.fingerprint(*STUDENT_TEMPLATES, *READ)
