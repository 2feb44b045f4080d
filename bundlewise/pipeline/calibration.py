"""How an untuned student is read: found out once, and kept in the cache under all that it depends on."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from bundlewise import __version__
from bundlewise.agents.student.reading import Reading
from bundlewise.data.sessions import load
from bundlewise.domain import Record, Session
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint, write_text
from bundlewise.settings import cache_folder


class Calibrated(Record):
    """A reading, and the mean GJS it reached on validation."""

    reading: Reading
    score: float


def found_once(about: dict[str, Any], sessions: Sequence[Session], find: Callable[[], Calibrated]) -> Calibrated:
    """Return what was found out before on the same student and sessions, or find it out now and keep it."""
    key = fingerprint([__version__, about, [session.model_dump(mode="json") for session in sessions]])
    path = cache_folder() / f"reading-{key}.json"
    try:
        return Calibrated.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = find()
        write_text(path, found.model_dump_json())
        return found


def sessions_to_calibrate_on(data: str) -> list[Session]:
    """Return the sessions of data to calibrate on.

    Raises:
        UsageError: no validation session is annotated.
    """
    sessions = load(data)
    if not any(session.split == "validation" and session.bundles for session in sessions):
        raise UsageError(f"no validation session of {data} is annotated; leave out --calibrate")
    return sessions
