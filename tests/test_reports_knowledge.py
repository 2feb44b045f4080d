"""The page about a knowledge base: loads nothing, lets no record break out, holds what it says it holds."""

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import HOSTILE, BagOfWords, record

from bundlewise.domain import Knowledge
from bundlewise.reports import knowledge
from bundlewise.reports.knowledge import counts, page_places, write_report
from bundlewise.reports.pictures import GRAPH_PATTERNS, LETTER, PILL, graph_of, map_of, names_of, sample, strongest

NASTY = [
    *HOSTILE,
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]>\u2028\u2029&lt;b&gt;",
    "<img src=x onerror=alert(1)>",
]
ABOUT = {"place": "kb/", "embedder": "bag-of-words", "created": "2026-11-23"}


def pattern(*kinds: str, support: int = 3, **fields: Any) -> Knowledge:
    return record("pattern", " + ".join(kinds), kinds=kinds, support=support, confidence=0.5, lift=2.0, **fields)


def rule(name: str, gain: float | None = None, **fields: Any) -> Knowledge:
    return record("rule", f"Keep {name} together", gain=gain, **fields)


def thoughts(count: int) -> list[Knowledge]:
    return [record("thought", f"Cable {n} goes with plug {n % 7}.", [f"s{n}"]) for n in range(count)]


