"""The leakage audit: it finds data shared between teaching and scored sessions before any cell runs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundlewise.agents.student import compose
from bundlewise.domain import Bundle, Item, Retrieved, Session
from bundlewise.errors import DataError
from bundlewise.files import numbered_rows

SHOWN = 3
"""Most cases of one kind that an error names."""
LEAST_WORDS, LEAST_LETTERS = 4, 20
"""A title of at least this length does not appear in a knowledge text by accident."""
TELLING = 0.5
"""If more than this share of the titles contain their category, titles count as made from categories."""


@dataclass(frozen=True)
class Leak:
    """One leak: its kind and its place."""

    kind: str
    case: str


def audit(data: Mapping[str, Sequence[Session]], target: str, packs: Mapping[str, Path]) -> list[Leak]:
    """Return every leak between the sessions that teach, those that choose and those that are scored.

    Five kinds: a session id in two places, equal products in two splits, knowledge about sessions outside
    train, knowledge texts that quote their titles, and categories or annotations that reach a prompt.
    """
    sessions = [session for part in data.values() for session in part]
    held = [session for session in data[target] if session.split != "train"]
    found = [*_shared_ids(data), *_equal_item_sets(sessions)]
    for domain, path in packs.items():
        found += _foreign_sources(domain, path, sessions)
        found += _quotations(domain, path, sessions, held)
    return [*found, *_categories(held)]


def require_clean(leaks: Sequence[Leak]) -> None:
    """Raise an error if there are leaks.

    Raises:
        DataError: there are leaks; the message counts them by kind and names the first of each kind.
    """
    if not leaks:
        return
    kinds = dict.fromkeys(leak.kind for leak in leaks)
    said = []
    for kind in kinds:
        cases = [leak.case for leak in leaks if leak.kind == kind]
        more = f" and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
        said.append(f"{kind} ({len(cases)}): {'; '.join(cases[:SHOWN])}{more}")
    raise DataError(f"the data leak, so no cell was run. {' | '.join(said)}. Correct the data, then run again")


def _shared_ids(data: Mapping[str, Sequence[Session]]) -> Iterator[Leak]:
    seen: dict[str, str] = {}
    for domain, sessions in data.items():
        for session in sessions:
            where = f"{domain} {session.split}"
            if other := seen.get(session.session_id):
                yield Leak("a session id twice", f"{session.session_id} in {other} and in {where}")
            seen.setdefault(session.session_id, where)


def _equal_item_sets(sessions: Sequence[Session]) -> Iterator[Leak]:
    first: dict[str, Session] = {}
    for session in sorted(sessions, key=lambda one: one.split != "train"):
        other = first.setdefault(session.item_set, session)
        if other.split != session.split:
            names = f"{other.session_id} ({other.split}) and {session.session_id} ({session.split})"
            yield Leak("equal products in two splits", names)


def _foreign_sources(domain: str, path: Path, sessions: Sequence[Session]) -> Iterator[Leak]:
    """Yield the knowledge records that name a session outside train in any field."""
    split = {session.session_id: session.split for session in sessions}
    for number, row in numbered_rows(path):
        for name in dict.fromkeys(_texts(row)):
            if split.get(name, "train") != "train":
                yield Leak("knowledge from outside train", f"{domain} pack, line {number}: {name} ({split[name]})")


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a JSON value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _quotations(domain: str, path: Path, sessions: Sequence[Session], held: Sequence[Session]) -> Iterator[Leak]:
    """Yield the knowledge records that quote a title of a held-out session word for word.

    A title does not count if one title of a training session has all its words, since it may come from there.
    """
    known = [frozenset(_plain(title).split()) for s in sessions if s.split == "train" for title in s.titles]
    titles = {_plain(title): session for session in held for title in session.titles}
    foreign = {
        title: session
        for title, session in titles.items()
        if len(title.split()) >= LEAST_WORDS and len(title) >= LEAST_LETTERS
    }
    for number, row in numbered_rows(path):
        words = f" {_plain(' / '.join(_texts(row)))} "
        for title, session in foreign.items():
            if f" {title} " in words and not any(other.issuperset(title.split()) for other in known):
                case = f"{domain} pack, line {number}: {title[:40]!r} of {session.session_id} ({session.split})"
                yield Leak("knowledge that quotes a held-out title", case)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _categories(held: Sequence[Session]) -> Iterator[Leak]:
    """Yield the sessions in which a category, a price or an annotation changes what the student reads."""
    composed: tuple[Callable[[Session], object], ...] = (
        lambda session: compose.judge_prompt(session.blind(), Retrieved()),
        lambda session: compose.write_prompt(session.blind(), Retrieved()),
        lambda session: compose.name_prompt(session.blind(), tuple(range(len(session.items)))),
    )
    for session in held:
        if not compose.unreadable(session) and any(write(session) != write(_disguised(session)) for write in composed):
            yield Leak("categories at prediction time", f"the prompt of {session.session_id} changes with them")
    spelt = [(session, item, _spelt_out(item)) for session in held for item in session.items if item.category]
    if spelt and sum(said for *_, said in spelt) > TELLING * len(spelt):
        session, item, _ = next(one for one in spelt if one[2])
        case = f"titles spell out their category, such as {item.title[:60]!r} in {session.session_id}"
        yield Leak("categories at prediction time", case)


def _disguised(session: Session) -> Session:
    """Return a session with the same titles, and everything else changed."""
    items = tuple(
        Item(id=item.id, title=item.title, category=("other", str(place % 2)), price=float(place))
        for place, item in enumerate(session.items)
    )
    bundles = (Bundle(item_ids=tuple(item.id for item in items[:2]), intent="something else"),)
    return session.model_copy(update={"items": items, "bundles": bundles})


def _spelt_out(item: Item) -> bool:
    return len(item.category) > 1 and _plain(" ".join(item.category)) in _plain(item.title)
