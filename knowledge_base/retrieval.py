"""Controlled top-k: which knowledge reaches a prompt, as a policy with guarantees.

Never a record whose source is the query's own session, by id or by equal titles; never over a
quota; ties go to the smaller id; a policy of zeros gives exactly the plain student's prompt.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

from pydantic import Field, ValidationError

from bundlewise.domain import KNOWLEDGE_KINDS, Knowledge, KnowledgeKind, Record, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.evidence import PairEvidence
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts.render import render
from bundlewise.text import kind as kind_of

SPARE = 12
MIN_SUPPORT = 2


class Policy(Record):
    """How much of each kind of knowledge a prompt may hold.

    `hints` is the number of observed pairs, from thoughts, that each question's hint word is read from.
    The default is what did best on validation with the smallest student (docs/log.md): texts of
    records lengthen every prompt by a third and it does not make use of them.
    """

    patterns: int = Field(default=0, ge=0)
    rules: int = Field(default=0, ge=0)
    thoughts: int = Field(default=0, ge=0)
    hints: int = Field(default=30, ge=0)
    min_score: float = Field(default=0.0, ge=-1, le=1)

    @classmethod
    def of(cls, **quota: float | None) -> "Policy":
        """Build a policy from options; None keeps the default.

        Raises:
            UsageError: a quota is negative, or the score is outside -1 to 1.
        """
        try:
            return cls.model_validate({key: value for key, value in quota.items() if value is not None})
        except ValidationError as error:
            fault = error.errors()[0]
            range_text = "between -1 and 1" if fault["loc"][0] == "min_score" else "at least 0"
            raise UsageError(f"{fault['loc'][0]} must be {range_text}, got {fault['input']}") from error

    @classmethod
    def none(cls) -> "Policy":
        """Return the plain student's policy."""
        return cls(patterns=0, rules=0, thoughts=0, hints=0)

    @property
    def is_plain(self) -> bool:
        """Say whether nothing is retrieved at all."""
        return not (self.patterns or self.rules or self.thoughts or self.hints)

    def quota(self, kind: KnowledgeKind) -> int:
        """Return how many records of a kind may stand in a prompt."""
        return {"pattern": self.patterns, "rule": self.rules, "thought": self.thoughts}[kind]


def without(record: Knowledge, own: frozenset[str]) -> Knowledge | None:
    """Return a record as it would be had the sessions `own` never been seen; None if nothing is left of it.

    A pattern is counted anew without them, its numbers and wording included; its lift cannot be, and
    goes. Any other record with one of them among its sources is dropped.
    """
    if own.isdisjoint(record.source_session_ids):
        return record
    if record.kind != "pattern":
        return None
    sources = tuple(s for s in record.source_session_ids if s not in own)
    supporters = tuple(s for s in record.supporters if s not in own)
    if len(supporters) < MIN_SUPPORT:
        return None
    text = render("pattern", kinds=record.kinds, support=len(supporters), present=len(sources))
    changes = {
        "text": text,
        "source_session_ids": sources,
        "supporters": supporters,
        "support": len(supporters),
        "confidence": round(len(supporters) / len(sources), 4),
        "lift": None,
    }
    return record.model_copy(update=changes)


class Retriever:
    """Retrieval over one store by one policy."""

    def __init__(self, store: KnowledgeStore, policy: Policy) -> None:
        self.store = store
        self.policy = policy

    @cached_property
    def evidence(self) -> PairEvidence:
        """The pair evidence of all thoughts, loaded at first use."""
        return PairEvidence(self.store.records("thought"), self.store.embedder, self.policy.hints)

    @cached_property
    def _twins(self) -> dict[tuple[str, ...], frozenset[str]]:
        """The ids of the sessions that hold the same titles, by these in alphabetical order."""
        twins: dict[tuple[str, ...], frozenset[str]] = {}
        for thought in self.store.records("thought"):
            key = tuple(sorted(thought.titles))
            twins[key] = twins.get(key, frozenset()).union(thought.source_session_ids)
        return twins

    def _own(self, session: Session) -> frozenset[str]:
        """Return the ids under which the session may have taught: its own, and those of equal titles."""
        return self._twins.get(tuple(sorted(session.titles)), frozenset()) | {session.session_id}

    @property
    def about(self) -> dict[str, Any]:
        """The policy, and the teachers and fingerprint of the knowledge: what its answers depend on."""
        records = [record for kind in KNOWLEDGE_KINDS for record in self.store.records(kind)]
        teachers = sorted({record.provenance.teacher for record in records})
        knowledge = fingerprint(
            [self.store.embedder.fingerprint, sorted(record.model_dump_json() for record in records)]
        )
        return {"policy": self.policy.model_dump(), "teacher": f"{' '.join(teachers)} {knowledge}"}

    def retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        """Return for each session what the policy admits; only titles are read."""
        if self.policy.is_plain:
            return [Retrieved() for _ in sessions]
        seen = [session.blind() for session in sessions]
        keys = [", ".join(sorted(kind_of(title) for title in session.titles)) for session in seen]
        vectors = self.store.embedder.embed(keys)
        chosen: list[list[tuple[Knowledge, float]]] = [[] for _ in seen]
        for kind in ("pattern", "rule", "thought"):
            quota = self.policy.quota(kind)
            found = self.store.nearest(vectors, kind, quota + SPARE if quota else 0)
            for session, candidates, records in zip(seen, found, chosen, strict=True):
                records += self._admit(candidates, session, quota)
        return [self._hinted(session, records) for session, records in zip(seen, chosen, strict=True)]

    def _admit(
        self, candidates: list[tuple[Knowledge, float]], session: Session, quota: int
    ) -> list[tuple[Knowledge, float]]:
        ranked = sorted(candidates, key=lambda found: (-round(found[1], 6), found[0].id))
        own = self._own(session)
        views = ((without(record, own), score) for record, score in ranked if score >= self.policy.min_score)
        return [(record, score) for record, score in views if record is not None][:quota]

    def _hinted(self, session: Session, records: list[tuple[Knowledge, float]]) -> Retrieved:
        if not self.policy.hints:
            return Retrieved(records=tuple(records))
        thoughts, own = self.evidence.thoughts, self._own(session)
        places = frozenset(i for i, thought in enumerate(thoughts) if without(thought, own) is None)
        found = self.evidence.affinity(session.titles, places)
        if found is None:
            return Retrieved(records=tuple(records))
        pairs = combinations(range(len(session.items)), 2)
        hints = {pair: self.evidence.word(score) for pair, score in zip(pairs, found.score.tolist(), strict=True)}
        evidence = tuple((thoughts[index], weight) for index, weight in found.credit.items())
        return Retrieved(records=tuple(records), hints=hints, evidence=evidence)
