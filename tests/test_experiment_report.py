"""The report: self-contained, escaped, with what is needed to trust the table and to run it again."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from samples import session

from bundlewise.domain import Grouping
from bundlewise.experiment import plots
from bundlewise.experiment.contrasts import Contrast, NumberedBundle, RecordUsed, RowAnswer
from bundlewise.experiment.file import Experiment, Machine
from bundlewise.experiment.report import shared_settings, verdicts, write_reports
from bundlewise.experiment.results import Failure, Results
from bundlewise.experiment.rows import Cost, Row, compared, row_of

SPITE = "<script>alert(1)</script> | `case`"
TRUTHS: list[Grouping] = [((0, 1),), ((0, 1, 2),)] * 8
SESSIONS = [session(f"s{n}", ["a", "b", "c"], truth) for n, truth in enumerate(TRUTHS)]
NOTHING: list[Grouping] = [()] * 16
VOID = {"meta", "img", "br", "link", "input", "hr"}


def row(name: str, groups: list[Grouping], role: Any = "cell", **known: Any) -> Row:
    return row_of(name, role, [groups], SESSIONS, **known)


def results(**changes: Any) -> Results:
    settings = {"utilisation": "icl", "k": 2, "ratio": 1.0, "formats": ("rules",), "domains": (), "tuned": None}
    cost = Cost(tokens_in=100.0, tokens_out=9.0, seconds=0.5, dollars=0.01, memory_gb=1.5)
    rows = [
        row("plain student", NOTHING, cost=cost, settings=settings | {"utilisation": "plain"}),
        row("half", [*TRUTHS[:8], *NOTHING[:8]], cost=cost, settings=settings | {"ratio": 0.5}, knowledge={"rule": 3}),
        row("all of it", TRUTHS, cost=cost, settings=settings),
        row("whole session", NOTHING, "baseline", note="threshold 0.20"),
        row("large | teacher", TRUTHS, "teacher", cost=Cost(dollars=0.1)),
    ]
    answers = tuple(
        RowAnswer(
            name=name,
            gjs=gjs,
            bundles=(NumberedBundle(numbers=(1, 2), intent=SPITE),),
            knowledge=(RecordUsed(kind="rule", score=0.5, text=SPITE),),
        )
        for name, gjs in (("half", 0.5), ("all of it", 1.0))
    )
    annotated = (NumberedBundle(numbers=(1, 2)),)
    telling = [
        Contrast(session_id=f"s{n}", titles=(SPITE, "Mouse"), annotated=annotated, answers=answers) for n in range(10)
    ]
    known: dict[str, Any] = {
        "experiment": Experiment(
            name="small", question=f"Why {SPITE}?", data={"shop": "shop.jsonl"}, grid=({"k": [1]},), machine=Machine()
        ),
        "rows": tuple(compared(rows, "plain student", "large | teacher")),
        "failures": (Failure(name="broken", seed=1, reason=SPITE),),
        "teacher": "large | teacher",
        "telling": tuple(telling),
        "hashes": {"data shop": "ab" * 32},
        "machine": "Linux, 2 cores",
        "versions": {"torch": "2.13.0"},
        "command": "bundlewise experiment run small.yaml",
    }
    return Results(**known | changes)


class Page(HTMLParser):
    """Checks that tags close in order, and keeps them and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    html, markdown = write_reports(results(), tmp_path_factory.mktemp("report"))
    return html.read_text("utf-8"), markdown.read_text("utf-8")


def test_the_page_is_valid_and_needs_nothing_from_elsewhere(written: tuple[str, str]) -> None:
    page = Page(written[0])
    assert page.open == []
    assert not re.search(r"https?://", written[0])
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert sources and all(str(source).startswith("data:image/png;base64,") for source in sources)
    assert all("alt" in attributes for tag, attributes in page.tags if tag == "img")
    assert ("html", {"lang": "en"}) in page.tags and any(tag == "title" for tag, _ in page.tags)


def test_no_title_intent_or_reason_becomes_markup(written: tuple[str, str]) -> None:
    html, markdown = written
    assert not [tag for tag, _ in Page(html).tags if tag == "script"]
    assert SPITE in Page(html).text
    assert "<script>" not in markdown.split("```yaml")[0].split("\n", 1)[1]