class Page(HTMLParser):
    """What a browser would make of the page: its elements, what they would load, its scripts and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts[-1] += data
        else:
            self.words.append(" ".join(data.split()))

    @property
    def data(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.scripts[0])
        return value


def page(path: Path, records: Sequence[Knowledge], about: dict[str, Any] = ABOUT) -> Page:
    write_report(path, records, BagOfWords().embed([r.text for r in records]), about)
    return Page(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 40])
def test_any_number_of_records_makes_a_page(tmp_path: Path, count: int) -> None:
    data = page(tmp_path / "kb.html", thoughts(count)).data
    assert sorted(n for n, _, _ in data["map"]) == list(range(count))
    assert all(0 <= place <= 1000 for _, x, y in data["map"] for place in (x, y))


def test_the_page_loads_nothing_and_forbids_loading(tmp_path: Path) -> None:
    found = page(tmp_path / "kb.html", thoughts(3))
    assert found.loads == ["#records"]
    assert not {"link", "iframe", "object", "img"} & set(found.tags)
    text = (tmp_path / "kb.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text


def saying(word: str) -> list[Knowledge]:
    """Return records that say a word wherever a teacher or a user may say anything."""
    fields: dict[str, Any] = {"domain": word, "titles": (word, word), "kinds": (word, "cable")}
    held = rule(word, status="quarantined", reason=word, domain="b")
    return [record("thought", word, [word], **fields), pattern(word, "cable", domain="b"), held]


@pytest.mark.parametrize("nasty", NASTY)
def test_no_text_breaks_out_and_every_text_arrives_whole(tmp_path: Path, nasty: str) -> None:
    found = page(tmp_path / "nasty.html", saying(nasty), {"place": nasty})
    harmless = page(tmp_path / "harmless.html", saying("mouse"), {"place": "mouse"})
    assert found.tags == harmless.tags and len(found.scripts) == 2
    assert found.scripts[1] == harmless.scripts[1]
    arrived = {row["kind"]: row for row in found.data["records"]}
    thought = arrived["thought"]
    assert [thought["text"], thought["domain"], *thought["titles"], *thought["sources"]] == [nasty] * 5
    assert arrived["rule"]["reason"] == nasty
    assert [box["name"] for box in found.data["graphs"][0]["boxes"]] == [nasty, "cable"]


def test_the_script_puts_texts_in_as_text_only() -> None:
    script = (Path(knowledge.__file__).parent / "knowledge.js").read_text(encoding="utf-8")
    assert not [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(") if word in script
    ]
    assert "</" not in script and "<!--" not in script


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    records = [*thoughts(60), *(pattern(a, b) for a, b in itertools.combinations("abcdef", 2))]
    pages = []
    for name in ("one", "two"):
        page(tmp_path / name, records)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_counts_are_by_kind_domain_teacher_and_status() -> None:
    clothes = pattern("sock", "shoe", domain="clothing")
    rows = counts([rule("a"), rule("b", status="retired"), rule("c", status="retired"), clothes])
    assert [(row["domain"], row["teacher"]) for row in rows] == [("clothing", "grounded"), ("electronics", "grounded")]
    assert dict(rows[0]["by"]) == {("pattern", "active"): 1}
    assert dict(rows[1]["by"]) == {("rule", "active"): 1, ("rule", "retired"): 2}


def test_the_header_names_the_knowledge_base(tmp_path: Path) -> None:
    words = page(tmp_path / "kb.html", thoughts(2)).words
    assert set(ABOUT.values()) < set(words)


def test_a_record_arrives_with_its_numbers_status_reason_and_provenance(tmp_path: Path) -> None:
    weak = rule("apart", gain=-0.02, status="quarantined", reason="loses on held-out sessions")
    (row,) = page(tmp_path / "kb.html", [weak]).data["records"]
    assert (row["gain"], row["status"], row["reason"]) == (-0.02, "quarantined", "loses on held-out sessions")
    assert row["by"] == weak.provenance.model_dump() and row["id"] == weak.id


def test_long_lists_of_sessions_are_cut_and_the_page_says_so(tmp_path: Path) -> None:
    found = page(tmp_path / "kb.html", [record("rule", "Pairs.", [f"s{n}" for n in range(80)])])
    (row,) = found.data["records"]
    assert (len(row["sources"]), row["from"]) == (50, 80)
    assert "Of a record's sessions the first 50 are listed and searched." in found.words


def test_records_come_kind_by_kind_active_and_strong_ones_first() -> None:
    ordered = [
        pattern("a", "b", support=9),
        pattern("a", "c", support=2),
        pattern("a", "d", support=20, status="retired"),
        rule("x", gain=0.2),
        rule("y", gain=-0.1),
        rule("z"),
        *thoughts(1),
    ]
    mixed = random.Random(0).sample(ordered, len(ordered))
    assert [mixed[place] for place in page_places(mixed)] == ordered


def test_a_large_store_shows_the_strongest_of_each_kind_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "PAGE_RECORDS", 10)
    records = [*thoughts(30), *(pattern("a", str(n), support=n) for n in range(30)), rule("x")]
    found = page(tmp_path / "kb.html", records)
    kinds = [row["kind"] for row in found.data["records"]]
    assert kinds == ["pattern"] * 5 + ["rule"] + ["thought"] * 4
    assert [row["support"] for row in found.data["records"][:5]] == [29, 28, 27, 26, 25]
    assert any(words.startswith("This page holds 10 of 61 records") for words in found.words)


def test_a_map_of_a_sample_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MAP_RECORDS", 7)
    found = page(tmp_path / "kb.html", thoughts(12))
    assert len(found.data["map"]) == 7
    assert any("7 of the 12 records on this page are drawn" in words for words in found.words)


def test_the_sample_of_the_map_hangs_on_ids_alone() -> None:
    ids = [f"id{n}" for n in range(50)]
    chosen = {ids[place] for place in sample(ids, 20)}
    back = ids[::-1]
    assert len(chosen) == 20 and {back[place] for place in sample(back, 20)} == chosen


def test_like_records_lie_near_each_other_on_the_map() -> None:
    noise = np.random.default_rng(0)
    centres = np.eye(3, 20, dtype=np.float32)
    vectors = np.repeat(centres, 20, axis=0) + noise.normal(0, 0.05, (60, 20)).astype(np.float32)
    places = np.array(map_of(vectors))
    middles = np.array([places[n : n + 20].mean(axis=0) for n in (0, 20, 40)])
    nearest = [int(np.argmin(np.linalg.norm(middles - place, axis=1))) for place in places]
    assert nearest == [0] * 20 + [1] * 20 + [2] * 20


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_equal_vectors_lie_in_the_middle(rows: int) -> None:
    assert map_of(np.ones((rows, 4), np.float32) / 2) == [(500, 500)] * rows


def test_the_map_names_kinds_that_lie_together_and_no_others() -> None:
    together = [record("thought", f"a{n}", kinds=("lens", "cable")) for n in range(6)]
    apart = [record("thought", f"b{n}", kinds=("cable",)) for n in range(9)]
    few = [record("thought", f"c{n}", kinds=("tripod",)) for n in range(4)]
    dots = [(100 + n, 200) for n in range(6)] + [(110 * n, 900) for n in range(9)] + [(500, 500)] * 4
    assert names_of([*together, *apart, *few], dots) == [("lens", 102, 200)]


def boxes_of(graph: dict[str, Any]) -> Iterable[tuple[float, float, float, float]]:
    for box in graph["boxes"]:
        high = PILL if box["name"] else 10
        yield box["x"] - box["w"] / 2, box["x"] + box["w"] / 2, box["y"] - high / 2, box["y"] + high / 2


@pytest.mark.parametrize("seed", range(6))
def test_no_two_labels_of_a_graph_overlap_and_all_fit(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"a kind of product {'x' * chance.randrange(12)}{n}" for n in range(chance.choice([6, 15, 40]))]
    chosen = {tuple(sorted(chance.sample(names, chance.choice([2, 2, 2, 3, 4])))) for _ in range(GRAPH_PATTERNS)}
    graph = graph_of([pattern(*kinds) for kinds in sorted(chosen)])
    for one, two in itertools.combinations(boxes_of(graph), 2):
        assert one[1] <= two[0] or two[1] <= one[0] or one[3] <= two[2] or two[3] <= one[2]
    for left, right, top, bottom in boxes_of(graph):
        assert 0 <= left < right <= graph["width"] and 0 <= top < bottom <= graph["height"]


def test_a_pair_is_a_line_and_three_kinds_meet_in_a_star() -> None:
    pair, three = pattern("mouse", "pad"), pattern("lens", "hood", "filter")
    graph = graph_of([pair, three])
    assert [box["name"] for box in graph["boxes"]] == ["mouse", "pad", "lens", "hood", "filter", ""]
    assert [(line["id"], line["from"], line["to"]) for line in graph["lines"]] == [
        (pair.id, 0, 1),
        *((three.id, 5, end) for end in (2, 3, 4)),
    ]
    assert graph["boxes"][0]["w"] > LETTER * len("mouse")


def test_a_kind_of_two_domains_is_two_kinds(tmp_path: Path) -> None:
    both = [pattern("case", "bag"), pattern("case", "coat", domain="clothing")]
    data = page(tmp_path / "kb.html", both).data
    names = [[box["name"] for box in graph["boxes"]] for graph in data["graphs"]]
    assert data["domains"] == ["clothing", "electronics"]
    assert names[0].count("case") == 2 and names[1:] == [["case", "coat"], ["case", "bag"]]


@pytest.mark.parametrize(
    "left_out",
    [pattern("a", "a"), pattern("a"), pattern("a", "b", status="retired"), rule("x", kinds=("a", "b"))],
    ids=["one kind twice", "one kind", "retired", "a rule"],
)
def test_what_is_no_active_pattern_of_kinds_is_not_in_the_graph(left_out: Knowledge) -> None:
    kept = pattern("c", "d")
    assert strongest([left_out, kept]) == [kept]


def test_equal_kinds_are_drawn_once_however_many_teachers_found_them() -> None:
    strong, weak = pattern("a", "b", support=5), pattern("b", "a", support=4)
    assert strongest([weak, strong]) == [strong]


def test_the_graph_holds_the_patterns_of_most_support() -> None:
    many = [pattern("a", str(n), support=n) for n in range(GRAPH_PATTERNS + 5)]
    assert strongest(many) == many[:4:-1]
