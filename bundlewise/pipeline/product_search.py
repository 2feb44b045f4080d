"""Search of a catalogue's products by words and by meaning, with typing errors, price limits and cached vectors."""

import io
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock

import numpy as np
import numpy.typing as npt

from bundlewise.domain import Item
from bundlewise.errors import BundlewiseError
from bundlewise.files import fingerprint, write_bytes
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.progress import Advance
from bundlewise.settings import cache_folder
from bundlewise.text import MOST_WORDS, head, is_unspaced, kind, line, normal, pairs_in, unaccented, words
from bundlewise.titles import MAX_TITLE

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]
NOWHERE: Places = np.array([], np.intp)
PAIR = "\0"
"""Prefix of index entries for pairs of characters, used for scripts that put no spaces between words."""
LIKE = 0.35
"""Smallest cosine at which a product without a word of the query is found; lower cosines of MiniLM mean nothing."""
COVERED = 0.34
"""Share of the query's words, by weight, that is enough to find a product without its meaning."""
TYPO = 0.7
"""The weight of a word that differs from the query's word by a typing error."""
SHORTEST_TYPO, LONGEST_TYPO = 4, 30
MOST_NEAR = 10
"""Most words tried in place of a word that the catalogue does not have."""
HEAD = 0.2
MEANING = 0.5
CHUNK = 64
"""Titles embedded in one batch; a stop waits for the end of the batch."""
PATIENCE = 30.0
"""Most seconds that a search waits for vectors; later vectors are used from the next start on."""
SAVED = 16
"""Batches between two writes of the vectors."""


