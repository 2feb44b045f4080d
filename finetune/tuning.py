"""A tuning run: make examples, train LoRA weights, calibrate on validation, write the adapter with its manifest."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.compose import unreadable
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.agents.student.modes import utilisation_of
from bundlewise.agents.student.reading import Reading, learn_chooser
from bundlewise.agents.student.replies import fit_student
from bundlewise.agents.student.tokens import fits
from bundlewise.agents.student.writer_reading import fit_writer
from bundlewise.domain import BlindSession, Knowledge, Retrieved, Session, Split
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import fingerprint, only_process
from bundlewise.finetune.adapters import MANIFEST, Manifest, hashes_of, identity_of, read_manifest
from bundlewise.finetune.card import finish
from bundlewise.finetune.checkpoint import CHECKPOINT
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.deadline import Deadline, TimeIsOver
from bundlewise.finetune.examples import Example, examples, plan, whole_examples
from bundlewise.finetune.lora import with_lora
from bundlewise.finetune.processes import Processes
from bundlewise.finetune.training import Training, TrainingResult
from bundlewise.models.folders import resolve
from bundlewise.progress import progress


class Retrieves(Protocol):
    """The part of a retriever that tuning needs, so that tuning runs without Chroma."""

    @property
    def about(self) -> dict[str, Any]:
        """The policy, and the fingerprint and teacher of the knowledge."""

    def retrieve(self, sessions: Sequence[BlindSession]) -> list[Retrieved]:
        """Return the knowledge for each session, never from the session itself."""


TUNED_ON: tuple[Split, ...] = ("train", "validation")
PARTS = 4
"""The steps of the preparation in the progress: the model, the retrieval, the chooser, the examples."""


@dataclass(frozen=True)
class _Prepared:
    """The batches to train on, the retrieved knowledge for validation, and the chooser for it."""

    batches: list[list[Example]]
    seen: list[Retrieved]
    chooser: Chooser | None


@dataclass(frozen=True)
class Tuning:
    """A tuning run; with a retriever the prompts hold its knowledge (ICL+SFT), without one they are plain (SFT).

    `answering` has the form of the answers that are taught. `lessons` are records whose texts the student learns to
    write, so that its weights hold this knowledge.
    """

    sessions: list[Session]
    folder: Path
    config: TrainingConfig
    student: str
    retriever: Retrieves | None = None
    limit: int | None = None
    max_minutes: float | None = None
    lessons: Sequence[Knowledge] = ()
    answering: AnswerDials = field(default_factory=AnswerDials)

    @cached_property
    def _deadline(self) -> Deadline:
        return Deadline(self.max_minutes)

    def run(self) -> Manifest:
        """Train, calibrate and write the adapter; return its manifest at once if the same adapter is already finished.

        A training whose minutes ran out continues if it is given more.

        Raises:
            UsageError: there is nothing to train on, or the folder holds another finished adapter.
            AdapterError: the time is over before the first step.
            BundlewiseError: another process is tuning into the folder.
        """
        _ = self._deadline  # The first access starts its clock.
        processes = Processes.current()
        with only_process(self.folder) if processes.first else nullcontext():
            return self._run(processes)

    def _run(self, processes: Processes) -> Manifest:
        training, validation = self._chosen(), self._usable("validation")
        base = resolve(self.student)
        wanted = self._wanted(base, [*training, *self._usable("train"), *validation])
        if (self.folder / MANIFEST).is_file():
            finished = self._finished(wanted)
            if not (finished.stopped and (self.folder / CHECKPOINT).is_file() and self._has_more_minutes(finished)):
                return finished
        manifest, goes_on = self._tune(wanted, base, training, validation, processes)
        if processes.first:
            manifest = finish(self.folder, manifest, base, self.sessions)
            if not goes_on:
                (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return manifest

    def _tune(
        self,
        wanted: dict[str, Any],
        base: Path,
        training: list[Session],
        validation: list[Session],
        processes: Processes,
    ) -> tuple[Manifest, bool]:
        """Return the manifest of the written adapter, and whether its training can continue."""
        tuned, tokenizer, prepared = self._prepared(base, training, validation, processes)
        engine = StudentEngine(tuned.get_base_model(), tokenizer)
        latest: list[tuple[Reading, float]] = []

        def validate() -> float:
            given = (engine, validation, prepared.seen, prepared.chooser)
            is_writer = self.answering.form == "write"
            latest[:] = [fit_writer(*given, self.answering) if is_writer else fit_student(*given)]
            return latest[0][1]

        with progress("finetune", len(prepared.batches)) as advance:
            result = Training(
                tuned,
                prepared.batches,
                self.config,
                self.folder,
                validate=validate if validation else None,
                found=lambda: latest[0][0].model_dump_json(),
                watch=lambda step, steps, loss, score: advance(1, _note(loss, score)),
                base=wanted["base_fingerprint"],
                deadline=self._deadline,
                processes=processes,
            ).run()
        if validation and not result.found and not result.goes_on:
            try:
                with self._deadline.alarm():
                    validate()
            except TimeIsOver as over:
                result = result.model_copy(update={"stopped": str(over), "goes_on": True})
        # Without validation the judgements are read with the default.
        reading, score = latest[0] if latest and not result.found else (Reading(), None)
        if result.found:
            reading, score = Reading.model_validate_json(result.found), dict(result.scores)[result.best_step]
        return self._manifest(wanted, result, len(training), reading, score), result.goes_on

    def _prepared(
        self, base: Path, training: list[Session], validation: list[Session], processes: Processes
    ) -> "tuple[Any, Any, _Prepared]":
        """Return the result of `_prepare`; if one process stops here or its time is over, all processes end together.

        Raises:
            AdapterError: the time is over.
        """
        found: list[tuple[Any, Any, _Prepared]] = []
        try:
            with processes.stopping_together():
                processes.together(lambda: found.append(self._prepare(base, training, validation)))
        except TimeIsOver as over:
            raise AdapterError(f"{over} before the first step; give more with --max-minutes") from over
        return found[0]

    def _prepare(self, base: Path, training: list[Session], validation: list[Session]) -> "tuple[Any, Any, _Prepared]":
        """Return the model with LoRA, its tokenizer, and the data for training and validation."""
        with self._deadline.alarm(), progress("prepare examples", PARTS) as advance:
            model, tokenizer = load_causal_lm(base, four_bit=self.config.four_bit)
            annotated = self._usable("train")
            advance()
            known, seen = self._retrieve(annotated), self._retrieve(validation)
            advance()
            # The limit applies only to the student's examples. The evidence uses all training sessions, so the
            # chooser may use them too; its weight is chosen on validation.
            chooser = learn_chooser(annotated, known) if validation else None
            advance()
            by_id = dict(zip((s.session_id for s in annotated), known, strict=True))
            batches = self._batches(model, tokenizer, training, by_id)
            return with_lora(model, self.config), tokenizer, _Prepared(batches, seen, chooser)

    def _batches(
        self, model: Any, tokenizer: Any, training: Sequence[Session], known: dict[str, Retrieved]
    ) -> list[list[Example]]:
        config, found = self.config, [known[session.session_id] for session in training]
        lessons = self._taught(training)

        def epoch(seed: int) -> list[Example]:
            if self.answering.form == "pairs":
                return examples(tokenizer, training, found, intents=config.intents, seed=seed, lessons=lessons)
            reads = partial(fits, tokenizer, model.config)
            given = (tokenizer, training, found, self.answering, reads)
            return whole_examples(*given, without=config.without, seed=seed, lessons=lessons)

        return plan([epoch(config.seed + number) for number in range(config.epochs)], config)

    def _wanted(self, base: Path, sessions: list[Session]) -> dict[str, Any]:
        """Return all that determines the adapter, with the names of its manifest."""
        about = self.retriever.about if self.retriever else {"policy": {}, "teacher": None}
        return {
            "mode": utilisation_of(knowledge=self.retriever is not None, tuned=True),
            "base": self.student,
            "answering": self.answering,
            **identity_of(base, self.answering.form),
            "data": fingerprint([session.model_dump() for session in sessions]),
            "training": self.config.model_dump(mode="json"),
            "seed": self.config.seed,
            "lessons": fingerprint([(record.id, record.text) for record in self.lessons]) if self.lessons else "",
            **about,
        }

    def _manifest(
        self,
        wanted: dict[str, Any],
        result: TrainingResult,
        sessions: int,
        reading: Reading,
        score: float | None,
    ) -> Manifest:
        last = result.losses[-10:]
        return Manifest(
            **wanted,
            sessions=sessions,
            files=hashes_of(self.folder),
            trainable_parameters=result.trainable_parameters,
            reading=reading,
            validation_gjs=None if score is None else round(score, 4),
            validations=tuple((step, round(gjs, 4)) for step, gjs in result.scores),
            best_step=result.best_step,
            stopped=result.stopped,
            steps=len(result.losses),
            tokens=result.tokens,
            seconds=result.seconds,
            final_loss=round(sum(last) / len(last), 4),
        )

    def _has_more_minutes(self, finished: Manifest) -> bool:
        return self.max_minutes is None or 60 * self.max_minutes > finished.seconds

    def _taught(self, training: Sequence[Session]) -> list[Knowledge]:
        """Return the lessons from the training sessions, and all patterns and rules."""
        tuned = {session.session_id for session in training}
        return [
            record for record in self.lessons if tuned.issuperset(record.source_session_ids) or record.kind != "thought"
        ]

    @property
    def left_out(self) -> list[str]:
        """The reason for each annotated session of training and validation that the student cannot read."""
        known = (session for split in TUNED_ON for session in self._annotated(split))
        return [reason for session in known if (reason := unreadable(session))]

    def _annotated(self, split: Split) -> list[Session]:
        return [session for session in self.sessions if session.split == split and session.bundles]

    def _usable(self, split: Split) -> list[Session]:
        """Return the annotated sessions of a split that the student can read."""
        return [session for session in self._annotated(split) if not unreadable(session)]

    def _chosen(self) -> list[Session]:
        usable = self._usable("train")
        if not usable:
            if found := self._annotated("train"):
                raise UsageError(f"no training session that the student can read: {unreadable(found[0])}")
            raise UsageError("no annotated training session; give data whose train split has bundles")
        if self.limit is None or self.limit >= len(usable):
            return usable
        chosen = sorted(Random(self.config.seed).sample(range(len(usable)), self.limit))
        return [usable[place] for place in chosen]

    def _finished(self, wanted: dict[str, Any]) -> Manifest:
        manifest = read_manifest(self.folder)
        for key, value in wanted.items():
            # The same base may have moved: its fingerprint counts, not its name.
            if key != "base" and getattr(manifest, key) != value:
                raise UsageError(
                    f"{self.folder} holds an adapter with another {key} ({getattr(manifest, key)}, not {value}); "
                    "choose another folder or remove it"
                )
        return manifest

    def _retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        seen = [session.blind() for session in sessions]
        return self.retriever.retrieve(seen) if self.retriever else [Retrieved() for _ in seen]


def _note(loss: float, score: float | None) -> str:
    return f"loss {loss:.3f}" + ("" if score is None else f", GJS {score:.3f}")
