"""Feedback: what shoppers say about bundles, kept line by line for good, and what a teacher can learn from it."""

import json
import os
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bundlewise.domain import Bundle, Item, Record, Session, item_set_of
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.files import fingerprint
from bundlewise.text import line

NOTE = 2000
ABOUT = "feedback"


class Feedback(Record):
    """What somebody said about a bundle, or about a reply as a whole.

    `items` is the cart as it was, titles included: a rating stands by itself. `knowledge` are the records that the
    student used. Who said it is not kept, but for `owner`, a mark that tells two people apart.
    """

    id: str
    at: str
    owner: str
    thread: str
    what: Literal["bundle", "reply"]
    up: bool
    note: str = Field(default="", max_length=NOTE)
    items: tuple[Item, ...] = ()
    bundle: tuple[str, ...] = Field(default=(), description="ids of the bundle's products")
    intent: str = ""
    knowledge: tuple[str, ...] = ()


class FeedbackLog:
    """A file that only grows, a line a rating; a line that is written is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, **said: object) -> Feedback:
        """Keep a rating and return it as it was kept.

        Raises:
            BundlewiseError: the file cannot be written.
        """
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        key = fingerprint([moment, os.urandom(8).hex()])
        record = Feedback.model_validate({"id": f"{ABOUT}-{key}", "at": moment, **said})
        row = (record.model_dump_json() + "\n").encode()
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # One write to a file opened for appending: lines of several processes do not mix.
                handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    size = os.fstat(handle).st_size
                    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
                    os.write(handle, b"\n" + row if torn else row)
                    os.fsync(handle)
                finally:
                    os.close(handle)
            except OSError as error:
                raise BundlewiseError(f"cannot keep feedback in {self.path}: {error.strerror}; free space") from error
        return record


def read_feedback(path: Path) -> list[Feedback]:
    """Read ratings. A line cut off in the middle, as a kill leaves it, is left out.

    Raises:
        UsageError: there is no such file.
        DataError: a whole line is no rating.
    """
    if not path.is_file():
        raise UsageError(f"no feedback file {path}; check the path")
    found = []
    for number, row in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            json.loads(row)
        except ValueError:
            continue
        try:
            found.append(Feedback.model_validate_json(row))
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise DataError(f"{path}, line {number}: no rating ({field}); give a file that bundlewise wrote") from error
    return found


def as_sessions(ratings: Iterable[Feedback], known: Sequence[Session] = ()) -> tuple[list[Session], list[str]]:
    """Return ratings as annotated training sessions, and why others are left out.

    All ratings of one cart make one session: what was liked is a bundle of it; what was disliked is none, so that its
    pairs count as seen apart. A bundle that as many dislike as like teaches nothing. Carts that are sessions of the
    data already teach nothing either: those of validation and test must not, and those of training are annotated.
    """
    taken = {session.item_set: session.split for session in known}
    carts: dict[str, list[Feedback]] = {}
    left: list[str] = []
    for rating in ratings:
        if rating.what != "bundle" or len(rating.bundle) < 2 or not set(rating.bundle) <= {i.id for i in rating.items}:
            left.append(f"{rating.id}: about no bundle")
        elif split := taken.get(item_set_of(item.title for item in rating.items)):
            left.append(f"{rating.id}: its cart is a session of the {split} split")
        else:
            carts.setdefault(item_set_of(item.title for item in rating.items), []).append(rating)
    sessions = []
    for key, said in sorted(carts.items()):
        session = _session(key, said)
        if session is None:
            left += [f"{rating.id}: liked as often as not" for rating in said]
        else:
            sessions.append(session)
    return sessions, left


def _session(key: str, said: Sequence[Feedback]) -> Session | None:
    """Return what the ratings of one cart teach; None if nothing."""
    latest = said[-1]
    by_title = {line(item.title).casefold(): item.id for item in latest.items}
    votes: dict[tuple[str, ...], int] = {}
    intents: dict[tuple[str, ...], str] = {}
    for rating in said:
        titles = {item.id: line(item.title).casefold() for item in rating.items}
        group = tuple(sorted(by_title[titles[key]] for key in rating.bundle))
        votes[group] = votes.get(group, 0) + (1 if rating.up else -1)
        intents[group] = rating.intent
    bundles: list[Bundle] = []
    used: set[str] = set()
    for group, vote in sorted(votes.items(), key=lambda pair: (-pair[1], pair[0])):
        if vote > 0 and not used & set(group):
            bundles.append(Bundle(item_ids=group, intent=intents[group]))
            used |= set(group)
    if not any(votes.values()):
        return None
    items = latest.items
    if not bundles:
        # Only what was looked at is known to be wrong: the rest of the cart was never judged.
        items = tuple(item for item in items if any(item.id in group for group, vote in votes.items() if vote < 0))
    blind = tuple(item.model_copy(update={"category": ()}) for item in items)
    return Session(session_id=f"{ABOUT}-{key}", domain=ABOUT, split="train", items=blind, bundles=tuple(bundles))
