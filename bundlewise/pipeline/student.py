"""The student: a model opened with its knowledge, which finds bundles, judges pairs and gives reasons."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.agents.student.compose import fitting, judge_prompt, refusal
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.limits import NO_LIMITS, Bounds, Limits
from bundlewise.agents.student.modes import require_utilisation
from bundlewise.agents.student.reading import Reading, affinity_of, reasons
from bundlewise.agents.student.replies import NO_BOUNDS, judge_as_read
from bundlewise.agents.student.whole_replies import likely_pairs
from bundlewise.bundles import FoundBundle, Reason
from bundlewise.data.session_list import require_sessions
from bundlewise.domain import (
    BlindSession,
    Grouping,
    Item,
    Knowledge,
    KnowledgeKind,
    Prediction,
    Retrieved,
    Session,
)
from bundlewise.errors import UsageError
from bundlewise.finetune.students import StudentModel, answer_dials, manifest_for, open_model
from bundlewise.pipeline.calibration import CalibratedReading, annotated, fitted_by_split, kept, sessions_of
from bundlewise.pipeline.knowledge import own_retriever
from bundlewise.pipeline.predictions import Spread, answer, answer_to_file
from bundlewise.progress import Advance, in_notebook
from bundlewise.prompts.render import TEMPLATES, fingerprint, student_fingerprints
from bundlewise.source import code_fingerprint

if TYPE_CHECKING:
    from bundlewise.graphs.student import StudentContext
    from bundlewise.knowledge_base.policy import Policy
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.langchain.chat_model import ChatBundlewise
    from bundlewise.langchain.runnable import StudentRunnable

Note = Callable[[str], None]
DEFAULT = "smollm2-135m"
BESIDE = 12


class Student:
    """A model with its knowledge, its reading (how judgements become bundles) and its dials; usable in any thread."""

    def __init__(
        self,
        model: StudentModel,
        retriever: "Retriever | None" = None,
        reading: Reading | None = None,
        dials: AnswerDials | None = None,
    ) -> None:
        self.model = model
        self.retriever = retriever
        self.reading = reading or model.reading
        self.dials = dials or model.dials
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        *,
        kb: str | PathLike[str] | None = None,
        adapter: str | PathLike[str] | None = None,
        student: str = DEFAULT,
        dials: "Mapping[str, Any] | Policy | None" = None,
        answering: Mapping[str, Any] | None = None,
        mode: str | None = None,
        calibrate: str | None = None,
        note: Note | None = None,
        any_prompts: bool = False,
    ) -> "Student":
        """Open a student: an adapter brings its own retrieval policy and reading.

        Args:
            kb: a knowledge base, or its place: a folder or a server's URL.
            adapter: the adapter of a tuned student, or its folder.
            student: the base by name, hub id, folder, GGUF file, or `openai:MODEL@URL`.
            dials: dials of retrieval, or a whole policy, in place of the adapter's own.
            answering: dials of answering, as `AnswerDials` names them; a base that can read writes whole answers.
            mode: the mode that `kb` and `adapter` must make: plain, icl, sft or icl+sft.
            calibrate: data to calibrate an untuned student on; without data it is not calibrated.
            note: called with remarks for the user.
            any_prompts: accept an adapter that was tuned on other prompts.

        Raises:
            UsageError: the parts make another mode, the student needs knowledge, or `calibrate` cannot be used.
            AdapterError: the adapter does not fit the base or the form, or the prompts have changed since.
        """
        note, folder = note or (lambda _: None), Path(adapter) if adapter else None
        # This comes before the slow steps, so that a wrong name fails at once.
        sessions = sessions_of(calibrate) if calibrate is not None else []
        manifest = manifest_for(student, folder, any_prompts=any_prompts)
        how = answer_dials(student, manifest, dict(answering or {}))
        retriever = own_retriever(kb, dials or {}, manifest, student, folder, note, how.form)
        require_utilisation(mode, knowledge=retriever is not None, tuned=manifest is not None)
        found = cls(open_model(student, folder, manifest), retriever, dials=how)
        if sessions:
            found.calibrate(sessions, note)
        return found

    def calibrate(self, sessions: Sequence[Session], note: Note = lambda _: None) -> None:
        """Choose the reading of the student on the annotated validation sessions among these, and use it.

        The reading is cached under everything that it depends on, so only the first start takes minutes.

        Raises:
            UsageError: there are no such sessions.
        """
        found = kept([self.about, sessions], lambda: self._fitted(sessions))
        self.reading, count = found.reading, len(annotated(sessions, "validation"))
        note(f"calibrated on {count} validation sessions, GJS there {found.score:.3f}")

    def fit(self, sessions: Sequence[Session]) -> float:
        """Choose the reading of the student on the annotated validation sessions; return its mean GJS on them.

        The chooser of groupings learns from the training sessions. Sessions that the student cannot read, such as
        those with too many products, are left out.

        Raises:
            UsageError: no annotated validation session can be read.
        """
        found = self._fitted(sessions)
        self.reading = found.reading
        return found.score

    def _fitted(self, sessions: Sequence[Session]) -> CalibratedReading:
        return fitted_by_split(self.model.engine, self.retriever, sessions, self.dials)

    @property
    def about(self) -> dict[str, Any]:
        """Return everything that an answer depends on: base, adapter, knowledge, policy, reading and prompts."""
        known, manifest = self.retriever.about if self.retriever else None, self.model.manifest
        return {
            "student": self.model.fingerprint,
            "adapter": manifest.model_dump(mode="json") if manifest else None,
            "knowledge": known and known["teacher"],
            "policy": known and known["policy"],
            "reading": self.reading.model_dump(mode="json"),
            "answering": self.dials.model_dump(),
            "prompts": {"templates": fingerprint(*TEMPLATES), **student_fingerprints()},
        }

    def bundle(self, products: Session | Sequence[str | Item]) -> list[FoundBundle]:
        """Return the bundles of one session, given as titles, as products or as a `Session`.

        The list is empty if the student finds no bundle; `answer` gives the reason.

        Raises:
            UsageError: the student cannot read the session, because of its number of products or a title.
        """
        session = Session.of(products)
        (found,) = self.answer([session])
        if reason := refusal(session, found):
            raise UsageError(reason)
        return FoundBundle.all_of(found, session)

    def answer(
        self,
        sessions: Sequence[Session],
        limits: Mapping[str, Limits] = NO_LIMITS,
        *,
        advance: Advance | None = None,
    ) -> list[Prediction]:
        """Return the predictions of sessions by the student graph; an unreadable session gives a failed prediction.

        `limits` are given by session id. In a notebook a bar shows the progress.
        """
        seen = _blind(sessions)
        # Only limits use prices, so they are passed beside the sessions.
        bounds = {s.session_id: limits[s.session_id].on(s.items) for s in sessions if s.session_id in limits}
        with self._lock, in_notebook("generate", len(sessions), advance) as told:
            return answer(seen, self.context(told, bounds))

    def as_runnable(self) -> "StudentRunnable":
        """Return the student as LangChain's `Runnable`: a session or titles in, bundles out."""
        from bundlewise.langchain.runnable import StudentRunnable

        return StudentRunnable(self)

    def as_chat_model(self) -> "ChatBundlewise":
        """Return the student as LangChain's `BaseChatModel`: a message that lists products in, their bundles out."""
        from bundlewise.langchain.chat_model import ChatBundlewise

        return ChatBundlewise(student=self)

    def context(self, advance: Advance | None = None, bounds: Mapping[str, Bounds] = NO_BOUNDS) -> "StudentContext":
        """Return what the student graph runs on."""
        from bundlewise.graphs.student import StudentContext

        return StudentContext(self.model.engine, self.retriever, self.reading, advance, bounds, self.dials)

    def answer_to_file(
        self, sessions: Sequence[Session], output: Path, *, spread: Spread | None = None
    ) -> list[Prediction]:
        """Answer sessions into a file; after a stop the same call continues. `spread` answers on other machines."""
        manifest, known = self.model.manifest, self.retriever and self.retriever.about
        made_by = [code_fingerprint(), fingerprint(*TEMPLATES), student_fingerprints()]
        key = [self.model.fingerprint, made_by, manifest and manifest.model_dump(), known, self.dials.model_dump()]
        key += [self.reading.model_dump(), [session.model_dump() for session in _blind(sessions)]]
        there = spread and partial(spread, reading=self.reading, dials=self.dials)
        return answer_to_file(sessions, output, key, self.answer, there)

    def knowledge(self, ids: Sequence[str]) -> dict[str, Knowledge]:
        """Return the records that predictions name, without waiting for other calls."""
        return self.retriever.store.records.get(ids) if self.retriever else {}

    def find(self, text: str, kind: KnowledgeKind | None, domain: str, limit: int) -> list[tuple[Knowledge, float]]:
        """Return the records that match a text best, with their scores.

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
        """Return for each session the probabilities that two products go together, n x n with a zero diagonal."""
        seen = _blind(sessions)
        with self._lock:
            return self._probabilities(seen, self._retrieve(seen))

    def explain(self, session: Session, groups: Grouping) -> list[list[Reason]]:
        """Return for each bundle (positions from 0) the records behind it, that with the largest effect first.

        For the effect, each record is left out in turn, and the session is judged again.
        """
        if self.retriever is None or not groups:
            return [[] for _ in groups]
        seen = session.blind()
        with self._lock:
            given = self.retriever.retrieve([seen])[0]
            used = [(*given.records, *given.demonstrations, *self.retriever.witnesses(seen, group)) for group in groups]
            gone = list({record.id: record for group in used for record, _ in group})
            variants = [given, *(self.retriever.leaving_out(seen, given, key) for key in gone)]
            judged = self._probabilities([seen] * len(variants), variants)
        whole, less = judged[0], dict(zip(gone, judged[1:], strict=True))
        return [reasons(group, known, whole, less) for group, known in zip(groups, used, strict=True)]

    def companions(self, session: Session, limit: int = 6) -> list[str]:
        """Return kinds of products that known sessions bundle with this session's kinds; none without knowledge."""
        if self.retriever is None:
            return []
        with self._lock:
            return self.retriever.companions(session.blind(), limit)

    def beside(
        self, session: Session, candidates: Sequence[Item], limit: int = BESIDE
    ) -> list[tuple[Item, list[float]]]:
        """Return candidates with the probability that each goes with every product of the session.

        The evidence chooses the best `limit` candidates; the student judges each as one more product of the session.
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
        if self.dials.form == "write":
            return likely_pairs(engine, sessions, retrieved, self.reading, self.dials)
        prompts = [fitting(session, found, judge_prompt, engine.fits)[0] for session, found in rows]
        judged = judge_as_read(engine, prompts, self.reading)
        found = []
        for (session, known), judgement in zip(rows, judged, strict=True):
            found.append(self.reading.likely(judgement.log_odds, affinity_of(known, len(session.items))))
        return found


def _blind(sessions: Sequence[Session]) -> list[BlindSession]:
    """Return sessions as the student sees them; every session passes here before the student reads it."""
    require_sessions(sessions)
    return [session.blind() for session in sessions]


def _evidence_of_last(given: Retrieved, place: int) -> float:
    """Return the largest log-odds that the evidence gives the product at a place, 0 without evidence."""
    return max((score for (_, last), score in given.affinity.items() if last == place), default=0.0)
