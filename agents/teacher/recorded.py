"""The recorded teacher: reads from a file what a large language model wrote about training sessions."""

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
"""The fields of a condition that holds for all products."""


class RecordedTeacher(GroundedTeacher):
    """A teacher with rules, thoughts and kinds from a recording, and with the grounded teacher's proposals.

    A recording is JSON lines: `{"kind": "rule", "text": ...}` and `{"kind": "thought",
    "source_session": ..., "item_kinds": [...], "text": ..., "lesson": ...}`. A rule that also has `"together":
    true | false` and `"condition": {...}`, with any fields of a `Condition`, is tested. A rule without them stays
    untested, because a program cannot read the condition from the words. `refused` holds the records that do not fit
    the sessions: a rule of another domain, an earlier thought about one session, a thought about a session without
    bundles.
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
            raise DataError(f"{path}: no record fits the data: {self.refused[0].reason}; give the recording's own data")

    def _take_rule(self, rule: Rule, domains: Sequence[str]) -> None:
        # Sessions without a domain may belong to any domain.
        if rule.domain and domains and domains != [""] and rule.domain not in domains:
            reason = f"its domain {rule.domain[:60]} is not a domain of the sessions, {', '.join(domains)}"
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
                RefusedKnowledge(self._thoughts[key].text, f"a later thought is about the same session {key}")
            )
        self._thoughts[key] = thought

    @staticmethod
    def _read_thought(row: dict[str, Any], where: str, session: Session | None) -> Thought:
        source = row["source_session"]
        if session is None:
            raise DataError(f"{where}: the thought is about {source!r}, which is not in the data; add that session")
        if session.split != "train":
            told = f"the thought is about {source!r} of the {session.split} split"
            raise DataError(f"{where}: {told}; only train sessions may teach, so remove the line")
        kinds = row.get("item_kinds")
        if not isinstance(kinds, list) or not all(isinstance(k, str) and k.strip() for k in kinds):
            raise DataError(f"{where}: item_kinds must be a list of words, got {kinds!r}")
        if len(kinds) != len(session.items):
            raise DataError(f"{where}: {len(kinds)} item_kinds for the {len(session.items)} products of {source!r}")
        lesson = str(row.get("lesson") or "").strip()
        return Thought(f"{lesson} {_text(row, 'text', where)}".strip(), tuple(kinds), lesson)

    def kinds(self, session: Session) -> tuple[str, ...]:
        """Return the recorded kinds; a session without a recording gets the grounded teacher's kinds."""
        thought = self._thoughts.get(session.session_id)
        return thought.kinds if thought else super().kinds(session)

    def formalise(
        self, reflections: Sequence[Reflection], patterns: Sequence[Pattern], seen: Seen | None = None
    ) -> list[Rule]:
        """Return the recorded rules, which are general and have no source sessions."""
        return self._rules

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return the recorded thought, or None for a session without a recording."""
        return self._thoughts.get(session.session_id)


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read the lines of a recording, each with its place.

    Raises:
        DataError: the file is empty, or is a pack or a part of one, or a line is not portable JSON.
    """
    rows = [(f"{path}:{number}", row) for number, row in numbered_rows(path)]
    if not rows:
        raise DataError(f"{path}: the file is empty; give a file with one rule or thought per line")
    for where, row in rows:
        if "bundlewise_pack" in row:
            raise DataError(f"{where}: this is a pack; import it with: bundlewise kb import KB {path}")
        if "id" in row and "provenance" in row:
            raise DataError(f"{where}: this is a record of a pack without its manifest; export the pack again")
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
        raise DataError(f"{where}: a rule with a condition needs together: true or false, got {row.get('together')!r}")
    if not isinstance(row["condition"], dict):
        raise DataError(f"{where}: condition: must be an object; correct it, or leave the condition out")
    try:
        condition = Condition.model_validate(ANY | row["condition"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("condition", *first["loc"])))
        raise DataError(f"{where}: {place}: {first['msg'].lower()}; correct it, or leave the condition out") from error
    if condition.is_empty:
        raise DataError(f"{where}: the condition holds for all products; restrict it, or leave it out")
    return replace(rule, joins=row["together"], condition=condition)


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key} must be text, got {value!r}")
    return value.strip()
