"""Feedback: ratings of bundles by shoppers, kept in a log, and the sessions and thoughts that they give."""

import codecs
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bundlewise.domain import Bundle, Item, Knowledge, Provenance, Record, Session, item_set_of
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.files import fingerprint
from bundlewise.inputs import is_input, local
from bundlewise.strictly import refuse_repeated_keys
from bundlewise.text import kind, line

NOTE = 2000
REMARK = 300
INTENT = 80
ABOUT = "feedback"


class Feedback(Record):
    """A rating of a bundle, or of a whole reply.

    `items` is the cart at that time with its titles, so that a rating can be read alone. `knowledge` holds the ids of
    the records that the student used. `owner` is a mark that distinguishes people; their names are not kept.
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
    """A file with one rating per line; lines are only added, and each is on the disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, **said: object) -> Feedback:
        """Write a rating, and return it as it was written.

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
                # A single write to a file opened for appending keeps lines of several processes apart.
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
    """Read ratings; a line that a kill has cut off is skipped.

    Raises:
        UsageError: there is no such file.
        DataError: a line is neither a rating nor the beginning of one.
    """
    if not is_input(path):
        raise UsageError(f"no feedback file {path}; check the path")
    found = []
    for number, raw in enumerate(local(path).read_bytes().split(b"\n"), 1):
        where, row = f"{path}, line {number}", raw.removeprefix(codecs.BOM_UTF8)
        if _is_torn(row):
            continue
        try:
            found.append(Feedback.model_validate_json(row))
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise DataError(f"{where}: not a rating ({field}); give a file that bundlewise wrote") from error
        refuse_repeated_keys(row, where)
    return found


def _is_torn(row: bytes) -> bool:
    """Say whether a row is blank or only the beginning of a rating."""
    try:
        json.loads(row)
    except (ValueError, RecursionError):
        return not row.strip() or row.startswith(b"{")
    return False


@dataclass(frozen=True)
class Learnt:
    """The result of learning from ratings: training sessions, thoughts about rejected bundles, and unused ratings."""

    sessions: list[Session]
    remarks: list[Knowledge]
    left_out: list[str]


def learn(ratings: Iterable[Feedback], known: Sequence[Session] = ()) -> Learnt:
    """Return the training sessions and thoughts that follow from ratings.

    All ratings of one cart make one training session. A bundle that more people like than dislike becomes a bundle of
    it. A bundle that more people dislike becomes a thought with their notes, in which its products are not bundled.
    Carts that are sessions of `known` are left out: sessions of validation and test must not teach, and sessions of
    training are already annotated.
    """
    taken = {session.item_set: session.split for session in known}
    domains = {session.domain for session in known}
    domain = domains.pop() if len(domains) == 1 else ABOUT
    carts: dict[str, list[Feedback]] = {}
    left: list[str] = []
    for rating in ratings:
        cart = item_set_of(item.title for item in rating.items)
        if rating.what != "bundle" or len(rating.bundle) < 2 or not set(rating.bundle) <= {i.id for i in rating.items}:
            left.append(f"{rating.id}: not about a bundle")
        elif cart in taken:
            left.append(f"{rating.id}: its cart is a session of the {taken[cart]} split")
        else:
            carts.setdefault(cart, []).append(rating)
    sessions: dict[str, Session] = {}
    remarks: list[Knowledge] = []
    for cart, said in sorted(carts.items()):
        session, rejected = _of_cart(cart, domain, said)
        if session.bundles:
            sessions[session.session_id] = session
        for source, ratings in rejected:
            if source.item_set not in taken:
                sessions.setdefault(source.session_id, source)
                remarks.append(_remark(source, ratings))
        if not session.bundles and not rejected:
            left.append(f"{session.session_id}: as many likes as dislikes")
    return Learnt(list(sessions.values()), remarks, left)


def _of_cart(
    cart: str, domain: str, said: Sequence[Feedback]
) -> tuple[Session, list[tuple[Session, Sequence[Feedback]]]]:
    """Return the session from the ratings of one cart, and each rejected bundle as a session with its ratings."""
    items = tuple(Item(id=item.id, title=line(item.title), price=item.price) for item in said[-1].items)
    ids = {mark: key for key, mark in _marks(items).items()}
    votes: dict[tuple[str, ...], list[Feedback]] = {}
    for rating in said:
        marks = _marks(rating.items)
        votes.setdefault(tuple(sorted(ids[marks[key]] for key in rating.bundle)), []).append(rating)
    score = {group: sum(1 if rating.up else -1 for rating in ratings) for group, ratings in votes.items()}
    bundles: list[Bundle] = []
    for group in sorted(votes, key=lambda group: (-score[group], group)):
        if score[group] > 0 and not any(set(group) & set(bundle.item_ids) for bundle in bundles):
            bundles.append(Bundle(item_ids=group, intent=line(votes[group][-1].intent)[:INTENT]))
    session = Session(session_id=f"{ABOUT}-{cart}", domain=domain, split="train", items=items, bundles=tuple(bundles))
    rejected: list[tuple[Session, Sequence[Feedback]]] = []
    for group in sorted(group for group in votes if score[group] < 0):
        apart = tuple(item for item in items if item.id in group)
        name = f"{ABOUT}-{item_set_of(item.title for item in apart)}"
        rejected.append((Session(session_id=name, domain=domain, split="train", items=apart), votes[group]))
    return session, rejected


def _marks(items: Sequence[Item]) -> dict[str, tuple[str, int]]:
    """Return for each product id a key that is the same in every cart with these titles: title and occurrence."""
    titles = [line(item.title).casefold() for item in items]
    return {
        item.id: (title, titles[:n].count(title)) for n, (item, title) in enumerate(zip(items, titles, strict=True))
    }


def _remark(session: Session, said: Sequence[Feedback]) -> Knowledge:
    """Return a thought about products that were rejected as a bundle, with the shoppers' notes."""
    titles = tuple(session.titles)
    heard = (line(rating.note)[:REMARK] for rating in said if not rating.up and rating.note.strip())
    notes = "; ".join(dict.fromkeys(heard))[:REMARK]
    text = f"Shoppers rejected these as a bundle: {'; '.join(titles)}." + (f" They said: {notes}" if notes else "")
    return Knowledge(
        id=Knowledge.content_id("thought", session.domain, text, (session.session_id,)),
        kind="thought",
        domain=session.domain,
        text=text,
        kinds=tuple(kind(title) for title in titles),
        titles=titles,
        source_session_ids=(session.session_id,),
        provenance=Provenance(teacher=ABOUT, prompt="import", run=fingerprint([rating.id for rating in said])),
    )
