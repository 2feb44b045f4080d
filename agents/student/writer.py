"""The writing part of a local student: texts under a grammar, greedy or drawn, and the likelihood of given texts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from bundlewise.agents.student.tokens import (
    MAX_NEW_TOKENS,
    Progress,
    Prompt,
    Written,
    by_length,
    prompt_ids,
    refuse_too_long,
    token_ids,
    written,
)
from bundlewise.models.memory import give_back_memory
from bundlewise.progress import go_on, stopping

BATCH_TOKENS = 6144
ROWS = 24
"""The number of texts written at once; twice as many are as fast on two cores and need twice the memory."""
SCORED_TOKENS = 1536
"""The most tokens of answers in one forward pass."""
LOGIT_ROWS = 256
"""The number of places whose logits are held at once, since a vocabulary has up to 250,000 words."""


class Writer:
    """Writes with a model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

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

        The same prompt always gives the same texts, in any batch.

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
        import torch

        found = []
        give_back_memory()
        for prompt, texts in zip(prompts, answers, strict=True):
            go_on()
            ids = prompt_ids(self._tokenizer, prompt)
            rows = [token_ids(self._tokenizer, text) for text in texts]
            refuse_too_long(self._model.config, [len(ids) + max(map(len, rows), default=0)])
            with torch.inference_mode(), stopping(self._model):
                found.append(self._likelihoods(ids, rows) if rows else [])
            if progress:
                progress(1)
        return found

    def _likelihoods(self, ids: list[int], rows: list[list[int]]) -> list[float]:
        results: dict[int, float] = {}
        for batch in by_length([len(row) for row in rows], SCORED_TOKENS):
            cache = self._prefilled([ids[:-1]], [[1] * (len(ids) - 1)], len(batch)) if len(ids) > 1 else None
            scores = self._batch_likelihoods(ids[-1], [rows[i] for i in batch], cache)
            results.update(zip(batch, scores, strict=True))
        return [results[index] for index in range(len(rows))]

    def _batch_likelihoods(self, last: int, rows: list[list[int]], cache: Any) -> list[float]:
        import torch

        longest = max(1, *map(len, rows))  # An empty text has no place, but the model reads at least one token.
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor([last, *row[:-1]])
        states = self._model.get_decoder()(
            input_ids=ids.to(self._model.device), past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        owner = torch.tensor([number for number, row in enumerate(rows) for _ in row])
        place = torch.tensor([place for row in rows for place in range(len(row))])
        target = torch.tensor([token for row in rows for token in row], device=states.device)
        sums = np.zeros(len(rows))
        for start in range(0, len(owner), LOGIT_ROWS):
            part = slice(start, start + LOGIT_ROWS)
            logits = self._model.get_output_embeddings()(states[owner[part], place[part]]).float()
            chosen = logits.log_softmax(-1).gather(1, target[part, None])[:, 0]
            np.add.at(sums, owner[part].numpy(), chosen.double().cpu().numpy())
        return [float(value) for value in sums]

    def _continued(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None
    ) -> list[list[Written]]:
        """Return the texts of each prompt: `count` random ones, or the greedy one if `count` is 0."""
        ids = [prompt_ids(self._tokenizer, prompt) for prompt in prompts]
        refuse_too_long(self._model.config, (len(row) + MAX_NEW_TOKENS for row in ids))
        copies = max(1, count)
        results: dict[int, list[Written]] = {}
        give_back_memory()
        for batch in by_length([len(row) for row in ids], BATCH_TOKENS // copies, max(1, ROWS // copies)):
            texts = self._batch([ids[i] for i in batch], [grammars[i] for i in batch], count)
            results.update(zip(batch, texts, strict=True))
            if progress:
                progress(len(batch))
        return [results[index] for index in range(len(prompts))]

    def _batch(self, ids: list[list[int]], grammars: list[str], count: int) -> list[list[Written]]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from bundlewise.agents.student.grammar import DrawProcessor, GrammarProcessor

        copies = max(1, count)
        processors = [GrammarProcessor(self._tokens, [each for each in grammars for _ in range(copies)])]
        if count:
            processors.append(DrawProcessor([(*row, copy) for row in ids for copy in range(copies)]))
        longest, end = max(map(len, ids)), self._tokenizer.eos_token_id
        padded = [[end] * (longest - len(row)) + row for row in ids]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
        settings = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=end, pad_token_id=end)
        with torch.inference_mode(), stopping(self._model):
            known = {}
            if copies > 1 and longest > 1:
                cache = self._prefilled([row[:-1] for row in padded], [row[:-1] for row in mask], copies)
                known = {"past_key_values": cache}
            found = self._model.generate(
                input_ids=torch.tensor(padded, device=self._model.device).repeat_interleave(copies, 0),
                attention_mask=torch.tensor(mask, device=self._model.device).repeat_interleave(copies, 0),
                generation_config=settings,
                logits_processor=LogitsProcessorList(processors),
                **known,
            )
        new = found[:, longest:].tolist()
        return [
            # A prompt is computed once for all its texts, so its tokens count for the first one.
            [written(self._tokenizer, 0 if copy else len(row), new[place * copies + copy]) for copy in range(copies)]
            for place, row in enumerate(ids)
        ]

    def _prefilled(self, ids: list[list[int]], mask: list[list[int]], copies: int) -> Any:
        """Return the keys and values of texts that are padded on the left, each text `copies` times."""
        import torch

        seen = torch.tensor(mask, device=self._model.device)
        cache = self._model.get_decoder()(
            input_ids=torch.tensor(ids, device=self._model.device),
            attention_mask=seen,
            position_ids=(seen.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
        ).past_key_values
        cache.batch_repeat_interleave(copies)
        return cache

    @cached_property
    def _tokens(self) -> Any:
        from bundlewise.agents.student.draws import grammar_tokenizer

        return grammar_tokenizer(self._tokenizer, self._model.config.vocab_size)
