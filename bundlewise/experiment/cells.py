"""A cell of an experiment: one value for every dial, from the format of the knowledge to the seed of the training."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bundlewise.agents.student.dials import AnswerDials, Form
from bundlewise.agents.student.modes import Utilisation, utilisation_of
from bundlewise.agents.teacher.samplers import Sampler
from bundlewise.domain import Record
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.finetune.config import TrainingConfig
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.endpoints import Endpoint, is_served
from bundlewise.models.llama import is_llama

Format = Literal["patterns", "rules", "thoughts"]
FORMATS: tuple[Format, ...] = ("patterns", "rules", "thoughts")
TEACHERS = ("grounded", "recorded")
OWN_DIALS = {
    "retrieval": ("patterns", "rules", "thoughts", "demonstrations", "hints"),
    "training": ("seed",),
    "answering": ("form",),
}
"""Dials of retrieval, training and answering that are set by other fields of a cell."""
WITHOUT_HINTS = 2
"""Records of each format for a student that judges pairs, where no thought gives it hints."""


class Cell(Record):
    """The settings of one cell; a prompt has `k` records of each format, and `hints` are read from thoughts.

    A field that has no effect in a cell gets its default, so that cells with the same effect are equal: the plain
    student has no knowledge and no training, and a student tuned without knowledge has no `k`. A cell without a form
    is taken for one of the form `pairs`; planning gives each cell the form of its base.
    """

    utilisation: Utilisation = Field(default="icl", description="plain, icl, sft or icl+sft")
    formats: tuple[Format, ...] = Field(default=FORMATS, description="formats of knowledge used; [] is none")
    teacher: str = Field(default="grounded", min_length=1, description="grounded, recorded, openai:MODEL[@URL]")
    domains: tuple[str, ...] = Field(default=(), description="domains that teach; [] is the first one of the data")
    sampler: Sampler = Field(default="random", description="which training sessions teach")
    ratio: float = Field(default=1.0, gt=0, le=1, description="share of the training sessions that teach")
    k: int | None = Field(
        default=None, ge=0, description="records of each format in a prompt; null is what suits the form of the answers"
    )
    demonstrations: int | None = Field(
        default=None, ge=0, description="solved training sessions in a prompt; null is what suits the form, or 0 with k"
    )
    hints: int | None = Field(
        default=None, ge=0, description="observed pairs a hint word is read from; null is 30, or 0 without thoughts"
    )
    readers: bool = Field(default=False, description="titles read by readers tuned on the thoughts, as by kb tune")
    retrieval: Mapping[str, Any] = Field(default_factory=dict, description="further dials of retrieval")
    student: str = Field(default="smollm2-135m", min_length=1, description="base: name, hub id, folder or GGUF file")
    form: Form | None = Field(default=None, description="pairs or write; null is the form that suits the base")
    answering: Mapping[str, Any] = Field(default_factory=dict, description="further dials of answering")
    tuned: int | None = Field(default=None, ge=1, description="sessions tuned on, by seed; null is all that teach")
    teach: bool | None = Field(default=None, description="tune on the knowledge's own words too")
    training: Mapping[str, Any] = Field(default_factory=dict, description="dials of LoRA training")
    seed: int = Field(default=0, ge=0, description="determines sampling, training and what is left to chance")

    @field_validator("formats", mode="before")
    @classmethod
    def _from_words(cls, formats: Any) -> Any:
        if not isinstance(formats, str):
            return formats
        return {"none": (), "all": FORMATS}.get(formats, tuple(formats.split("+")))

    @field_validator("formats", mode="after")
    @classmethod
    def _in_order(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(name for name in FORMATS if name in formats)

    @field_validator("teacher")
    @classmethod
    def _teaches(cls, teacher: str) -> str:
        if teacher not in TEACHERS and not is_served(teacher):
            raise ValueError(f"no teacher {teacher!r}; choose {', '.join(TEACHERS)} (from packs), openai:MODEL[@URL]")
        return teacher

    @field_validator("teacher", "student")
    @classmethod
    def _can_be_asked(cls, name: str) -> str:
        try:
            return Endpoint.named(name).spec if is_served(name) else name
        except UsageError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in ("hints", "demonstrations"):
            if getattr(self, name) and "thoughts" not in self.formats:
                raise ValueError(f"{name} are read from thoughts; add thoughts to formats, or leave {name} out")
        if self.demonstrations and self.form == "pairs":
            raise ValueError("demonstrations are shown to a student that writes; set form: write, or leave them out")
        if self.teach and not (self.formats and self.is_tuned):
            raise ValueError("teach needs formats and a tuned student; add formats and choose sft, or leave it out")
        if self.is_tuned and (is_served(self.student) or is_llama(self.student)):
            where = "on a server" if is_served(self.student) else "in llama.cpp"
            raise ValueError(f"{self.student} is {where} and cannot be tuned here; choose plain or icl for it")
        _known(Policy, self.retrieval, "retrieval")
        _known(TrainingConfig, self.training, "training")
        _known(AnswerDials, self.answering, "answering")
        try:
            policy, *_ = self.policy, self.config, AnswerDials.of(**self.answering)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if policy.budget is not None and is_served(self.student):
            raise ValueError(f"retrieval.budget counts tokens, those of {self.student} are unknown; leave it out")
        return self

    @property
    def policy(self) -> Policy:
        """The retrieval policy; all quotas are zero for a student that reads no knowledge."""
        if "icl" not in self.utilisation:
            return Policy.none()
        usual = Policy.for_form(self.form or "pairs", {}, counts=not is_served(self.student))
        quotas = {name: getattr(usual, name) if self.k is None else self.k for name in FORMATS}
        if self.k is None and not self._has_thoughts and not any(quotas.values()):
            quotas = dict.fromkeys(FORMATS, WITHOUT_HINTS)
        own = {"demonstrations": usual.demonstrations if self.k is None else 0, "hints": usual.hints}
        from_thoughts = {name: own[name] if self._has_thoughts else 0 for name in own}
        given = {name: value for name in own if (value := getattr(self, name)) is not None}
        read: dict[str, Any] = {name: quotas[name] if name in self.formats else 0 for name in FORMATS}
        return Policy.of(**{**usual.model_dump(), **read, **from_thoughts, **given, **self.retrieval})

    @property
    def _has_thoughts(self) -> bool:
        return "thoughts" in self.formats

    @property
    def dials(self) -> dict[str, Any]:
        """The dials of answering that the cell sets."""
        return {"form": self.form, **self.answering}

    @property
    def config(self) -> TrainingConfig:
        """The settings by which the student is tuned."""
        return TrainingConfig.of(**{**self.training, "seed": self.seed})

    @property
    def is_tuned(self) -> bool:
        """Whether the student is tuned."""
        return "sft" in self.utilisation

    @property
    def reads(self) -> bool:
        """Whether the student reads knowledge when it answers."""
        return not self.policy.is_plain

    @property
    def has_readers(self) -> bool:
        """Whether tuned readers read the titles that hints rest on."""
        return self.readers and bool(self.policy.hints)

    @property
    def taught(self) -> tuple[Format, ...]:
        """The formats whose text the student is tuned on: by default all formats of `sft`."""
        wanted = self.utilisation == "sft" if self.teach is None else self.teach
        return self.formats if self.is_tuned and wanted else ()

    @property
    def knows(self) -> bool:
        """Whether the cell needs a knowledge base."""
        return self.reads or bool(self.taught)

    @property
    def is_paid(self) -> bool:
        """Whether a large teacher has to be asked for the cell's knowledge."""
        return self.knows and is_served(self.teacher)

    @property
    def used(self) -> tuple[Format, ...]:
        """The formats that reach the student; if its prompt has hints but no records, these are thoughts alone."""
        policy = self.policy
        shows = policy.patterns or policy.rules or policy.thoughts
        read: tuple[Format, ...] = () if policy.is_plain else self.formats if shows else ("thoughts",)
        return tuple(name for name in FORMATS if name in (*read, *self.taught))

    @property
    def idle(self) -> set[str]:
        """The fields that have no effect in this cell."""
        found = {"sampler"} if self.ratio == 1 else set[str]()
        if not self.is_tuned:
            found |= {"training", "tuned"} | ({"seed"} if self.ratio == 1 and not self.has_readers else set())
        if not self.policy.hints:
            found |= {"readers"}
        if not self.taught or not self.reads:
            found |= {"teach"}
        if not self.reads:
            found |= {"k", "hints", "demonstrations", "retrieval"}
        if self.hints == (Policy().hints if "thoughts" in self.formats else 0):
            found |= {"hints"}
        if not self.knows:
            found |= {"teacher"}
        if not self.knows and not self.is_tuned:
            found |= {"domains", "sampler", "ratio", "seed"}
        return found

    def canonical(self) -> "Cell":
        """Return the cell with the default for every field that has no effect."""
        mode = utilisation_of(knowledge=self.reads, tuned=self.is_tuned)
        policy = self.policy
        usual: dict[str, Any] = {"demonstrations": policy.demonstrations}
        if self.form != "write" and self.k is None:
            usual["k"] = max(policy.patterns, policy.rules, policy.thoughts)
        values = {name: getattr(self, name) for name in Cell.model_fields}
        values = {name: value for name, value in {**values, **usual}.items() if name not in self.idle}
        return Cell.model_validate({**values, "utilisation": mode, "formats": self.used})

    @property
    def key(self) -> str:
        """A fingerprint of all dials."""
        return fingerprint(self.model_dump())


def _known(kind: type[Record], values: Mapping[str, Any], whose: str) -> None:
    dials = [name for name in kind.model_fields if name not in OWN_DIALS[whose]]
    for name in values:
        if name in OWN_DIALS[whose]:
            own = "form" if whose == "answering" else "formats, k, hints and seeds"
            raise ValueError(f"{whose}.{name} follows from {own}; set those")
        if name not in dials:
            raise ValueError(f"{whose} has no dial {name!r}; choose from {', '.join(dials)}")
