"""The local student: a causal language model that judges pairs and writes under a grammar, in batches.

It needs torch, transformers, peft and llguidance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.agents.student.tokens import (
    Encoded,
    Progress,
    Prompt,
    Written,
    answer_ids,
    by_length,
    encode_judge,
    fits,
    refuse_too_long,
)
from bundlewise.agents.student.writer import Writer
from bundlewise.errors import AdapterError
from bundlewise.models.memory import give_back_memory
from bundlewise.progress import go_on, stopping

SHORTEST_PREFIX = 32
"""The smallest number of shared tokens that is worth a separate forward pass."""


@dataclass(frozen=True)
class Judgement:
    """Log-odds (yes against no) that two products belong together, n x n and symmetric."""

    log_odds: Matrix
    tokens_in: int


class Engine(Protocol):
    """The interface of a local or remote student for the student graph."""

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Return the log-odds of all pairs of all prompts."""

    def write(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Return the likeliest text for each prompt that follows its grammar, word by word."""

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return `count` random texts for each prompt that follow its grammar."""

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[list[float]] | None:
        """Return for each prompt the log-likelihoods of texts that may follow it; None if they cannot be known."""

    def fits(self, prompt: JudgePrompt | Prompt) -> bool:
        """Say whether the student can read the whole prompt and answer it."""


def place_logits(model: Any, batch: Sequence[Encoded], reuse: bool = False) -> Any:
    """Return next-token logits at the questions' places only, float32, shape (questions, vocabulary).

    Sequences are padded on the right, where causal attention ignores the padding. With `reuse`, a long prefix
    that all sequences share is computed once; training cannot use this, because gradients do not pass a cache.
    """
    import torch

    longest, shared = max(len(encoded.ids) for encoded in batch), shared_prefix(batch) if reuse else 0
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, encoded in enumerate(batch):
        ids[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
    ids, decoder = ids.to(model.device), model.get_decoder()
    # The model writes nothing after these texts, so it needs no cache of keys and values.
    known: dict[str, Any] = {"use_cache": False}
    if shared:
        cache = decoder(input_ids=ids[:1, :shared], use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(batch))
        known = {"past_key_values": cache}
    states = decoder(input_ids=ids[:, shared:], **known).last_hidden_state
    rows = torch.tensor([row for row, encoded in enumerate(batch) for _ in encoded.places])
    places = torch.tensor([place - shared for encoded in batch for place in encoded.places])
    return model.get_output_embeddings()(states[rows, places]).float()


def shared_prefix(batch: Sequence[Encoded]) -> int:
    """Return the length of the prefix that all texts share; 0 when it is too short to compute once.

    Every prompt starts with the knowledge that all sessions get, mostly rules.
    """
    if len(batch) < 2:
        return 0
    limit = min(encoded.places[0] for encoded in batch)
    first = batch[0].ids
    length = next((n for n in range(limit) if any(e.ids[n] != first[n] for e in batch[1:])), limit)
    return length if length >= SHORTEST_PREFIX else 0


class StudentEngine:
    """A loaded student: a base model with or without an adapter."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.writer = Writer(model, tokenizer)

    @classmethod
    def load(cls, folder: Path, adapter: Path | None = None, *, exact: bool = False) -> "StudentEngine":
        """Load a base model, in float32 if `exact`; an adapter is merged into its weights."""
        model, tokenizer = load_causal_lm(folder, exact=exact)
        if adapter is not None:
            from peft import PeftModel
            from safetensors import SafetensorError

            try:
                model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True).merge_and_unload()
            except (SafetensorError, OSError, ValueError) as error:
                raise AdapterError(f"cannot load the adapter in {adapter}; tune it again") from error
        give_back_memory()
        return cls(model, tokenizer)

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Answer all questions of all prompts, with one forward pass per batch."""
        import torch

        yes, no = answer_ids(self.tokenizer)
        encoded = []
        for prompt in prompts:
            go_on()
            encoded.append(encode_judge(self.tokenizer, prompt))
        refuse_too_long(self.model.config, (len(e.ids) for e in encoded))
        results: dict[int, Judgement] = {}
        give_back_memory()
        for batch in by_length([len(e.ids) for e in encoded]):
            go_on()
            with torch.inference_mode(), stopping(self.model):
                logits = place_logits(self.model, [encoded[i] for i in batch], reuse=True)
            odds = (logits[:, yes] - logits[:, no]).double().cpu().numpy()
            start = 0
            for index in batch:
                count = len(encoded[index].places)
                results[index] = judgement_of(prompts[index], odds[start : start + count], len(encoded[index].ids))
                start += count
            if progress:
                progress(len(batch))
        return [results[index] for index in range(len(prompts))]

    def fits(self, prompt: JudgePrompt | Prompt) -> bool:
        """Say whether the student can read the whole prompt and answer it."""
        return fits(self.tokenizer, self.model.config, prompt)

    def write(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Continue each prompt greedily with a text that its Lark grammar admits."""
        return self.writer.write(prompts, grammars, progress)

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return `count` random texts for each prompt, drawn from the model's probabilities under its grammar."""
        return self.writer.sample(prompts, grammars, count, progress)

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[list[float]]:
        """Return for each prompt the log-likelihoods of texts that may follow it."""
        return self.writer.score(prompts, answers, progress)


def judgement_of(prompt: JudgePrompt, odds: Any, tokens: int) -> Judgement:
    """Return the log-odds of a prompt's questions as a judgement of its products."""
    matrix = np.zeros((prompt.products, prompt.products))
    for (a, b), value in zip(prompt.pairs, odds, strict=True):
        matrix[a, b] = matrix[b, a] = value
    return Judgement(matrix, tokens)
