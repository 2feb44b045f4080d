"""The step from a teacher's statements to knowledge records; statements without grounds in their source are refused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bundlewise.agents.teacher.foreign_products import Vocabulary, foreign, strangers
from bundlewise.agents.teacher.kind_neighbours import Kinds, settled
from bundlewise.agents.teacher.plain_thoughts import plain
from bundlewise.agents.teacher.protocol import Pattern, Rule, Thought
from bundlewise.agents.teacher.sentences import trimmed
from bundlewise.agents.teacher.session_numbers import general_numbers, session_numbers
from bundlewise.domain import Knowledge, Provenance, Session
from bundlewise.prompts.field_wording import fields_text
from bundlewise.prompts.render import render
from bundlewise.text import kind as kind_of
from bundlewise.text import short

MAX_CHARACTERS = 1200
NO_CASE = "its condition meets no training session, so that nothing can have taught it"
UNTESTED = "untested: no validation session meets its condition"
_THIS_SESSION = re.compile(r"\b(?:this|that) (?:session|shopper)\b|\bsession (?:no\.? ?|#)?\d+\b", re.IGNORECASE)


@dataclass(frozen=True)
class RefusedKnowledge:
    """A refused statement of a teacher with its reason: a record, a sentence of a record, or a kind."""

    text: str
    reason: str
    what: Literal["record", "sentence", "kind"] = "record"


def pattern_record(pattern: Pattern, domain: str, provenance: Provenance) -> Knowledge:
    """Return the record of a mined pattern."""
    text = render("pattern", kinds=pattern.kinds, support=pattern.support, present=len(pattern.holders))
    return Knowledge(
        id=Knowledge.content_id("pattern", domain, text, pattern.holders),
        kind="pattern",
        domain=domain,
        text=text,
        kinds=pattern.kinds,
        source_session_ids=pattern.holders,
        supporters=pattern.supporters,
        support=pattern.support,
        confidence=round(pattern.confidence, 4),
        lift=pattern.lift,
        provenance=provenance,
    )


def rule_record(rule: Rule, domain: str, provenance: Provenance) -> Knowledge:
    """Return the record of a rule; a rule that harmed held-out sessions is quarantined, an untested rule is marked."""
    harms = rule.gain is not None and rule.gain < 0
    reason = UNTESTED if rule.gain is None and rule.condition is not None else ""
    if harms:
        reason = f"held-out GJS {rule.gain:+.4f}, {rule.harm or 0.0:.4f} lost by the sessions it harms"
    return Knowledge(
        id=Knowledge.content_id("rule", domain, rule.text, rule.sources),
        kind="rule",
        domain=domain,
        text=rule.text,
        source_session_ids=rule.sources,
        support=rule.support,
        confidence=rule.confidence,
        gain=rule.gain,
        harm=rule.harm,
        provenance=provenance,
        status="quarantined" if harms else "active",
        reason=reason,
    )


def thought_record(thought: Thought, session: Session, provenance: Provenance) -> Knowledge:
    """Return the record of a thought with the structured evidence of its session."""
    return Knowledge(
        id=Knowledge.content_id("thought", session.domain, thought.text, (session.session_id,)),
        kind="thought",
        domain=session.domain,
        text=thought.text,
        kinds=thought.kinds,
        groups=session.groups,
        intents=tuple(bundle.intent for bundle in session.bundles),
        titles=tuple(session.titles),
        lesson=thought.lesson,
        source_session_ids=(session.session_id,),
        provenance=provenance,
    )


def fault(record: Knowledge, sessions: Mapping[str, Session], vocabulary: Vocabulary | None = None) -> str:
    """Return the reason why a record is not grounded in its source sessions; empty when it is.

    The check refuses an empty or too long text, a source outside the given training sessions, a thought with a
    product, product number or quotation that its session does not contain, and a rule that is about a single session
    or names products by number.
    `vocabulary` has the product words of all data; the default is those of the record and of the sessions' titles.
    """
    if not record.text.strip():
        return "the text is empty"
    if len(record.text) > MAX_CHARACTERS:
        return f"the text has {len(record.text)} characters, more than {MAX_CHARACTERS}"
    for source in record.source_session_ids:
        if source not in sessions:
            return f"its source {source} is not among the sessions read"
        if sessions[source].split != "train":
            return f"its source {source} is a {sessions[source].split} session"
    if record.kind == "thought":
        known = _vocabulary([record], sessions) if vocabulary is None else vocabulary
        return foreign(record.text, sessions[record.source_session_ids[0]], record.kinds, known)
    return _single_session(record) if record.kind == "rule" else ""


def _vocabulary(records: Sequence[Knowledge], sessions: Mapping[str, Session]) -> Vocabulary:
    """Return the product words of the thoughts' kinds, and of all titles if most sessions have no thought."""
    thoughts = [record for record in records if record.kind == "thought"]
    kinds = {kind for record in thoughts for kind in record.kinds}
    if 2 * len(thoughts) < len(sessions):
        kinds |= {kind_of(title) for session in sessions.values() for title in session.titles}
    titled = [pair for record in thoughts for pair in zip(record.kinds, record.titles, strict=True)]
    return Vocabulary.of(kinds, titled)


