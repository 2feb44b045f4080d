"""Embedding of a catalogue's titles and of a shop's phrases, before a conversation or while it runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread

from bundlewise.errors import BundlewiseError
from bundlewise.files import fingerprint
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.pipeline.product_search import CHUNK, ProductFinder
from bundlewise.settings import cache_folder

FEW = 512
"""Most missing vectors that a search waits for; if more are missing, they are made for the next start."""
BY_WORDS = "products are found by their words until the next start, and then by their meaning too"


@contextmanager
def indexing(
    finder: ProductFinder, wait: bool, tell: Callable[[str], None] = lambda _: None, texts: Sequence[str] = ()
) -> Iterator[None]:
    """Embed a catalogue before the block or while it runs; vectors that are missing at its end are made next time.

    If many vectors have to be made while the block runs, they are used from the next start on, and `tell` is called
    with a message: the results of a search do not change while the block runs. Other `texts` are embedded first.
    """
    stop, begun = Event(), Event()

    def work() -> None:
        with finder.awaited():
            try:
                if not wait and (many := finder.missing()) > FEW and finder.keep_to_words():
                    tell(f"{many:,} titles are embedded for the first time; {BY_WORDS}")
            finally:
                begun.set()
            _embed(finder.embedder, texts, stop)
            finder.index(stop=stop)

    worker = Thread(target=work, name="catalogue", daemon=True)
    worker.start()
    begun.wait()
    if wait:
        worker.join()
    try:
        yield
    finally:
        # If the interpreter ended while the thread runs native code, the process would crash.
        stop.set()
        worker.join()


def _embed(embedder: Embedder | None, texts: Sequence[str], stop: Event) -> None:
    """Embed texts, which the embedder remembers, and keep their vectors in the cache folder."""
    if embedder is None or not texts:
        return
    path = cache_folder() / "phrases" / f"{fingerprint([embedder.fingerprint, list(texts)])}.npz"
    if path.exists():
        embedder.load(path)
    for start in range(0, len(texts), CHUNK):
        if stop.is_set():
            return
        embedder.embed(texts[start : start + CHUNK])
    if not path.exists():
        with suppress(BundlewiseError):  # A cache that cannot be written only costs time.
            embedder.save(path, texts)
