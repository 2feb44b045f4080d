"""Constrained decoding with llguidance: logits processors for transformers, with one grammar per row."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from transformers import LogitsProcessor

from bundlewise.progress import go_on

LEAST = -1e30


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Admit only tokens that continue the row's grammar, and the end token only when the text is complete."""

    def __init__(self, tokenizer: Any, grammars: Sequence[str]) -> None:
        compiled = {grammar: LLMatcher.grammar_from_lark(grammar) for grammar in dict.fromkeys(grammars)}
        self._matchers = [LLMatcher(tokenizer, compiled[grammar]) for grammar in grammars]
        self._mask = allocate_token_bitmask(len(grammars), tokenizer.vocab_size)
        self._end = tokenizer.eos_token
        self._begun = False

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Pass each row's last token to its grammar, and mask the tokens that cannot follow."""
        go_on()
        for row, matcher in enumerate(self._matchers):
            if self._begun and not matcher.is_stopped():
                matcher.consume_token(int(input_ids[row, -1]))
            if matcher.is_error():
                raise RuntimeError(f"llguidance: {matcher.get_error()}")
            if matcher.is_stopped():
                self._admit_only_the_end(row)
            else:
                fill_next_token_bitmask(matcher, self._mask, row)
        self._begun = True
        # NumPy applies the mask: llguidance's function for torch needs seconds and a C++ compiler at its first use.
        bits = np.unpackbits(self._mask.view(np.uint8), axis=1, bitorder="little")[:, : scores.shape[1]]
        # An admitted token must score above all masked ones, even if the model gives it NaN or -inf.
        scores.nan_to_num_(nan=LEAST, neginf=LEAST)
        scores.masked_fill_(torch.from_numpy(bits == 0).to(scores.device), float("-inf"))
        return scores

    def _admit_only_the_end(self, row: int) -> None:
        self._mask[row] = 0
        self._mask.view(np.uint32)[row, self._end // 32] = 1 << (self._end % 32)


class DrawProcessor(LogitsProcessor):  # type: ignore[misc]
    """Draw a token for each row from the probabilities, and admit only this one; it comes after the grammars.

    A row's draws depend only on its seed, so that a text does not depend on the other rows.
    """

    def __init__(self, seeds: Sequence[Sequence[int]]) -> None:
        self._random = [np.random.default_rng(crc32(np.array(seed, np.int64).tobytes())) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores with one finite token a row."""
        rising = scores.float().softmax(-1).cumsum(-1, dtype=torch.float64)
        drawn = torch.tensor([random.random() for random in self._random], dtype=torch.float64, device=scores.device)
        chosen = torch.searchsorted(rising, (drawn * rising[:, -1])[:, None], right=True)
        chosen.clamp_(max=scores.shape[1] - 1)
        admitted = torch.full_like(scores, float("-inf"))
        admitted.scatter_(1, chosen, 0.0)
        return admitted  # type: ignore[return-value]
