"""Find the phrase nearest to a sentence, by an embedder, or by words and letters if there is no embedder."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from bundlewise.agents.assistant.phrases import Phrase, Phrases
from bundlewise.text import tokens

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Turns n texts into unit vectors, shape (n, dimension)."""
PLACES = 4096
MOST_WORDS = 40
"""The most words of a sentence that count; a longer sentence is no phrase."""
LETTERS = 0.4
"""The weight of three letters in a row beside that of a word."""


def by_letters(texts: Sequence[str]) -> Vectors:
    """Return one unit vector per text that counts its words and their letters; slips change it little."""
    vectors = np.zeros((len(texts), PLACES), np.float32)
    for row, text in enumerate(texts):
        for word in tokens(text):
            vectors[row, zlib.crc32(word.encode()) % PLACES] += 1
            padded = f"<{word}>"
            for start in range(len(padded) - 2):
                vectors[row, zlib.crc32(padded[start : start + 3].encode()) % PLACES] += LETTERS
    norms: Vectors = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / norms, np.float32)


@dataclass
class Meaning:
    """Compares sentences with the phrases of a shop; safe to call from any thread."""

    phrases: Phrases = field(default_factory=Phrases.read)
    embed: Embed | None = None
    _vectors: dict[str, Vectors] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    @property
    def caution(self) -> float:
        """The cosine that is required of words and letters beyond the one that is required of an embedder."""
        return 0.0 if self.embed else 0.1

    def nearest(self, said: str) -> list[tuple[Phrase, float]]:
        """Return the nearest phrase of each act with its cosine, the best first."""
        found: dict[str, tuple[Phrase, float]] = {}
        for phrase, score in self._ranked(said, self.phrases.all, lambda phrase: phrase.spoken):
            found.setdefault(phrase.act, (phrase, score))
        return list(found.values())

    def need(self, said: str) -> tuple[str, float]:
        """Return the words that find what a sentence describes, with the cosine of the nearest description."""
        content = self.phrases.content
        ranked = self._ranked(content(said), self.phrases.needs, lambda phrase: content(phrase.text))
        return (ranked[0][0].told, ranked[0][1]) if ranked else ("", 0.0)

    def _ranked(
        self, said: str, phrases: Sequence[Phrase], text_of: Callable[[Phrase], str]
    ) -> list[tuple[Phrase, float]]:
        if not phrases or not 0 < len(said.split()) <= MOST_WORDS:
            return []
        embed = self.embed or by_letters
        with self._lock:
            if phrases[0].act not in self._vectors:
                self._vectors[phrases[0].act] = embed([text_of(phrase) for phrase in phrases])
        scores = self._vectors[phrases[0].act] @ embed([said])[0]
        return [(phrases[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")]