def test_every_markdown_table_has_equal_rows(written: tuple[str, str]) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", written[1], re.MULTILINE)
    assert len(tables) == 2 + 10
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert "large \\| teacher" in written[1]


@pytest.mark.parametrize(
    "said",
    [
        "1. plain student",
        "3. all of it",
        "against plain student",
        "+.500 [",
        "< .001 (< .001)",
        "16 of 16",
        "4. whole session (threshold 0.20)",
        "90.0 %",
        "3 rules",
        "Highest: all of it, 1.000 [1.000, 1.000].",
        "Failed",
        "broken, seed 1",
        "Linux, 2 cores",
        "its price is unknown",
        "torch 2.13.0",
        "bundlewise experiment run small.yaml",
        "name: small",
        "chosen on these very",
        "k 2",
    ],
)
def test_both_reports_say_what_was_found_and_how(written: tuple[str, str], said: str) -> None:
    assert said in " ".join(Page(written[0]).text.split())
    assert said in " ".join(written[1].replace("&lt;", "<").replace("**", "").split())


def test_the_ten_sessions_stand_with_answers_and_knowledge(written: tuple[str, str]) -> None:
    assert sum(tag == "details" for tag, _ in Page(written[0]).tags) == 1 + 10 + 20
    assert written[1].count("### s") == 10 and written[1].count("rule 0.5: ") == 20


def test_reports_of_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_reports(results(), tmp_path / "a")]
    assert [path.read_bytes() for path in write_reports(results(), tmp_path / "b")] == first


def test_a_table_without_cells_is_told_too(tmp_path: Path) -> None:
    alone = results(rows=(row("whole session", NOTHING, "baseline"),), telling=(), teacher=None)
    html, markdown = write_reports(alone, tmp_path)
    assert "The rows answer all sessions alike." in html.read_text("utf-8")
    assert "whole session" in markdown.read_text("utf-8")


def test_verdicts_name_what_is_better_worse_and_not_needed() -> None:
    said = " ".join(verdicts(results()))
    assert "Better than the plain student beyond chance (Holm, 5 %): half; all of it." in said
    assert "It keeps 1.000 [1.000, 1.000] of large | teacher's GJS." in said
    plain, worse, whole = (row("plain student", TRUTHS), row("worse", NOTHING), row("whole", TRUTHS, "baseline"))
    said = " ".join(verdicts(results(rows=tuple(compared([plain, worse, whole], "plain student", None)))))
    assert "beyond chance (Holm, 5 %): none." in said and "Worse beyond chance: worse." in said
    assert "Not better than whole, which need no student." in said


def test_shared_settings_are_those_of_all_cells_but_the_plain_one() -> None:
    assert shared_settings(results().rows) == {"utilisation": "icl", "k": 2, "formats": "rules"}


def test_quantities_that_vary_are_drawn_by_what_cells_have_in_common() -> None:
    rows = results().rows
    assert plots.varied(rows) == ["ratio"]
    (line,) = plots.series(rows[1:], "ratio").values()
    assert [each.settings["ratio"] for each in line] == [0.5, 1.0]
    assert plots.quantity_of(rows[1], "domains") == 1 and plots.quantity_of(rows[1], "formats") == 1
    assert plots.quantity_of(rows[1], "tuned") is None


def test_the_line_of_every_sampler_ends_with_the_cell_of_all_sessions() -> None:
    settings = {"utilisation": "icl", "k": 2}
    cells = [
        row(f"ratio {ratio}, {sampler}", TRUTHS, settings=settings | {"ratio": ratio, "sampler": sampler})
        for sampler in ("random", "length")
        for ratio in (0.25, 0.5)
    ]
    whole = row("ratio 1.0", TRUTHS, settings=settings | {"ratio": 1.0, "sampler": "random"})
    lines = plots.series([*cells, whole], "ratio")
    assert list(lines) == ["random", "length"]
    assert [[each.settings["ratio"] for each in line] for line in lines.values()] == [[0.25, 0.5, 1.0]] * 2
