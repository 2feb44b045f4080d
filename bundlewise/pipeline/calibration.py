"""Calibration: choose the reading of an untuned student on annotated sessions, and cache it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from bundlewise.agents.student.compose import unreadable
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Engine
from bundlewise.agents.student.reading import Reading, learn_chooser
from bundlewise.agents.student.replies import fit_student
from bundlewise.agents.student.writer_reading import fit_writer
from bundlewise.data.sessions import load
from bundlewise.domain import Record, Retrieved, Session, Split
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint, write_text
from bundlewise.settings import cache_folder
from bundlewise.source import code_fingerprint

if TYPE_CHECKING:
    from bundlewise.knowledge_base.retrieval import Retriever


class CalibratedReading(Record):
    """A reading (how the student's judgements become bundles), and its mean GJS on validation."""

    reading: Reading
    score: float


def sessions_of(data: str) -> list[Session]:
    """Return the sessions to calibrate on.

    Raises:
        UsageError: no validation session is annotated.
    """
    sessions = load(data)
    if not any(session.split == "validation" and session.bundles for session in sessions):
        raise UsageError(f"no validation session of {data} is annotated; leave out --calibrate")
    return sessions


def annotated(sessions: Sequence[Session], split: Split) -> list[Session]:
    """Return the annotated sessions of a split that the student can read; some have too many products."""
    return [session for session in sessions if session.split == split and session.bundles and not unreadable(session)]


def fitted_by_split(
    engine: Engine, retriever: "Retriever | None", sessions: Sequence[Session], dials: AnswerDials
) -> CalibratedReading:
    """Choose the reading on the annotated validation sessions among these.

    Raises:
        UsageError: no annotated validation session can be read.
    """
    training, validation = annotated(sessions, "train"), annotated(sessions, "validation")
    if not validation:
        raise UsageError("no annotated validation session has 2 to 30 products, which the student reads; add some")
    return fitted(engine, retriever, training, validation, dials)


def fitted(
    engine: Engine,
    retriever: "Retriever | None",
    training: Sequence[Session],
    validation: Sequence[Session],
    dials: AnswerDials,
) -> CalibratedReading:
    """Choose the reading with the best mean GJS on validation; the chooser of groupings learns from training."""
    known, seen = _retrieved(retriever, training), _retrieved(retriever, validation)
    chooser = learn_chooser(training, known)
    if dials.form == "write":
        reading, score = fit_writer(engine, validation, seen, chooser, dials)
    else:
        reading, score = fit_student(engine, validation, seen, chooser)
    return CalibratedReading(reading=reading, score=score)


def kept(key: object, fit: Callable[[], CalibratedReading]) -> CalibratedReading:
    """Return a calibration from the cache, or fit it now and cache it under everything that it depends on."""
    path = cache_folder() / f"reading-{fingerprint([code_fingerprint(), to_jsonable_python(key)])}.json"
    try:
        return CalibratedReading.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = fit()
        write_text(path, found.model_dump_json())
        return found


def _retrieved(retriever: "Retriever | None", sessions: Sequence[Session]) -> list[Retrieved]:
    seen = [session.blind() for session in sessions]
    return retriever.retrieve(seen) if retriever else [Retrieved() for _ in seen]
