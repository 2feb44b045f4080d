"""The student: opened once with its knowledge, ready to bundle, to judge pairs and to say why."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.agents.student.compose import TOO_LONG, fitting, judge_prompt, unreadable
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.limits import NO_LIMITS, Bounds, Limits
from bundlewise.agents.student.modes import require_utilisation
from bundlewise.agents.student.reading import Reading, affinity_of, reasons
from bundlewise.agents.student.replies import NO_BOUNDS, Form, judge_as_read
from bundlewise.bundles import FoundBundle
from bundlewise.domain import (
    BlindSession,
    Grouping,
    Item,
    Knowledge,
    KnowledgeKind,
    Prediction,
    Reason,
    Retrieved,
    Session,
)
from bundlewise.errors import UsageError
from bundlewise.finetune.students import StudentModel, manifest_for, open_model
from bundlewise.pipeline.calibration import CalibratedReading, annotated, fitted_by_split, kept, sessions_of
from bundlewise.pipeline.knowledge import own_retriever
from bundlewise.pipeline.predictions import Spread, answer, answer_to_file
from bundlewise.progress import Advance, in_notebook
from bundlewise.prompts.render import TEMPLATES, fingerprint, student_fingerprints
from bundlewise.titles import titles_fault

if TYPE_CHECKING:
    from bundlewise.graphs.student import StudentContext
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.langchain.chat_model import ChatBundlewise
    from bundlewise.langchain.runnable import StudentRunnable

Note = Callable[[str], None]
DEFAULT = "smollm2-135m"
BESIDE = 12


class Student:
    """A model with its knowledge and its reading; safe to call from any thread."""

    def __init__(
        self, model: StudentModel, retriever: "Retriever | None" = None, reading: Reading | None = None
    ) -> None:
        self.model = model
        self.retriever = retriever
        self.reading = reading or model.reading
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        *,
        kb: str | PathLike[str] | None = None,
        adapter: str | PathLike[str] | None = None,
        student: str = DEFAULT,
        dials: Mapping[str, Any] | None = None,
        mode: str | None = None,
        calibrate: str | None = None,
        note: Note | None = None,
        any_prompts: bool = False,
    ) -> "Student":
        """Open a student: an adapter brings its own retrieval policy and reading.

        Args:
            kb: its knowledge base, or where it is: a folder or a server's URL.
            adapter: what it was tuned into, or its folder.
            student: the base by name, hub id, folder, or `openai:MODEL@URL`.
            dials: of retrieval; they replace the adapter's own.
            mode: what `kb` and `adapter` must amount to: plain, icl, sft or icl+sft.
            calibrate: data to find out on how an untuned student is read; without, it is read as it is.
            note: hears what is worth saying.
            any_prompts: admit an adapter that was tuned on other prompts.

        Raises:
            UsageError: the parts make another mode than the one wanted, it needs knowledge, or `calibrate` is no good.
            AdapterError: the adapter does not fit the base, or the prompts have changed since.
        """
        note, folder = note or (lambda _: None), Path(adapter) if adapter else None
        # Before what takes long: a wrong name is told at once.
        sessions = sessions_of(calibrate) if calibrate is not None else []
        manifest = manifest_for(student, folder, any_prompts=any_prompts)
        retriever = own_retriever(kb, dict(dials or {}), manifest, student, folder, note)
        require_utilisation(mode, knowledge=retriever is not None, tuned=manifest is not None)
        found = cls(open_model(student, folder, manifest), retriever)
        if sessions:
            found.calibrate(sessions, note)
        return found

    def calibrate(self, sessions: Sequence[Session], note: Note) -> None:
        """Find out on the annotated validation sessions among these how to read the student, and read it so.

        What was found out is kept in the cache under all that it depends on, so only the first start takes minutes.

        Raises:
            UsageError: there are no such sessions.
        """
        found = kept([self.about, sessions], lambda: self._fitted(sessions))
        self.reading, count = found.reading, len(annotated(sessions, "validation"))
        note(f"calibrated on {count} validation sessions, GJS there {found.score:.3f}")

    def fit(self, sessions: Sequence[Session]) -> float:
        """Read the student as the annotated validation sessions among these say; return its mean GJS there.

        What a chooser learns comes from the training sessions. Sessions that the student cannot read, such as those
        of too many products, are left out.

        Raises:
            UsageError: no annotated validation session can be read.
        """
        found = self._fitted(sessions)
        self.reading = found.reading
        return found.score

    def _fitted(self, sessions: Sequence[Session]) -> CalibratedReading:
        return fitted_by_split(self.model.engine, self.retriever, sessions)

    @property
    def about(self) -> dict[str, Any]:
        """Return what an answer depends on: base, adapter, knowledge, policy, reading and prompts."""
        known, manifest = self.retriever.about if self.retriever else None, self.model.manifest
        return {
            "student": self.model.fingerprint,
            "adapter": manifest.model_dump(mode="json") if manifest else None,
            "knowledge": known and known["teacher"],
            "policy": known and known["policy"],
            "reading": self.reading.model_dump(mode="json"),
            "prompts": {"templates": fingerprint(*TEMPLATES), **student_fingerprints()},
        }

    def bundle(self, products: Session | Sequence[str | Item]) -> list[FoundBundle]:
        """Return the bundles of one session, given as titles, as products or as a `Session`.

        The list is empty where the student finds no bundle; `answer` says why.

        Raises:
            UsageError: the student cannot read the session: its number of products, or a title.
        """
        session = products if isinstance(products, Session) else Session.of(products)
        if reason := titles_fault(session.titles) or unreadable(session):
            raise UsageError(reason)
        (found,) = self.answer([session])
        if found.reason == TOO_LONG:
            raise UsageError(found.reason)
        return [FoundBundle.of(bundle, session) for bundle in found.bundles]

    def answer(
        self,
        sessions: Sequence[Session],
        limits: Mapping[str, Limits] = NO_LIMITS,
        *,
        form: Form = "pairs",
        repairs: int = 1,
        advance: Advance | None = None,
    ) -> list[Prediction]:
        """Return the predictions of sessions by the student graph; one it cannot read is a failed prediction.

        Limits hold by session id. In a notebook a bar shows how far it is.
        """
        # Prices are for limits alone, and go beside the sessions.
        bounds = {s.session_id: limits[s.session_id].on(s.items) for s in sessions if s.session_id in limits}
        with self._lock, in_notebook("generate", len(sessions), advance) as told:
            return answer(_blind(sessions), self.context(form, repairs, told, bounds))

    def as_runnable(self) -> "StudentRunnable":
        """Return it as LangChain's `Runnable`: a session or titles in, bundles out."""
        from bundlewise.langchain.runnable import StudentRunnable

        return StudentRunnable(self)

    def as_chat_model(self) -> "ChatBundlewise":
        """Return it as LangChain's `BaseChatModel`: a message that lists products in, their bundles out."""
        from bundlewise.langchain.chat_model import ChatBundlewise

        return ChatBundlewise(student=self)

    def context(
        self,
        form: Form = "pairs",
        repairs: int = 1,
        advance: Advance | None = None,
        bounds: Mapping[str, Bounds] = NO_BOUNDS,
    ) -> "StudentContext":
        """Return what the student graph runs on."""
        from bundlewise.graphs.student import StudentContext

        return StudentContext(self.model.engine, self.retriever, self.reading, form, repairs, advance, bounds)

    def answer_to_file(
        self,
        sessions: Sequence[Session],
        output: Path,
        *,
        form: Form = "pairs",
        repairs: int = 1,
        spread: Spread | None = None,
    ) -> list[Prediction]:
        """Answer sessions into a file; the same call after a stop goes on. `spread` answers elsewhere."""
        manifest, known = self.model.manifest, self.retriever and self.retriever.about
        prompts = [fingerprint(*TEMPLATES), student_fingerprints()]
        key = [self.model.fingerprint, prompts, manifest and manifest.model_dump(), known, form, repairs]
        key += [self.reading.model_dump(), [session.model_dump() for session in _blind(sessions)]]
        dials: dict[str, Any] = {"form": form, "repairs": repairs}
        there = spread and partial(spread, reading=self.reading, settings=dials)
        return answer_to_file(sessions, output, key, partial(self.answer, **dials), there)

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
        seen = _blind(sessions)
        with self._lock:
            return self._probabilities(seen, self._retrieve(seen))

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return for each bundle (positions from 0) the knowledge it rests on, what changes it most first.

        Each record is left out in turn and the session judged again.
        """
        if self.retriever is None or not groups:
            return [[] for _ in groups]
        seen = session.blind()
        with self._lock:
            given = self.retriever.retrieve([seen])[0]
            used = [(*given.records, *self.retriever.witnesses(seen, group)) for group in groups]
            gone = list({record.id: record for group in used for record, _ in group})
            variants = [given, *(self.retriever.leaving_out(seen, given, key) for key in gone)]
            judged = self._probabilities([seen] * len(variants), variants)
        whole, less = judged[0], dict(zip(gone, judged[1:], strict=True))
        return [reasons(group, known, whole, less) for group, known in zip(groups, used, strict=True)]

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        """Return kinds of products that known sessions bundle with kinds like its own; none without knowledge."""
        if self.retriever is None:
            return []
        with self._lock:
            return self.retriever.companions(session.blind(), limit)

    def beside(
        self, session: Session, candidates: Sequence[Item], limit: int = BESIDE
    ) -> list[tuple[Item, list[float]]]:
        """Return candidates with how likely each goes with every product of the session.

        The evidence chooses the `limit` candidates that the student judges, each as one more product of the session.
        """
        sessions = _blind([session.model_copy(update={"items": (*session.items, item)}) for item in candidates])
        with self._lock:
            given = self._retrieve(sessions)
            rank = sorted(range(len(sessions)), key=lambda n: -_evidence_of_last(given[n], len(session.items)))[:limit]
            judged = self._probabilities([sessions[n] for n in rank], [given[n] for n in rank])
        return [(candidates[n], likely[-1, :-1].tolist()) for n, likely in zip(rank, judged, strict=True)]

    def _retrieve(self, sessions: Sequence[BlindSession]) -> list[Retrieved]:
        return self.retriever.retrieve(sessions) if self.retriever else [Retrieved() for _ in sessions]

    def _probabilities(self, sessions: Sequence[BlindSession], retrieved: Sequence[Retrieved]) -> list[Matrix]:
        engine, rows = self.model.engine, list(zip(sessions, retrieved, strict=True))
        prompts = [fitting(session, found, judge_prompt, engine.fits)[0] for session, found in rows]
        judged = judge_as_read(engine, prompts, self.reading)
        found = []
        for (session, known), judgement in zip(rows, judged, strict=True):
            found.append(self.reading.likely(judgement.log_odds, affinity_of(known, len(session.items))))
        return found


def _blind(sessions: Sequence[Session]) -> list[BlindSession]:
    """Return sessions as the student sees them: this is its door."""
    return [session.blind() for session in sessions]


def _evidence_of_last(given: Retrieved, place: int) -> float:
    """Return the largest log-odds that the evidence gives the product at a place, 0 where there is none."""
    return max((score for (_, last), score in given.affinity.items() if last == place), default=0.0)
