"""Find near-duplicates among records, and merge them into one record."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.conflicts import alike, conditions, stance
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.prompts.render import render
from bundlewise.text import head_noun

THRESHOLD = 0.86
BLOCK = 256


@dataclass(frozen=True)
class Cluster:
    """Records that say the same, the best one first."""

    members: tuple[Knowledge, ...]

    @property
    def leader(self) -> Knowledge:
        """The record whose text represents the cluster."""
        return self.members[0]


def duplicates(records: Sequence[Knowledge], vectors: Vectors, threshold: float = THRESHOLD) -> list[Cluster]:
    """Return the clusters of near-duplicates among active records of one kind and domain.

    Patterns need the same kinds, thoughts the same source sessions and teacher, and rules must not give
    opposite advice; `vectors[i]`, of length one, belongs to `records[i]`. A record belongs to the best leader
    that it is similar to; the order of the input does not matter.

    The threshold was chosen on two passes of one large model over the same sessions (145 rules, three
    domains, minilm): it finds 6 pairs, and all say the same; a threshold of .84 finds 5 more, one of them wrong.
    """
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        if record.status == "active":
            places[_place(record)].append(index)
    clusters: list[Cluster] = []
    for place in places.values():
        order = sorted(place, key=lambda index: _rank(records[index]))
        clusters += _clusters([records[index] for index in order], vectors[order], threshold)
    return sorted((c for c in clusters if len(c.members) > 1), key=lambda cluster: cluster.leader.id)


def _place(record: Knowledge) -> tuple[str, ...]:
    """Return the values that near-duplicates must have in common exactly."""
    match record.kind:
        case "pattern":
            return (record.kind, record.domain, *sorted(_singular(kind) for kind in record.kinds))
        case "thought":
            return (record.kind, record.domain, record.provenance.teacher, *sorted(record.source_session_ids))
        case _:
            return (record.kind, record.domain)


def _singular(kind: str) -> str:
    words = kind.casefold().split()
    return " ".join([*words[:-1], head_noun(words[-1] if words else "")])


def _rank(record: Knowledge) -> tuple[float, int, str]:
    return (-(record.gain or 0.0), -(record.support or 0), record.id)


def _clusters(records: list[Knowledge], vectors: Vectors, threshold: float) -> list[Cluster]:
    """Return the clusters: each record without a leader becomes the leader of all later similar ones without one."""
    if records[0].kind == "pattern":
        return [Cluster(tuple(records))]
    rules = records[0].kind == "rule"
    topics = conditions(records)
    stances = np.array([stance(record.text) if rules else 0 for record in records])
    leaders = np.full(len(records), -1)
    for start in range(0, len(records), BLOCK):
        rows = slice(start, start + BLOCK)
        near = alike(vectors[rows] @ vectors[start:].T, topics[rows], topics[start:], threshold)
        near &= stances[rows, None] * stances[None, start:] >= 0
        for place, likes in enumerate(near, start):
            if leaders[place] < 0:
                free = likes[place - start :] & (leaders[place:] < 0)
                leaders[place:][free] = place
                leaders[place] = place
    members: dict[int, list[Knowledge]] = defaultdict(list)
    for leader, record in zip(leaders.tolist(), records, strict=True):
        members[leader].append(record)
    return [Cluster(tuple(found)) for found in members.values()]


def merged(cluster: Cluster) -> Knowledge:
    """Return one record for a cluster: the text of the leader with the sources of all members.

    A pattern is counted and worded again; its lift cannot be computed here and is removed. If the leader
    already has all the sources, it is returned as it is.
    """
    leader = cluster.leader
    sources = _united(record.source_session_ids for record in cluster.members)
    supporters = _united(record.supporters for record in cluster.members)
    if (sources, supporters) == (leader.source_session_ids, leader.supporters):
        return leader
    changes: dict[str, Any] = {"source_session_ids": sources, "supporters": supporters, "text": leader.text}
    if leader.kind == "pattern":
        support, present = len(supporters), len(sources)
        changes["text"] = render("pattern", kinds=leader.kinds, support=support, present=present)
        changes |= {"support": support, "confidence": round(support / present, 4), "lift": None}
    key = Knowledge.content_id(leader.kind, leader.domain, changes["text"], sources)
    return leader.model_copy(update=changes | {"id": key})


def _united(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))
