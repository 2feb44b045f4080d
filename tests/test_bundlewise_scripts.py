"""Words beyond ASCII: every script keeps its words, and a kind says what the product is."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.evaluation.baselines import overlap
from bundlewise.text import (
    head_noun,
    is_foreign,
    kind,
    normal,
    pairs_in,
    shared_words,
    short,
    spaced,
    tokens,
    unaccented,
    words,
)

TITLES = {
    "Настольная лампа светодиодная, белая": ["настольная", "лампа", "светодиодная", "белая"],
    "Корм для собак Royal Canin 3 кг": ["корм", "собак", "royal", "canin", "кг"],
    "Jäger Müsli mit Nüssen": ["jäger", "müsli", "mit", "nüssen"],
    "אוזניות אלחוטיות JBL": ["אוזניות", "אלחוטיות", "jbl"],
    "蓝牙耳机 黑色": ["蓝牙", "耳机", "黑色"],
    "犬用のドッグフード 5kg": ["犬用", "ドッグフード", "5kg"],
    "โคมไฟตั้งโต๊ะ LED": ["โคม", "ไฟ", "ตั้ง", "โต๊ะ", "led"],
    "블루투스 스피커 방수": ["블루투스", "스피커", "방수"],
    "वायरलेस हेडफ़ोन काला": ["वायरलेस", "हेडफ़ोन", "काला"],
    "سماعات لاسلكية": ["سماعات", "لاسلكية"],
    "Ігровий комп’ютер": ["ігровий", "комп'ютер"],
    "Kaffee\u00admaschine": ["kaffeemaschine"],
    "ＵＳＢケーブル ２ｍ": ["usb", "ケーブル", "2m"],
    "Brand™ Speaker – 2½ m²": ["brand", "speaker"],
    "罗技鼠标": ["罗技", "技鼠", "鼠标"],
    "茶": ["茶"],
}
KINDS = {
    "Настольная лампа светодиодная, белая": ("настольная лампа", "лампа"),
    "Лампа настольная LED": ("лампа настольная", "лампа"),
    "Xiaomi Светодиодная настольная лампа": ("настольная лампа", "лампа"),
    "Корм для собак Royal Canin": ("корм", "корм"),
    "Jäger Müsli": ("jäger müsli", "müsli"),
    "Hülle für iPhone 15": ("hülle", "hülle"),
    "אוזניות אלחוטיות JBL": ("אוזניות אלחוטיות", "אוזניות"),
    "سماعات لاسلكية": ("سماعات لاسلكية", "سماعات"),
    "【新品】便携式蓝牙音箱 防水 黑色": ("蓝牙 音箱", "音箱"),
    "小米 蓝牙耳机": ("蓝牙 耳机", "耳机"),
    "狗粮 10kg": ("狗粮", "狗粮"),
    "犬用のドッグフード": ("犬用 ドッグフード", "ドッグフード"),
    "โคมไฟตั้งโต๊ะ LED": ("โคมไฟ", "โคมไฟ"),
    "Café Crème Press": ("crème press", "press"),
    "™": ("product", "product"),
}


@pytest.mark.parametrize(("title", "expected"), TITLES.items())
def test_every_script_keeps_its_words(title: str, expected: list[str]) -> None:
    assert words(title) == expected
    assert words(unicodedata.normalize("NFD", title)) == expected


@pytest.mark.parametrize(("title", "expected"), KINDS.items())
def test_a_kind_is_the_head_of_a_title_where_its_language_puts_it(title: str, expected: tuple[str, str]) -> None:
    assert (kind(title), head_noun(kind(title))) == expected
    assert kind(unicodedata.normalize("NFD", title)) == expected[0]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("Настольная лампа", "Светодиодная ЛАМПА E27", ["лампа"]),
        ("Große Tasse", "GROSSE TASSE", ["grosse", "tasse"]),
        ("便携式蓝牙音箱", "蓝牙音箱 黑色", ["蓝牙", "音箱"]),
        ("หูฟังไร้สาย", "สายหูฟัง", ["หู", "ฟัง", "สาย"]),
        ("ワイヤレスマウス", "マウスパッド", ["マウス"]),
        ("לוח שנה", "שנה טובה", ["שנה"]),
        ("лампа", "корм для собак", []),
        ("Корм для собак", "Чехол для телефона", []),
    ],
)
def test_titles_of_any_script_share_their_words(a: str, b: str, expected: list[str]) -> None:
    assert shared_words(a, b) == expected
    assert (overlap([a, b])[0, 1] > 0) == bool(expected)


@given(st.text(max_size=60))
def test_composed_and_decomposed_texts_have_the_same_words(text: str) -> None:
    assert tokens(unicodedata.normalize("NFD", text)) == tokens(unicodedata.normalize("NFC", text))
    assert normal(normal(text)) == normal(text)


@given(st.text(st.sampled_from("蓝牙耳机音箱ドッグフードのหูฟังไร้สายlamp лампа12 -"), max_size=60))
def test_no_letter_is_lost(text: str) -> None:
    particles = set("の")
    held = set("".join(tokens(text)))
    assert {c for c in text if c.isalnum()} - held <= particles


def test_a_text_for_an_index_holds_the_pairs_of_what_has_no_spaces() -> None:
    assert spaced("USB-C cable") == "USB-C cable"
    assert spaced("蓝牙耳机 X") == "蓝牙 耳机 x 蓝牙 牙耳 耳机"
    assert list(pairs_in("plain")) == []


def test_accents_are_left_out_where_people_leave_them_out() -> None:
    assert [unaccented(word) for word in ("müsli", "ёлка", "crème", "ガス", "हेडफ़ोन")] == [
        "musli",
        "елка",
        "creme",
        "ガス",
        unicodedata.normalize("NFC", "हेडफ़ोन"),
    ]


@pytest.mark.parametrize(
    ("text", "foreign"), [("Lampe", False), ("Müsli", False), ("Лампа LED", True), ("LED lamp 灯", False), ("灯", True)]
)
def test_a_text_is_foreign_if_most_letters_are_not_latin(text: str, foreign: bool) -> None:
    assert is_foreign(text) is foreign


def test_a_short_title_without_spaces_is_cut_between_words() -> None:
    assert short("便携式蓝牙耳机" * 20, 5) in "便携式蓝牙耳机" * 20
    assert len(short("便携式蓝牙耳机" * 20, 5)) < 20
    assert short("настольная лампа белая", 2) == "настольная лампа"


@pytest.mark.parametrize(
    "text",
    ["漢" * 4000, "ก" * 4000, "ក" * 4000, "က" * 4000, "е\u0301" * 2000, "ü-" * 2000, "х" * 4000, "\u200bü" * 2000],
)
def test_reading_a_long_text_takes_no_time(text: str) -> None:
    start = time.process_time()
    words(text), kind(text), short(text)
    assert time.process_time() - start < 0.2
