"""LoRA training: it learns, moves only what it should, and goes on after a stop as if nothing had happened."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bundlewise.agents.student.load import load_causal_lm
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import read_rows
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.deadline import Deadline
from bundlewise.finetune.examples import Example, examples, plan
from bundlewise.finetune.lora import with_lora
from bundlewise.finetune.training import Training, TrainingResult, Watch

CONFIG = TrainingConfig(learning_rate=3e-2, rank=4, layers=1, epochs=8, batch_tokens=1500)
STEPS = CONFIG.epochs


def small_sessions() -> list[Session]:
    return [s for s in load("electronics", "train") if len(s.items) == 3][:4]


def batches_of(tokenizer: Any, config: TrainingConfig = CONFIG) -> list[list[Example]]:
    sessions = small_sessions()
    none = [Retrieved() for _ in sessions]
    return plan([examples(tokenizer, sessions, none, intents=1, seed=n) for n in range(config.epochs)], config)


def tune(
    base: Path, folder: Path, config: TrainingConfig = CONFIG, watch: Watch | None = None, **options: Any
) -> TrainingResult:
    model, tokenizer = load_causal_lm(base)
    return Training(
        with_lora(model, config), batches_of(tokenizer, config), config, folder, watch=watch, **options
    ).run()


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def stop_after(step: int) -> Watch:
    def watch(number: int, steps: int, loss: float, score: float | None) -> None:
        if number > step:
            raise KeyboardInterrupt

    return watch


def end_after(step: int, deadline: Deadline) -> Watch:
    """Let the time be over after a step."""

    def watch(number: int, steps: int, loss: float, score: float | None) -> None:
        if number == step:
            deadline.started -= 301

    return watch


@pytest.fixture(scope="module")
def whole(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """Return the result and folder of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    return tune(tiny_student, folder), folder


def test_the_loss_falls(whole: tuple[TrainingResult, Path]) -> None:
    losses = whole[0].losses
    assert len(losses) == STEPS
    # The random student's embeddings are frozen and short, so no training can make it certain.
    assert losses[-1] < 0.98 * losses[0]


