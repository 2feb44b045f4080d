"""Controlled top-k: choose the knowledge for a prompt, with guarantees.

A record from the query's own session (by id or by an equal item set) or from a session outside the training
split is never chosen. Quotas and the budget are never exceeded. The order of the products changes nothing.
A policy of zeros gives exactly the plain student's prompt.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

from bundlewise.agents.student.compose import demonstration_fault
from bundlewise.domain import KNOWLEDGE_KINDS, BlindSession, Knowledge, KnowledgeKind, Record, Retrieved
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.evidence import PairEvidence
from bundlewise.knowledge_base.index import Found
from bundlewise.knowledge_base.kind_reader import KindReader, readers_of
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.selection import (
    DIGITS,
    Candidate,
    CountTokens,
    Shown,
    Verdict,
    dropped,
    rank,
    within_budget,
)
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts.field_wording import worded
from bundlewise.prompts.render import render
from bundlewise.text import kind as kind_of
from bundlewise.text import short, words

MIN_SUPPORT = 2
Fetch = Callable[[int], Found]


class Explanation(Record):
    """The explanation of a retrieval: the query, its words, and the verdict on every candidate."""

    session_id: str
    query: str
    words: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


def without(record: Knowledge, own: frozenset[str]) -> Knowledge | None:
    """Return a record as if it had been made without the sessions `own`; None if nothing is left of it.

    A pattern is counted and worded again without them; its lift cannot be computed here and is removed. Any other
    record that has one of them among its sources is dropped.
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


def query_of(session: BlindSession) -> str:
    """Return the query for a session: the kinds of all its products and their titles, in alphabetical order."""
    kinds = ", ".join(sorted(kind_of(title) for title in session.titles))
    return f"{kinds}. {'; '.join(sorted(short(title) for title in session.titles))}"


