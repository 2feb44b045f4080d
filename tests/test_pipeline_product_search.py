"""Finding products: by words with slips forgiven, by meaning, within prices; vectors are kept and gone on with."""

import random
import time
import unicodedata
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from samples import BagOfWords

from bundlewise.data.catalogue import read_products
from bundlewise.domain import Item
from bundlewise.knowledge_base.embedding import Embedder, Vectors
from bundlewise.pipeline import product_search
from bundlewise.pipeline.indexing import FEW, indexing
from bundlewise.pipeline.product_search import ProductFinder, stem

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


class Slow(BagOfWords):
    """Takes its time for titles, but not for what is looked for."""

    def _forward(self, texts: list[str]) -> Vectors:
        time.sleep(0.3 if len(texts) > 1 else 0)
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


def test_the_first_search_finds_what_the_next_one_finds() -> None:
    def found() -> list[tuple[str, float]]:
        finder = ProductFinder(PRODUCTS, Slow())
        with indexing(finder, wait=False):
            return [(item.id, score) for item, score in finder.search("wireless keyboard")]

    assert found() == found() and len(found()) > 1


def lamps(count: int) -> list[Item]:
    return [Item(id=str(n), title=f"Lamp {n}") for n in range(count)]


def test_a_search_does_not_wait_for_many_vectors_and_the_next_one_finds_the_same() -> None:
    finder, told = ProductFinder(lamps(FEW + 1), Slow()), list[str]()
    begun = time.monotonic()
    with indexing(finder, wait=False, tell=told.append):
        first = finder.search("lamp 7 lamp")
        assert first and not finder.is_indexed and time.monotonic() - begun < 2
        while finder.missing():
            time.sleep(0.05)
    assert finder.search("lamp 7 lamp") == first
    assert told == [
        "513 titles are embedded for the first time; products are found by their words until the next start, and "
        "then by their meaning too"
    ]


def test_many_vectors_are_used_from_the_next_start_on_or_where_they_are_waited_for() -> None:
    told: list[str] = []
    for wait in (True, False):
        finder = ProductFinder(lamps(FEW + 1), BagOfWords())
        with indexing(finder, wait=wait, tell=told.append):
            finder.search("lamp 7")
            assert finder.is_indexed and told == []


def test_a_search_that_waited_too_long_and_those_after_it_do_without_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_search, "PATIENCE", 0.05)
    finder = ProductFinder(PRODUCTS, Slow())
    with indexing(finder, wait=False):
        first = finder.search("wireless keyboard")
        while finder.missing():
            time.sleep(0.05)
    assert finder.search("wireless keyboard") == first and not finder.is_indexed


def test_an_embedder_that_fails_keeps_no_search_waiting() -> None:
    class Failing(BagOfWords):
        def _forward(self, texts: list[str]) -> Vectors:
            raise ValueError("no model")

    finder = ProductFinder(PRODUCTS, Failing())
    with pytest.raises(ValueError, match="no model"), finder.awaited():
        finder.index()
    assert finder.search("mouse")


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


SHOPS = {
    "English": ["O\u2019Neill\u2019s beach towel", "Men's socks", "Garden hose", "Desk lamp"],
    "German": ["Jäger Müsli, 750 g", "Große Kaffeetasse, weiß", "Hülle für Tablet 11", "Tablet 11 mit Stift"],
    "Russian": ["Настольная лампа светодиодная", "Корм для собак, 3 кг", "Чехол для планшета", "Планшет, чёрный"],
    "Hebrew": ["אוזניות אלחוטיות", "מנורת שולחן", "כיסוי לטלפון", "טלפון נייד"],
    "Chinese": ["便携式蓝牙音箱 防水", "无线鼠标 静音", "成犬狗粮鸡肉味10kg", "不锈钢保温杯"],
    "Japanese": ["ワイヤレスマウス 黒", "犬用のドッグフード", "ＬＥＤデスクライト", "緑茶ティーバッグ"],
    "Thai": ["หูฟังไร้สาย สีดำ", "โคมไฟตั้งโต๊ะ", "อาหารสุนัข 3 กก.", "เคสโทรศัพท์มือถือ"],
}


