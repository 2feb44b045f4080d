"""The dials of training: what is refused, and what keeps its default."""

import pytest

from bundlewise.errors import UsageError
from bundlewise.finetune.config import TrainingConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("rank", 0),
        ("layers", -1),
        ("batch_tokens", 0),
        ("intents", 1.5),
        ("intents", -0.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{name}: .*, got {value}"):
        TrainingConfig.of(**{name: value})


def test_what_is_not_given_keeps_its_default() -> None:
    assert TrainingConfig.of(rank=None, epochs=2) == TrainingConfig(epochs=2)
