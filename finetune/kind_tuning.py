"""Tune a kind reader: LoRA weights that move the vector of a title towards the vector of the teacher's kind."""

import os
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from pydantic import Field

from bundlewise.domain import Record
from bundlewise.errors import AdapterError, UsageError
from bundlewise.files import write_json
from bundlewise.finetune.training import schedule
from bundlewise.progress import Advance
from bundlewise.scratch import follow_umask, scratch_folder

TARGETS = ["query", "key", "value", "dense"]
"""The projections of BERT-like models."""
SHARPNESS = 20.0
"""The factor of a cosine in the loss; with it the loss separates kinds whose cosines differ by .05."""
WARMUP = 0.1
WEIGHT_DECAY = 0.01
ABOUT = "tuned.json"
POOL = 8
"""The number of batches whose titles are sorted by length together, which saves padding."""


class KindConfig(Record):
    """The dials of tuning a kind reader."""

    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    rank: int = Field(default=16, ge=1)
    batch: int = Field(default=64, ge=2)
    seed: int = 0

    def steps(self, titles: int) -> int:
        """Return the number of steps for so many titles."""
        return self.epochs * ceil(titles / self.batch)


def tune_kind_reader(
    model: Any,
    pairs: Sequence[tuple[str, str]],
    vectors: dict[str, Any],
    config: KindConfig,
    folder: Path,
    advance: Advance | None = None,
) -> list[float]:
    """Tune LoRA weights of a sentence-transformers model on titles and their kinds, and write them to a folder.

    The loss is the cross-entropy of a title's own kind among all kinds by the cosine of the vectors (InfoNCE, van den
    Oord et al. 2018, arXiv 1807.03748); the vectors of kinds stay fixed. It runs on the CPU, and the same seed gives
    the same weights.

    Args:
        model: the embedder's model; the LoRA weights are added to it and stay.
        pairs: (title, kind), each once.
        vectors: a unit vector for every kind.
        config: the dials.
        folder: the folder of the adapter; it appears only when the adapter is complete.
        advance: called after each step with 1 and the loss.

    Returns:
        The mean loss of every epoch.

    Raises:
        UsageError: there are fewer than two kinds, or the model has no projections of these names.
        AdapterError: the loss is not a number.
    """
    import torch

    if len({kind for _, kind in pairs}) < 2:
        raise UsageError("nothing to learn from: the thoughts have fewer than two kinds; distil more sessions")
    torch.manual_seed(config.seed)
    weights = _with_lora(model, config)
    kinds = sorted({kind for _, kind in pairs})
    goal = torch.tensor(np.stack([vectors[kind] for kind in kinds]))
    place = {kind: number for number, kind in enumerate(kinds)}
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=WEIGHT_DECAY)
    steps, step, means = config.steps(len(pairs)), 0, []
    for batches in _epochs([title for title, _ in pairs], config):
        losses = []
        for batch in batches:
            step += 1
            optimizer.param_groups[0]["lr"] = config.learning_rate * schedule(step - 1, steps, WARMUP)
            read = _read(model, [pairs[i][0] for i in batch])
            wanted = torch.tensor([place[pairs[i][1]] for i in batch])
            loss: Any = torch.nn.functional.cross_entropy(SHARPNESS * read @ goal.T, wanted)
            if not loss.isfinite():
                raise AdapterError(f"the loss is not a number at step {step}; lower the learning rate")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if advance:
                advance(1, f"loss {losses[-1]:.3f}")
        means.append(sum(losses) / len(losses))
    model.eval()
    _write(model, folder, config, means)
    return means


def _with_lora(model: Any, config: KindConfig) -> list[Any]:
    from peft import LoraConfig

    lora = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, target_modules=TARGETS)
    try:
        model.add_adapter(lora)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"this embedder cannot be tuned: {reason}; reindex with minilm") from error
    model.train()
    return [weight for weight in model.parameters() if weight.requires_grad]


def _epochs(titles: Sequence[str], config: KindConfig) -> list[list[list[int]]]:
    """Return for each epoch its batches of indices: shuffled, with titles of similar length in a batch."""
    random, epochs = Random(config.seed), []
    for _ in range(config.epochs):
        order = random.sample(range(len(titles)), len(titles))
        pools = [order[i : i + POOL * config.batch] for i in range(0, len(order), POOL * config.batch)]
        order = [place for pool in pools for place in sorted(pool, key=lambda i: len(titles[i]))]
        batches = [order[i : i + config.batch] for i in range(0, len(order), config.batch)]
        random.shuffle(batches)
        epochs.append(batches)
    return epochs


def _read(model: Any, titles: list[str]) -> Any:
    import torch

    found = model(model.preprocess(titles))["sentence_embedding"]
    return torch.nn.functional.normalize(found, dim=-1)


def _write(model: Any, folder: Path, config: KindConfig, means: Sequence[float]) -> None:
    """Write the adapter to a temporary folder first, so that a folder of this name is always complete."""
    with scratch_folder(folder) as work:
        ready = work / "ready"
        model[0].auto_model.save_pretrained(ready)
        write_json(ready / ABOUT, config.model_dump() | {"losses": [round(mean, 4) for mean in means]})
        follow_umask(ready)
        os.replace(ready, folder)
