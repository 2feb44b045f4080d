"""The inputs of an experiment: sessions, packs and their hashes, and the samples of sessions that teach."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from bundlewise.agents.teacher import samplers
from bundlewise.data.columns import columns_in_force
from bundlewise.data.sessions import STARTERS, find_dataset, load, starter_pack_path
from bundlewise.domain import Session
from bundlewise.errors import UsageError
from bundlewise.experiment.cells import Cell
from bundlewise.experiment.file import Experiment
from bundlewise.files import fingerprint, sha256_file
from bundlewise.inputs import is_input
from bundlewise.models.known import MINILM
from bundlewise.prompts.render import TEMPLATES, student_fingerprints
from bundlewise.prompts.render import fingerprint as templates_fingerprint
from bundlewise.source import code_fingerprint

if TYPE_CHECKING:
    from bundlewise.knowledge_base.embedding import Embedder


DECIDING = ("torch", "transformers", "peft")
"""Libraries whose version may change a result."""


class Inputs:
    """An experiment's data, read once and identified by hashes."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._teaching: dict[str, list[Session]] = {}

    @cached_property
    def data(self) -> dict[str, list[Session]]:
        """The sessions of every domain."""
        return {domain: load(name) for domain, name in self.experiment.data.items()}

    @property
    def target(self) -> list[Session]:
        """The sessions of the first domain, which is scored."""
        return self.data[self.experiment.target]

    def annotated(self, domain: str, split: str) -> list[Session]:
        """Return the annotated sessions of a domain's split."""
        return [s for s in self.data[domain] if s.split == split and s.bundles]

    @cached_property
    def scored(self) -> list[Session]:
        """The annotated sessions that are scored, in their order.

        Raises:
            UsageError: the split has no annotated sessions.
        """
        target, split, limit = self.experiment.target, self.experiment.split, self.experiment.limit
        found = self.annotated(target, split)
        if not found:
            raise UsageError(f"{self.experiment.data[target]} has no annotated sessions in split {split!r} to score")
        if limit is None or limit >= len(found):
            return found
        places = sorted(Random(0).sample(range(len(found)), limit))
        return [found[place] for place in places]

    def check(self, cells: Iterable[Cell]) -> None:
        """Check before anything runs that the data have what the cells and baselines need.

        Raises:
            UsageError: something is missing; the message names it and its place.
        """
        target = self.experiment.target
        _ = self.scored  # This raises an error for a split without annotated sessions.
        used = dict.fromkeys(d for cell in cells if cell.knows or cell.is_tuned for d in self.domains(cell))
        for domain, split in [(target, "validation"), *((domain, "train") for domain in used)]:
            if not self.annotated(domain, split):
                name = self.experiment.data[domain]
                raise UsageError(
                    f"{name} has no annotated sessions in split {split!r}; annotate some, or choose others"
                )

    @cached_property
    def packs(self) -> dict[str, Path]:
        """The file of a large model's recorded knowledge for each domain that has one."""
        given = {domain: Path(name) for domain, name in self.experiment.packs.items()}
        starters = {
            domain: starter_pack_path(name)
            for domain, name in self.experiment.data.items()
            if name in STARTERS and domain not in given
        }
        for domain, path in given.items():
            if not is_input(path):
                raise UsageError(f"no file {path}, the pack of domain {domain!r}; check packs")
        return given | starters

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of every file that is read, and the columns if some are given."""
        named = {f"data {domain}": find_dataset(name) for domain, name in self.experiment.data.items()}
        named |= {f"pack {domain}": path for domain, path in self.packs.items()}
        named |= {f"teacher {row.name}": Path(row.predictions) for row in self.experiment.teachers if row.predictions}
        for name, path in named.items():
            if not is_input(path):
                raise UsageError(f"no file {path} ({name}); check the experiment")
        columns = columns_in_force()
        given = {"columns": fingerprint(columns)} if columns else {}
        return {name: sha256_file(path) for name, path in named.items()} | given

    @cached_property
    def embedder(self) -> "Embedder":
        """The embedder, loaded once."""
        from bundlewise.knowledge_base.embedding import Embedder

        return Embedder.named()

    @cached_property
    def code(self) -> list[Any]:
        """The parts of the program that determine an answer: code, prompts, models and libraries."""
        prompts = [templates_fingerprint(*TEMPLATES), student_fingerprints()]
        return [code_fingerprint(), prompts, MINILM.sha256, [version(name) for name in DECIDING]]

    @cached_property
    def scored_or_not(self) -> list[Session]:
        """All sessions of the scored split, annotated or not, since a file of predictions may cover all of them."""
        return [s for s in self.target if s.split == self.experiment.split]

    @cached_property
    def baselines_key(self) -> str:
        """A hash of everything that determines the baselines: the data of the first domain and the scored sessions."""
        target = self.experiment.target
        return fingerprint([self.code, self.hashes[f"data {target}"], [s.session_id for s in self.scored]])

    def teaching(self, cell: Cell) -> list[Session]:
        """Return the training sessions that teach in a cell: a sample of each domain."""
        key = fingerprint([cell.domains, cell.sampler, cell.ratio, cell.seed])
        if key not in self._teaching:
            self._teaching[key] = self._sampled(cell)
        return self._teaching[key]

    def domains(self, cell: Cell) -> tuple[str, ...]:
        """Return the domains that a cell learns from."""
        return cell.domains or (self.experiment.target,)

    def _sampled(self, cell: Cell) -> list[Session]:
        chosen: list[Session] = []
        for domain in self.domains(cell):
            training = self.annotated(domain, "train")
            chosen += samplers.sample(training, cell.sampler, cell.ratio, cell.seed, embed=self._embed)
        return chosen

    def _embed(self, titles: Sequence[str]) -> Any:
        return self.embedder.embed(titles)

    def sessions(self, cell: Cell) -> list[Session]:
        """Return the sessions that a cell uses: those that teach, and the first domain's to choose on and to score."""
        return [*self.teaching(cell), *(s for s in self.target if s.split != "train")]
