"""One tuning run: examples, LoRA training, calibration on validation, adapter with manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from bundlewise import models
from bundlewise.agents.compose import MAX_PRODUCTS
from bundlewise.agents.engine import StudentEngine, load_causal_lm
from bundlewise.agents.student import fit_calibration
from bundlewise.domain import Retrieved, Session, Split
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint, only_process
from bundlewise.finetune.adapters import MANIFEST, Manifest, read_manifest, write_manifest
from bundlewise.finetune.examples import examples
from bundlewise.finetune.training import CHECKPOINT, TrainingConfig, plan, train, with_lora
from bundlewise.progress import progress
from bundlewise.prompts.render import student_fingerprint


class Retrieves(Protocol):
    """What tuning needs of a knowledge base: it must run where there is no Chroma."""

    @property
    def about(self) -> dict[str, Any]:
        """The policy, and the fingerprint and teacher of the knowledge."""

    def retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        """Return the knowledge for each session, never the session's own."""


@dataclass(frozen=True)
class Tuning:
    """A tuning run; with a retriever the prompts hold its knowledge (ICL+SFT), without they are plain (SFT)."""

    sessions: list[Session]
    folder: Path
    config: TrainingConfig
    student: str
    retriever: Retrieves | None = None
    limit: int | None = None

    def run(self) -> Manifest:
        """Train, calibrate and write; return at once when the very same adapter is finished already.

        Raises:
            UsageError: there is nothing to train on, or the folder holds another finished adapter.
            BundlewiseError: another process is tuning into the folder.
        """
        with only_process(self.folder):
            return self._run()

    def _run(self) -> Manifest:
        training = self._chosen()
        validation = self._usable("validation")
        base = models.resolve(self.student)
        data = fingerprint([session.model_dump() for session in (*training, *validation)])
        about = self.retriever.about if self.retriever else {"policy": {}, "teacher": None}
        wanted = {
            "base": self.student,
            "base_fingerprint": models.fingerprint_of(base),
            "prompts": student_fingerprint(),
            "data": data,
            "training": self.config.model_dump(),
            **about,
        }
        if (self.folder / MANIFEST).is_file():
            return self._finished(wanted)
        model, tokenizer = load_causal_lm(base)
        found = self._retrieve(training)
        epochs = [
            examples(tokenizer, training, found, intents=self.config.intents, seed=self.config.seed + epoch)
            for epoch in range(self.config.epochs)
        ]
        tuned = with_lora(model, self.config)
        batches = plan(epochs, self.config)
        with progress("finetune", len(batches)) as advance:
            result = train(
                tuned,
                batches,
                self.config,
                self.folder,
                lambda step, steps, loss: advance(1, f"loss {loss:.3f}"),
                wanted["base_fingerprint"],
            )
        calibration, score = self._calibrate(StudentEngine(tuned.merge_and_unload(), tokenizer), validation)
        manifest = Manifest(
            **wanted,
            sessions=len(training),
            trainable_parameters=result.trainable_parameters,
            calibration=calibration,
            validation_gjs=score,
            steps=len(result.losses),
            tokens=result.tokens,
            seconds=result.seconds,
            final_loss=round(sum(result.losses[-10:]) / len(result.losses[-10:]), 4),
        )
        write_manifest(self.folder, manifest)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return manifest

    def _usable(self, split: Split) -> list[Session]:
        return [s for s in self.sessions if s.split == split and s.bundles and 2 <= len(s.items) <= MAX_PRODUCTS]

    def _chosen(self) -> list[Session]:
        usable = self._usable("train")
        if not usable:
            raise UsageError("no annotated training session; give data whose train split has bundles")
        if self.limit is None or self.limit >= len(usable):
            return usable
        chosen = sorted(Random(self.config.seed).sample(range(len(usable)), self.limit))
        return [usable[place] for place in chosen]

    def _finished(self, wanted: dict[str, Any]) -> Manifest:
        manifest = read_manifest(self.folder)
        for key, value in wanted.items():
            if getattr(manifest, key) != value:
                raise UsageError(
                    f"{self.folder} holds an adapter with another {key} ({getattr(manifest, key)}, not {value}); "
                    "choose another folder or remove it"
                )
        return manifest

    def _retrieve(self, sessions: Sequence[Session]) -> list[Retrieved]:
        return self.retriever.retrieve(sessions) if self.retriever else [Retrieved() for _ in sessions]

    def _calibrate(self, engine: StudentEngine, validation: Sequence[Session]) -> tuple[dict[str, float], float | None]:
        """Choose how the log-odds are read by the GJS on validation; without validation sessions read them as is."""
        if not validation:
            return {}, None
        chosen, score = fit_calibration(engine, validation, self._retrieve(validation))
        return {"bias": chosen.bias, "temperature": chosen.temperature}, round(score, 4)
