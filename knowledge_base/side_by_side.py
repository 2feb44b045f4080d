"""Several embedders side by side: the first one's vectors are searched, and pair evidence looks through all of them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from bundlewise.errors import UsageError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.embedding import Embedder, LocalEmbedder, Vectors
from bundlewise.progress import Advance

BETWEEN = "+"
"""What stands between the names of embedders side by side, as in `minilm+mpnet`."""


class SideBySide(Embedder):
    """Embedders on this machine that read titles side by side; `name` joins their names by `+`."""

    def __init__(self, parts: Sequence[Embedder]) -> None:
        """Join embedders, the one whose vectors are searched first.

        Raises:
            UsageError: one of them is on a server, or is named twice.
        """
        super().__init__(BETWEEN.join(part.name for part in parts))
        for part in parts:
            if not isinstance(part, LocalEmbedder):
                raise UsageError(f"{part.name} is on a server; embedders side by side are on this machine")
            if sum(part.name == other.name for other in parts) > 1:
                raise UsageError(f"{part.name} is named twice in {self.name}; name each embedder once")
        self.parts, self.batch = tuple(parts), parts[0].batch

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with each of the embedders."""
        return fingerprint([part.fingerprint for part in self.parts])

    def reads(self, text: str) -> bool:
        """Say whether the first embedder knows the language of a text, judged by its script."""
        return self.parts[0].reads(text)

    def embed(self, texts: Sequence[str], advance: Advance | None = None) -> Vectors:
        """Return the first embedder's unit vector for each text, shape (len(texts), dimension)."""
        return self.parts[0].embed(texts, advance)

    def save(self, path: Path, texts: Sequence[str]) -> None:
        """Save the vectors of texts by each embedder, to a file of its own."""
        for part, own in zip(self.parts, self._files(path), strict=True):
            part.save(own, texts)

    def load(self, path: Path) -> None:
        """Load what `save` has saved."""
        for part, own in zip(self.parts, self._files(path), strict=True):
            part.load(own)

    def _files(self, path: Path) -> list[Path]:
        return [path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, len(self.parts) + 1))]

    def _forward(self, texts: list[str]) -> Vectors:
        return self.parts[0]._forward(texts)


def parts_of(embedder: Embedder) -> tuple[Embedder, ...]:
    """Return the embedders side by side, or the only one."""
    return embedder.parts if isinstance(embedder, SideBySide) else (embedder,)
