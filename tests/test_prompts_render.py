"""Templates render strictly, and their fingerprints change exactly when their text does."""

import re
from pathlib import Path
from typing import Any

import pytest
from samples import session

from bundlewise.errors import DataError, UsageError
from bundlewise.prompts import render as module
from bundlewise.prompts.library import SHIPPED, shipped, using
from bundlewise.prompts.overview import overview
from bundlewise.prompts.render import TEMPLATES, fingerprint, render

FOLDER = Path(module.__file__).parent
VARIABLES: dict[str, dict[str, Any]] = {
    "judge": {"session": session("s", ["a", "b"]), "records": []},
    "pair": {"first": "mouse", "second": "keyboard", "hint": ""},
    "name": {"titles": ["mouse"]},
    "write": {"session": session("s", ["a", "b"]), "records": [], "demonstrations": [], "feedback": ""},
    "write_system": {"reasoning": False},
    "notes": {"records": []},
    "demonstrations": {"demonstrations": []},
    "knowledge": {"records": []},
    "products": {"titles": ["mouse"]},
    "pattern": {"kinds": ["a", "b"], "support": 2, "present": 3},
    "rule": {"joins": True, "condition": "a and b", "together": 2, "pairs": 3},
    "thought": {
        "kinds": ["a"],
        "bundles": [{"intent": "i", "kinds": ["a"], "reason": "r"}],
        "left_out": ["b"],
        "out_reason": "r",
    },
    "thought_fields": {
        "lesson": "S.",
        "kinds": "a and two bs",
        "bundles": [{"intent": "i", "kinds": "a and b"}],
        "left_out": "b",
    },
    "recall": {"kinds": ["tent", "stove"]},
    "teacher": {"schema": "{}"},
    "teacher_repair": {"faults": ["no JSON"]},
    "teacher_kinds": {"titles": ["mouse"]},
    "teacher_propose": {"titles": ["mouse"], "patterns": ["a + b"]},
    "teacher_reflect": {
        "titles": ["mouse", "pad"],
        "proposed": [],
        "annotated": [{"numbers": [1, 2], "intent": "i"}],
        "differences": ["1 and 2 belong together"],
    },
    "teacher_rules": {"patterns": [], "lessons": [{"together": True, "cause": "c", "lesson": "l"}]},
    "teacher_think": {
        "titles": ["mouse", "pad", "rug"],
        "annotated": [{"numbers": [1, 2], "intent": "i"}],
        "left_out": [3],
        "rules": ["r"],
    },
    "reasoning": {"products": "P.", "together": "T.", "left_out": "L.", "lesson": "S."},
    "teacher_rewrite": {
        "purpose": "p",
        "body": "{{ titles }}",
        "variables": [],
        "filters": ["kind"],
        "example": "e",
        "mistakes": [{"products": ["mouse"], "answered": "none", "annotated": "1, 2"}],
        "tried": [],
    },
}
INCLUDES = {
    name: set(re.findall(r'{% include "(\w+)\.jinja"', (FOLDER / f"{name}.jinja").read_text())) for name in TEMPLATES
}


def test_every_template_file_is_known_by_name() -> None:
    assert {path.stem for path in FOLDER.glob("*.jinja")} == set(TEMPLATES) == set(VARIABLES)


def test_the_overview_is_what_the_front_matters_say() -> None:
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == overview()


@pytest.mark.parametrize(
    ("name", "missing"), [(name, variable) for name, known in VARIABLES.items() for variable in known]
)
def test_a_missing_variable_is_an_error(name: str, missing: str) -> None:
    assert isinstance(render(name, **VARIABLES[name]), str)
    given = {key: value for key, value in VARIABLES[name].items() if key != missing}
    with pytest.raises(DataError, match=rf"line \d+: '{missing}' is undefined; \w+ has"):
        render(name, **given)


@pytest.mark.parametrize("name", ["nothing", "../render.py", "judge.jinja", ""])
@pytest.mark.parametrize("use", [render, fingerprint])
def test_an_unknown_template_is_a_usage_error(use: Any, name: str) -> None:
    with pytest.raises(UsageError, match=rf"no template named '{re.escape(name)}'; (choose one of|did you mean) judge"):
        use(name)


