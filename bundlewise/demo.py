"""The demo: the whole chain on one domain, from sessions to a report, each part resumable."""

import json
import shlex
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise import chain, dataset, distilling, models, scoring
from bundlewise.domain import Grouping, Knowledge, Prediction
from bundlewise.files import code_fingerprint, cost_path, fingerprint, read_rows, sha256_file, slug, write_json
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.tuning import Tuning
from bundlewise.intents import intent_similarity
from bundlewise.knowledge_base.policy import Policy
from bundlewise.metrics import score_session
from bundlewise.prompts.render import student_fingerprints
from bundlewise.references import References
from bundlewise.usage import peak_memory, release_memory

if TYPE_CHECKING:
    from bundlewise.finetune.adapters import Manifest
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.retrieval import Retriever

GROUNDED, LARGE = "grounded", "large LLM"


@dataclass(frozen=True)
class DemoConfig:
    """What the demo runs on and how much of it; together with the code it determines the run's id.

    `limit` is the number of training sessions tuned on, chosen so that the demo takes under ten minutes.
    """

    domain: str = "electronics"
    limit: int = 160
    student: str = models.SMOLLM2.name
    policy: Policy = field(default_factory=Policy)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0

    @cached_property
    def run_id(self) -> str:
        """The name of the run's folder: the domain, and a hash of all that determines the results."""
        dials = [self.domain, self.limit, self.student, self.policy.model_dump(), self.seed]
        data = [sha256_file(path(self.domain)) for path in (dataset.starter_path, dataset.starter_pack_path)]
        code = [student_fingerprints(), code_fingerprint(), self.training.model_dump()]
        code += [model.sha256 for model in models.KNOWN.values()]
        return f"{self.domain}-{fingerprint([dials, data, code])}"


@dataclass
class Entry:
    """A row of the table with the predictions behind it."""

    row: scoring.Row
    predictions: list[Prediction]
    groups: list[Grouping]
    intent: float | None = None
    training_seconds: float | None = None
    validation_gjs: float | None = None


