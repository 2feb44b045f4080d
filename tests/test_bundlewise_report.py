"""The report: one file that loads nothing, escapes what users wrote, and says only what the numbers bear."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundlewise.demo import DemoConfig, Entry
from bundlewise.domain import Bundle, Grouping, Item, PredictedBundle, Prediction, Session
from bundlewise.metrics import SessionScore, score_session
from bundlewise.report import best_tuned, telling_sessions, terminal_table, verdicts, write_report
from bundlewise.scoring import Row

NASTY = '<script>alert("x")</script>'
TRUTH = ((0, 1), (2, 3))
RIGHT: Grouping = TRUTH
HALF: Grouping = ((0, 1),)
WRONG: Grouping = ((0, 2), (1, 3))


def session(number: int) -> Session:
    items = tuple(Item(id=str(n), title=f"{NASTY} {n}") for n in range(4))
    bundles = tuple(Bundle(item_ids=tuple(str(n) for n in group), intent=f"{NASTY} intent") for group in TRUTH)
    return Session(session_id=f"s{number}", items=items, bundles=bundles)


SESSIONS = [session(number) for number in range(12)]


def predicted(number: int, groups: Sequence[tuple[int, ...]]) -> Prediction:
    bundles = (
        PredictedBundle(items=tuple(n + 1 for n in g), item_ids=tuple(map(str, g)), intent=f"{NASTY} said")
        for g in groups
    )
    return Prediction(session_id=f"s{number}", bundles=tuple(bundles), seconds=0.5)


def entry(name: str, answers: Sequence[Any], validation: float | None = None) -> Entry:
    scores: list[SessionScore] = [score_session(groups, TRUTH) for groups in answers]
    predictions = [predicted(number, groups) for number, groups in enumerate(answers)]
    row = Row(name, scores, tokens_in=100, tokens_out=10, seconds=6.0)
    return Entry(row, predictions, list(answers), 0.5, None if validation is None else 60.0, validation)


def entries(tuned: Sequence[Any], plain: Sequence[Any] = (HALF,) * 12) -> dict[str, Entry]:
    lexical = Entry(Row("lexical clusters", [score_session(g, TRUTH) for g in plain]), [], list(plain))
    return {
        "lexical clusters": lexical,
        "plain student": entry("plain student", plain),
        "SFT": entry("SFT", tuned, 0.4),
    }


def test_a_student_with_knowledge_is_also_held_against_its_evidence_alone() -> None:
    rows = entries([RIGHT] * 12)
    rows["ICL+SFT (grounded)"] = entry("ICL+SFT (grounded)", [HALF] * 12, 0.4)
    rows["evidence (grounded)"] = entry("evidence (grounded)", [RIGHT] * 12)
    assert any(line.startswith("ICL+SFT (grounded) does not beat evidence (grounded)") for line in verdicts(rows))


@pytest.mark.parametrize(
    ("tuned", "verb", "tail"),
    [
        ([RIGHT] * 12, "beats", r"\]$"),
        ([RIGHT] + [HALF] * 11, "is ahead of", r"the interval holds zero$"),
        ([HALF] * 12, "does not beat", "1.00 bundles a session; GJS .400 on validation"),
        ([WRONG] * 12, "does not beat", "2.00 bundles a session; GJS .400 on validation"),
        ([WRONG] + [HALF] * 11, "does not beat", "on validation and"),
    ],
)
def test_a_verdict_claims_no_more_than_the_interval_bears(tuned: list[Any], verb: str, tail: str) -> None:
    said = verdicts(entries(tuned))
    assert [re.match(rf"SFT {verb} (plain student|lexical clusters): [+-]", line) is not None for line in said] == [
        True,
        True,
    ]
    for line in said:
        gain, low, high = (float(number) for number in re.findall(r"[+-]\d?\.\d+", line)[:3])
        assert low <= gain <= high
        assert {"beats": low > 0, "is ahead of": low <= 0 < gain, "does not beat": gain <= 0}[verb]
        assert re.search(tail, line)


def test_only_tuned_students_are_judged() -> None:
    assert {line.split()[0] for line in verdicts(entries([RIGHT] * 12))} == {"SFT"}


def test_the_telling_sessions_are_the_greatest_gain_the_greatest_loss_and_a_typical_one() -> None:
    tuned = [HALF] * 12
    tuned[7], tuned[3] = RIGHT, WRONG
    best, worst, typical = telling_sessions(entries(tuned))
    assert (best, worst) == (7, 3)
    assert typical not in (3, 7)


def test_a_session_is_told_once() -> None:
    one = entries([RIGHT], plain=[HALF])
    assert telling_sessions(one) == [0]


def test_the_best_tuned_student_is_chosen_by_validation_and_never_by_test() -> None:
    rows = entries([WRONG] * 12) | {"ICL+SFT": entry("ICL+SFT", [RIGHT] * 12, validation=0.1)}
    assert best_tuned(rows) is rows["SFT"]


class Loads(HTMLParser):
    """Collects what a browser would load, and which elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    tuned = [RIGHT] * 6 + [HALF] * 6
    demo: Any = SimpleNamespace(
        config=DemoConfig(),
        folder=tmp_path_factory.mktemp("run"),
        entries=entries(tuned),
        test=SESSIONS,
        knowledge={"grounded": {"pattern": 1, "rule": 2, "thought": 3}},
        peak_memory=lambda: 1.0,
    )
    path: Path = write_report(demo, {})
    assert path == demo.folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_report_loads_nothing_from_anywhere(html: str) -> None:
    page = Loads()
    page.feed(html)
    assert page.urls and all(url.startswith("data:image/png;base64,") for url in page.urls)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in html and "url(" not in html


def test_what_users_and_models_wrote_is_escaped(html: str) -> None:
    assert NASTY not in html
    assert html.count("&lt;script&gt;") > 12


def test_the_report_holds_every_row_verdict_and_telling_session(html: str) -> None:
    rows = entries([RIGHT] * 6 + [HALF] * 6)
    for sentence in verdicts(rows):
        assert f"<li>{sentence}</li>" in html
    for name in rows:
        assert f"<td>{name}</td>" in html
    for place in telling_sessions(rows):
        assert f"<h3>{SESSIONS[place].session_id}</h3>" in html


def test_the_terminal_table_holds_every_row() -> None:
    table = terminal_table(entries([RIGHT] * 12))
    assert all(name in table for name in ("lexical", "plain", "SFT"))
