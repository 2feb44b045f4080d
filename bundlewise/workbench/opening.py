"""The opening of a student for the workbench: with its knowledge and dials, under any prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.agents.student.dials import AnswerDials
from bundlewise.domain import Retrieved, Session
from bundlewise.finetune.adapters import Manifest, changed_prompts
from bundlewise.finetune.students import answer_dials, manifest_for
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import resolve
from bundlewise.pipeline.knowledge import open_retriever
from bundlewise.pipeline.student import Student
from bundlewise.prompts.library import using
from bundlewise.settings import quiet_libraries
from bundlewise.workbench.answer_cache import AnswerCache, Bench, default_cache
from bundlewise.workbench.compare import sample
from bundlewise.workbench.preview import World
from bundlewise.workbench.reader import Reader
from bundlewise.workbench.variants import Variant

if TYPE_CHECKING:
    from bundlewise.knowledge_base.retrieval import Retriever

CALIBRATING = 60


@dataclass(frozen=True)
class Opening:
    """The names of a student and its knowledge; `dials` of retrieval and `answering` replace its own."""

    student: str
    adapter: Path | None = None
    kb: str | None = None
    dials: dict[str, Any] = field(default_factory=dict)
    answering: dict[str, Any] = field(default_factory=dict)
    cache: Path | None = None
    warn: Callable[[str], None] = lambda _: None

    @property
    def answer_dials(self) -> AnswerDials:
        """The dials of the student's answers."""
        manifest = manifest_for(self.student, self.adapter, any_prompts=True)
        return answer_dials(self.student, manifest, self.answering)

    @contextmanager
    def bench(self, variants: Sequence[Variant]) -> Iterator[Bench]:
        """Open the student to answer under these prompts; a warning names prompts that its adapter was not tuned on.

        Raises:
            UsageError: the adapter was tuned with knowledge, and no knowledge base is given.
            AdapterError: the adapter does not fit its base.
        """
        quiet_libraries()
        student = Student.open(
            kb=self.kb,
            adapter=self.adapter,
            student=self.student,
            dials=self.dials,
            answering=self.answering,
            any_prompts=True,
        )
        if student.model.manifest:
            self._warn_of_other_prompts(student.model.manifest, variants)
        with closing(AnswerCache(self.cache or default_cache())) as cache:
            yield Bench(student, cache)

    def retriever(self) -> "Retriever | None":
        """Open the knowledge base with the given dials or the defaults; showing prompts needs no student."""
        policy = Policy.for_form(self.answer_dials.form, self.dials, counts=self._base is not None)
        return open_retriever(self.kb, policy, self._base) if self.kb and not policy.is_plain else None

    def worlds(
        self, sessions: Sequence[Session], known: Sequence[Session], retriever: "Retriever | None"
    ) -> list[World]:
        """Return what the prompts of sessions depend on: their knowledge, other sessions, and the reader."""
        found = retriever.retrieve([s.blind() for s in sessions]) if retriever else [Retrieved() for _ in sessions]
        reader = Reader(self._base) if self._base else None
        return [World(each, known, reader) for each in found]

    @staticmethod
    def calibrate(bench: Bench, variants: Sequence[Variant], known: Sequence[Session], seed: int) -> None:
        """Calibrate the student under each of these prompts on training sessions; the comparison uses others."""
        training = sample([session for session in known if session.split == "train"], CALIBRATING, seed)
        for variant in variants:
            bench.calibrate(variant.library, training)

    @property
    def _base(self) -> Path | None:
        return None if is_served(self.student) else resolve(self.student)

    def _warn_of_other_prompts(self, manifest: Manifest, variants: Sequence[Variant]) -> None:
        for variant in variants:
            with using(variant.library):
                changed = changed_prompts(manifest)
            if changed:
                self.warn(
                    f"the student in {self.adapter or self.student} was tuned on another {', '.join(changed)} than "
                    f"{variant.name} has, so a new wording may harm it by itself: tune it on each before you decide"
                )
