"""Embedders turn texts into unit vectors; their fingerprints show whether stored vectors are theirs."""

import copy
import io
import os
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundlewise.errors import KnowledgeError, ModelError, UsageError
from bundlewise.files import fingerprint, write_bytes
from bundlewise.knowledge_base.languages import BESIDE, reads
from bundlewise.knowledge_base.remote_embedding import EmbeddingEndpoint
from bundlewise.models.cache import fingerprint_of
from bundlewise.models.endpoints import Endpoint, is_served
from bundlewise.models.fingerprints import content_of
from bundlewise.models.folders import is_gguf, resolve
from bundlewise.models.known import KNOWN
from bundlewise.progress import Advance, go_on

Vectors = npt.NDArray[np.float32]

REMEMBERED = 100_000
CHOICES = (
    "choose minilm, mpnet, a sentence-transformers model (hub id or folder), several of these with + between them, "
    "or an OpenAI-compatible endpoint: "
    "openai:MODEL or openai:MODEL@http://host:port/v1"
)
PROBES = [
    "wireless mouse with USB receiver",
    "organic oat milk, 1 litre",
    "women's running shoes, size 38",
    "Someone who buys a tent and a stove goes camping.",
]
BITS = 48
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
TRUSTED = "BUNDLEWISE_EMBEDDER"
PARTS = ["modules.json", "*sentence*.json", "[0-9]*_*/**/*"]


class Embedder(ABC):
    """Turns texts into unit vectors, each text once; `name` is the specification that `named` resolves."""

    batch = 64

    def __init__(self, name: str) -> None:
        self.name = name
        self._known: dict[str, Vectors] = {}

    @staticmethod
    def named(spec: str = "minilm") -> "Embedder":
        """Resolve a specification: `minilm`, `mpnet`, a hub id, a folder, `openai:MODEL` or `openai:MODEL@URL`.

        Names with `+` between them, such as `minilm+mpnet`, are embedders side by side.

        Raises:
            UsageError: it does not name an embedder.
            ModelError: the model cannot be fetched.
        """
        if is_served(spec):
            return RemoteEmbedder(spec, EmbeddingEndpoint(Endpoint.named(spec)))
        if BESIDE in spec and not Path(spec).expanduser().exists():
            return SideBySide([Embedder.named(name) for name in spec.split(BESIDE)])
        known = KNOWN.get(spec)
        if known and known.role != "embedder":
            raise UsageError(f"{spec} is a {known.role}, not an embedder; {CHOICES}")
        if is_gguf(Path(spec).expanduser()):
            raise UsageError(f"{spec} is a file, not an embedder; {CHOICES}")
        try:
            folder = resolve(spec)
        except UsageError as error:
            raise UsageError(f"no embedder called {spec!r}; {CHOICES}") from error
        # The name of a folder is absolute, because processes that start in other folders read it too.
        return LocalEmbedder(folder, str(folder.resolve()) if Path(spec).expanduser() == folder else spec)

    @staticmethod
    def of_store(spec: str) -> "Embedder":
        """Resolve the specification that a knowledge base holds.

        Raises:
            KnowledgeError: it is a remote address that the user has not trusted: a foreign knowledge base
                could make the user send texts and a key to any address.
        """
        endpoint = Endpoint.named(spec) if is_served(spec) else None
        host = endpoint.host if endpoint and endpoint.url else ""
        if host and host not in LOOPBACK and os.environ.get(TRUSTED) != spec:
            raise KnowledgeError(
                f"its texts would be sent to {host}, which the knowledge base names as its embedder; "
                f"if you trust that address set {TRUSTED}={spec}"
            )
        return Embedder.named(spec)

    def reads(self, text: str) -> bool:
        """Say whether the embedder knows the language of a text, judged by its script."""
        return reads(self.name, text)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """12 hex digits that change when the vectors change."""

    def fits(self, fingerprint: str) -> bool:
        """Say whether vectors with this fingerprint come from this embedder."""
        return fingerprint == self.fingerprint

    def embed(self, texts: Sequence[str], advance: Advance | None = None) -> Vectors:
        """Return one unit vector per text, shape (len(texts), dimension); `advance` is called with the texts done."""
        counts = Counter(texts)
        found = {text: self._known[text] for text in counts if text in self._known}
        if advance and found:
            advance(sum(counts[text] for text in found))
        # Texts of similar length share a batch, which saves padding.
        new = sorted(counts.keys() - found.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), self.batch):
            go_on()
            batch = new[start : start + self.batch]
            found.update(zip(batch, self._forward(batch), strict=True))
            if advance:
                advance(sum(counts[text] for text in batch))
        self._remember(found)
        return np.stack([found[text] for text in texts]) if texts else self._none()

    def save(self, path: Path, texts: Sequence[str]) -> None:
        """Save the vectors of texts to a file for other processes."""
        chosen = sorted(set(texts))
        buffer = io.BytesIO()
        np.savez(
            buffer, fingerprint=self.fingerprint, texts=np.array(chosen, dtype=np.str_), vectors=self.embed(chosen)
        )
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Load saved vectors of this model; a missing or damaged file, or one of another model, is ignored."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
                if self.fits(str(saved["fingerprint"])):
                    self._remember(dict(zip(saved["texts"].tolist(), saved["vectors"], strict=True)))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return

    @abstractmethod
    def _forward(self, texts: list[str]) -> Vectors:
        """Return one unit vector per text."""

    def _remember(self, found: dict[str, Vectors]) -> None:
        self._known |= found
        for text in list(islice(self._known, max(0, len(self._known) - REMEMBERED))):
            del self._known[text]

    def _none(self) -> Vectors:
        dimension = len(next(iter(self._known.values()))) if self._known else 1
        return np.zeros((0, dimension), np.float32)


