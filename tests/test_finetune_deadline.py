"""The end of a training's time, and Ctrl-C: kept within a step, in validation and in preparation; nothing is lost."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bundlewise.agents.student.engine import place_logits
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import AdapterError
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.deadline import Deadline, TimeIsOver
from bundlewise.finetune.examples import Example, examples, plan
from bundlewise.finetune.lora import with_lora
from bundlewise.finetune.training import Training, TrainingResult
from bundlewise.finetune.tuning import Tuning

CONFIG = TrainingConfig(learning_rate=3e-2, rank=4, layers=0, epochs=4, batch_tokens=1500, evaluations=2)


def batches(tokenizer: Any) -> list[list[Example]]:
    sessions = [s for s in load("electronics", "train") if len(s.items) == 3][:4]
    none = [Retrieved() for _ in sessions]
    return plan([examples(tokenizer, sessions, none, intents=1, seed=n) for n in range(CONFIG.epochs)], CONFIG)


def tune(base: Path, folder: Path, **options: Any) -> TrainingResult:
    model, tokenizer = load_causal_lm(base)
    return Training(with_lora(model, CONFIG), batches(tokenizer), CONFIG, folder, **options).run()


class Late(Deadline):
    """A deadline that is over when it has been looked at so many times."""

    looks = 10**9

    @property
    def left(self) -> float:
        self.looks -= 1
        return -1.0 if self.looks < 0 else 1e6


def late_after(looks: int) -> Late:
    deadline = Late(5)
    deadline.looks = looks
    return deadline


@pytest.fixture(scope="module")
def whole(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, int, bytes]:
    """Return an unstopped training, how often it looks at the time, and its weights."""
    folder, deadline = tmp_path_factory.mktemp("whole"), late_after(10**9)
    result = tune(tiny_student, folder, deadline=deadline)
    return result, 10**9 - deadline.looks, (folder / "adapter_model.safetensors").read_bytes()


def test_the_time_is_looked_at_many_times_in_a_step(whole: tuple[TrainingResult, int, bytes]) -> None:
    # Two layers, forwards and backwards, for questions and for intents, beside once between steps.
    assert whole[1] >= 8 * CONFIG.epochs


@pytest.mark.parametrize("share", [0.3, 0.45, 0.5, 0.55, 0.6, 0.8, 0.95])
def test_wherever_the_time_ends_the_training_goes_on_to_the_same_losses_and_weights(
    whole: tuple[TrainingResult, int, bytes], tiny_student: Path, tmp_path: Path, share: float
) -> None:
    short = tune(tiny_student, tmp_path, deadline=late_after(int(share * whole[1])))
    assert (short.stopped, short.goes_on) == ("5 minutes are over", True)
    assert 0 < len(short.losses) < CONFIG.epochs
    assert short.losses == whole[0].losses[: len(short.losses)]
    result = tune(tiny_student, tmp_path)
    assert (result.losses, result.tokens) == (whole[0].losses, whole[0].tokens)
    assert (tmp_path / "adapter_model.safetensors").read_bytes() == whole[2]


def test_time_that_ends_in_the_first_step_is_an_error_with_a_remedy(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="5 minutes are over before the first step; give more with --max-minutes"):
        tune(tiny_student, tmp_path, deadline=late_after(4))
    assert not list(tmp_path.iterdir())


def test_time_that_ends_in_a_validation_ends_it(tiny_student: Path, tmp_path: Path) -> None:
    def slow() -> float:
        time.sleep(30)
        return 0.5

    started = time.monotonic()
    deadline = Deadline(0.5)
    result = tune(
        tiny_student,
        tmp_path,
        deadline=deadline,
        validate=slow,
        watch=lambda number, *_: setattr(deadline, "started", time.perf_counter() - 28) if number == 1 else None,
    )
    assert time.monotonic() - started < 25
    assert (len(result.losses), result.scores, result.goes_on) == (2, (), True)


class Slow:
    """A knowledge base that takes long."""

    about = {"policy": {}, "teacher": None}  # noqa: RUF012

    def retrieve(self, sessions: Any) -> list[Retrieved]:
        time.sleep(30)
        return [Retrieved() for _ in sessions]


def small() -> list[Session]:
    return [s for s in load("electronics") if s.split != "test" and len(s.items) == 3][:6]


def test_time_that_ends_while_examples_are_prepared_ends_that(tiny_student: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    tuning = Tuning(small(), tmp_path / "a", CONFIG, str(tiny_student), retriever=Slow(), max_minutes=0.05)
    with pytest.raises(AdapterError, match=r"0.05 minutes are over before the first step"):
        tuning.run()
    assert time.monotonic() - started < 20 and not (tmp_path / "a").exists()


def test_ctrl_c_comes_through_in_a_forward_and_in_a_backward_pass(tiny_student: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_student)
    tuned = with_lora(model, CONFIG)
    part = [example.encoded for example in batches(tokenizer)[0]][:2]
    ends: list[str] = []

    class Pressed(Deadline):
        def check(self) -> None:
            ends.append("backwards" if torch._C._current_graph_task_id() != -1 else "forwards")
            if len(ends) == int(self.earlier):
                raise KeyboardInterrupt

    for stop, where in ((1, "forwards"), (4, "forwards"), (5, "backwards"), (6, "backwards")):
        ends.clear()
        with pytest.raises(KeyboardInterrupt), Pressed(earlier=stop).within(tuned):
            place_logits(tuned.get_base_model(), part).sum().backward()
        assert ends[-1] == where


def test_nothing_stays_in_the_model(tiny_student: Path) -> None:
    tuned = with_lora(load_causal_lm(tiny_student)[0], CONFIG)
    with Deadline().within(tuned):
        pass
    layers = tuned.get_base_model().get_decoder().layers
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


def test_an_alarm_ends_what_waits_and_leaves_no_clock() -> None:
    with pytest.raises(TimeIsOver, match=r"0.001 minutes are over"), Deadline(0.001).alarm():
        time.sleep(10)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with Deadline(1).alarm():
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with Deadline().alarm():
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_seconds_of_earlier_starts_count() -> None:
    assert Deadline(1, earlier=50).left < 11
    assert Deadline().left == float("inf")
