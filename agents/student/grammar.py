"""Constrained decoding in torch: logits processors for transformers, with one grammar per row."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor

from bundlewise.agents.student.draws import LEAST, GrammarMask, seeded
from bundlewise.progress import go_on


class GrammarProcessor(LogitsProcessor):  # type: ignore[misc]
    """Admit only tokens that continue the row's grammar, and the end token only when the text is complete."""

    def __init__(self, tokenizer: Any, grammars: Sequence[str]) -> None:
        self._mask = GrammarMask(tokenizer, grammars)
        self._begun = False

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Pass each row's last token to its grammar, and mask the tokens that cannot follow."""
        go_on()
        if self._begun:
            self._mask.take(input_ids[:, -1].tolist())
        admitted = self._mask.admitted()[:, : scores.shape[1]]
        self._begun = True
        # An admitted token must score above all masked ones, even if the model gives it NaN or -inf.
        scores.nan_to_num_(nan=LEAST, neginf=LEAST)
        scores.masked_fill_(torch.from_numpy(~admitted).to(scores.device), float("-inf"))
        return scores


class DrawProcessor(LogitsProcessor):  # type: ignore[misc]
    """Draw a token for each row from the probabilities, and admit only this one; it comes after the grammars.

    A row's draws depend only on its seed, so that a text does not depend on the other rows.
    """

    def __init__(self, seeds: Sequence[Sequence[int]]) -> None:
        self._random = [seeded(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores with one finite token a row."""
        rising = scores.float().softmax(-1).cumsum(-1, dtype=torch.float64)
        drawn = torch.tensor([random.random() for random in self._random], dtype=torch.float64, device=scores.device)
        chosen = torch.searchsorted(rising, (drawn * rising[:, -1])[:, None], right=True)
        chosen.clamp_(max=scores.shape[1] - 1)
        admitted = torch.full_like(scores, float("-inf"))
        admitted.scatter_(1, chosen, 0.0)
        return admitted  # type: ignore[return-value]