class Retriever:
    """Retrieval over one store by one policy."""

    def __init__(self, store: KnowledgeStore, policy: Policy, count_tokens: CountTokens | None = None) -> None:
        """Bind a store to a policy; a policy with a budget needs `count_tokens`, the student's token counter.

        Raises:
            UsageError: the policy has a budget, and no counter is given.
        """
        if policy.budget is not None and count_tokens is None:
            raise UsageError("a token budget needs a student whose tokens are counted; give one or leave out --budget")
        self.store = store
        self.policy = policy
        self._count_tokens = count_tokens or len
        self._evidence: dict[str | None, PairEvidence] = {}

    def evidence(self, domain: str | None = None) -> PairEvidence:
        """Return the pair evidence from the thoughts of a domain or of all domains, loaded at first use."""
        if domain not in self._evidence:
            store, readers = self.store, self._readers
            # The readers were tuned on halves of all thoughts, of every domain.
            known = self._thoughts if readers else store.thoughts(domain)
            self._evidence[domain] = PairEvidence(
                known, store.embedder, self.policy.hints, store.vectors_folder, readers, domain
            )
        return self._evidence[domain]

    @cached_property
    def _thoughts(self) -> list[Knowledge]:
        return self.store.thoughts()

    @cached_property
    def has_demonstrations(self) -> bool:
        """Whether a thought can be shown as a solved session; thoughts of older knowledge bases have no intents."""
        return not all(map(demonstration_fault, self._thoughts))

    @cached_property
    def _readers(self) -> tuple[KindReader, ...]:
        if not self.policy.hints:
            return ()
        return readers_of(self.store.vectors_folder, self._thoughts, self.store.embedder)

    @cached_property
    def _not_train(self) -> frozenset[str]:
        return self.store.records.outside_train()

    def _own(self, session: BlindSession) -> frozenset[str]:
        """Return the ids under which the session may be a source: its own id, and those of equal item sets."""
        return self.store.records.twins(session.item_set) | {session.session_id}

    @cached_property
    def about(self) -> dict[str, Any]:
        """The policy, and the teachers and fingerprint of the knowledge, which together decide the answers."""
        meta, readers = self.store.meta, [reader.fingerprint for reader in self._readers]
        knowledge = fingerprint([meta["fingerprint"], meta["digest"], *readers])
        return {"policy": self.policy.model_dump(), "teacher": " ".join([*self.store.records.teachers(), knowledge])}

    def retrieve(self, sessions: Sequence[BlindSession]) -> list[Retrieved]:
        """Return for each session the knowledge that the policy admits."""
        if self.policy.is_plain:
            return [Retrieved() for _ in sessions]
        chosen = [[v for v in found.verdicts if v.kept] for found in self.explain(sessions)]
        return [self._hinted(session, _retrieved(kept)) for session, kept in zip(sessions, chosen, strict=True)]

    def explain(self, sessions: Sequence[BlindSession]) -> list[Explanation]:
        """Return for each session every candidate with its rank, the parts of its score, and the reason why."""
        asked = [query_of(session) for session in sessions]
        wanted: list[tuple[KnowledgeKind, int, Shown]] = [(k, self.policy.quota(k), "text") for k in KNOWLEDGE_KINDS]
        wanted.append(("thought", self.policy.demonstrations if self.has_demonstrations else 0, "demonstration"))
        slots = [slot for slot in wanted if slot[1]]
        vectors = self.store.embedder.embed(asked if slots else [])
        explained = []
        for row, session in enumerate(sessions):
            terms = tuple(sorted({word for title in session.titles for word in words(title)}))
            ranked = [v for slot in slots for v in self._ranked(session, *slot, vectors[row], terms)]
            verdicts = tuple(within_budget(ranked, self.policy.budget, self._count_tokens))
            explained.append(
                Explanation(session_id=session.session_id, query=asked[row], words=terms, verdicts=verdicts)
            )
        return explained

    def _ranked(
        self,
        session: BlindSession,
        kind: KnowledgeKind,
        quota: int,
        shown: Shown,
        vector: Vectors,
        terms: tuple[str, ...],
    ) -> list[Verdict]:
        domain = self.policy.domain_of(session.domain)
        index, records, search = self.store.index, self.store.records, self.policy.search
        pool, own = 4 * quota + 8, self._own(session)
        refused: dict[str, Verdict] = {}
        dense, lexical = {}, {}
        if search != "lexical":
            dense = self._admitted(lambda n: index.nearest(vector[None], kind, domain, n)[0], pool, own, shown, refused)
        if search != "dense":
            lexical = self._admitted(lambda n: records.lexical(terms, kind, domain, n), pool, own, shown, refused)
        found = lexical | dense
        held: dict[str, Vectors] = {}
        if search != "dense" or self.policy.diversity:
            held = index.vectors([record for record, _ in found.values()])
        cosines = {key: round(float(vector @ held[key]), DIGITS) for key in held}
        cosines |= {key: score for key, (_, score) in dense.items()}
        met = {key: score for key, (_, score) in lexical.items()}
        candidates = [Candidate(found[key][0], cosines[key], met.get(key)) for key in sorted(found.keys() & cosines)]
        found_verdicts = rank(candidates, held, self.policy, quota) + list(refused.values())
        return [v.model_copy(update={"shown": shown}) for v in found_verdicts] if shown != "text" else found_verdicts

    def _admitted(
        self, fetch: Fetch, pool: int, own: frozenset[str], shown: Shown, refused: dict[str, Verdict]
    ) -> dict[str, tuple[Knowledge, float]]:
        """Return the best candidates in the form that the session may see; at least `pool`, if there are so many."""
        count = pool
        while True:
            found = fetch(count)
            records = self.store.records.get([key for key, _ in found])
            admitted = {}
            for key, score in found:
                view = self._view(records.get(key), score, own, shown, refused)
                if view is not None:
                    admitted[key] = (view, score)
            if len(admitted) >= pool or len(found) < count:
                return admitted
            count *= 4

    def _view(
        self, record: Knowledge | None, score: float, own: frozenset[str], shown: Shown, refused: dict[str, Verdict]
    ) -> Knowledge | None:
        if record is None or record.status != "active":
            return None
        foreign = self._not_train.intersection((*record.source_session_ids, *record.supporters))
        view = without(record, own) if not foreign else None
        if view is None:
            why = f"it comes from {min(foreign)}, outside train" if foreign else "it comes from this session"
            refused[record.id] = dropped(record, score, why)
        elif shown == "demonstration" and (fault := demonstration_fault(record)):
            refused[record.id] = dropped(record, score, fault)
            return None
        return view and worded(view, self.policy.wording)

    def leaving_out(self, session: BlindSession, found: Retrieved, gone: str) -> Retrieved:
        """Return the knowledge for the session as if the record `gone` did not exist."""
        records = tuple((record, score) for record, score in found.records if record.id != gone)
        solved = tuple((record, score) for record, score in found.demonstrations if record.id != gone)
        return self._hinted(session, Retrieved(records=records, demonstrations=solved), gone)

    def witnesses(self, session: BlindSession, group: Sequence[int]) -> list[tuple[Knowledge, float]]:
        """Return the thoughts with the largest weight in the hints about a group of products, largest first."""
        if not self.policy.hints:
            return []
        evidence, hidden = self._evidence_for(session)
        found = evidence.witnesses(session.titles, group, hidden)
        return [(evidence.thoughts[index], share) for index, share in found.items()]

    def companions(self, session: BlindSession, limit: int) -> list[str]:
        """Return the kinds that known sessions bundle with kinds similar to the session's, the likeliest first."""
        if not self.policy.hints:
            return []
        evidence, hidden = self._evidence_for(session)
        return evidence.companions(session.titles, hidden, limit)

    def _evidence_for(self, session: BlindSession) -> tuple[PairEvidence, frozenset[int]]:
        """Return the evidence for a session, and the indices of the thoughts that must be hidden from it."""
        evidence, hidden = self.evidence(self.policy.domain_of(session.domain)), self._own(session) | self._not_train
        thoughts = enumerate(evidence.thoughts)
        return evidence, frozenset(i for i, thought in thoughts if not hidden.isdisjoint(thought.source_session_ids))

    def _hinted(self, session: BlindSession, shown: Retrieved, gone: str = "") -> Retrieved:
        if not self.policy.hints:
            return shown
        evidence, own = self._evidence_for(session)
        left_out = frozenset(i for i, thought in enumerate(evidence.thoughts) if thought.id == gone)
        found = evidence.affinity(session.titles, own, left_out)
        if found is None:
            return shown
        affinity = dict(zip(combinations(range(len(session.items)), 2), found.score.tolist(), strict=True))
        hints = {pair: evidence.word(score) for pair, score in affinity.items()}
        credit = tuple((evidence.thoughts[index], weight) for index, weight in found.credit.items())
        return shown.model_copy(update={"hints": hints, "affinity": affinity, "evidence": credit})


def _retrieved(kept: Sequence[Verdict]) -> Retrieved:
    """Return the records to show, by the way in which they are shown."""
    records = tuple((v.record, v.score) for v in kept if v.shown == "text")
    return Retrieved(records=records, demonstrations=tuple((v.record, v.score) for v in kept if v.shown != "text"))
