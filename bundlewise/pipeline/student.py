"""The live student: opened once with its knowledge, ready to bundle, to judge pairs and to say why."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bundlewise import __version__
from bundlewise.agents.student.compose import fitting, judge_prompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.limits import Limits
from bundlewise.agents.student.modes import require_utilisation
from bundlewise.agents.student.reading import Reading, affinity_of, cohesion
from bundlewise.agents.student.replies import NO_LIMITS, judge_as_read
from bundlewise.data.sessions import load
from bundlewise.domain import Grouping, Item, Knowledge, KnowledgeKind, Prediction, Reason, Record, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint as digest
from bundlewise.files import write_text
from bundlewise.finetune.students import Student, manifest_for, open_student
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import resolve
from bundlewise.pipeline.predictions import annotated, answer, calibrated, open_retriever
from bundlewise.prompts.render import TEMPLATES, fingerprint, student_fingerprints
from bundlewise.settings import cache_folder

if TYPE_CHECKING:
    from bundlewise.finetune.adapters import Manifest
    from bundlewise.knowledge_base.retrieval import Retriever

Note = Callable[[str], None]
DEFAULT = "smollm2-135m"
BESIDE = 12


class _Calibrated(Record):
    """A reading, and the mean GJS it reached on validation."""

    reading: Reading
    score: float


class LiveStudent:
    """A student with its knowledge and its reading; safe to call from any thread."""

    def __init__(
        self, student: Student, retriever: "Retriever | None" = None, reading: Reading | None = None, kb: str = ""
    ) -> None:
        self.student = student
        self.retriever = retriever
        self.reading = reading or student.reading
        self.kb = kb
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        *,
        kb: Path | str | None = None,
        adapter: Path | None = None,
        student: str = DEFAULT,
        dials: Mapping[str, Any] | None = None,
        mode: str | None = None,
        calibrate: str | None = None,
        note: Note | None = None,
    ) -> "LiveStudent":
        """Open a student: an adapter brings its own retrieval policy and reading; `note` hears what is worth saying.

        An untuned one is read as it is, unless `calibrate` names data to find out a better reading on.

        Raises:
            UsageError: the parts make another mode than the one wanted, it needs knowledge, or `calibrate` is no good.
            AdapterError: the adapter does not fit the base, or the prompts have changed since.
        """
        note = note or (lambda _: None)
        # Before what takes long: a wrong name is told at once.
        sessions = _annotated(calibrate) if calibrate is not None else []
        manifest = manifest_for(student, adapter)
        retriever = _retriever(kb, dict(dials or {}), manifest, student, adapter, note)
        require_utilisation(mode, knowledge=retriever is not None, tuned=manifest is not None)
        found = cls(open_student(student, adapter, manifest), retriever, kb=str(kb or ""))
        if sessions:
            found.calibrate(sessions, note)
        return found

    def calibrate(self, sessions: Sequence[Session], note: Note) -> None:
        """Find out on the annotated validation sessions among these how to read the student, and read it so.

        What was found out is kept in the cache under all that it depends on, so only the first start takes minutes.

        Raises:
            UsageError: there are no such sessions.
        """
        key = digest([__version__, self.about, [session.model_dump(mode="json") for session in sessions]])
        path = cache_folder() / f"reading-{key}.json"
        try:
            found = _Calibrated.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            reading, score = calibrated(self.student.engine, self.retriever, sessions)
            found = _Calibrated(reading=reading, score=score)
            write_text(path, found.model_dump_json())
        self.reading = found.reading
        count = len(annotated(sessions, "validation"))
        note(f"calibrated on {count} validation sessions, GJS there {found.score:.3f}")

    @property
    def about(self) -> dict[str, Any]:
        """Return what an answer depends on: base, adapter, knowledge, policy, reading and prompts."""
        known = self.retriever.about if self.retriever else None
        return {
            "student": self.student.fingerprint,
            "adapter": self.student.manifest.model_dump(mode="json") if self.student.manifest else None,
            "knowledge": known and known["teacher"],
            "policy": known and known["policy"],
            "reading": self.reading.model_dump(mode="json"),
            "prompts": {"templates": fingerprint(*TEMPLATES), **student_fingerprints()},
        }

    def bundle(self, sessions: Sequence[Session], limits: Mapping[str, Limits] = NO_LIMITS) -> list[Prediction]:
        """Answer sessions by the student graph, in batches; limits hold by session id."""
        settings: dict[str, Any] = {"retriever": self.retriever, "reading": self.reading, "limits": limits}
        with self._lock:
            return answer(sessions, self.student.engine, **settings)

    def knowledge(self, ids: Sequence[str]) -> dict[str, Knowledge]:
        """Return the records that predictions name; this waits for no other call."""
        return self.retriever.store.records.get(ids) if self.retriever else {}

    def find(self, text: str, kind: KnowledgeKind | None, domain: str, limit: int) -> list[tuple[Knowledge, float]]:
        """Return the records that fit words best, with their score.

        Raises:
            UsageError: the student has no knowledge.
        """
        from bundlewise.knowledge_base.search import find

        if self.retriever is None:
            raise UsageError("this student has no knowledge base; give one, and hints or a quota above 0")
        with self._lock:
            found = find(self.retriever.store, text, kind, domain or None, limit, "hybrid")
        return [(verdict.record, round(verdict.score, 4)) for verdict in found]

    def pairs(self, sessions: Sequence[Session]) -> list[Matrix]:
        """Return for each session how likely each two products go together, n x n with zeros on the diagonal."""
        with self._lock:
            return self._probabilities(sessions, self._retrieve(sessions))

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return for each bundle (positions from 0) the knowledge it rests on, what changes it most first.

        Each record is left out in turn and the session judged again.
        """
        if self.retriever is None or not groups:
            return [[] for _ in groups]
        with self._lock:
            given = self.retriever.retrieve([session])[0]
            used = [(*given.records, *self.retriever.witnesses(session, group)) for group in groups]
            gone = list({record.id: record for group in used for record, _ in group})
            variants = [given, *(self.retriever.leaving_out(session, given, key) for key in gone)]
            judged = self._probabilities([session] * len(variants), variants)
        whole, less = judged[0], dict(zip(gone, judged[1:], strict=True))
        return [_reasons(group, known, whole, less) for group, known in zip(groups, used, strict=True)]

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        """Return kinds of products that known sessions bundle with kinds like its own; none without knowledge."""
        if self.retriever is None:
            return []
        with self._lock:
            return self.retriever.companions(session, limit)

    def beside(
        self, session: Session, candidates: Sequence[Item], limit: int = BESIDE
    ) -> list[tuple[Item, list[float]]]:
        """Return candidates with how likely each goes with every product of the session.

        The evidence chooses the `limit` candidates that the student judges, each as one more product of the session.
        """
        sessions = [session.model_copy(update={"items": (*session.items, item)}) for item in candidates]
        with self._lock:
            given = self._retrieve(sessions)
            rank = sorted(range(len(sessions)), key=lambda n: -_evidence_of_last(given[n], len(session.items)))[:limit]
            judged = self._probabilities([sessions[n] for n in rank], [given[n] for n in rank])
        return [(candidates[n], likely[-1, :-1].tolist()) for n, likely in zip(rank, judged, strict=True)]

    def _retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        return self.retriever.retrieve(sessions) if self.retriever else [Retrieved() for _ in sessions]

    def _probabilities(self, sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> list[Matrix]:
        engine, rows = self.student.engine, list(zip(sessions, retrieved, strict=True))
        prompts = [fitting(session.blind(), found, judge_prompt, engine.fits)[0] for session, found in rows]
        judged = judge_as_read(engine, prompts, self.reading)
        found = []
        for (session, known), judgement in zip(rows, judged, strict=True):
            found.append(self.reading.likely(judgement.log_odds, affinity_of(known, len(session.items))))
        return found


def _annotated(data: str) -> list[Session]:
    """Return the sessions to calibrate on."""
    sessions = load(data)
    if not any(session.split == "validation" and session.bundles for session in sessions):
        raise UsageError(f"no validation session of {data} is annotated; leave out --calibrate")
    return sessions


def _evidence_of_last(given: Retrieved, place: int) -> float:
    """Return the largest log-odds that the evidence gives the product at a place, 0 where there is none."""
    return max((score for (_, last), score in given.affinity.items() if last == place), default=0.0)


def _reasons(
    group: Sequence[int], used: Sequence[tuple[Knowledge, float]], whole: Matrix, less: Mapping[str, Matrix]
) -> list[Reason]:
    """Return the records with what the bundle loses without each, the largest change first; each record once."""
    before, scores = cohesion(whole, group), dict[str, tuple[Knowledge, float]]()
    for record, score in used:
        scores.setdefault(record.id, (record, score))
    reasons = [
        Reason(
            id=record.id,
            kind=record.kind,
            domain=record.domain,
            text=record.text,
            score=round(score, 4),
            effect=round(before - cohesion(less[record.id], group), 4),
        )
        for record, score in scores.values()
    ]
    return sorted(reasons, key=lambda reason: (-abs(reason.effect), -reason.score, reason.id))


def _retriever(
    kb: Path | str | None,
    given: dict[str, Any],
    manifest: "Manifest | None",
    student: str,
    adapter: Path | None,
    note: Note,
) -> "Retriever | None":
    """Open the knowledge base by the student's own policy where it has one, and hold the two together."""
    policy = Policy.of(**given)
    base = None if is_served(student) else resolve(student)
    if manifest and manifest.policy and kb is None:
        raise UsageError(f"the student in {adapter or student} was tuned with knowledge in its prompts: add --kb")
    if manifest and kb is not None and manifest.policy:
        knowledge = open_retriever(kb, policy, base).about["teacher"]
        if knowledge != manifest.teacher:
            note(f"note: tuned with the knowledge of {manifest.teacher}, {kb} holds that of {knowledge}")
    if manifest and given:
        note(f"the quotas given replace the adapter's own ({manifest.policy or 'none'})")
    if manifest and kb is not None and not given:
        policy = Policy.of(**manifest.policy) if manifest.policy else Policy.none()
        if policy.is_plain:
            note(f"note: tuned without knowledge in its prompts, so {kb} is not read; --hints 30 does")
    return open_retriever(kb, policy, base) if kb and not policy.is_plain else None
