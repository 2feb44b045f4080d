"""The maker of cells: whatever cells share is made once, and cached by a hash of everything that determines it."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bundlewise.agents.student.dials import AnswerDials
from bundlewise.domain import Prediction, Record
from bundlewise.errors import DataError, UsageError
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.file import Experiment
from bundlewise.experiment.inputs import Inputs
from bundlewise.experiment.knowledge import DistilledKnowledge, KnowledgeBases
from bundlewise.experiment.payment import RunPayment
from bundlewise.files import fingerprint, only_process, read_rows, write_json
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.cache import fingerprint_of
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import resolve
from bundlewise.models.memory import forget_peak, peak_memory, release_memory
from bundlewise.pipeline.knowledge import open_retriever
from bundlewise.pipeline.predictions import cost_of

if TYPE_CHECKING:
    from bundlewise.finetune.adapters import Manifest
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.pipeline.student import Student


class Made(Record):
    """The result of a cell: its predictions, and their cost. Seconds are of this machine.

    `predictions` is a file's name in the cache. `chooser` says whether a chooser, trained on the sessions that teach,
    helped to choose the bundles. `seconds` is the time of answering alone; `tuning_seconds` and `distil_seconds` are
    spent once. `cached` says that the result came from the cache. Memory is the peak of the process in GB.
    """

    predictions: str
    sessions: int
    tokens_in: int
    tokens_out: int
    seconds: float
    validation_gjs: float | None = None
    student_weight: float | None = None
    chooser: bool = False
    trainable_parameters: int = 0
    tuned_sessions: int = 0
    tuning_seconds: float = 0.0
    tuning_tokens: int = 0
    distil_seconds: float = 0.0
    distil_tokens: int = 0
    distil_dollars: float | None = 0.0
    distil_failed: int = 0
    teaching_sessions: int = 0
    knowledge: Mapping[str, int] = Field(default_factory=dict)
    memory_gb: float = 0.0
    cached: bool = False


class Maker:
    """Makes the cells of an experiment in one process; several processes may share the cache folder."""

    def __init__(self, experiment: Experiment, cache: Path) -> None:
        self.inputs, self.cache = Inputs(experiment), cache
        self.payment = RunPayment(experiment, cache / "calls.sqlite")
        self.knowledge = KnowledgeBases(self.inputs, self.payment, cache)
        self._latest: tuple[str, Retriever] | None = None
        self._students: dict[str, str] = {}
        self._answers: dict[str, list[Prediction]] = {}

    def key(self, cell: Cell) -> str:
        """Return the name of a cell's predictions: a hash of everything that determines them."""
        asked = [session.session_id for session in self.inputs.scored]
        told = [cell.model_dump(), self.knowledge.key(cell), self._student_key(cell), self._held]
        return fingerprint([self.inputs.code, *told, asked])

    @cached_property
    def _held(self) -> str:
        return fingerprint([s.model_dump() for s in self.inputs.target if s.split != "train"])

    def _student_key(self, cell: Cell) -> str:
        if cell.student not in self._students:
            base = None if is_served(cell.student) else resolve(cell.student)
            self._students[cell.student] = fingerprint_of(base) if base else cell.student
        return self._students[cell.student]

    def is_made(self, cell: Cell) -> bool:
        """Say whether a cell's result is in the cache."""
        key = self.key(cell)
        return self._result(key).is_file() and self._predictions(key).is_file()

    def _result(self, key: str) -> Path:
        return self.cache / "cells" / f"{key}.json"

    def _predictions(self, key: str) -> Path:
        return self.cache / "predictions" / f"{key}.jsonl"

    def make(self, cell: Cell) -> Made:
        """Return the result of a cell, from the cache or made now; a cell that was stopped continues.

        Raises:
            BundlewiseError: the cell cannot be made; the message says why.
        """
        result = self._result(self.key(cell))
        # If another run that shares the cache is making the cell, this run waits for its result.
        with only_process(result, wait=True):
            if self.is_made(cell):
                return Made.model_validate_json(result.read_text("utf-8")).model_copy(update={"cached": True})
            forget_peak()
            made = self._make(cell).model_copy(update={"memory_gb": round(peak_memory(), 2)})
            write_json(result, made.model_dump(mode="json", exclude={"cached"}))
        release_memory()
        return made

    def _dials(self, cell: Cell) -> AnswerDials:
        """Return the dials of a cell's answers.

        Raises:
            UsageError: the cell has demonstrations, and the form of its base shows none.
        """
        from bundlewise.finetune.students import answer_dials

        dials = answer_dials(cell.student, None, cell.dials)
        if cell.demonstrations and dials.form != "write":
            remedy = "set form: write, or leave demonstrations out"
            raise UsageError(f"{cell.student} judges pairs, so it reads no demonstrations; {remedy}")
        return dials

    def _make(self, cell: Cell) -> Made:
        self._dials(cell)  # A wrong dial ends the cell before its slow steps.
        known = self.knowledge.of(cell) if cell.knows else DistilledKnowledge(Path())
        retriever = self.retriever(cell) if cell.reads else None
        adapter, manifest = self._tuned(cell, retriever, known) if cell.is_tuned else (None, None)
        student, score = self._student(cell, retriever, adapter, manifest)
        output = self._predictions(self.key(cell))
        cost: dict[str, Any] = cost_of(student.answer_to_file(self.inputs.scored, output))
        tuned = {
            "trainable_parameters": manifest.trainable_parameters,
            "tuned_sessions": manifest.sessions,
            "tuning_seconds": manifest.seconds,
            "tuning_tokens": manifest.tokens,
        } if manifest else {}  # fmt: skip
        return Made(
            predictions=output.name,
            validation_gjs=score,
            student_weight=student.reading.student,
            chooser=student.reading.chooser is not None,
            distil_seconds=known.seconds,
            distil_tokens=known.tokens,
            distil_dollars=known.dollars,
            distil_failed=known.failed,
            teaching_sessions=len(self.inputs.teaching(cell)) if cell.knows or cell.is_tuned else 0,
            knowledge=known.counts,
            **cost,
            **tuned,
        )

    def retriever(self, cell: Cell) -> "Retriever":
        """Return the retriever of a cell's knowledge; missing knowledge is distilled."""
        kb = self.knowledge.of(cell).folder
        name = fingerprint([str(kb), cell.policy.model_dump(), cell.student])
        if self._latest is None or self._latest[0] != name:
            # Only one retriever is kept, since the evidence of a large knowledge base takes memory.
            self._latest = None
            base = resolve(cell.student) if cell.policy.budget is not None else None
            self._latest = name, open_retriever(kb, cell.policy, base, self.inputs.embedder)
        return self._latest[1]

    def _tuned(self, cell: Cell, retriever: "Retriever | None", known: DistilledKnowledge) -> "tuple[Path, Manifest]":
        from bundlewise.pipeline.tune import finetune

        found = finetune(
            self.inputs.sessions(cell),
            # The retriever holds what the prompts are given; the knowledge base is for the words that are taught.
            known.folder if cell.taught else None,
            self.adapter(cell),
            student=cell.student,
            dials=Policy.none().model_copy(update={"wording": cell.policy.wording}).model_dump(),
            answering=cell.dials,
            teach=",".join(cell.taught) or None,
            limit=cell.tuned,
            retriever=retriever,
            **cell.config.model_dump(),
        )
        release_memory()
        return found.path, found.manifest

    def adapter(self, cell: Cell) -> Path:
        """Return the folder of a tuned cell's adapter."""
        wanted = [self.inputs.code, self.knowledge.key(cell), cell.policy.model_dump(), cell.config.model_dump()]
        # The manifest names its base, so one base under two names has two adapters.
        key = fingerprint(
            [*wanted, cell.readers, cell.student, self._student_key(cell), cell.tuned, cell.taught, cell.dials]
        )
        return self.cache / "adapters" / key

    def evidence_key(self, cell: Cell) -> str:
        """Return a hash of everything that determines the answers of a cell's evidence without a student."""
        seed = cell.seed if cell.has_readers else None
        return fingerprint([self.inputs.baselines_key, self.knowledge.key(cell), cell.policy.model_dump(), seed])

    def _student(
        self, cell: Cell, retriever: "Retriever | None", adapter: Path | None, manifest: "Manifest | None"
    ) -> "tuple[Student, float | None]":
        """Return a cell's student, and its mean GJS on validation."""
        from bundlewise.finetune.students import open_model
        from bundlewise.pipeline.student import Student

        # The student shares the retriever that tuning used, so that a large knowledge base is opened once.
        dials = manifest.answering if manifest else self._dials(cell)
        student = Student(open_model(cell.student, adapter, manifest), retriever, dials=dials)
        return student, manifest.validation_gjs if manifest else round(student.fit(self.inputs.sessions(cell)), 4)

    def predictions(self, made: Made) -> list[Prediction]:
        """Return a cell's predictions, in the order of the scored sessions.

        Raises:
            DataError: the file is missing, or its sessions are not the scored ones.
        """
        if made.predictions not in self._answers:
            path = self.cache / "predictions" / made.predictions
            rows = [Prediction.model_validate(row) for row in read_rows(path)]
            if [row.session_id for row in rows] != [session.session_id for session in self.inputs.scored]:
                raise DataError(f"{path} has other sessions than those that are scored; remove it and run again")
            self._answers[made.predictions] = rows
        return self._answers[made.predictions]
