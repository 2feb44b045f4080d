"""Compare training tokens per second with TRL's SFTTrainer: same model, LoRA, questions, targets and batch size.

TRL gets the same token ids and labels through a collator, in float32 where that is faster, without gradient
checkpointing, and with LoRA by peft. It runs three times: with its defaults on random batches; with bundlewise's
optimizer and schedule; and with bundlewise's batches as well. bundlewise runs a second time with peft's LoRA layers
instead of its own. Each runs in a process of its own; all answer the same held-out questions.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from measuring import Numbers, alone, note_memory, show

from bundlewise.agents.student.engine import place_logits
from bundlewise.agents.student.load import load_causal_lm, preferred_dtype
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.examples import Example, examples, plan
from bundlewise.finetune.lora import lora_settings, with_lora
from bundlewise.finetune.training import Training, optimizer_of, schedule
from bundlewise.models.folders import resolve
from bundlewise.models.memory import ModelShape

HELD_OUT = 40


def prepared(student: str, data: str, steps: int, config: TrainingConfig) -> tuple[Any, Any, Any, Any]:
    """Return model, tokenizer, batches of `steps` steps and held-out examples."""
    model, tokenizer = load_causal_lm(resolve(student), four_bit=config.four_bit)
    known = [s for s in load(data, "train") if s.bundles]
    none = [Retrieved() for _ in known]
    held = examples(tokenizer, known[:HELD_OUT], none[:HELD_OUT], intents=0, seed=0)
    batches: list[list[Example]] = []
    seed = 0
    while len(batches) < steps:
        epoch = examples(tokenizer, known[HELD_OUT:], none[HELD_OUT:], intents=0, seed=seed)
        batches += plan([epoch], config.model_copy(update={"seed": seed}))
        seed += 1
    return model, tokenizer, batches[:steps], held


def config_of(batch_tokens: int) -> TrainingConfig:
    """Return the settings for both sides: LoRA on all layers, judgements only."""
    return TrainingConfig(batch_tokens=batch_tokens, intents=0, evaluations=0, layers=0)


def held_out_loss(model: Any, held: list[Example]) -> float:
    """Return the mean cross entropy over the held-out questions."""
    import torch

    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for example in held:
            logits = place_logits(model, [example.encoded])
            targets = torch.tensor(example.targets, device=logits.device)
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            count += len(example.targets)
    return round(total / count, 4)


def plain_lora(model: Any, config: TrainingConfig) -> Any:
    """Return the model with the LoRA layers of peft, and the same initial weights as bundlewise's."""
    import torch
    from peft import get_peft_model

    torch.manual_seed(config.seed)
    return get_peft_model(model, lora_settings(model, config), autocast_adapter_dtype=False)


def ours(student: str, data: str, steps: int, batch_tokens: int, most: float, fused: bool) -> Numbers:
    """Train with bundlewise, with its fused LoRA layers or peft's; `most` is the result of `peak`."""
    config = config_of(batch_tokens)
    model, _, batches, held = prepared(student, data, steps, config)
    numbers: Numbers = {"loss before": held_out_loss(model, held)}
    tuned = with_lora(model, config) if fused else plain_lora(model, config)
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        result = Training(tuned, batches, config, Path(folder)).run()
        seconds = perf_counter() - start
    numbers |= {"tokens": result.tokens, "seconds": round(seconds, 1), "tokens/s": round(result.tokens / seconds, 1)}
    numbers |= {"loss after": held_out_loss(tuned.get_base_model(), held)}
    numbers |= {"share of peak": round(flops(student, config) * result.tokens / seconds / most, 3)}
    note_memory(numbers, "memory_mb")
    return numbers