def test_the_same_training_twice_gives_the_same_losses_and_the_same_adapter(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    assert tune(tiny_student, tmp_path).losses == whole[0].losses
    assert weights(tmp_path) == weights(whole[1])


def test_only_lora_weights_of_the_top_layers_move(tiny_student: Path, tmp_path: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_student)
    model = with_lora(model, CONFIG)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    result = Training(model, batches_of(tokenizer), CONFIG, tmp_path).run()
    moved = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    lora = {name for name in before if "lora_" in name}
    assert lora and moved == lora
    assert all(".layers.1." in name for name in moved)
    assert result.trainable_parameters == sum(before[name].numel() for name in moved)


@pytest.mark.parametrize(("layers", "tuned"), [(0, {"0", "1"}), (1, {"1"}), (2, {"0", "1"})])
def test_layers_are_counted_from_the_top_and_0_means_all(tiny_student: Path, layers: int, tuned: set[str]) -> None:
    model = with_lora(load_causal_lm(tiny_student)[0], CONFIG.model_copy(update={"layers": layers}))
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == tuned


def test_more_layers_than_the_student_has_are_refused(tiny_student: Path) -> None:
    with pytest.raises(UsageError, match="layers must be at most 2 for this student, got 3"):
        with_lora(load_causal_lm(tiny_student)[0], TrainingConfig(layers=3))


def test_the_losses_are_written_a_line_each(whole: tuple[TrainingResult, Path]) -> None:
    rows = read_rows(whole[1] / "loss.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["loss"] for row in rows] == pytest.approx(whole[0].losses, abs=1e-6)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_stopped_training_goes_on_as_if_it_had_never_stopped(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path, step: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_student, tmp_path, watch=stop_after(step))
    seen: list[int] = []
    result = tune(tiny_student, tmp_path, watch=lambda number, steps, loss, score: seen.append(number))
    assert seen[0] == step + 2, "the step that was watched last is done"
    assert result.losses == whole[0].losses
    assert result.tokens == whole[0].tokens
    assert weights(tmp_path) == weights(whole[1])


KILLED = """
import os, signal, sys
from pathlib import Path
import test_finetune_training as this
from bundlewise.finetune import training
training.SAVE_AFTER = 0
die = lambda number, steps, loss, score: number == 4 and os.kill(os.getpid(), signal.SIGKILL)
this.tune(Path(sys.argv[1]), Path(sys.argv[2]), watch=die)
"""


def test_a_killed_training_goes_on_likewise(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_student), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    assert subprocess.run(command, env=environment, timeout=120).returncode == -signal.SIGKILL
    seen: list[int] = []
    result = tune(tiny_student, tmp_path, watch=lambda number, steps, loss, score: seen.append(number))
    assert seen[0] == 4
    assert result.losses == whole[0].losses
    assert weights(tmp_path) == weights(whole[1])


SIGNALS = """
import sys, threading, os, signal, time
from pathlib import Path
import test_finetune_training as this
from bundlewise.signals import signals_stop
def signals():
    time.sleep(float(sys.argv[3]))
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.002)
def watch(number, steps, loss, score):
    print(number, flush=True)
    if number == 1:
        threading.Thread(target=signals, daemon=True).start()
with signals_stop():
    this.tune(Path(sys.argv[1]), Path(sys.argv[2]), watch=watch)
"""


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_signals_at_any_moment_of_a_step_lose_no_whole_step(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path, seconds: float
) -> None:
    command = [sys.executable, "-c", SIGNALS, str(tiny_student), str(tmp_path), str(seconds)]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parent.parent}"}
    child = subprocess.run(command, env=environment, timeout=120, capture_output=True, text=True)
    done = [int(line) for line in child.stdout.split()]
    assert child.returncode, child.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    seen: list[int] = []
    result = tune(tiny_student, tmp_path, watch=lambda number, steps, loss, score: seen.append(number))
    assert not seen or seen[0] in (done[-1] + 1, done[-1] + 2), child.stderr
    assert result.losses == whole[0].losses
    assert weights(tmp_path) == weights(whole[1])


def swapped(batches: Sequence[Sequence[Example]]) -> list[list[Example]]:
    """Return the batches with other answers to the same questions."""
    return [[Example(e.encoded, tuple(reversed(e.targets))) for e in batch] for batch in batches]


@pytest.mark.parametrize("other", ["settings", "texts", "answers"])
def test_a_stopped_folder_refuses_another_training(tiny_student: Path, tmp_path: Path, other: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_student, tmp_path, watch=stop_after(2))
    model, tokenizer = load_causal_lm(tiny_student)
    config = CONFIG.model_copy(update={"learning_rate": 1e-4}) if other == "settings" else CONFIG
    batches = batches_of(tokenizer)
    batches = {"settings": batches, "texts": batches[::-1], "answers": swapped(batches)}[other]
    with pytest.raises(AdapterError, match="holds a stopped training with other settings or data; give the same"):
        Training(with_lora(model, config), batches, config, tmp_path).run()


def test_a_loss_that_is_not_a_number_stops_the_training_and_names_the_step(tiny_student: Path, tmp_path: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_student)
    model = with_lora(model, CONFIG)
    next(weight for weight in model.parameters() if weight.requires_grad).data.fill_(float("nan"))
    with pytest.raises(AdapterError, match="not a number at step 1; lower the learning rate"):
        Training(model, batches_of(tokenizer), CONFIG, tmp_path).run()
    assert not any(tmp_path.iterdir())


def test_a_training_without_examples_is_refused(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no training example"):
        Training(with_lora(load_causal_lm(tiny_student)[0], CONFIG), [], CONFIG, tmp_path).run()


def scripted(*scores: float) -> Callable[[], float]:
    """Return a validation that gives these scores, one a call."""
    left = iter(scores)
    return lambda: next(left)


EVALUATED = CONFIG.model_copy(update={"evaluations": 4})


def test_the_weights_of_the_best_validation_are_kept(tiny_student: Path, tmp_path: Path) -> None:
    result = tune(tiny_student, tmp_path / "best", EVALUATED, validate=scripted(0.4, 0.6, 0.6, 0.5))
    assert result.scores == ((2, 0.4), (4, 0.6), (6, 0.6), (8, 0.5))
    assert (result.best_step, result.stopped) == (4, "")
    until_then = stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_student, tmp_path / "cut", EVALUATED, validate=scripted(0.4, 0.6), watch=until_then)
    best = torch.load(tmp_path / "cut" / "training.pt")["state"]["best"]
    kept = load_file(tmp_path / "best" / "adapter_model.safetensors")
    assert sorted(t.sum().item() for t in kept.values()) == sorted(t.sum().item() for t in best)
    rows = read_rows(tmp_path / "best" / "loss.jsonl")
    assert {row["step"]: row["validation_gjs"] for row in rows if "validation_gjs" in row} == dict(result.scores)


def test_training_stops_after_so_many_validations_without_a_better_one(tiny_student: Path, tmp_path: Path) -> None:
    result = tune(tiny_student, tmp_path, EVALUATED, validate=scripted(0.6, 0.5, 0.4))
    assert [step for step, _ in result.scores] == [2, 4, 6]
    assert (len(result.losses), result.best_step) == (6, 2)
    assert result.stopped == "no better validation in 2 evaluations"


def test_a_stop_between_validations_changes_nothing(tiny_student: Path, tmp_path: Path) -> None:
    scores = (0.4, 0.6, 0.5, 0.3)
    whole = tune(tiny_student, tmp_path / "whole", EVALUATED, validate=scripted(*scores))
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_student, tmp_path / "a", EVALUATED, validate=scripted(*scores), watch=stop_after(4))
    resumed = tune(tiny_student, tmp_path / "a", EVALUATED, validate=scripted(*scores[2:]))
    assert resumed.model_dump(exclude={"seconds"}) == whole.model_dump(exclude={"seconds"})
    assert weights(tmp_path / "a") == weights(tmp_path / "whole")


def test_training_stops_when_its_minutes_are_over_and_goes_on_when_given_more(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    short = tune(tiny_student, tmp_path, deadline=(deadline := Deadline(5)), watch=end_after(3, deadline))
    assert (len(short.losses), short.stopped, short.goes_on) == (3, "5 minutes are over", True)
    result = tune(tiny_student, tmp_path)
    assert result.losses == whole[0].losses
    assert weights(tmp_path) == weights(whole[1])


def test_a_loss_that_stops_being_a_number_keeps_the_last_good_weights(tiny_student: Path, tmp_path: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_student)
    model = with_lora(model, CONFIG)
    first = next(weight for weight in model.parameters() if weight.requires_grad)

    def poison(number: int, steps: int, loss: float, score: float | None) -> None:
        if number == 3:
            first.register_hook(lambda gradient: gradient * float("nan"))

    result = Training(model, batches_of(tokenizer), CONFIG, tmp_path, watch=poison).run()
    assert len(result.losses) == 3
    assert result.stopped == "the loss is not a number at step 4; lower the learning rate"
    assert all(t.isfinite().all() for t in load_file(tmp_path / "adapter_model.safetensors").values())


def test_gradient_checkpointing_gives_the_same_training(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    result = tune(tiny_student, tmp_path, CONFIG.model_copy(update={"gradient_checkpointing": True}))
    assert result.losses == pytest.approx(whole[0].losses, rel=1e-5)