class Demo:
    """One run of the demo in a folder of its own."""

    def __init__(self, config: DemoConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.sessions = dataset.load(config.domain)
        self.validation = [s for s in self.sessions if s.split == "validation"]
        self.test = [s for s in self.sessions if s.split == "test"]
        self.entries: dict[str, Entry] = {}
        self.knowledge: dict[str, dict[str, int]] = {}
        self.started = time.perf_counter()
        self._retrievers: dict[str, Retriever] = {}

    def run(self) -> None:
        """Distil, tune, answer and score everything; finished parts are read back."""
        for teacher, name in ((GROUNDED, "grounded"), (LARGE, f"recorded:{self._pack}")):
            self._distil(teacher, name)
        self._baselines()
        self._student("plain student", None)
        self._student(f"ICL ({GROUNDED})", GROUNDED)
        self._tuned("SFT", None)
        self._tuned(f"ICL+SFT ({GROUNDED})", GROUNDED)
        self._tuned(f"ICL+SFT ({LARGE})", LARGE)

    @property
    def _pack(self) -> Path:
        return dataset.starter_pack_path(self.config.domain)

    @cached_property
    def embedder(self) -> "Embedder":
        """The embedder, loaded once."""
        from bundlewise.knowledge_base.embedding import Embedder

        return Embedder.named()

    def _say(self, text: str) -> None:
        click.echo(f"[{time.perf_counter() - self.started:4.0f} s] {text}", err=True)

    def _kb(self, teacher: str) -> Path:
        return self.folder / f"kb-{slug(teacher)}"

    def _adapter(self, name: str) -> Path:
        return self.folder / f"adapter-{slug(name)}"

    def _distil(self, teacher: str, name: str) -> None:
        summary = self._kb(teacher) / "summary.json"
        if not summary.is_file():
            self._say(f"distil: the {teacher} teacher's knowledge about the training sessions")
            folder = self._kb(teacher)
            pack = folder.with_suffix(".jsonl")
            found = distilling.distil(self.sessions, name, folder, embedder=self.embedder, pack=pack)
            counts = {kind: sum(r.kind == kind for r in found.records) for kind in ("pattern", "rule", "thought")}
            write_json(summary, counts)
        self.knowledge[teacher] = json.loads(summary.read_text(encoding="utf-8"))

    def _retriever(self, teacher: str | None) -> "Retriever | None":
        from bundlewise.knowledge_base.retrieval import Retriever
        from bundlewise.knowledge_base.store import KnowledgeStore

        if teacher is None:
            return None
        if teacher not in self._retrievers:
            store = KnowledgeStore.open(self._kb(teacher), self.embedder)
            self._retrievers[teacher] = Retriever(store, self.config.policy)
        return self._retrievers[teacher]

    def _baselines(self) -> None:
        self._say("baselines: whole session, word overlap, embedding clusters, the teachers' evidence alone")
        rows = References(self.validation, self.test)
        found = [rows.whole_session(), rows.lexical(), rows.embedding(self.embedder)]
        for teacher in (GROUNDED, LARGE):
            retriever = self._retriever(teacher)
            assert retriever is not None
            found.append(rows.pair_classifier(retriever, f"evidence ({teacher})"))
        for row in found:
            scores = [score_session(g, s.groups) for g, s in zip(row.groups, self.test, strict=True)]
            self.entries[row.name] = Entry(scoring.Row(row.name, scores, note=row.note), [], row.groups)

    def _student(
        self, name: str, teacher: str | None, adapter: Path | None = None, training: "Manifest | None" = None
    ) -> None:
        from bundlewise.agents.engine import StudentEngine

        retriever = self._retriever(teacher)
        output = self.folder / f"{slug(name)}.jsonl"
        if output.is_file() and cost_path(output).is_file():
            predictions = [Prediction.model_validate(row) for row in read_rows(output)]
        else:
            self._say(f"answer: {name}")
            engine = StudentEngine.load(models.resolve(self.config.student), adapter)
            if training is None:
                reading, score = chain.calibrated(engine, retriever, self.sessions)
                write_json(output.with_suffix(".reading.json"), {**reading.model_dump(), "validation_gjs": score})
            else:
                reading = training.reading
            predictions = chain.answer_to_file(
                self.test, engine, output, [name, reading.model_dump()], retriever=retriever, reading=reading
            )
        cost = json.loads(cost_path(output).read_text(encoding="utf-8"))
        self._enter(name, predictions, cost, training)
        release_memory()

    def _enter(
        self, name: str, predictions: list[Prediction], cost: dict[str, Any], training: "Manifest | None"
    ) -> None:
        groups = [prediction.groups for prediction in predictions]
        scores = [score_session(g, s.groups) for g, s in zip(groups, self.test, strict=True)]
        row = scoring.Row(
            name,
            scores,
            tokens_in=cost["tokens_in"],
            tokens_out=cost["tokens_out"],
            seconds=cost["seconds"],
        )
        self.entries[name] = Entry(
            row,
            predictions,
            groups,
            intent_similarity(predictions, self.test, self.embedder),
            training.seconds if training else None,
            training.validation_gjs if training else None,
        )

    def _tuned(self, name: str, teacher: str | None) -> None:
        folder = self._adapter(name)
        if not (folder / "manifest.json").is_file():
            self._say(f"finetune: {name}, {self.config.limit} sessions")
        config = self.config.training.model_copy(update={"seed": self.config.seed})
        retriever = self._retriever(teacher)
        manifest = Tuning(self.sessions, folder, config, self.config.student, retriever, self.config.limit).run()
        release_memory()
        self._student(name, teacher, folder, manifest)

    def records(self) -> dict[str, Knowledge]:
        """Return all records of both knowledge bases by id."""
        retrievers = [self._retriever(teacher) for teacher in (GROUNDED, LARGE)]
        return {record.id: record for r in retrievers if r for record in r.store.catalogue.records()}

    def serving_options(self) -> str:
        """Return the options that answer with the tuned student and the large model's knowledge."""
        titles = " ".join(shlex.quote(title) for title in self.test[0].titles[:4])
        return f"--adapter {self._adapter(f'ICL+SFT ({LARGE})')} --kb {self._kb(LARGE)} --items {titles}"

    def peak_memory(self) -> float:
        """Return the largest resident memory of this run so far in GB, over all its starts."""
        peak = peak_memory()
        path = self.folder / "memory.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else 0.0
        write_json(path, max(peak, before))
        return max(peak, before)