class LocalEmbedder(Embedder):
    """A sentence-transformers model on the CPU, with the pooling, length and prompt that its files set."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name)
        self.folder = folder
        if not (folder / "modules.json").is_file():
            raise UsageError(f"{name} holds no modules.json, so it is not a sentence-transformers model; {CHOICES}")

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with the model, its modules or its settings."""
        parts = {path.relative_to(self.folder).as_posix(): content_of(path) for path in self._parts()}
        return fingerprint(parts | {"model": fingerprint_of(self.folder)})

    def _parts(self) -> Iterator[Path]:
        """Yield the files that set how token vectors become the vector of a text."""
        yield from (path for name in PARTS for path in self.folder.glob(name) if path.is_file())

    def _forward(self, texts: list[str]) -> Vectors:
        vectors = self._model.encode(texts, batch_size=len(texts), show_progress_bar=False)
        return unit(vectors, self.name)

    def twin(self) -> Any:
        """Return a copy of the model that shares its weights, so that other weights can be added to the copy."""
        return copy.deepcopy(self._model, {id(weight): weight for weight in self._model.parameters()})

    @cached_property
    def _model(self) -> Any:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        loading = {"device": "cpu", "local_files_only": True, "model_kwargs": {"dtype": "float32"}}
        try:
            return SentenceTransformer(str(self.folder), **loading)
        except (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"cannot load the embedder {self.name}: {reason}; fetch it again, or {CHOICES}") from error


class RemoteEmbedder(Embedder):
    """A model behind an OpenAI-compatible endpoint."""

    batch = 256

    def __init__(self, name: str, endpoint: EmbeddingEndpoint) -> None:
        super().__init__(name)
        self.endpoint = endpoint

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits: the sides of 48 fixed planes on which the vectors of four probe texts lie."""
        probe = self.embed(PROBES).ravel()
        planes = np.random.RandomState(0).standard_normal((BITS, probe.size))
        sides = "".join("1" if side > 0 else "0" for side in planes @ probe)
        return f"{int(sides, 2):0{BITS // 4}x}"

    def fits(self, fingerprint: str) -> bool:
        """Say whether vectors with this fingerprint come from this embedder; the noise of a server is tolerated."""
        try:
            apart = int(fingerprint, 16) ^ int(self.fingerprint, 16)
        except ValueError:
            return False
        # The answers of a server vary in a few bits; another model differs in about half of the bits.
        return apart.bit_count() <= BITS // 16

    def _forward(self, texts: list[str]) -> Vectors:
        return unit(self.endpoint.vectors(texts), self.name)


class SideBySide(Embedder):
    """Embedders on this machine that read titles side by side; `name` joins their names by `+`."""

    def __init__(self, parts: Sequence[Embedder]) -> None:
        """Join embedders, the one whose vectors are searched first.

        Raises:
            UsageError: one of them is on a server, or is named twice.
        """
        super().__init__(BESIDE.join(part.name for part in parts))
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


def unit(vectors: npt.NDArray[Any], name: str) -> Vectors:
    """Return the vectors scaled to length 1; `name` is the embedder, for the message.

    Raises:
        ModelError: a vector is zero or not finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ModelError(f"{name} answered a vector of zeros or not-a-number; choose another embedder")
    scaled: Vectors = (vectors / lengths).astype(np.float32)
    return scaled
