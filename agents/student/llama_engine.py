"""The student in llama.cpp: a GGUF file answers with its own quantised weights, in this process.

It needs llama-cpp-python, transformers (for the tokenizer) and llguidance.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.engine import Judgement, judgement_of
from bundlewise.agents.student.llama_context import TEXTS, LlamaContext
from bundlewise.agents.student.llama_texts import Asked, batches, likelihoods, write_batch
from bundlewise.agents.student.tokens import (
    MAX_NEW_TOKENS,
    Progress,
    Prompt,
    Written,
    answer_ids,
    encode_judge,
    fits,
    prompt_ids,
    refuse_too_long,
    token_ids,
    written,
)
from bundlewise.errors import ModelError
from bundlewise.models.memory import require_reading
from bundlewise.progress import go_on

CELLS = 8192
"""The most tokens of all texts that are held at once; a prompt is never longer."""


@dataclass(frozen=True)
class _Shape:
    """The sizes that the tokens of a prompt depend on, with the names of transformers."""

    max_position_embeddings: int
    vocab_size: int


class LlamaEngine:
    """A loaded student; one call at a time."""

    def __init__(self, context: LlamaContext, tokenizer: Any, vocabulary: int) -> None:
        self._context = context
        self._tokenizer = tokenizer
        self._shape = _Shape(context.cells, vocabulary)
        self._lock = threading.RLock()

    @classmethod
    def load(cls, weights: Path, folder: Path) -> "LlamaEngine":
        """Load a GGUF file, with the configuration and the tokenizer in the folder that it was converted to.

        Raises:
            UsageError: llama-cpp-python is not installed.
            ModelError: llama.cpp cannot load the file, it has other tokens, or the memory is missing.
        """
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(folder)
        cells = min(CELLS, getattr(config, "max_position_embeddings", None) or CELLS)
        require_reading(weights, folder, cells)
        context = LlamaContext(weights, cells)
        if context.vocabulary != config.vocab_size:
            raise ModelError(
                f"{weights} has {context.vocabulary:,} tokens in llama.cpp and {config.vocab_size:,} in transformers; "
                "leave out llama:"
            )
        return cls(context, AutoTokenizer.from_pretrained(folder), config.vocab_size)

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Answer all questions of all prompts, one prompt after the other.

        Raises:
            PromptError: a prompt is longer than the student reads.
        """
        yes, no = answer_ids(self._tokenizer)
        found = []
        with self._alone():
            for prompt in prompts:
                go_on()
                encoded = encode_judge(self._tokenizer, prompt)
                refuse_too_long(self._shape, [len(encoded.ids)])
                # An answer is read at the last token of its question; no token after the last question is needed.
                ids = encoded.ids[: encoded.places[-1] + 1]
                odds = [float(row[yes]) - float(row[no]) for _, row in self._context.read(ids, encoded.places)]
                found.append(judgement_of(prompt, np.array(odds), len(encoded.ids)))
                if progress:
                    progress(1)
        return found

    def write(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Continue each prompt greedily with a text that its Lark grammar admits.

        Raises:
            PromptError: a prompt and its answer are longer than the student reads.
        """
        return [texts[0] for texts in self._continued(prompts, grammars, 0, progress)]

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return `count` texts for each prompt, drawn from the model's probabilities; each prompt is computed once.

        Raises:
            PromptError: a prompt and its answer are longer than the student reads.
        """
        return self._continued(prompts, grammars, count, progress)

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[list[float]]:
        """Return for each prompt the log-likelihoods (natural, summed over tokens) of texts that may follow it.

        Raises:
            PromptError: a prompt with an answer is longer than the student reads.
        """
        found = []
        with self._alone():
            for prompt, texts in zip(prompts, answers, strict=True):
                go_on()
                ids = prompt_ids(self._tokenizer, prompt)
                rows = [token_ids(self._tokenizer, text) for text in texts]
                refuse_too_long(self._shape, [len(ids) + max(map(len, rows), default=0)])
                found.append(likelihoods(self._context, ids, rows))
                if progress:
                    progress(1)
        return found

    def fits(self, prompt: JudgePrompt | Prompt) -> bool:
        """Say whether the student can read the whole prompt and answer it."""
        return fits(self._tokenizer, self._shape, prompt)

    def _continued(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None
    ) -> list[list[Written]]:
        """Return the texts of each prompt: `count` random ones, or the greedy one if `count` is 0."""
        ids = [prompt_ids(self._tokenizer, prompt) for prompt in prompts]
        refuse_too_long(self._shape, (len(row) + MAX_NEW_TOKENS for row in ids))
        asked = [
            Asked(place, row, grammar, copy if count else None)
            for place, (row, grammar) in enumerate(zip(ids, grammars, strict=True))
            for copy in range(max(1, count))
        ]
        results: list[list[Written]] = [[] for _ in ids]
        with self._alone():
            for batch in batches(asked, self._context.cells, TEXTS - 1):
                new = write_batch(self._context, self._tokens, batch)
                for one, tokens in zip(batch, new, strict=True):
                    results[one.prompt].append(written(self._tokenizer, 0 if one.copy else len(one.ids), tokens))
                if progress:
                    progress(sum(one.copy == max(0, count - 1) or one.copy is None for one in batch))
        return results

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads out; after a stop or an error, forget what has been read."""
        with self._lock:
            try:
                yield
            except BaseException:
                self._context.forget()
                raise

    @cached_property
    def _tokens(self) -> Any:
        from bundlewise.agents.student.draws import grammar_tokenizer

        return grammar_tokenizer(self._tokenizer, self._shape.vocab_size)
