"""LoRA training: it learns, moves only what it should, and goes on after a stop as if nothing had happened."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bundlewise.agents.engine import load_causal_lm
from bundlewise.dataset import load
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import read_rows
from bundlewise.finetune import training
from bundlewise.finetune.examples import Example, examples
from bundlewise.finetune.training import TrainingConfig, TrainingResult, Watch, plan, train, with_lora

CONFIG = TrainingConfig(learning_rate=3e-2, rank=4, layers=1, epochs=8, batch_tokens=1500)
STEPS = CONFIG.epochs


def small_sessions() -> list[Session]:
    return [s for s in load("electronics", "train") if len(s.items) == 3][:4]


def batches_of(tokenizer: Any, config: TrainingConfig = CONFIG) -> list[list[Example]]:
    sessions = small_sessions()
    none = [Retrieved() for _ in sessions]
    return plan([examples(tokenizer, sessions, none, intents=1, seed=n) for n in range(config.epochs)], config)


def tune(base: Path, folder: Path, config: TrainingConfig = CONFIG, watch: Watch | None = None) -> TrainingResult:
    model, tokenizer = load_causal_lm(base)
    return train(with_lora(model, config), batches_of(tokenizer, config), config, folder, watch)


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def stop_after(step: int) -> Watch:
    def watch(number: int, steps: int, loss: float) -> None:
        if number > step:
            raise KeyboardInterrupt

    return watch


@pytest.fixture(autouse=True)
def checkpoint_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)


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
    result = train(model, batches_of(tokenizer), CONFIG, tmp_path)
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
    result = tune(tiny_student, tmp_path, watch=lambda number, steps, loss: seen.append(number))
    assert seen[0] == step // 2 * 2 + 1
    assert result.losses == whole[0].losses
    assert result.tokens == whole[0].tokens
    assert weights(tmp_path) == weights(whole[1])


KILLED = """
import os, signal, sys
from pathlib import Path
import test_finetune_training as this
this.training.CHECKPOINT_EVERY = 2
die = lambda number, steps, loss: number == 4 and os.kill(os.getpid(), signal.SIGKILL)
this.tune(Path(sys.argv[1]), Path(sys.argv[2]), watch=die)
"""


def test_a_killed_training_goes_on_likewise(
    whole: tuple[TrainingResult, Path], tiny_student: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_student), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    assert subprocess.run(command, env=environment, timeout=120).returncode == -signal.SIGKILL
    seen: list[int] = []
    result = tune(tiny_student, tmp_path, watch=lambda number, steps, loss: seen.append(number))
    assert seen[0] == 3
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
        train(with_lora(model, config), batches, config, tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_training_and_names_the_step(tiny_student: Path, tmp_path: Path) -> None:
    model, tokenizer = load_causal_lm(tiny_student)
    model = with_lora(model, CONFIG)
    next(weight for weight in model.parameters() if weight.requires_grad).data.fill_(float("nan"))
    with pytest.raises(AdapterError, match="not a number at step 1; lower the learning rate"):
        train(model, batches_of(tokenizer), CONFIG, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_training_without_examples_is_refused(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no training example"):
        train(with_lora(load_causal_lm(tiny_student)[0], CONFIG), [], CONFIG, tmp_path)


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


def test_batches_hold_every_example_once_an_epoch_and_their_questions_stay_within_the_budget(
    tiny_student: Path,
) -> None:
    tokenizer = load_causal_lm(tiny_student)[1]
    sessions = small_sessions()
    epoch = examples(tokenizer, sessions, [Retrieved() for _ in sessions], intents=1, seed=0)
    batches = plan([epoch], CONFIG)
    assert sorted(map(hash, (e for batch in batches for e in batch))) == sorted(map(hash, epoch))
    judging = [[len(e.encoded.ids) for e in batch if e.task == "judge"] for batch in batches]
    assert all(len(sizes) == 1 or len(sizes) * max(sizes) <= CONFIG.batch_tokens for sizes in judging)
