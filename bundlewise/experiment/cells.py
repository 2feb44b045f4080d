"""A cell of an experiment: one setting of every dial, from the knowledge's format to the training's seed."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bundlewise.agents.samplers import Sampler
from bundlewise.agents.utilisation import Utilisation, utilisation_of
from bundlewise.domain import Record
from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.finetune.config import TrainingConfig
from bundlewise.knowledge_base.policy import Policy

Format = Literal["patterns", "rules", "thoughts"]
FORMATS: tuple[Format, ...] = ("patterns", "rules", "thoughts")
OWN_DIALS = ("patterns", "rules", "thoughts", "hints")
"""The dials of a policy that follow from a cell's formats, `k` and `hints`."""


class Cell(Record):
    """What one cell does; `k` records of each format stand in a prompt, `hints` are read from thoughts.

    Fields that change nothing in a cell are set to their defaults, so that equal cells are equal: the plain
    student has no knowledge and no training, a student tuned without knowledge has no `k`.
    """

    utilisation: Utilisation = Field(default="icl", description="plain, icl, sft or icl+sft")
    formats: tuple[Format, ...] = Field(default=FORMATS, description="formats of knowledge used; [] is none")
    teacher: str = Field(default="grounded", min_length=1, description="grounded, recorded, openai:MODEL[@URL]")
    domains: tuple[str, ...] = Field(default=(), description="domains that teach; [] is the first one of the data")
    sampler: Sampler = Field(default="random", description="which training sessions teach")
    ratio: float = Field(default=1.0, gt=0, le=1, description="share of the training sessions that teach")
    k: int = Field(default=2, ge=0, description="records of each format in a prompt")
    hints: int | None = Field(default=None, ge=0, description="observed pairs a hint word is read from")
    retrieval: Mapping[str, Any] = Field(default_factory=dict, description="further dials of retrieval")
    student: str = Field(default="smollm2-135m", min_length=1, description="name, hub id or folder of the base")
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

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.hints and "thoughts" not in self.formats:
            raise ValueError("hints are read from thoughts; add thoughts to formats, or leave hints out")
        if self.teach and not (self.formats and self.is_tuned):
            raise ValueError("teach needs formats and a tuned student; add formats and choose sft, or leave it out")
        if own := sorted(set(self.retrieval) & set(OWN_DIALS)):
            raise ValueError(f"retrieval.{own[0]} follows from formats, k and hints; set those")
        try:
            assert self.policy and self.config
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def policy(self) -> Policy:
        """What may stand in a prompt; all zeros for a student that reads no knowledge."""
        if "icl" not in self.utilisation:
            return Policy.none()
        quotas: dict[str, Any] = {name: self.k if name in self.formats else 0 for name in FORMATS}
        default = Policy().hints if "thoughts" in self.formats else 0
        hints = default if self.hints is None else self.hints
        _known(Policy, self.retrieval, "retrieval")
        return Policy.of(**{**quotas, "hints": hints, **self.retrieval})

    @property
    def config(self) -> TrainingConfig:
        """How the student is tuned."""
        _known(TrainingConfig, self.training, "training")
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
    def taught(self) -> tuple[Format, ...]:
        """The formats whose words the student is tuned on: those of `sft`, unless told otherwise."""
        wanted = self.utilisation == "sft" if self.teach is None else self.teach
        return self.formats if self.is_tuned and wanted else ()

    @property
    def knows(self) -> bool:
        """Whether the cell needs a knowledge base."""
        return self.reads or bool(self.taught)

    def canonical(self) -> "Cell":
        """Return the cell with every field that changes nothing at its default."""
        mode = utilisation_of(knowledge=self.reads, tuned=self.is_tuned)
        values = {name: getattr(self, name) for name in Cell.model_fields} | {"utilisation": mode}
        values["formats"] = self.formats if self.reads else self.taught
        idle = {"sampler"} if self.ratio == 1 else set[str]()
        if not self.reads:
            idle |= {"k", "hints", "retrieval", "teach"}
        if not self.knows:
            idle |= {"teacher"}
        if not self.is_tuned:
            idle |= {"training", "tuned", "teach"} | ({"seed"} if self.ratio == 1 else set())
        if mode == "plain":
            idle |= {"domains", "sampler", "ratio", "seed"}
        return Cell.model_validate({name: value for name, value in values.items() if name not in idle})

    @property
    def key(self) -> str:
        """A fingerprint of all dials."""
        return fingerprint(self.model_dump())


def _known(kind: type[Record], values: Mapping[str, Any], whose: str) -> None:
    if unknown := sorted(set(values) - set(kind.model_fields)):
        raise UsageError(f"{whose} has no dial {unknown[0]!r}; choose from {', '.join(kind.model_fields)}")
