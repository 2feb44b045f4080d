"""Masks of the tokens that a grammar admits, by llguidance, and reproducible random draws among them."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

LEAST = -1e30
"""The score of an admitted token to which the model gives NaN or minus infinity."""


def grammar_tokenizer(tokenizer: Any, vocabulary: int) -> Any:
    """Return a tokenizer of transformers as llguidance's, for a model with `vocabulary` tokens."""
    from llguidance.hf import from_tokenizer

    return from_tokenizer(tokenizer, n_vocab=vocabulary)


class GrammarMask:
    """The tokens that continue some texts, with one Lark grammar per text; the end token only ends a complete text."""

    def __init__(self, tokenizer: Any, grammars: Sequence[str]) -> None:
        """Compile the grammars for llguidance's tokenizer."""
        compiled = {grammar: LLMatcher.grammar_from_lark(grammar) for grammar in dict.fromkeys(grammars)}
        self._matchers = [LLMatcher(tokenizer, compiled[grammar]) for grammar in grammars]
        self._bits = allocate_token_bitmask(len(grammars), tokenizer.vocab_size)
        self.end = tokenizer.eos_token

    def take(self, tokens: Sequence[int]) -> None:
        """Continue each text by its token; a text that has ended stays as it is."""
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if not matcher.is_stopped():
                matcher.consume_token(token)

    def has_ended(self, text: int) -> bool:
        """Say whether nothing but the end can follow a text."""
        return bool(self._matchers[text].is_stopped())

    def admitted(self) -> npt.NDArray[np.bool_]:
        """Return for each text the tokens that may follow, shape (texts, vocabulary rounded up to 32)."""
        for row, matcher in enumerate(self._matchers):
            if matcher.is_error():
                raise RuntimeError(f"llguidance: {matcher.get_error()}")
            if matcher.is_stopped():
                self._admit_only_the_end(row)
            else:
                fill_next_token_bitmask(matcher, self._bits, row)
        # llguidance's function for torch needs seconds and a C++ compiler at its first use.
        return np.unpackbits(self._bits.view(np.uint8), axis=1, bitorder="little").astype(bool)

    def _admit_only_the_end(self, row: int) -> None:
        self._bits[row] = 0
        self._bits.view(np.uint32)[row, self.end // 32] = 1 << (self.end % 32)


def seeded(seed: Sequence[int]) -> np.random.Generator:
    """Return the source of the random numbers of one text: the tokens of its prompt and its number are the seed."""
    return np.random.default_rng(crc32(np.array(seed, np.int64).tobytes()))


def chosen(scores: npt.NDArray[np.float32], admitted: npt.NDArray[np.bool_], random: np.random.Generator | None) -> int:
    """Return one of the admitted tokens: the likeliest, or one drawn from their probabilities."""
    tokens = np.flatnonzero(admitted[: len(scores)])
    own = np.nan_to_num(scores[tokens], nan=LEAST, neginf=LEAST)
    if random is None:
        return int(tokens[own.argmax()])
    likely = np.exp(own - own.max())
    rising = np.cumsum(likely / likely.sum(), dtype=np.float64)
    place = int(np.searchsorted(rising, random.random() * rising[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])
