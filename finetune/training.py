"""LoRA training of the student: loss at answer places only, resumable to the bit, deterministic."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from pydantic import Field, ValidationError

from bundlewise.agents.engine import by_length, place_logits
from bundlewise.domain import Record
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import fingerprint, write_bytes, write_jsonl
from bundlewise.finetune.examples import Example

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHECKPOINT = "training.pt"
CHECKPOINT_EVERY = 15
WARMUP = 0.06
GRADIENT_NORM = 1.0
NAME_EVERY = 2
NAME_WEIGHT = 0.7

Watch = Callable[[int, int, float], None]


class TrainingConfig(Record):
    """The dials of LoRA training; `layers` counts from the top, 0 means all of them."""

    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    rank: int = Field(default=16, ge=1)
    layers: int = Field(default=10, ge=0)
    batch_tokens: int = Field(default=500, ge=1)
    intents: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0

    @classmethod
    def of(cls, **options: float | None) -> "TrainingConfig":
        """Build a configuration from options; None keeps the default.

        Raises:
            UsageError: a value is out of its range.
        """
        try:
            return cls.model_validate({key: value for key, value in options.items() if value is not None})
        except ValidationError as error:
            fault = error.errors()[0]
            raise UsageError(f"{fault['loc'][0]}: {fault['msg'].lower()}, got {fault['input']}") from error


class TrainingResult(Record):
    """What training did: loss a step, tokens read and seconds spent (over all its starts)."""

    losses: tuple[float, ...]
    tokens: int
    seconds: float
    trainable_parameters: int


def with_lora(model: Any, config: TrainingConfig) -> Any:
    """Return the model with LoRA on all projections of its top layers; the layers below stay frozen.

    Gradients then never pass the lower layers, which saves their share of the backward pass.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    count = model.config.num_hidden_layers
    if config.layers > count:
        raise UsageError(f"layers must be at most {count} for this student, got {config.layers}")
    chosen = list(range(count - config.layers, count)) if config.layers else None
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules=TARGETS,
        layers_to_transform=chosen,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora, autocast_adapter_dtype=False)


def plan(epochs: Sequence[Sequence[Example]], config: TrainingConfig) -> list[list[Example]]:
    """Return all batches in order: questions of similar length together, shuffled by seed.

    Intents are dealt out evenly over every second batch: taught apart they are unlearnt by the next
    questions, and a few to every batch would cost a forward pass each time.
    """
    random = Random(config.seed)
    batches = []
    for examples in epochs:
        judging = [example for example in examples if example.task == "judge"]
        naming = [example for example in examples if example.task == "name"]
        lengths = [len(example.encoded.ids) for example in judging]
        epoch = [[judging[i] for i in batch] for batch in by_length(lengths, config.batch_tokens)]
        random.shuffle(epoch)
        random.shuffle(naming)
        hosts = range(0, len(epoch), NAME_EVERY)
        for turn, place in enumerate(hosts):
            epoch[place] += naming[turn :: len(hosts)]
        batches += epoch
    return batches


def train(
    model: Any,
    batches: Sequence[Sequence[Example]],
    config: TrainingConfig,
    folder: Path,
    watch: Watch | None = None,
    base: str = "",
) -> TrainingResult:
    """Train the LoRA parameters and write the adapter; a stopped training goes on where it stopped.

    The checkpoint stays: the caller removes it once all that follows the training is done, too.

    Args:
        model: what `with_lora` returned.
        batches: what `plan` returned; they and the config determine the result.
        config: learning rate, seed and the rest.
        folder: where adapter, checkpoint and loss.jsonl go.
        base: fingerprint of the base model, so that no other base goes on with this training.
        watch: called after each step with its number, the number of steps and the loss.

    Raises:
        AdapterError: the loss is not a number, or the folder holds a checkpoint of another training.
    """
    import torch

    if not batches:
        raise UsageError("no training example; give data whose train split has annotated sessions")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, eps=1e-6)
    key = fingerprint([config.model_dump(), batches, base])
    losses, tokens, seconds = _resume(folder, key, parameters, optimizer)
    started = perf_counter()
    model.train()
    for step in range(len(losses), len(batches)):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, len(batches))
        loss = _step(model, batches[step], optimizer, parameters)
        if loss != loss:
            raise AdapterError(f"the loss is not a number at step {step + 1}; lower the learning rate")
        losses.append(loss)
        tokens += sum(len(example.encoded.ids) for example in batches[step])
        if watch:
            watch(step + 1, len(batches), loss)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == len(batches):
            _save(folder, key, parameters, optimizer, losses, tokens, seconds + perf_counter() - started)
    model.eval()
    seconds += perf_counter() - started
    _finish(model, folder, losses)
    return TrainingResult(
        losses=tuple(losses),
        tokens=tokens,
        seconds=round(seconds, 1),
        trainable_parameters=sum(p.numel() for p in parameters),
    )


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1.0, WARMUP * steps)) * (1.0 - step / steps)


def _step(model: Any, batch: Sequence[Example], optimizer: Any, parameters: list[Any]) -> float:
    """Take one optimizer step on the weighted sum of the tasks' mean losses; return that sum.

    Each task is a forward pass of its own: intents are short, and padding them to questions is waste.
    """
    import torch

    losses = {}
    for task in ("judge", "name"):
        part = [example for example in batch if example.task == task]
        if part:
            logits = place_logits(model.get_base_model(), [example.encoded for example in part])
            targets = torch.tensor([target for example in part for target in example.targets], device=logits.device)
            loss = torch.nn.functional.cross_entropy(logits, targets) * (NAME_WEIGHT if task == "name" else 1.0)
            loss.backward()  # type: ignore[no-untyped-call]
            losses[task] = float(loss.detach())
    torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return sum(losses.values())


def _save(
    folder: Path, key: str, parameters: list[Any], optimizer: Any, losses: list[float], tokens: int, seconds: float
) -> None:
    import torch

    state = {
        "key": key,
        "parameters": [p.detach().cpu() for p in parameters],
        "optimizer": optimizer.state_dict(),
        "losses": losses,
        "tokens": tokens,
        "seconds": seconds,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(folder / CHECKPOINT, buffer.getvalue())


def _resume(folder: Path, key: str, parameters: list[Any], optimizer: Any) -> tuple[list[float], int, float]:
    import torch

    if not (folder / CHECKPOINT).is_file():
        return [], 0, 0.0
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    if state["key"] != key:
        raise AdapterError(
            f"{folder} holds a stopped training with other settings or data; "
            "give the same ones to go on, or choose another folder"
        )
    with torch.no_grad():
        for parameter, saved in zip(parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"]), int(state["tokens"]), float(state["seconds"])


def _finish(model: Any, folder: Path, losses: list[float]) -> None:
    from safetensors import SafetensorError

    for settings in model.peft_config.values():
        settings.base_model_name_or_path = ""
    try:
        model.save_pretrained(folder)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"cannot write the adapter to {folder}: {error}; free space and run again") from error
    (folder / "README.md").unlink(missing_ok=True)
    write_jsonl(folder / "loss.jsonl", [{"step": n, "loss": round(loss, 6)} for n, loss in enumerate(losses, 1)])
