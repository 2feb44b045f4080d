"""The dials of answering: the form of the student's answers, and how they are written and repaired."""

from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from bundlewise.domain import Record
from bundlewise.errors import UsageError

Form = Literal["pairs", "write"]
FORMS: tuple[Form, ...] = get_args(Form)
Reasoning = Literal["none", "brief"]
REASONINGS: tuple[Reasoning, ...] = get_args(Reasoning)
RANGES = {"samples": (1, 64), "repairs": (0, 3)}
"""The least and the largest number of the dials that are numbers."""
SMALLEST_WRITER = 400_000_000
"""The fewest weights of a base that reads prompts well enough to write whole answers by default."""
ALLOWED = {
    "form": " or ".join(FORMS),
    "reasoning": " or ".join(REASONINGS),
    **{name: f"from {least} to {most}" for name, (least, most) in RANGES.items()},
}


class AnswerDials(Record):
    """How a student answers.

    In the form `pairs` it judges pairs of products, and bundles are computed from the judgements. In the form `write`
    it writes whole answers, and the other dials apply; a repair is always written.
    """

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

    @classmethod
    def of(cls, **dials: Any) -> "AnswerDials":
        """Build dials from options; None keeps the default.

        Raises:
            UsageError: a dial has a value that is not allowed.
        """
        try:
            return cls.model_validate({key: value for key, value in dials.items() if value is not None})
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            if name not in ALLOWED:
                raise UsageError(f"no dial named {name!r}; choose {', '.join(ALLOWED)}") from error
            raise UsageError(f"{name} must be {ALLOWED[name]}, got {fault['input']}") from error

    @property
    def thinks(self) -> bool:
        """Say whether a line of reasoning comes before the answer."""
        return self.reasoning == "brief"


def form_for(parameters: int | None) -> Form:
    """Return the form that suits a base with this number of weights; an unknown base writes."""
    return "pairs" if parameters is not None and parameters < SMALLEST_WRITER else "write"
