"""The knowledge bases of an experiment: distilled once, and cached by a hash of everything that determines them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from shutil import copytree
from time import perf_counter
from typing import Any

from bundlewise.agents.teacher.failures import StageError
from bundlewise.domain import Knowledge
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.inputs import Inputs
from bundlewise.experiment.payment import RunPayment
from bundlewise.files import fingerprint, made_once, read_rows, write_jsonl, write_text
from bundlewise.pipeline.kind_readers import tune_readers
from bundlewise.pipeline.knowledge_base import distil
from bundlewise.scratch import scratch_folder


@dataclass(frozen=True)
class DistilledKnowledge:
    """A distilled knowledge base: its place, its contents, and the cost of distilling it.

    Tokens are a large teacher's. `failed` counts its questions without a usable answer. `dollars` is None where the
    price is unknown.
    """

    folder: Path
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0
    dollars: float | None = 0.0
    failed: int = 0


class KnowledgeBases:
    """The knowledge bases that an experiment's teachers distil from its inputs, kept in a cache folder."""

    def __init__(self, inputs: Inputs, payment: RunPayment, cache: Path) -> None:
        self.inputs, self.payment, self.cache = inputs, payment, cache
        self._known: dict[str, str] = {}
        self._failed: dict[str, StageError] = {}
        self._records: dict[str, dict[str, Knowledge]] = {}

    def key(self, cell: Cell) -> str:
        """Return the name of the knowledge that a cell's teacher distils from its sessions; all formats share it."""
        if not cell.knows and not cell.is_tuned:
            return ""
        if cell.key not in self._known:
            self._known[cell.key] = self._fingerprint_of_knowledge(cell)
        return self._known[cell.key]

    def _fingerprint_of_knowledge(self, cell: Cell) -> str:
        sessions = [session.model_dump() for session in self.inputs.sessions(cell)]
        told: list[Any] = [cell.teacher] if cell.knows else []
        if cell.is_paid:
            told.append(self.inputs.experiment.asking)
        if cell.knows and cell.teacher == "recorded":
            # The rules of a share of the sessions depend on ratio and seed, even if the sessions are the same.
            domains, packs = self.inputs.domains(cell), self.inputs.packs
            told += [self.inputs.hashes[f"pack {domain}"] for domain in domains if domain in packs]
            told += [cell.ratio, cell.seed] if cell.ratio < 1 else []
        return fingerprint([self.inputs.code, sessions, told])

    def is_distilled(self, cell: Cell) -> bool:
        """Say whether the knowledge that a cell needs is in the cache."""
        return self._summary(cell).is_file()

    def _summary(self, cell: Cell) -> Path:
        return self.cache / "kb" / f"{self.key(cell)}.json"

    def of(self, cell: Cell) -> DistilledKnowledge:
        """Return the knowledge of a cell; missing knowledge is distilled."""
        key = self.key(cell)
        if failed := self._failed.get(key):
            raise StageError(*failed.lines)
        folder = self.cache / "kb" / key
        found = DistilledKnowledge(folder, **made_once(self._summary(cell), lambda: self._distil(cell, key, folder)))
        return self._with_readers(found, cell.seed) if cell.has_readers else found

    def _with_readers(self, known: DistilledKnowledge, seed: int) -> DistilledKnowledge:
        """Return a copy of a knowledge base with readers tuned with a seed; seconds include distilling and tuning."""
        folder = known.folder.with_name(f"{known.folder.name}-readers-{seed}")
        took = made_once(folder.with_suffix(".json"), lambda: self._tune_readers(known.folder, folder, seed))
        return replace(known, folder=folder, seconds=round(known.seconds + took["seconds"], 2))

    def _tune_readers(self, source: Path, folder: Path, seed: int) -> dict[str, float]:
        from bundlewise.finetune.kind_tuning import KindConfig
        from bundlewise.knowledge_base.store import KnowledgeStore

        started = perf_counter()
        if not folder.is_dir():
            with scratch_folder(folder) as work:
                copytree(source, work / "whole").rename(folder)
        tune_readers(KnowledgeStore.open(folder, self.inputs.embedder), KindConfig(seed=seed))
        return {"seconds": round(perf_counter() - started, 2)}

    def _distil(self, cell: Cell, key: str, folder: Path) -> dict[str, Any]:
        """Distil a cell's knowledge into a folder, and return its counts and costs.

        If a stage failed, only the answers are kept, and the next run asks for the bad ones again.
        """
        started, failed = perf_counter(), folder.with_suffix(".failed")
        sessions, teacher = self.inputs.sessions(cell), self._teacher(cell, key)
        with self.payment.paying() as (payment, bill):
            payment = replace(payment, retry_failed=payment.retry_failed or failed.is_file())
            try:
                embedder = self.inputs.embedder
                found = distil(sessions, teacher, folder, embedder=embedder, payment=payment, tally=bill.tally).run
            except StageError as error:
                self._failed[key] = error
                write_text(failed, f"{error}\n")
                raise
        failed.unlink(missing_ok=True)
        active = [record.kind for record in found.records if record.status == "active"]
        counts = {kind: active.count(kind) for kind in sorted(set(active))}
        took = {"tokens": bill.tokens_in + bill.tokens_out, "dollars": bill.dollars, "failed": bill.failed}
        return {"counts": counts, "seconds": round(perf_counter() - started, 2), **took}

    def _teacher(self, cell: Cell, key: str) -> str:
        """Return a teacher's full name; a recorded teacher reads the records about the sessions that teach."""
        if cell.teacher != "recorded":
            return cell.teacher
        domains = self.inputs.domains(cell)
        known = {session.session_id for session in self.inputs.teaching(cell)}
        rows: list[dict[str, Any]] = []
        for domain in domains:
            pack = read_rows(self.inputs.packs[domain])
            rules = [row for row in pack if row.get("kind") == "rule"]
            # Recorded rules name no sessions, so a share of the sessions gets an equal share of the rules.
            share = min(len(rules), max(1, round(len(rules) * cell.ratio)))
            rows += [rules[place] for place in sorted(Random(cell.seed).sample(range(len(rules)), share))]
            rows += [row for row in pack if row.get("source_session") in known]
        path = self.cache / "packs" / f"{'-'.join(domains)}-{key}.jsonl"
        write_jsonl(path, rows)
        return f"recorded:{path}"

    def records(self, cell: Cell) -> dict[str, Knowledge]:
        """Return the records that a cell's student may read, by id; none for a student without knowledge."""
        if not cell.reads:
            return {}
        return self._records_of(self.of(cell).folder)

    def _records_of(self, kb: Path) -> dict[str, Knowledge]:
        from bundlewise.knowledge_base.store import KnowledgeStore

        if str(kb) not in self._records:
            store = KnowledgeStore.open(kb, self.inputs.embedder)
            self._records[str(kb)] = {record.id: record for record in store.records.select()}
        return self._records[str(kb)]
