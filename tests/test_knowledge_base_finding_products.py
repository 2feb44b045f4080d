"""Finding products: by words with slips forgiven, by meaning, within prices; vectors are kept and gone on with."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
from samples import BagOfWords

from bundlewise.domain import Item
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.knowledge_base.finding_products import ProductFinder, stem
from bundlewise.products import read_products

PRODUCTS = [
    Item(id="1", title="Wireless Mouse with USB Receiver", price=19.99),
    Item(id="2", title="Mechanical Keyboard, Black", price=79.0),
    Item(id="3", title="Hard Case for Padmoor Glide 11 Tablet", price=24.5),
    Item(id="4", title="Padmoor Glide 11 Tablet", price=219.0),
    Item(id="5", title="Over-Ear Headphones", category=("Audio",), price=None),
    Item(id="6", title="USB-C Cable, 2 m", price=7.99),
]


class Counting(BagOfWords):
    """Counts the texts it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    def _forward(self, texts: list[str]) -> Vectors:
        self.embedded += texts
        return super()._forward(texts)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(params=[False, True], ids=["by words", "by meaning too"])
def finder(request: pytest.FixtureRequest) -> ProductFinder:
    found = ProductFinder(PRODUCTS, BagOfWords())
    return found.index() if request.param else found


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("wireless mouse", "1"),
        ("keyboards", "2"),
        ("keybaord", "2"),
        ("wireles mose", "1"),
        ("headphone", "5"),
        ("headph", "5"),
        ("audio", "5"),
        ("tablet case", "3"),
        ("glide 11 tablet", "4"),
        ("usb-c cable", "6"),
        ("MOUSE!!", "1"),
    ],
)
def test_words_find_the_product_that_is_meant(finder: ProductFinder, text: str, first: str) -> None:
    assert finder.search(text)[0][0].id == first


@pytest.mark.parametrize("text", ["zzzz qqqq", "\u4f60\u597d", "'; DROP TABLE products; --"])
def test_what_is_not_there_is_not_found(text: str) -> None:
    assert ProductFinder(PRODUCTS, BagOfWords()).search(text) == []


def test_prices_are_kept_to_and_unknown_prices_are_in_no_range(finder: ProductFinder) -> None:
    assert {i.id for i, _ in finder.search("usb mouse cable headphones", most=20)} <= {"1", "6"}
    assert [i.id for i, _ in finder.search("", least=20, most=80)] == ["3", "2"]
    assert "5" not in {i.id for i, _ in finder.search("", least=0)}
    assert [i.id for i, _ in finder.search("", limit=2)] == ["6", "1"]


def test_vectors_are_made_once_and_kept() -> None:
    first, second = Counting(), Counting()
    ProductFinder(PRODUCTS, first).index()
    found = ProductFinder(PRODUCTS, second).index()
    assert len(first.embedded) == len(PRODUCTS) and second.embedded == [] and found.is_indexed
    other = Counting()
    ProductFinder([*PRODUCTS, Item(id="7", title="Lamp")], other).index()
    assert len(other.embedded) == 7


def test_a_stopped_index_goes_on_where_it_stopped() -> None:
    products = [Item(id=str(n), title=f"thing number {n}") for n in range(150)]
    stop, first, second = Event(), Counting(), Counting()
    stop.set()
    assert not ProductFinder(products, first).index(stop=stop).is_indexed
    told: list[int] = []
    found = ProductFinder(products, second).index(advance=told.append)
    assert found.is_indexed and len(first.embedded) + len(second.embedded) == 150 == sum(told)
    whole = BagOfWords().embed([product.title for product in products])
    assert found._vectors is not None and np.array_equal(found._vectors, whole)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_damaged_cache_is_made_anew(cache: Path, content: bytes) -> None:
    ProductFinder(PRODUCTS, BagOfWords()).index()
    (file,) = (cache / "catalogues").iterdir()
    file.write_bytes(content)
    assert ProductFinder(PRODUCTS, BagOfWords()).index().is_indexed


def test_the_real_embedder_finds_what_shares_no_word(minilm: Path) -> None:
    products = [Item(id=str(n), title=p.title, price=p.price) for n, p in enumerate(read_products("grocery")[:120])]
    products.append(Item(id="earbuds", title="Tindrel Bean Earbuds, Half In-Ear"))
    finder = ProductFinder(products, Embedder.named(str(minilm))).index()
    assert finder.search("headphones")[0][0].id == "earbuds"


@pytest.mark.parametrize(
    ("word", "one"),
    [("cases", "case"), ("batteries", "battery"), ("glass", "glass"), ("brushes", "brush"), ("usb", "usb")],
)
def test_plurals_are_one_word(word: str, one: str) -> None:
    assert stem(word) == one