class ProductFinder:
    """A catalogue's products, found by id, by words, and by meaning once `index` has run."""

    def __init__(self, products: Sequence[Item], embedder: Embedder | None, currency: str = "") -> None:
        """Index the words of titles and categories; vectors take minutes, and are made by `index`.

        Without an embedder products are found by words alone.
        """
        self.products = tuple(products)
        self.by_id = {product.id: product for product in self.products}
        self.embedder, self.currency = embedder, currency
        self._titles = {_same(product.title): product for product in reversed(self.products)}
        self._prices = np.array([np.inf if p.price is None else p.price for p in self.products])
        self._heads = _by_word(_key(head(kind(product.title).split())) for product in self.products)
        self._postings = self._invert()
        self._vocabulary = sorted(word for word in self._postings if not word.startswith(PAIR))
        self._near: dict[str, list[str]] = defaultdict(list)
        for word in self._vocabulary:
            for form in _shorter(word):
                self._near[form].append(word)
        self._vectors: Vectors | None = None
        self._settled = Event()
        self._settled.set()
        self._by_words, self._choice = False, Lock()

    def _invert(self) -> dict[str, Places]:
        found: dict[str, set[int]] = defaultdict(set)
        for place, product in enumerate(self.products):
            text = " ".join((product.title, *product.category)).replace("\u2019", "'")
            for word in words(text):
                found[_key(word)].add(place)
                for part in word.split("-") if "-" in word else ():
                    found[_key(part)].add(place)
            for pair in pairs_in(text):
                found[PAIR + pair].add(place)
        return {word: np.array(sorted(places)) for word, places in found.items()}

    @property
    def is_indexed(self) -> bool:
        """Say whether products are found by meaning too."""
        return self._vectors is not None

    def index(self, advance: Advance | None = None, stop: Event | None = None) -> "ProductFinder":
        """Embed the titles, or read their vectors from the cache folder; until then products are found by words.

        Args:
            advance: called for every finished title.
            stop: an event that ends the work early; the next call continues from there.
        """
        if self.embedder is None:
            return self
        titles = [product.title for product in self.products]
        path, parts = self._kept(titles, self.embedder)
        done = sum(map(len, parts))
        if advance and done:
            advance(done)
        for start in range(done, len(titles), CHUNK):
            parts.append(self.embedder.embed(titles[start : start + CHUNK], advance))
            stopped = stop is not None and stop.is_set()
            if stopped or start + CHUNK >= len(titles) or len(parts) % SAVED == 0:
                _save(path, parts)
            if stopped:
                return self
        with self._choice:
            if not self._by_words:
                self._vectors = np.concatenate(parts)
        return self

    def _kept(self, titles: Sequence[str], embedder: Embedder) -> tuple[Path, list[Vectors]]:
        """Return the file of the titles' vectors, and the vectors in it, which are those of the first titles."""
        path = cache_folder() / "catalogues" / f"{fingerprint([embedder.fingerprint, titles])}.npy"
        return path, [found for found in [_load(path)] if found is not None and len(found) <= len(titles)]

    def missing(self) -> int:
        """Return the number of titles without a vector, in memory or in the cache folder."""
        if self._vectors is not None or self.embedder is None:
            return 0
        titles = [product.title for product in self.products]
        return len(titles) - sum(map(len, self._kept(titles, self.embedder)[1]))

    def keep_to_words(self) -> bool:
        """Search by words only from now on, even when vectors come; return False if vectors are in use already."""
        with self._choice:
            self._by_words = self._vectors is None
            return self._by_words

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Make searches wait for the vectors while the block makes them."""
        self._settled.clear()
        try:
            yield
        finally:
            self._settled.set()

    def titled(self, title: str) -> Item | None:
        """Return the product with exactly this title; case, white space and the form of accents do not count."""
        return self._titles.get(_same(title))

    def knows(self, word: str) -> bool:
        """Say whether the catalogue contains a word."""
        key = _key(word.lower())
        return key in self._postings or (is_unspaced(key) and len(self._holding(key)) > 0)

    def search(
        self, text: str, limit: int = 8, least: float | None = None, most: float | None = None
    ) -> list[tuple[Item, float]]:
        """Return the products within the price limits that match a text, best first, with a score.

        An empty text matches every product, the cheapest first. Only the first words of a long text count. If few
        vectors are missing, the search waits for them. If that takes too long, this search and all later ones use
        words only, so that the same words find the same products.
        """
        if text.strip() and not self._by_words and not self._settled.wait(PATIENCE):
            self.keep_to_words()
        within = np.ones(len(self.products), bool)
        if least is not None or most is not None:
            within = (self._prices >= (least or 0)) & (self._prices <= (np.inf if most is None else most))
            within &= np.isfinite(self._prices)
        terms = list(dict.fromkeys(_key(word) for word in words(text.replace("\u2019", "'"))))[:MOST_WORDS]
        if not terms and not text.strip():
            scores, allowed = -self._prices, within
        else:
            covered = self._covered(terms)
            by_words = covered + self._headed(terms)
            scores, allowed = by_words, within & (covered >= COVERED)
            if self._vectors is not None and self.embedder is not None and self.embedder.reads(text):
                meaning = self._vectors @ self.embedder.embed([text[:MAX_TITLE]])[0]
                scores, allowed = by_words + MEANING * meaning, within & ((covered >= COVERED) | (meaning >= LIKE))
        places = np.flatnonzero(allowed)
        best = places[np.argsort(-scores[places], kind="stable")[:limit]]
        return [(self.products[place], float(scores[place])) for place in best]

    def _covered(self, terms: Sequence[str]) -> Floats:
        """Return for each product the share of the terms that it has; rare words have more weight."""
        scores, total = np.zeros(len(self.products), np.float32), 0.0
        for term in terms:
            places, share = self._places(term)
            weight = float(np.log1p(len(self.products) / max(1, len(places))))
            scores[places] += weight * share
            total += weight
        return scores / total if total else scores

    def _headed(self, terms: Sequence[str]) -> Floats:
        """Return a bonus for products of the kind that the terms name: a tablet before a case for a tablet."""
        scores = np.zeros(len(self.products), np.float32)
        for term in terms:
            scores[self._heads.get(term, [])] = HEAD
        return scores

    def _places(self, term: str) -> tuple[Places, float]:
        if is_unspaced(term):
            return self._holding(term), 1.0
        if term in self._postings:
            return self._postings[term], 1.0
        near = list(self._begun(term)) or self.spelt(term)
        if not near:
            return NOWHERE, 0.0
        return np.unique(np.concatenate([self._postings[word] for word in near])), TYPO

    def _holding(self, term: str) -> Places:
        """Return the products with all pairs of characters of a term in a script without spaces between words."""
        pairs = map("".join, pairwise(term)) if len(term) > 1 else term
        held = [self._postings.get(PAIR + pair, NOWHERE) for pair in pairs]
        places = min(held, key=len, default=NOWHERE)
        for each in held:
            places = places[np.isin(places, each, assume_unique=True)] if len(places) else NOWHERE
        return places

    def _begun(self, term: str) -> Iterator[str]:
        """Yield the words that begin with a term."""
        if len(term) < SHORTEST_TYPO:
            return
        start = bisect_left(self._vocabulary, term)
        for word in self._vocabulary[start : start + 20]:
            if not word.startswith(term):
                return
            yield word

    def spelt(self, term: str) -> list[str]:
        """Return the catalogue's words that differ from a term by one typing error."""
        if len(term) < SHORTEST_TYPO:
            return []
        near = dict.fromkeys(word for form in _shorter(term) for word in self._near.get(form, ())[:MOST_NEAR])
        return list(near)[:MOST_NEAR]


def _same(title: str) -> str:
    return " ".join(normal(line(title)).split())


def _key(word: str) -> str:
    """Return a word's key in the index: the word without plural ending and accents."""
    return stem(word if word.isascii() else unaccented(word))


def _by_word(words: Iterable[str]) -> dict[str, Places]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(words):
        places[word].append(place)
    return {word: np.array(found) for word, found in places.items()}


def stem(word: str) -> str:
    """Return a word without its plural ending, since shoppers use cases and case alike."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _shorter(word: str) -> Iterator[str]:
    """Yield a word and all its forms with one letter less; words that share a form differ by one typing error."""
    yield word
    if SHORTEST_TYPO <= len(word) <= LONGEST_TYPO and not word.isdigit() and not is_unspaced(word):
        yield from (word[:place] + word[place + 1 :] for place in range(len(word)))


def _save(path: Path, parts: list[Vectors]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts))
    with suppress(BundlewiseError):  # A cache that cannot be written only costs time.
        write_bytes(path, buffer.getvalue())


def _load(path: Path) -> Vectors | None:
    try:
        vectors: Vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.ndim == 2 and vectors.dtype == np.float32 else None