def trl(
    student: str, data: str, steps: int, batch_tokens: int, most: float, same_schedule: bool, same_batches: bool
) -> Numbers:
    """Train with TRL's SFTTrainer; its own batches are random, with the same number of tokens on average."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    config = config_of(batch_tokens)
    model, tokenizer, batches, held = prepared(student, data, steps, config)
    numbers: Numbers = {"loss before": held_out_loss(model, held)}
    tuned = plain_lora(model, config)
    flat = [example for batch in batches for example in batch]
    size = 1 if same_batches else max(1, round(len(flat) / steps))
    rows = [{"examples": list(map(_row, batch))} for batch in (batches if same_batches else [[e] for e in flat])]

    def collate(given: list[dict[str, Any]]) -> dict[str, Any]:
        batch = [row for one in given for row in one["examples"]]
        longest = max(len(row["input_ids"]) for row in batch)
        ids = torch.zeros((len(batch), longest + 1), dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for n, row in enumerate(batch):
            ids[n, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            mask[n, : len(row["input_ids"])] = 1
            labels[n, torch.tensor(row["places"]) + 1] = torch.tensor(row["targets"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=size,
            learning_rate=config.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=max(1, round(0.06 * steps)),
            weight_decay=0.0,
            max_grad_norm=1.0,
            gradient_checkpointing=False,
            bf16=preferred_dtype() is torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            seed=config.seed,
            train_sampling_strategy="sequential" if same_batches else "random",
        )
        trainer = SFTTrainer(
            tuned,
            settings,
            data_collator=collate,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            optimizers=_optimizer(tuned, config, steps) if same_schedule else (None, None),
        )
        start = perf_counter()
        trainer.train()
        seconds = perf_counter() - start
    # The batches trained on, since random batches continue with a second epoch after the first.
    tokens = int(trainer.state.log_history[-1]["num_tokens"])
    numbers |= {"tokens": tokens, "seconds": round(seconds, 1), "tokens/s": round(tokens / seconds, 1)}
    numbers |= {"loss after": held_out_loss(tuned.get_base_model(), held)}
    numbers |= {"share of peak": round(flops(student, config) * tokens / seconds / most, 3)}
    note_memory(numbers, "memory_mb")
    return numbers


def _row(example: Example) -> dict[str, Any]:
    encoded = example.encoded
    return {"input_ids": list(encoded.ids), "places": list(encoded.places), "targets": list(example.targets)}


def _optimizer(model: Any, config: TrainingConfig, steps: int) -> tuple[Any, Any]:
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = optimizer_of(weights, config)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))


def flops(student: str, config: TrainingConfig) -> float:
    """Return the floating-point operations of training per token: forward, and backward through tuned layers."""
    shape = ModelShape.of(resolve(student))
    assert shape is not None
    return 2.0 * shape.layer_parameters * (shape.layers + (config.layers or shape.layers))


def peak(seconds: float = 2.0) -> float:
    """Measure the machine's matrix products in the faster format, in operations a second."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 4096 if device == "cuda" else 1024
    left = torch.randn(size, size, device=device, dtype=preferred_dtype())
    (left @ left)[0, 0].item()
    start, done = perf_counter(), 0
    while perf_counter() - start < seconds:
        (left @ left)[0, 0].item()
        done += 1
    return 2.0 * size**3 * done / (perf_counter() - start)


def main() -> None:
    """Run all and print a table, and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-tokens", type=int, default=500)
    parser.add_argument("--without-trl", action="store_true", help="Measure bundlewise alone, with either LoRA layer.")
    given = parser.parse_args()
    most = peak()
    arguments = (given.student, given.data, given.steps, given.batch_tokens, most)
    found = {"bundlewise": alone(ours, *arguments, True)}
    found["bundlewise, LoRA of peft"] = alone(ours, *arguments, False)
    if not given.without_trl:
        found["TRL SFTTrainer"] = alone(trl, *arguments, False, False)
        found["TRL SFTTrainer, the same schedule"] = alone(trl, *arguments, True, False)
        found["TRL SFTTrainer, the same steps"] = alone(trl, *arguments, True, True)
    for numbers in found.values():
        numbers["bundlewise is"] = round(found["bundlewise"]["tokens/s"] / numbers["tokens/s"], 2)
    show({"LoRA training": found})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
