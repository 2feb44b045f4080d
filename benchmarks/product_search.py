"""Measure the time of a search in a catalogue of many products, and the time to index the catalogue.

python benchmarks/product_search.py --products 10000

Titles are those of the starter domains with invented model numbers. Half of the queries have a typing error.
"""

import argparse
import random
import tempfile
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter

from bundlewise.settings import quiet_libraries

quiet_libraries()

from bundlewise.data.catalogue import read_products  # noqa: E402
from bundlewise.data.sessions import STARTERS  # noqa: E402
from bundlewise.domain import Item  # noqa: E402
from bundlewise.knowledge_base.embedding import Embedder  # noqa: E402
from bundlewise.pipeline.product_search import ProductFinder  # noqa: E402
from bundlewise.text import kind  # noqa: E402


def catalogue(size: int) -> list[Item]:
    """Return a number of products with different titles."""
    known = [product for name in STARTERS for product in read_products(name)]
    rows = enumerate(islice(cycle(known), size))
    return [
        Item(id=f"p{n}", title=item.title if n < len(known) else f"{item.title} M{n // len(known)}", price=item.price)
        for n, item in rows
    ]


def queries(products: list[Item], count: int, seed: int = 0) -> list[str]:
    """Return kinds of random products, every second with two letters swapped."""
    draw = random.Random(seed)
    asked = []
    for number in range(count):
        text = kind(draw.choice(products).title)
        if number % 2 and len(text) > 4:
            place = draw.randrange(1, len(text) - 2)
            text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        asked.append(f"{text} {number}")
    return asked


def main() -> None:
    """Index, search, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    products = catalogue(given.products)
    started = perf_counter()
    finder = ProductFinder(products, Embedder.named())
    print(f"{len(products):,} products, words indexed in {perf_counter() - started:.2f} s")
    for what in ("by words", "by words and meaning"):
        took = []
        for text in queries(products, given.queries):
            started = perf_counter()
            finder.search(text, 8, most=100)
            took.append(1000 * (perf_counter() - started))
        print(f"{what}: median {median(took):.1f} ms, p95 {sorted(took)[int(0.95 * len(took))]:.1f} ms")
        if not finder.is_indexed:
            started = perf_counter()
            finder.index()
            print(f"meaning indexed in {perf_counter() - started:.1f} s (kept in the cache folder)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.csv"
        rows = [f'{p.id},"{p.title.replace(chr(34), "")}",{p.price}' for p in products]
        path.write_text("\n".join(["id,title,price", *rows]))
        started = perf_counter()
        read_products(str(path))
        print(f"CSV read in {perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
