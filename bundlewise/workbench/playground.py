"""The playground behind a web page: edit a template, see prompt, answer and score before and after, save it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from bundlewise.domain import PredictedBundle, Record, Session
from bundlewise.errors import UsageError
from bundlewise.metrics import gjs
from bundlewise.prompts.library import TEMPLATES, Library, current, using
from bundlewise.workbench.answering import Bench
from bundlewise.workbench.editing import edited, save_template
from bundlewise.workbench.lint import Finding, lint_template
from bundlewise.workbench.opening import Opening
from bundlewise.workbench.rendering import Rendered, World, rendered


class TemplateInfo(Record):
    """A template as a page lists it: its file, what is known of it, and whether it is the user's own."""

    name: str
    version: int
    purpose: str
    role: str
    used_by: tuple[str, ...]
    variables: dict[str, Any]
    fingerprint: str
    own: bool
    text: str


class Answered(Record):
    """A student's answer to a session; `gjs` is its score where the session is annotated."""

    bundles: tuple[PredictedBundle, ...]
    outcome: str
    reason: str
    gjs: float | None
    tokens_in: int
    tokens_out: int


class Side(Record):
    """A session under one wording: what the model gets, and what it answers where a student is open."""

    fingerprint: str
    prompts: tuple[Rendered, ...]
    answer: Answered | None


class Trial(Record):
    """A session before and after an edit; `findings` are about the edit."""

    session_id: str
    template: str
    before: Side
    after: Side
    findings: tuple[Finding, ...]


class Saved(Record):
    """Where an edit was saved, and its fingerprint, which is in force from now on."""

    path: str
    fingerprint: str
    findings: tuple[Finding, ...]


def templates() -> list[TemplateInfo]:
    """List the templates in force."""
    return [_info(name, current()) for name in TEMPLATES]


def _info(name: str, library: Library) -> TemplateInfo:
    front = library.front(name)
    return TemplateInfo(
        name=name,
        version=front.version,
        purpose=front.purpose,
        role=front.role,
        used_by=front.used_by,
        variables={key: variable.model_dump() for key, variable in front.variables.items()},
        fingerprint=library.fingerprint(name),
        own=name in library.own,
        text=library.template(name).text,
    )


@dataclass
class Playground:
    """Sessions to try templates on; with a bench the student answers too, one request at a time.

    `folder` is where edits are saved: the folder in force, if edits are to be used.
    """

    sessions: Sequence[Session]
    opening: Opening = field(default_factory=lambda: Opening("smollm2-135m"))
    bench: Bench | None = None
    folder: Path | None = None
    _lock: Lock = field(default_factory=Lock)

    def render(self, name: str, session_id: str, text: str | None = None) -> list[Rendered]:
        """Return what a model gets of a template, or of an edit of it, with parts, tokens and knowledge.

        Raises:
            UsageError: there is no such template or session.
            DataError: the edit cannot be used; names line and remedy.
        """
        with using(self._library(name, text)), self._lock:
            return rendered(name, self._session(session_id), self._world(session_id))

    def answer(self, session_id: str, name: str = "judge", text: str | None = None) -> Answered:
        """Return the student's answer under the prompts in force, or with an edit of one of them.

        Raises:
            UsageError: there is no such template or session, or no student is open.
        """
        if self.bench is None:
            raise UsageError("no student is open, so nothing is answered; start the server with --student")
        library, session = self._library(name, text), self._session(session_id)
        with self._lock:
            (found,) = self.bench.answers(library, [session])
        return Answered(
            bundles=found.bundles,
            outcome=found.outcome,
            reason=found.reason,
            gjs=gjs(found.groups, session.groups) if session.bundles else None,
            tokens_in=found.tokens_in,
            tokens_out=found.tokens_out,
        )

    def trial(self, name: str, session_id: str, text: str) -> Trial:
        """Return a session before and after an edit of a template."""
        before, after = (self._side(name, session_id, each) for each in (None, text))
        findings = tuple(lint_template(edited(name, text), current()))
        return Trial(session_id=session_id, template=name, before=before, after=after, findings=findings)

    def save(self, name: str, text: str) -> Saved:
        """Save an edit into the folder of one's own templates; a broken one is refused and nothing is written.

        Raises:
            UsageError: there is no folder to save to.
            DataError: the edit cannot be used.
        """
        if self.folder is None:
            raise UsageError("no folder to save to; start the server with --prompts DIR, or set BUNDLEWISE_PROMPTS")
        with self._lock:
            path = save_template(name, text, self.folder)
        template = edited(name, text)
        library = current().replacing(template)
        findings = tuple(lint_template(template, library))
        return Saved(path=str(path), fingerprint=library.fingerprint(name), findings=findings)

    def _side(self, name: str, session_id: str, text: str | None) -> Side:
        prompts = tuple(self.render(name, session_id, text))
        answer = self.answer(session_id, name, text) if self.bench else None
        return Side(fingerprint=self._library(name, text).fingerprint(name), prompts=prompts, answer=answer)

    @staticmethod
    def _library(name: str, text: str | None) -> Library:
        current().template(name)
        return current() if text is None else current().replacing(edited(name, text))

    def _session(self, session_id: str) -> Session:
        if session_id not in self._by_id:
            raise UsageError(f"no session {session_id!r}; it has {', '.join(list(self._by_id)[:3])}, ...")
        return self._by_id[session_id]

    def _world(self, session_id: str) -> World:
        retriever = self.bench.retriever if self.bench else None
        return self.opening.worlds([self._session(session_id)], self.sessions, retriever)[0]

    @cached_property
    def _by_id(self) -> dict[str, Session]:
        return {session.session_id: session for session in self.sessions}
