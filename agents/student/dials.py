"""The dials of answering: the form of the student's answers, and how they are written and repaired."""

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from pydantic import Field

from bundlewise.agents.student.aims import AIMS, Aim, AimName
from bundlewise.dials import DialSet

Form = Literal["pairs", "write"]
FORMS: tuple[Form, ...] = get_args(Form)
Reasoning = Literal["none", "brief"]
REASONINGS: tuple[Reasoning, ...] = get_args(Reasoning)
CHOICES: Mapping[str, tuple[str, ...]] = {"form": FORMS, "reasoning": REASONINGS, "aim": AIMS}
"""The values of the dials that are words."""
RANGES = {"samples": (1, 64), "repairs": (0, 3)}
"""The least and the largest number of the dials that are numbers."""
SMALLEST_WRITER = 400_000_000
"""The fewest weights of a base that reads prompts well enough to write whole answers by default."""


class AnswerDials(DialSet):
    """The dials of a student's answers.

    In the form `pairs` it judges pairs of products, and bundles are computed from the judgements. In the form `write`
    it writes whole answers, and the other dials apply; a repair is always written.
    """

    allowed: ClassVar[Mapping[str, str]] = {
        **{name: " or ".join(words) for name, words in CHOICES.items()},
        "recall": "from 0 to 1",
        **{name: f"from {least} to {most}" for name, (least, most) in RANGES.items()},
    }

    form: Form = Field(default="pairs", description="pairs: judge pairs; write: write whole answers")
    samples: int = Field(
        default=8,
        ge=RANGES["samples"][0],
        le=RANGES["samples"][1],
        description="answers drawn, of which the best is taken; 1: likeliest",
    )
    reasoning: Reasoning = Field(default="none", description="brief: a line of reasoning comes before each answer")
    repairs: int = Field(
        default=1, ge=RANGES["repairs"][0], le=RANGES["repairs"][1], description="most retries after a faulty answer"
    )

    aim: AimName = Field(
        default="gjs", description="gjs: bundles that overlap most; exact: equal bundles; precision: sure bundles only"
    )
    recall: float = Field(
        default=Aim().recall, ge=0, le=1, description="with aim precision: least share of bundles found exactly"
    )

    @property
    def aiming(self) -> Aim:
        """What an answer is chosen for."""
        return Aim(name=self.aim, recall=self.recall)

    @property
    def thinks(self) -> bool:
        """Say whether a line of reasoning comes before the answer."""
        return self.reasoning == "brief"


def form_for(parameters: int | None) -> Form:
    """Return the form that suits a base with this number of weights; an unknown base writes."""
    return "pairs" if parameters is not None and parameters < SMALLEST_WRITER else "write"
