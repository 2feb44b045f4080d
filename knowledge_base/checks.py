"""Find the faults of a record, and the differences between two lists of records."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bundlewise.domain import Knowledge, KnownSession, item_set_of

LARGEST = 2**53


@dataclass(frozen=True)
class ChangedRecord:
    """Two records with the same id from two lists, and the fields in which they differ."""

    before: Knowledge
    after: Knowledge
    fields: tuple[str, ...]


@dataclass(frozen=True)
class RecordsDifference:
    """The differences between two lists of records, in the order of the ids."""

    added: tuple[Knowledge, ...]
    removed: tuple[Knowledge, ...]
    changed: tuple[ChangedRecord, ...]


def diff(old: Iterable[Knowledge], new: Iterable[Knowledge]) -> RecordsDifference:
    """Compare two lists of records by id; their order does not matter."""
    before, after = ({record.id: record for record in records} for records in (old, new))
    both = sorted(before.keys() & after.keys())
    return RecordsDifference(
        added=tuple(after[key] for key in sorted(after.keys() - before.keys())),
        removed=tuple(before[key] for key in sorted(before.keys() - after.keys())),
        changed=tuple(
            ChangedRecord(before[key], after[key], _differing(before[key], after[key]))
            for key in both
            if before[key] != after[key]
        ),
    )


def _differing(a: Knowledge, b: Knowledge) -> tuple[str, ...]:
    return tuple(name for name in Knowledge.model_fields if getattr(a, name) != getattr(b, name))


def faults_of(record: Knowledge, sessions: Mapping[str, KnownSession]) -> list[str]:
    """Return the faults of a record for a knowledge base with these sessions; empty if it may be stored."""
    return [*_content_faults(record), *_source_faults(record, sessions), *_shape_faults(record)]


def _content_faults(record: Knowledge) -> Iterator[str]:
    wanted = Knowledge.content_id(record.kind, record.domain, record.text, record.source_session_ids)
    if record.id != wanted:
        yield f"its id {record.id[:60]} is not that of its content, {wanted}"
    if not record.text.strip():
        yield "its text is empty"
    for name in ("confidence", "lift", "gain"):
        value = getattr(record, name)
        if value is not None and not math.isfinite(value):
            yield f"its {name} must be a finite number, got {value}"
    if record.support is not None and not 0 <= record.support < LARGEST:
        yield "its support must be at least 0 and below 2^53"


def _source_faults(record: Knowledge, sessions: Mapping[str, KnownSession]) -> Iterator[str]:
    """Yield the faults of sources: sessions of validation or test, and unknown sessions."""
    for key in dict.fromkeys((*record.source_session_ids, *record.supporters)):
        known = sessions.get(key)
        if known is None:
            yield f"its source {key[:60]} is not among the known sessions"
        elif known.split != "train":
            yield f"its source {key[:60]} is a {known.split} session; only training sessions may teach"
        elif record.kind == "thought" and record.titles and item_set_of(record.titles) != known.items:
            yield f"its titles are not those of its source {key[:60]}"


def _shape_faults(record: Knowledge) -> Iterator[str]:
    products = len(record.kinds)
    if record.kind == "thought" and len(record.titles) != products:
        yield f"it has {products} kinds for {len(record.titles)} titles"
    for group in record.groups:
        if not group or len(set(group)) != len(group):
            yield f"its group {str(group)[:60]} must hold different positions"
        elif not all(0 <= position < products for position in group):
            yield f"its group {str(group)[:60]} must hold positions from 0 to {products - 1}"
    if record.intents and len(record.intents) != len(record.groups):
        yield f"it has {len(record.intents)} intents for {len(record.groups)} groups"
    if record.kind == "pattern":
        if record.support not in (None, len(record.supporters)):
            yield f"its support is {record.support} with {len(record.supporters)} supporters"
        if not set(record.supporters) <= set(record.source_session_ids):
            yield "its supporters are not all among its sources"
