"""The cache of a student's answers under given prompts; its keys hash everything that determines an answer."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bundlewise.agents.student.reading import Reading
from bundlewise.domain import BlindSession, Prediction, Retrieved, Session
from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.files import fingerprint
from bundlewise.pipeline.calibration import fitted
from bundlewise.pipeline.student import Student
from bundlewise.prompts import render
from bundlewise.prompts.library import Library, using
from bundlewise.settings import cache_folder
from bundlewise.source import code_fingerprint
from bundlewise.workbench.cases import AnswersCase

if TYPE_CHECKING:
    from bundlewise.finetune.students import StudentModel
    from bundlewise.knowledge_base.retrieval import Retriever

SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
BUSY = 60.0
READ = ("pattern", "thought_fields")
"""Templates that a student's answers depend on besides those of its questions: a pattern is worded again for a session
that it was counted in, and a policy can word thoughts from their fields."""


def default_cache() -> Path:
    """Return the default file of answers."""
    return cache_folder() / "prompt-answers.sqlite"


class AnswerCache:
    """Answers by key in one SQLite file, for several processes at once; stored answers survive kill -9."""

    def __init__(self, path: Path) -> None:
        """Open the file; a missing file is created.

        Raises:
            KnowledgeError: the file cannot be used, or is another database.
        """
        self.path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            tables = {row[0] for row in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables - {"answers"}:
                raise KnowledgeError(f"{path} holds no answers but is another database; give another file, --cache")
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute(SCHEMA)

    def find(self, key: str) -> str | None:
        """Return the value of a key, or None."""
        with self._explained():
            row = self._base.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def keep(self, rows: Sequence[tuple[str, str]]) -> None:
        """Store values by key, all or none of them."""
        with self._explained(), self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise KnowledgeError(
                f"cannot use the answers in {self.path}: {error}; give another file, --cache"
            ) from error


@dataclass
class Bench:
    """A student with its knowledge and dials that answers under any prompts; `asked` counts the new answers."""

    student: Student
    cache: AnswerCache
    readings: dict[str, Reading] = field(default_factory=dict)
    asked: int = 0

    def answers(self, library: Library, sessions: Sequence[Session]) -> list[Prediction]:
        """Return the student's answers under these prompts, from the cache if it has them."""
        with using(library):
            reading = self.readings.get(self.prompts(), self.student.reading)
            student = Student(self.student.model, self.student.retriever, reading, self.student.dials)
            keys = [self._key("answer", reading.model_dump(), session.blind().model_dump()) for session in sessions]
            kept = [self.cache.find(key) for key in keys]
            todo = [place for place, value in enumerate(kept) if value is None]
            found = student.answer([sessions[place] for place in todo])
        self.asked += len(todo)
        new = dict(zip(todo, found, strict=True))
        self.cache.keep([(keys[place], prediction.model_dump_json()) for place, prediction in new.items()])
        return [new.get(place) or Prediction.model_validate_json(str(value)) for place, value in enumerate(kept)]

    def calibrate(self, library: Library, sessions: Sequence[Session]) -> Reading:
        """Choose the student's reading under these prompts on annotated training sessions, and cache it.

        Raises:
            UsageError: there are no such sessions.
        """
        usable = [session for session in sessions if session.bundles and session.split == "train"]
        if not usable:
            raise UsageError("no training session is annotated, so there is no calibration; leave out --calibrate")
        with using(library):
            key = self._key("reading", [session.model_dump() for session in usable])
            kept = self.cache.find(key)
            reading = Reading.model_validate_json(kept) if kept else self._fit(usable)
            self.readings[self.prompts()] = reading
        self.cache.keep([(key, reading.model_dump_json())])
        return reading

    def _fit(self, sessions: Sequence[Session]) -> Reading:
        return fitted(self.student.model.engine, self.student.retriever, sessions, sessions, self.student.dials).reading

    @staticmethod
    def prompts() -> str:
        """Return the part of the prompts in force that the answers depend on."""
        return fingerprint([render.student_fingerprints(), [render.fingerprint(name) for name in READ]])

    def _key(self, *what: Any) -> str:
        model, retriever = self.student.model, self.student.retriever
        student = [model.fingerprint, model.manifest and model.manifest.model_dump()]
        dials = [self.student.dials.model_dump(), retriever and retriever.about, code_fingerprint()]
        content = [student, dials, self.prompts(), *what]
        return fingerprint(content) + fingerprint([content])


class _Given:
    """Takes the place of a retriever, and returns knowledge that was given to it."""

    def __init__(self, retrieved: Retrieved) -> None:
        self._retrieved = retrieved

    def retrieve(self, sessions: Sequence[BlindSession]) -> list[Retrieved]:
        return [self._retrieved for _ in sessions]


def with_knowledge(model: "StudentModel") -> AnswersCase:
    """Return a student as a function of a session and the knowledge for it, under the prompts in force."""

    def answer(session: Session, retrieved: Retrieved) -> Prediction:
        retriever = cast("Retriever", _Given(retrieved))
        return Student(model, retriever).answer([session])[0]

    return answer
