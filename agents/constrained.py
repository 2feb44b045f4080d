"""Constrained decoding: a grammar a row, by llguidance, as a logits processor of transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.torch import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask
from transformers import LogitsProcessor


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Admit at every step only tokens that continue the row's grammar, and its end only when complete."""

    def __init__(self, tokenizer: Any, grammars: Sequence[str]) -> None:
        compiled = {grammar: LLMatcher.grammar_from_lark(grammar) for grammar in dict.fromkeys(grammars)}
        self._matchers = [LLMatcher(tokenizer, compiled[grammar]) for grammar in grammars]
        self._mask = allocate_token_bitmask(len(grammars), tokenizer.vocab_size)
        self._end = tokenizer.eos_token
        self._begun = False

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Take each row's last token into its grammar and mask what cannot follow."""
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
        apply_token_bitmask_inplace(scores, self._mask.to(scores.device))
        return scores

    def _admit_only_the_end(self, row: int) -> None:
        self._mask[row] = 0
        self._mask[row, self._end // 32] = 1 << (self._end % 32)
