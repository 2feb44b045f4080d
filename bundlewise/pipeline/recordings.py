"""Recordings as knowledge: what a large language model wrote about sessions, checked like any other record."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bundlewise.agents.teacher.grounding import NO_CASE, RefusedKnowledge, check, rule_record, thought_record
from bundlewise.agents.teacher.protocol import Rule
from bundlewise.agents.teacher.recorded import RecordedTeacher
from bundlewise.agents.teacher.trials import proved, without_a_case
from bundlewise.domain import Knowledge, KnownSession, Provenance, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.files import fingerprint, numbered_rows, sha256_file
from bundlewise.inputs import is_input, local
from bundlewise.knowledge_base.manifest import canonical, first_line
from bundlewise.knowledge_base.packs import MANIFEST_LIMIT, Pack

Found = Iterator[Knowledge | RefusedKnowledge]


def form_of(path: Path) -> Literal["pack", "recording", "unknown"]:
    """Tell a pack, which begins with a manifest, from a recording, which begins with a rule or a thought."""
    if not is_input(path):
        return "unknown"
    try:
        with local(path).open("rb") as stream:
            first = json.loads(first_line(stream, MANIFEST_LIMIT)[0])
    except (OSError, ValueError, RecursionError):
        return "unknown"
    if not isinstance(first, dict):
        return "unknown"
    if "bundlewise_pack" in first:
        return "pack"
    return "recording" if first.get("kind") in ("rule", "thought") and not _is_record(first) else "unknown"


def read_recording(path: Path, sessions: Sequence[Session]) -> tuple[Pack, list[RefusedKnowledge]]:
    """Make records of a recording and the sessions it is about, and say what was refused.

    Raises:
        UsageError: there is no such file, or no session that may teach.
        DataError: a line is damaged, or a thought is about a session that may not teach; file and line are named.
    """
    rows = _rows(path)
    teacher = RecordedTeacher(path, sessions)
    usable = {session.session_id: session for session in sessions if session.split == "train" and session.bundles}
    if not usable:
        raise UsageError("no annotated training session in the data; give the sessions that the recording is about")
    run = fingerprint([teacher.name, sha256_file(path), [session.model_dump() for session in sessions]])
    source = Provenance(teacher=teacher.name, prompt="import", run=run)
    found = [*_rules(rows, teacher, usable, sessions, source), *_thoughts(rows, teacher, usable, source)]
    kept, refused = check([each for each in found if isinstance(each, Knowledge)], usable)
    refused = [each for each in found if isinstance(each, RefusedKnowledge)] + refused
    return Pack(tuple(kept), tuple(KnownSession.of(session) for session in sessions), {}), refused


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = numbered_rows(path)
    if not rows:
        raise DataError(f"{path}: empty; give a recording with a rule or a thought a line")
    for number, row in rows:
        if _is_record(row):
            raise DataError(f"{path}:{number}: a record of a pack without its manifest; export the pack again")
        try:
            canonical(row).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not portable JSON ({error}); correct or remove the line") from error
    return [row for _, row in rows]


def _is_record(row: dict[str, Any]) -> bool:
    return "id" in row and "provenance" in row


def _rules(
    rows: Sequence[dict[str, Any]],
    teacher: RecordedTeacher,
    usable: Mapping[str, Session],
    sessions: Sequence[Session],
    source: Provenance,
) -> Found:
    """Yield each rule in the domain it states, without one in every domain of the sessions; refuse a foreign one.

    One that says for which products it speaks is tested on the validation sessions among those given.
    """
    domains = sorted({session.domain for session in usable.values()})
    placed: dict[str, list[Rule]] = {domain: [] for domain in domains}
    stated = [row.get("domain") for row in rows if row["kind"] == "rule"]
    for rule, domain in zip(teacher.formalise([], []), stated, strict=True):
        anywhere = not domain or domains == [""]
        of = [domain] if domain in domains else domains if anywhere else []
        if not of:
            yield RefusedKnowledge(
                rule.text, f"its domain {str(domain)[:60]} is not that of the sessions, {', '.join(domains)}"
            )
        for each in of:
            placed[each].append(rule)
    for domain, rules in placed.items():
        training = [session for session in usable.values() if session.domain == domain]
        idle = without_a_case(rules, [s for s in sessions if s.domain == domain and s.split == "train"])
        yield from (RefusedKnowledge(rule.text, NO_CASE) for rule in idle)
        rules = [rule for rule in rules if rule not in idle]
        validation = [s for s in sessions if s.domain == domain and s.split == "validation"]
        yield from (rule_record(rule, domain, source) for rule in proved(rules, training, validation))


def _thoughts(
    rows: Sequence[dict[str, Any]], teacher: RecordedTeacher, sessions: Mapping[str, Session], source: Provenance
) -> Found:
    """Yield the last thought about each annotated session, and refuse the others."""
    last: dict[str, str] = {}
    for row in rows:
        if row["kind"] == "thought":
            key, text = row["source_session"].strip(), row["text"].strip()
            if key in last:
                yield RefusedKnowledge(last[key], f"a later thought is about its source {key} too")
            last[key] = text
    for key, text in last.items():
        thought = teacher.think(sessions[key], (), [], []) if key in sessions else None
        if thought is None:
            yield RefusedKnowledge(text, f"its source {key} has no annotated bundles")
        else:
            yield thought_record(thought, sessions[key], source)
