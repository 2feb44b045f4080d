"""The recorded teacher: what a large language model wrote about training sessions, read from a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.agents.teacher.conditions import Condition
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Seen, Thought
from bundlewise.domain import KnowledgeKind, Session
from bundlewise.errors import DataError
from bundlewise.files import numbered_rows

ANY = {"first": (), "second": (), "relation": "any", "least": 2, "most": 99}
"""What a condition says that says nothing."""


class RecordedTeacher(GroundedTeacher):
    """Rules, thoughts and kinds from a recording; proposals are the grounded teacher's.

    A recording is JSON lines: `{"kind": "rule", "text": ...}` and `{"kind": "thought",
    "source_session": ..., "item_kinds": [...], "text": ..., "lesson": ...}`. A rule that also says `"together":
    true | false` and `"condition": {...}`, any fields of a `Condition`, is tested; without them it stays untested:
    what a program would make of its words is another rule.
    """

    worded_by: Mapping[KnowledgeKind, str] = {}

    def __init__(self, path: Path, sessions: Sequence[Session]) -> None:
        super().__init__()
        self.name = f"recorded:{path.stem}"
        known = {session.session_id: session for session in sessions}
        self._rules: list[Rule] = []
        self._thoughts: dict[str, Thought] = {}
        for number, row in numbered_rows(path):
            where = f"{path}:{number}"
            if row.get("kind") == "rule":
                self._rules.append(_rule(row, where))
            elif row.get("kind") == "thought":
                source = _text(row, "source_session", where)
                self._thoughts[source] = self._read_thought(row, where, known.get(source))
            else:
                raise DataError(f"{where}: kind must be rule or thought, got {row.get('kind')!r}")

    @staticmethod
    def _read_thought(row: dict[str, Any], where: str, session: Session | None) -> Thought:
        source = row["source_session"]
        if session is None:
            raise DataError(f"{where}: thought about {source!r}, which is not in the data; give the data it is about")
        if session.split != "train":
            raise DataError(f"{where}: thought about {source!r} of the {session.split} split; only train may teach")
        kinds = row.get("item_kinds")
        if not isinstance(kinds, list) or not all(isinstance(k, str) and k.strip() for k in kinds):
            raise DataError(f"{where}: item_kinds must be a list of words, got {kinds!r}")
        if len(kinds) != len(session.items):
            raise DataError(f"{where}: {len(kinds)} item_kinds for the {len(session.items)} products of {source!r}")
        parts = (_text(row, "text", where), str(row.get("lesson") or "").strip())
        return Thought(" ".join(part for part in parts if part), tuple(kinds))

    def kinds(self, session: Session) -> tuple[str, ...]:
        """Return the recorded kinds; a session that was not recorded gets the grounded ones."""
        thought = self._thoughts.get(session.session_id)
        return thought.kinds if thought else super().kinds(session)

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Return the recorded rules; they are general and name no source sessions."""
        return self._rules

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return the recorded thought, or None for a session that was not recorded."""
        return self._thoughts.get(session.session_id)


def _rule(row: dict[str, Any], where: str) -> Rule:
    rule = Rule(_text(row, "text", where), sources=(), domain=str(row.get("domain") or ""))
    if row.get("condition") is None:
        return rule
    if not isinstance(row.get("together"), bool):
        raise DataError(f"{where}: a rule with a condition says together: true or false, got {row.get('together')!r}")
    if not isinstance(row["condition"], dict):
        raise DataError(f"{where}: condition: must be an object; correct it, or leave the condition out")
    try:
        condition = Condition.model_validate(ANY | row["condition"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("condition", *first["loc"])))
        raise DataError(f"{where}: {place}: {first['msg'].lower()}; correct it, or leave the condition out") from error
    if condition.is_empty:
        raise DataError(f"{where}: the condition holds for all products; say for which ones, or leave it out")
    return replace(rule, joins=row["together"], condition=condition)


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key} must be text, got {value!r}")
    return value.strip()
