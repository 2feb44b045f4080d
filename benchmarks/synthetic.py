"""Synthetic knowledge of real kinds, with an embedder that needs no model, to make a million records in minutes."""

import random
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from bundlewise.domain import Item, Knowledge, KnowledgeKind, KnownSession, Provenance, Session, item_set_of
from bundlewise.errors import UsageError
from bundlewise.files import read_rows
from bundlewise.knowledge_base.embedding import Embedder, Vectors, unit
from bundlewise.text import kind as kind_of

KINDS: tuple[KnowledgeKind, ...] = ("pattern", "rule", "thought")
SHARES = (10, 5, 85)
DOMAINS = ("electronics", "clothing", "grocery")
SIZES, SIZE_SHARES = (2, 3, 4, 5, 6), (3, 5, 4, 2, 1)
WORDS = 30
MODELS = 1000
NOISE = 0.1
PART_END = re.compile(r"[,.;] ")
SOURCE = Provenance(teacher="synthetic", prompt="0" * 12, run="0" * 12)


def kinds_of(path: Path) -> Counter[str]:
    """Count the kinds of products in a pack, in the form that titles show.

    Raises:
        UsageError: the file names no kinds.
    """
    found = [kind for row in read_rows(path) for kind in row.get("item_kinds") or row.get("kinds") or ()]
    if not found:
        raise UsageError(f"{path} names no kinds of products; give a pack with thoughts")
    return Counter(map(kind_of, found))


class Kinds:
    """Real kinds of products, each drawn as often as it occurs, with the vectors of a real embedder."""

    def __init__(self, names: Sequence[str], counts: Sequence[int], vectors: Vectors) -> None:
        self.names = list(names)
        self.vectors = vectors
        self._weights = list(accumulate(counts))

    @classmethod
    def load(cls, path: Path) -> "Kinds":
        """Read a file written by `save`."""
        with np.load(path, allow_pickle=False) as saved:
            return cls(saved["names"].tolist(), saved["counts"].tolist(), saved["vectors"])

    @staticmethod
    def save(path: Path, counts: Counter[str], embedder: Embedder) -> None:
        """Embed every kind once, and write kinds, counts and vectors to a file."""
        names = sorted(counts)
        numbers = [counts[name] for name in names]
        np.savez(path, names=np.array(names), counts=numbers, vectors=embedder.embed(names))

    def draw(self, dice: random.Random, count: int) -> list[str]:
        """Draw different kinds."""
        found: dict[str, None] = {}
        while len(found) < min(count, len(self.names)):
            found |= dict.fromkeys(dice.choices(self.names, cum_weights=self._weights, k=count - len(found)))
        return list(found)

    def records(self, count: int, seed: int = 0) -> Iterator[Knowledge]:
        """Yield records of 2 to 6 kinds and about 30 words, thoughts with the titles of their session."""
        dice = random.Random(seed)
        for number in range(count):
            (kind,) = dice.choices(KINDS, SHARES)
            kinds = self.draw(dice, dice.choices(SIZES, SIZE_SHARES)[0])
            yield self._record(kind, dice.choice(DOMAINS), kinds, f"s{number}", dice)

    def _record(
        self, kind: KnowledgeKind, domain: str, kinds: list[str], source: str, dice: random.Random
    ) -> Knowledge:
        words = " ".join(kinds).split()
        while len(words) < WORDS:
            words += self.draw(dice, 1)[0].split()
        text = " ".join(words)
        about: dict[str, object] = {"groups": ((0, 1),), "titles": titles_of(kinds, dice)} if kind == "thought" else {}
        key = Knowledge.content_id(kind, domain, text, (source,))
        fields = {"id": key, "kind": kind, "domain": domain, "text": text, "kinds": tuple(kinds)}
        return Knowledge.model_validate(fields | about | {"source_session_ids": (source,), "provenance": SOURCE})

    def sessions(self, count: int, seed: int = 1) -> list[Session]:
        """Return sessions of 3 to 6 titles to retrieve for."""
        dice = random.Random(seed)
        drawn = [titles_of(self.draw(dice, dice.randint(3, 6)), dice) for _ in range(count)]
        return [
            Session(
                session_id=f"q{n}",
                split="test",
                items=tuple(Item(id=str(i), title=title) for i, title in enumerate(titles)),
                domain=DOMAINS[n % len(DOMAINS)],
            )
            for n, titles in enumerate(drawn)
        ]


def titles_of(kinds: Sequence[str], dice: random.Random) -> tuple[str, ...]:
    """Return a title of each kind; `bundlewise.text.kind` reads the kind from it again."""
    return tuple(f"{kind}, model {dice.randrange(MODELS)}" for kind in kinds)


def known_sessions(records: Sequence[Knowledge]) -> list[KnownSession]:
    """Return the training sessions that thoughts come from."""
    thoughts = (record for record in records if record.kind == "thought")
    return [KnownSession(id=t.source_session_ids[0], split="train", items=item_set_of(t.titles)) for t in thoughts]


class MeanOfKinds(Embedder):
    """An embedder that returns the mean of the vectors of the kinds in a text, plus a little noise for each text."""

    batch = 1000
    fingerprint = "mean-of-kinds"

    def __init__(self, kinds: Kinds) -> None:
        super().__init__("mean-of-kinds")
        self._vectors = dict(zip(kinds.names, kinds.vectors, strict=True))
        self._noise = unit(np.random.default_rng(0).standard_normal((4096, kinds.vectors.shape[1])), self.name) * NOISE
        self._seconds = 0.0

    def embed(self, texts: Sequence[str], advance: object = None) -> Vectors:
        """Return one unit vector for each text."""
        start = time.perf_counter()
        vectors = super().embed(texts)
        self._seconds += time.perf_counter() - start
        return vectors

    def spent(self) -> float:
        """Return the seconds that embedding has taken so far."""
        return self._seconds

    def _forward(self, texts: list[str]) -> Vectors:
        return unit(np.stack([self._mean(text) for text in texts]), self.name)

    def _mean(self, text: str) -> Vectors:
        known = [self._vectors[part] for part in text.split(". ")[0].split(", ") if part in self._vectors]
        mean: Vectors = np.mean(known, axis=0) if known else np.zeros(self._noise.shape[1], np.float32)
        noise: Vectors = self._noise[zlib.crc32(text.encode()) % len(self._noise)]
        return noise + mean / max(float(np.linalg.norm(mean)), 1e-9)
