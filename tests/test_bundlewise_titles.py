"""Titles mean the same wherever they come in: entities are decoded, letters that nobody sees are gone."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.data.catalogue import read_products
from bundlewise.data.sessions import read_sessions
from bundlewise.domain import Bundle, Item
from bundlewise.errors import DataError
from bundlewise.server.shapes import OneSession
from bundlewise.titles import clean, is_named

MEANT = {
    "Desk Lamp": "Desk Lamp",
    "Black &amp; Decker": "Black & Decker",
    "Black &amp;amp; Decker": "Black & Decker",
    "Black &#38;#38; Decker": "Black & Decker",
    "&quot;Kite&quot; 5&#39; &#x2F; 1.5 m": '"Kite" 5\' / 1.5 m',
    "Caf&eacute;&nbsp;cups": "Caf\u00e9 cups",
    "Lamp&#8203;shade&shy;s": "Lampshades",
    "rock&region": "rock&region",
    "AT&T Q&A; C&bogus;": "AT&T Q&A; C&bogus;",
    "Lam\u200bp \ufeff\u202eon": "Lamp on",
    "Lamp\x00\x1b[31m\tred\n": "Lamp [31m red",
    "a\u200db": "ab",
    "&am\u200bp;": "&",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 set": "\U0001f468\u200d\U0001f469\u200d\U0001f467 set",
}


@pytest.mark.parametrize(("written", "meant"), MEANT.items())
def test_a_title_is_read_as_it_is_meant(written: str, meant: str) -> None:
    assert clean(written) == meant
    assert Item(id="&amp;", title=written).title == meant and Item(id="&amp;", title=written).id == "&amp;"
    assert Bundle(item_ids=("a",), intent=written).intent == meant


@given(st.text(st.sampled_from("&amp;#38x27quot<\u200b\u200d\u00ad \t\x00\u0645"), max_size=40))
def test_cleaned_text_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("title", "named"),
    [
        ("7", True),
        ("\u706f", True),
        ("\U0001f3a7", True),
        ("\u00bd", True),
        ("", False),
        ("---", False),
        ("&nbsp;", False),
        ("\u200b\u2060", False),
        ("\u3164", False),
        ("\ufe0f", False),
        ("\ufffd", False),
    ],
)
def test_a_title_needs_a_letter_a_digit_or_a_symbol(title: str, named: bool) -> None:
    assert is_named(clean(title)) is named


def test_every_way_in_gives_the_same_title(tmp_path: Path) -> None:
    title, meant = "Black &amp;amp; Decker\u200b &quot;X&quot;", 'Black & Decker "X"'
    session = {"session_id": "s", "items": [{"id": "a&amp;", "title": title}]}
    (tmp_path / "s.jsonl").write_text(json.dumps(session))
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a&amp;", "title": title}))
    (tmp_path / "c.csv").write_text(f'id;title\n"a&amp;";"{title.replace(chr(34), chr(34) * 2)}"\n')
    asked = OneSession.model_validate({"items": [title, {"title": title, "id": "a&amp;"}]}).session("1")
    items = [*read_sessions(tmp_path / "s.jsonl")[0].items, *asked.items]
    items += [*read_products(str(tmp_path / "c.jsonl")), *read_products(str(tmp_path / "c.csv"))]
    assert {item.title for item in items} == {meant}
    assert {item.id for item in items} == {"a&amp;", "1"}


def test_an_entity_parts_no_fields_where_semicolons_do(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id;title;price\na;Black &amp; Decker &#39;X&#39;;5,00\nb;AT&T;6,00\n")
    assert [p.title for p in read_products(str(tmp_path / "c.csv"))] == ["Black & Decker 'X'", "AT&T"]


@pytest.mark.parametrize("title", ["\u200b", "&nbsp;&#8203;", "\u2800", "..."])
def test_a_title_that_nobody_sees_is_refused_everywhere(tmp_path: Path, title: str) -> None:
    (tmp_path / "s.jsonl").write_text(json.dumps({"session_id": "s", "items": [{"id": "a", "title": title}]}))
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "a", "title": title}))
    fault = "title (is empty|.* names nothing); write the product's title"
    with pytest.raises(DataError, match=rf"s.jsonl, line 1: items\[0\].{fault}"):
        read_sessions(tmp_path / "s.jsonl")
    with pytest.raises(DataError, match=rf"c.jsonl, line 1: {fault}"):
        read_products(str(tmp_path / "c.jsonl"))
    with pytest.raises(ValueError, match="a title needs a letter, a digit or a symbol"):
        OneSession.model_validate({"items": [title, "Lamp"]})


@pytest.mark.parametrize("part", ["&amp;", "&", "&amp;amp;", "\u200d", "&#38;", "\u0645\u200c"])
def test_a_title_without_end_is_cleaned_in_little_time(part: str) -> None:
    begun = time.process_time()
    clean(part * 100_000)
    assert time.process_time() - begun < 2
