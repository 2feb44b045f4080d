"""The cases beside the templates hold, and a case that does not hold says why."""

from pathlib import Path

import pytest

from bundlewise.domain import PredictedBundle, Prediction, Retrieved, Session
from bundlewise.errors import DataError
from bundlewise.prompts.library import read_library, shipped, using
from bundlewise.workbench.cases import ENDING, Case, Cases, cases_of, run
from bundlewise.workbench.preview import World

SHIPPED = [(file.template, case) for file in cases_of() for case in file.cases]


@pytest.mark.parametrize(("template", "case"), SHIPPED, ids=[f"{name}: {case.name}" for name, case in SHIPPED])
def test_the_cases_that_ship_hold(template: str, case: Case) -> None:
    assert run(template, case, World()).faults == ()


def test_the_templates_that_matter_most_have_cases() -> None:
    wanted = {"judge", "pair", "name", "knowledge", "teacher_propose", "teacher_think"}
    assert wanted <= {name for name, _ in SHIPPED}
    assert all(sum(name == each for name, _ in SHIPPED) >= 3 for each in wanted)


NAME = "- name: n\n  variables: {titles: [USB mouse, Desk pad]}\n  rendered: "


@pytest.mark.parametrize(
    ("rendered", "fault"),
    [
        ("{equals: x}", "the text is 'Shopping for usb mouse + desk pad. Intent:', not 'x'"),
        ("{contains: [rug]}", "'rug' is not in the text"),
        ("{lacks: [usb]}", "'usb' is in the text"),
        ("{matches: ['^usb']}", "nothing in the text matches '^usb'"),
        ("{lines: 2}", "1 lines, not 2"),
        ("{most_characters: 5}", "42 characters, more than 5"),
    ],
)
def test_a_case_that_fails_says_what_is_and_what_should_be(rendered: str, fault: str) -> None:
    (case,) = Cases("name", "x", NAME + rendered).cases
    (found,) = run("name", case, World()).faults
    assert found.startswith(fault)


def test_a_case_whose_variable_is_missing_fails_with_the_reason() -> None:
    (case,) = Cases("name", "x", "- name: n\n  variables: {}\n").cases
    assert "'titles' is undefined; name has titles" in run("name", case, World()).faults[0]


def test_a_case_with_a_title_that_is_too_long_says_how_long() -> None:
    (case,) = Cases("pair", "x", f"- name: n\n  session: {{titles: [a, {'x' * 1001}]}}\n").cases
    assert "title 2: title has 1,001 characters; shorten it to 1,000 or fewer" in run("pair", case, World()).faults[0]


def answering(groups: list[list[int]], intent: str = "protect a tablet") -> object:
    def answer(session: Session, retrieved: Retrieved) -> Prediction:
        assert [record.text for record, _ in retrieved.records] == ["Known"]
        assert retrieved.hints == {(0, 1): "often"}
        bundles = tuple(PredictedBundle(items=tuple(g), item_ids=tuple(map(str, g)), intent=intent) for g in groups)
        return Prediction(session_id=session.session_id, bundles=bundles, outcome="ok" if groups else "failed")

    return answer


ANSWERED = """
- name: answered
  session: {titles: [tablet, case, rug], bundles: [[1, 2]]}
  knowledge: [Known]
  hints: {1+2: often}
  answer: {answered: true, bundles: [[1, 2]], least_gjs: 0.9, intent_words: [2, 6]}
"""


@pytest.mark.parametrize(
    ("groups", "intent", "faults"),
    [
        ([[2, 1]], "protect a tablet", []),
        ([[1, 2, 3]], "protect a tablet", ["the bundles are [[1, 2, 3]], not [[1, 2]]", "GJS 0.667, below 0.900"]),
        ([[1, 2]], "tablet", ["intent 'tablet' has 1 words, not 2 to 6"]),
        ([], "", ["answered nothing (failed)", "the bundles are [], not [[1, 2]]", "GJS 0.000, below 0.900"]),
    ],
)
def test_an_answer_is_held_against_its_case(groups: list[list[int]], intent: str, faults: list[str]) -> None:
    (case,) = Cases("judge", "x", ANSWERED).cases
    assert list(run("judge", case, World(), answering(groups, intent)).faults) == faults  # type: ignore[arg-type]
    assert run("judge", case, World()).skipped


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: not a list of cases"),
        ("a: 1", "line 1: not a list of cases"),
        ("- name: a\n  session: {}\n  name: b", "line 3: 'name' occurs twice, in line 1 and in line 3; keep one"),
        ("- name: [", r"line \d: .*; write a list of cases in YAML"),
        ("- name: n", r"case 1 \(n\): give either a session or variables"),
        ("- name: n\n  variables: {}\n  session: {titles: [a]}", "give either a session or variables"),
        ("- name: n\n  variables: {}\n  renderd: {}", "case 1: renderd: extra inputs are not permitted"),
        ("- name: n\n  variables: {}\n  rendered: {lines: many}", "case 1: rendered.lines: input should be"),
    ],
)
def test_a_file_that_holds_no_cases_is_named(content: str, said: str) -> None:
    with pytest.raises(DataError, match=f"^here(, |: ){said}|^here.*{said}"):
        _ = Cases("name", "here", content).cases


def test_own_cases_take_the_place_of_those_that_ship(tmp_path: Path) -> None:
    (tmp_path / "name.jinja").write_text(shipped("name").body.replace("Intent", "Aim"), encoding="utf-8")
    with using(read_library(tmp_path)):
        (kept,) = cases_of(["name"])
        assert any(run("name", case, World()).faults for case in kept.cases)
        (tmp_path / f"name{ENDING}").write_text(NAME + "{contains: ['Aim:']}", encoding="utf-8")
        (own,) = cases_of(["name"])
        assert [run("name", case, World()).faults for case in own.cases] == [()]
        (tmp_path / f"name{ENDING}").write_bytes(b"- name: \xff")
        with pytest.raises(DataError, match="not UTF-8 at byte 9"):
            list(cases_of(["name"]))