def _single_session(record: Knowledge) -> str:
    # An id without a digit may be an ordinary word.
    ids = [source for source in record.source_session_ids if any(c.isdigit() for c in source)]
    named = [source for source in ids if re.search(rf"\b{re.escape(source)}\b", record.text)]
    if found := named or _THIS_SESSION.findall(record.text):
        return f"it speaks of a single session ({found[0]})"
    numbers = general_numbers(record.text)
    return f"it names a product by number ({numbers[0]}), which says nothing in another session" if numbers else ""


def check(
    records: Sequence[Knowledge], sessions: Mapping[str, Session]
) -> tuple[list[Knowledge], list[RefusedKnowledge]]:
    """Split records into the grounded ones, without repeated contents, and the refused ones with their reasons.

    Sentences of a thought about products outside its session are removed, and a kind that does not fit its title
    is replaced by the title's kind. Product numbers of a thought are replaced by kinds.
    """
    vocabulary = _vocabulary(records, sessions)
    records, refused = _with_settled_kinds(records)
    kept: dict[str, Knowledge] = {}
    for record in records:
        reason = fault(record, sessions, vocabulary)
        whole, left = (record, []) if reason or record.kind != "thought" else _trimmed(record, sessions, vocabulary)
        if reason or whole is None:
            refused.append(RefusedKnowledge(record.text, reason or left[0].reason))
        else:
            whole = readable(whole)
            kept[whole.id] = whole
            refused += left
    return list(kept.values()), refused


def readable(record: Knowledge) -> Knowledge:
    """Return a thought without product numbers, which its readers cannot know; other records stay as they are.

    If numbers remain in its text, the text is made from the fields. `original` keeps the text as it was.
    """
    if record.kind != "thought" or len(record.kinds) != len(record.titles):
        return record
    lesson = plain(record.lesson, record.kinds, record.titles).text
    lesson = "" if session_numbers(lesson, record.titles) else lesson
    text = plain(record.text, record.kinds, record.titles).text
    if session_numbers(text, record.titles):
        text = fields_text(record.model_copy(update={"lesson": lesson}))
    if text == record.text:
        return record.model_copy(update={"lesson": lesson})
    key = Knowledge.content_id(record.kind, record.domain, text, record.source_session_ids)
    original = record.original or record.text
    return record.model_copy(update={"id": key, "text": text, "lesson": lesson, "original": original})


def settled_kinds(titles: Kinds, kinds: Kinds) -> tuple[dict[str, tuple[str, ...]], list[RefusedKnowledge]]:
    """Return the kinds of every session, with the title's kind in place of a misfit, and the misfits."""
    found, misfits = settled(titles, kinds)
    reason = "it has no word of its title, nor of the kinds of titles like it; the title's own words take its place"
    return found, [RefusedKnowledge(f"{each.kind} (of {short(each.title)})", reason, "kind") for each in misfits]


def _with_settled_kinds(records: Sequence[Knowledge]) -> tuple[list[Knowledge], list[RefusedKnowledge]]:
    thoughts = {record.id: record for record in records if record.kind == "thought"}
    titles = {key: record.titles for key, record in thoughts.items()}
    kinds, refused = settled_kinds(titles, {key: record.kinds for key, record in thoughts.items()})
    return [
        record.model_copy(update={"kinds": kinds[record.id]}) if record.id in kinds else record for record in records
    ], refused


def _trimmed(
    record: Knowledge, sessions: Mapping[str, Session], vocabulary: Vocabulary
) -> tuple[Knowledge | None, list[RefusedKnowledge]]:
    """Return a thought without its sentences about foreign products, or None if no text is left; and the sentences."""
    session = sessions[record.source_session_ids[0]]

    def strange(said: str) -> str:
        return strangers(said, session, record.kinds, vocabulary)

    text, found = trimmed(record.text, strange)
    reason = "it speaks of {}, which no title or kind of its session holds"
    left = [RefusedKnowledge(sentence, reason.format(named), "sentence") for sentence, named in found]
    if not left:
        return record, left
    key = Knowledge.content_id(record.kind, record.domain, text, record.source_session_ids)
    lesson, _ = trimmed(record.lesson, strange)
    kept = {"text": text, "id": key, "lesson": lesson, "original": record.original or record.text}
    return (record.model_copy(update=kept) if text else None), left
