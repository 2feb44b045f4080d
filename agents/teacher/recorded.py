"""The recorded teacher: what a large language model wrote about training sessions, read from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bundlewise.agents.teacher.conditions import Condition
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.grounding import RefusedKnowledge
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Seen, Thought
from bundlewise.domain import KnowledgeKind, Session
from bundlewise.errors import DataError
from bundlewise.files import numbered_rows
from bundlewise.inputs import GZIP

ANY = {"first": (), "second": (), "relation": "any", "least": 2, "most": 99}
"""What a condition says that says nothing."""


class RecordedTeacher(GroundedTeacher):
    """Rules, thoughts and kinds from a recording; proposals are the grounded teacher's.

    A recording is JSON lines: `{"kind": "rule", "text": ...}` and `{"kind": "thought",
    "source_session": ..., "item_kinds": [...], "text": ..., "lesson": ...}`. A rule that also says `"together":
    true | false` and `"condition": {...}`, any fields of a `Condition`, is tested; without them it stays untested:
    what a program would make of its words is another rule. `refused` holds what cannot be taught with these sessions: a
    rule of a domain that they are not of, an earlier thought about one session, a thought about one without bundles.
    """

    worded_by: Mapping[KnowledgeKind, str] = {}

    def __init__(self, path: Path, sessions: Sequence[Session]) -> None:
        super().__init__()
        self.name = f"recorded:{Path(path.name.removesuffix(GZIP)).stem}"
        self.refused: list[RefusedKnowledge] = []
        self._rules: list[Rule] = []
        self._thoughts: dict[str, Thought] = {}
        known = {session.session_id: session for session in sessions}
        domains = sorted({session.domain for session in sessions if session.split == "train" and session.bundles})
        for where, row in _rows(path):
            if row.get("kind") == "rule":
                self._take_rule(_rule(row, where), domains)
            elif row.get("kind") == "thought":
                session = known.get(_text(row, "source_session", where))
                self._take_thought(self._read_thought(row, where, session), session)
            else:
                raise DataError(f"{where}: kind must be rule or thought, got {row.get('kind')!r}")
        if self.refused and not self._rules and not self._thoughts:
            raise DataError(f"{path}: nothing of it can be taught: {self.refused[0].reason}; give the data it is about")

    def _take_rule(self, rule: Rule, domains: Sequence[str]) -> None:
        # Sessions that say no domain may be of any.
        if rule.domain and domains and domains != [""] and rule.domain not in domains:
            reason = f"its domain {rule.domain[:60]} is not that of the sessions, {', '.join(domains)}"
            self.refused.append(RefusedKnowledge(rule.text, reason))
        else:
            self._rules.append(rule)

    def _take_thought(self, thought: Thought, session: Session | None) -> None:
        assert session is not None
        key = session.session_id
        if not session.bundles:
            self.refused.append(RefusedKnowledge(thought.text, f"its source {key} has no annotated bundles"))
            return
        if key in self._thoughts:
            self.refused.append(
                RefusedKnowledge(self._thoughts[key].text, f"a later thought is about its source {key} too")
            )
        self._thoughts[key] = thought

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


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read the lines of a recording, each with where it stands; a pack, or a part of one, is none."""
    rows = [(f"{path}:{number}", row) for number, row in numbered_rows(path)]
    if not rows:
        raise DataError(f"{path}: empty; give a file with a rule or a thought a line")
    for where, row in rows:
        if "bundlewise_pack" in row:
            raise DataError(f"{where}: this is a pack; take it in: bundlewise kb import KB {path}")
        if "id" in row and "provenance" in row:
            raise DataError(f"{where}: a record of a pack without its manifest; export the pack again")
        try:
            json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise DataError(f"{where}: not portable JSON ({error}); correct or remove the line") from error
    return rows


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