@pytest.mark.parametrize("changed", TEMPLATES)
def test_a_fingerprint_changes_exactly_with_the_template_or_one_it_includes(changed: str) -> None:
    before = {name: fingerprint(name) for name in TEMPLATES}
    assert (INCLUDES["judge"], INCLUDES["teacher_think"]) == ({"knowledge"}, {"products"})
    with using(SHIPPED.replacing(shipped(changed).with_body(shipped(changed).body + "!"))):
        moved = {name for name in TEMPLATES if fingerprint(name) != before[name]}
    assert moved == {name for name in TEMPLATES if changed in {name} | INCLUDES[name]}
    assert {name: fingerprint(name) for name in TEMPLATES} == before


def test_fingerprints_are_distinct_and_do_not_depend_on_the_order_of_names() -> None:
    assert len({fingerprint(name) for name in TEMPLATES}) == len(TEMPLATES)
    assert all(re.fullmatch("[0-9a-f]{12}", fingerprint(name)) for name in TEMPLATES)
    assert fingerprint("name", "judge", "pair") == fingerprint("pair", "name", "judge") != fingerprint("judge", "pair")


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        ("pattern", {}, "a + b: bundled in 2 of 3 sessions that hold them"),
        ("rule", {}, "Put together a and b: 2 of 3 such pairs are bundled"),
        ("rule", {"joins": False}, "Keep apart a and b: 2 of 3 such pairs are bundled"),
        ("thought", {}, 'The products are a. For "i", a go together: r. b stays out: r.'),
        ("thought", {"left_out": [], "bundles": []}, "The products are a."),
        ("thought_fields", {}, 'S. Products: a and two bs. Together for "i": a and b. Left out: b.'),
        ("thought_fields", {"lesson": "", "left_out": "", "bundles": []}, "Products: a and two bs."),
        (
            "thought_fields",
            {"bundles": [{"intent": "", "kinds": "a"}]},
            "S. Products: a and two bs. Together: a. Left out: b.",
        ),
        ("knowledge", {}, ""),
        ("reasoning", {}, "S. P. T. L."),
        ("reasoning", {"left_out": " ", "products": "P\nQ."}, "S. P Q. T."),
        ("teacher_kinds", {}, "The products of a shopper's session:\n1. mouse\nWhat is each of them?"),
        (
            "teacher_propose",
            {"patterns": []},
            "A shopper looks at these products:\n1. mouse\nWhich bundles are in it, and what is the intent of each?",
        ),
        (
            "teacher_reflect",
            {"proposed": [[1, 2]]},
            "The products of a shopper's session:\n1. mouse\n2. pad\nProposed bundles:\n- 1, 2\nThe shopper's "
            "bundles:\n- 1, 2: i\nDifferences:\n- 1 and 2 belong together\nWhat caused them, and what do they teach "
            "about other sessions?",
        ),
        (
            "teacher_rules",
            {"patterns": ["a + b"]},
            "Frequent in the training sessions:\n- a + b\nLessons from sessions where a first proposal was wrong:\n"
            "1. together: l (because c)\nPut lessons that say the same together and word each group as one rule for "
            "sessions nobody has seen.",
        ),
    ],
)
def test_the_wording(name: str, variables: dict[str, Any], expected: str) -> None:
    assert render(name, **VARIABLES[name] | variables) == expected


@pytest.mark.parametrize(("variable", "shown"), [("left_out", "Not bundled: 3"), ("rules", "Rules found so far:\n- r")])
def test_a_thought_is_asked_for_without_headings_over_nothing(variable: str, shown: str) -> None:
    assert shown in render("teacher_think", **VARIABLES["teacher_think"])
    bare = render("teacher_think", **VARIABLES["teacher_think"] | {variable: []})
    assert shown.partition(":")[0] not in bare
    assert "\n\n" not in bare


def test_a_tuned_student_notices_when_titles_are_read_in_another_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, source, copy = module.student_fingerprints(), Path(module.text.__file__), tmp_path / "text.py"
    assert module.student_fingerprints() == before
    monkeypatch.setattr(module.text, "__file__", str(copy))
    copy.write_text(source.read_text("utf-8").replace('"""Return', '"""Give back'), "utf-8")
    assert module.student_fingerprints() == before
    copy.write_text(source.read_text("utf-8").replace("MAX_TITLE_WORDS = 12", "MAX_TITLE_WORDS = 13"), "utf-8")
    changed = module.student_fingerprints()
    assert {name for name in before if changed[name] != before[name]} == {"text"}
