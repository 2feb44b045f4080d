"""From examples to batches: similar lengths together within a token budget, texts to write dealt out among them."""

from collections.abc import Sequence
from random import Random

from bundlewise.agents.engine import by_length
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.examples import Example

NAME_EVERY = 2


def plan(epochs: Sequence[Sequence[Example]], config: TrainingConfig) -> list[list[Example]]:
    """Return all batches in order: questions of similar length together, shuffled by seed.

    What is to be written, intents and lessons, is dealt out evenly over every second batch: taught apart it is
    unlearnt by the next questions, and a little to every batch would cost a forward pass each time.
    """
    random = Random(config.seed)
    batches = []
    for examples in epochs:
        judging = [example for example in examples if example.task == "judge"]
        writing = [example for example in examples if example.task != "judge"]
        lengths = [len(example.encoded.ids) for example in judging]
        epoch = [[judging[i] for i in batch] for batch in by_length(lengths, config.batch_tokens)]
        random.shuffle(epoch)
        random.shuffle(writing)
        hosts = range(0, len(epoch), NAME_EVERY)
        for turn, place in enumerate(hosts):
            epoch[place] += writing[turn :: len(hosts)]
        batches += epoch
    return batches