@pytest.mark.parametrize(
    ("shop", "text", "place"),
    [
        ("English", "o'neill's", 0),
        ("English", "men\u2019s", 1),
        ("English", "mens socks", 1),
        ("German", "müsli", 0),
        ("German", "musli", 0),
        ("German", "muesli", 0),
        ("German", "grosse tasse", 1),
        ("German", "kaffeetase", 1),
        ("German", "hülle", 2),
        ("Russian", "лампа", 0),
        ("Russian", "лампы", 0),
        ("Russian", "НАСТОЛЬНАЯ ЛАМПА", 0),
        ("Russian", "корм", 1),
        ("Russian", "черный планшет", 3),
        ("Hebrew", "אוזניות", 0),
        ("Hebrew", "טלפון", 3),
        ("Chinese", "音箱", 0),
        ("Chinese", "蓝牙音箱", 0),
        ("Chinese", "鼠标", 1),
        ("Chinese", "狗粮", 2),
        ("Chinese", "保温杯", 3),
        ("Japanese", "マウス", 0),
        ("Japanese", "ドッグ", 1),
        ("Japanese", "LED", 2),
        ("Japanese", "デスクライト", 2),
        ("Japanese", "茶", 3),
        ("Thai", "หูฟัง", 0),
        ("Thai", "โคมไฟ", 1),
        ("Thai", "อาหารสุนัข", 2),
        ("Thai", "โทรศัพท์", 3),
    ],
)
def test_products_are_found_in_any_script(shop: str, text: str, place: int) -> None:
    finder = ProductFinder([Item(id=str(n), title=title) for n, title in enumerate(SHOPS[shop])], BagOfWords())
    for form in ("NFC", "NFD"):
        assert [item.id for item, _ in finder.search(unicodedata.normalize(form, text))][:1] == [str(place)]


def test_a_word_of_another_script_is_known_if_a_title_holds_it() -> None:
    finder = ProductFinder([Item(id=n, title=t) for n, t in enumerate_all()], BagOfWords())
    assert all(map(finder.knows, ["müsli", "Лампа", "אוזניות", "音箱", "マウス", "หู"]))
    assert not any(map(finder.knows, ["ä", "утюг", "בגד", "手机", "カメラ", "ข้าว"]))


def enumerate_all() -> list[tuple[str, str]]:
    return [(f"{shop}-{n}", title) for shop, titles in SHOPS.items() for n, title in enumerate(titles)]


def test_an_embedder_of_english_does_not_answer_for_another_script(minilm: Path) -> None:
    english = Embedder.named(str(minilm))
    english.name = "minilm"
    finder = ProductFinder([Item(id=n, title=t) for n, t in enumerate_all()], english).index()
    assert finder.search("摩托车") == []
    assert [item.id for item, _ in finder.search("鼠标")] == ["Chinese-1"]


@pytest.fixture(scope="module")
def large() -> ProductFinder:
    draw = random.Random(1)
    words = [*{word for item in read_products("electronics") for word in item.title.split()}]
    words += ["".join(draw.choices("abcdefghij", k=draw.randint(3, 9))) for _ in range(4000)]
    titles = [" ".join(draw.choices(words, k=draw.randint(4, 16))) for _ in range(20_000)]
    titles[::50] = ["a" * 900 + str(n) for n in range(400)]
    titles[1::50] = [("便携式蓝牙音箱" * 20)[n % 7 :] for n in range(400)]
    return ProductFinder([Item(id=str(n), title=title) for n, title in enumerate(titles)], BagOfWords()).index()


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"wireles{n} tablt" for n in range(500)),
        "a" * 4000,
        "a " * 2000,
        "black " * 700,
        "蓝牙音箱" * 1000,
        "蓝牙 " * 1300,
        "ก" * 4000,
        "é\u0301" * 2000,
        "a-" * 2000,
        "1.1 " * 1000,
    ],
    ids=lambda text: text[:8],
)
def test_any_text_is_looked_for_in_no_time(large: ProductFinder, text: str) -> None:
    start = time.process_time()
    large.search(text)
    assert time.process_time() - start < 0.2


def test_ninety_words_of_the_catalogue_are_looked_for_in_no_time(large: ProductFinder) -> None:
    for change in (str, lambda word: word[:-1] + "q", lambda word: word[:4]):
        text = " ".join(change(word) for word in sorted(large._postings, key=lambda w: -len(large._postings[w]))[:90])
        start = time.process_time()
        large.search(text)
        assert time.process_time() - start < 0.2
