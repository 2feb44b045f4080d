"""Sentence embeddings by a local model, and the fingerprint that keeps a store and its model together."""

import io
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bundlewise import models
from bundlewise.files import write_bytes

Vectors = npt.NDArray[np.float32]

BATCH = 64
MAX_TOKENS = 128


class Embedder:
    """A sentence-transformers model with mean pooling, run by transformers on the CPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    @classmethod
    def named(cls, name: str = "minilm") -> "Embedder":
        """Resolve a model name, hub id or folder; see `bundlewise.models.resolve`."""
        return cls(models.resolve(name))

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits of the model's files."""
        return models.fingerprint_of(self.folder)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text, shape (len(texts), dimension); each text is embedded once."""
        new = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self._known.update(zip(batch, self._forward(batch), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)

    def save(self, path: Path, texts: Sequence[str]) -> None:
        """Keep the vectors of texts in a file, so that other processes need not embed them again."""
        chosen = sorted(set(texts))
        buffer = io.BytesIO()
        np.savez(
            buffer, fingerprint=self.fingerprint, texts=np.array(chosen, dtype=np.str_), vectors=self.embed(chosen)
        )
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Take over saved vectors of this very model; a missing, damaged or foreign file changes nothing."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                if str(saved["fingerprint"]) == self.fingerprint:
                    self._known |= dict(zip(saved["texts"].tolist(), saved["vectors"], strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return

    def _forward(self, texts: list[str]) -> Vectors:
        import torch

        model, tokenizer = self._model
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors: Vectors = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return vectors

    @cached_property
    def _model(self):  # type: ignore[no-untyped-def]
        import torch
        from transformers import AutoModel, AutoTokenizer

        model = AutoModel.from_pretrained(self.folder, dtype=torch.float32)
        return model.eval(), AutoTokenizer.from_pretrained(self.folder)
