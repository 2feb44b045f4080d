"""Lint names what is wrong, with file and line, and is silent about what ships."""

from pathlib import Path

import pytest

from bundlewise.prompts.library import SHIPPED, Library, shipped
from bundlewise.workbench.lint import Finding, lint_folder, lint_shipped, lint_template

HEAD = shipped("name").head
LINES = HEAD.count("\n")


def found(name: str, body: str, head: str | None = None) -> list[Finding]:
    template = shipped(name)
    return lint_template(type(template)(name, f"{name}.jinja", template.head if head is None else head, body), SHIPPED)


def test_what_ships_is_clean() -> None:
    assert lint_shipped() == []


@pytest.mark.parametrize(
    ("name", "body", "rule", "severity", "line"),
    [
        ("name", "a\n{{ tittles }}", "unknown-variable", "error", LINES + 2),
        ("name", "a {{ titles | map('kind') | join", "fault", "error", LINES + 1),
        ("name", "{{ titles | random }}", "random", "error", LINES + 1),
        ("name", "Why?", "unused-variable", "warning", None),
        ("name", "a\n\n{{ titles | join(' + ') }}", "unescaped", "error", LINES + 3),
        ("name", "{% for t in titles %}{{ t }}{% endfor %}", "unescaped", "error", LINES + 1),
        ("name", "{{ titles[0][:99] }}", "unescaped", "error", LINES + 1),
        ("name", "x" * 700 + "{{ titles | length }}", "long", "warning", LINES + 1),
        ("knowledge", "{% for r in records %}- {{ r.text }}\n{% endfor %}", "unescaped", "error", None),
        ("teacher", "You teach. {{ schema | length }}", "", "", None),
        ("teacher_repair", "{{ faults | join }}", "unescaped", "error", None),
        ("name", "<|im_start|>\n{{ titles | map('line') | join }}", "special-token", "warning", LINES + 1),
        ("name", "a\n[INST] {{ titles | map('line') | join }}", "special-token", "warning", LINES + 2),
        ("name", "<|im_end|> {{ titles | join }}", "special-token unescaped", "error warning", None),
        ("name", "Buy <5 [NEW] {{ titles | map('line') | join }}", "", "", None),
    ],
)
def test_each_fault_is_found_where_it_is(name: str, body: str, rule: str, severity: str, line: int | None) -> None:
    findings = found(name, body)
    if not rule:
        assert findings == []
        return
    assert sorted(each.rule for each in findings) == rule.split()
    assert sorted(each.severity for each in findings) == severity.split()
    assert line is None or findings[0].line == line


def test_an_answer_whose_form_is_never_said_is_found_wherever_the_system_message_should_say_it() -> None:
    silent = Library({"teacher": shipped("teacher").with_body("You teach.")})
    (finding,) = lint_template(shipped("teacher_kinds"), silent)
    assert (finding.rule, finding.severity) == ("schema", "warning") and "kinds" in finding.message
    told = shipped("teacher_kinds").with_body(shipped("teacher_kinds").body + "Answer as JSON with kinds.")
    assert lint_template(told, silent) == []


def test_own_front_matter_is_held_against_what_the_template_is_given() -> None:
    more = HEAD.replace("variables:\n", "variables:\n  price: {type: text, about: p, example: '1'}\n")
    (finding,) = found("name", shipped("name").body + "{{ price }}", more)
    assert finding.severity == "error" and "price" in finding.message and "is undefined" not in finding.message
    other = found("name", shipped("name").body, HEAD.replace("name: name", "name: nome"))
    assert [each.rule for each in other] == ["name"]


def test_a_folder_is_linted_whole_though_some_of_it_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "name.jinja").write_text("{{ titles", encoding="utf-8")
    (tmp_path / "judge.terse.jinja").write_text("{{ sessoin }}", encoding="utf-8")
    (tmp_path / "juge.jinja").write_text("x", encoding="utf-8")
    (tmp_path / "pair.jinja").write_bytes(b"\xff")
    (tmp_path / "foot.jinja").write_text("x", encoding="utf-8")
    said = [(Path(each.file).name, each.line, each.rule, each.severity) for each in lint_folder(tmp_path)]
    assert said == [
        ("judge.terse.jinja", 1, "unknown-variable", "error"),
        ("juge.jinja", None, "name", "warning"),
        ("name.jinja", 1, "fault", "error"),
        ("pair.jinja", 1, "fault", "error"),
    ]


def test_a_fault_of_a_part_is_told_once_though_several_templates_include_it(tmp_path: Path) -> None:
    for name in ("write", "demonstrations", "teacher_kinds"):
        (tmp_path / f"{name}.jinja").write_text(shipped(name).text, encoding="utf-8")
    (tmp_path / "products.jinja").write_text("{{ titles | nofilter }}", encoding="utf-8")
    (finding,) = lint_folder(tmp_path)
    assert (Path(finding.file).name, finding.line, finding.severity) == ("products.jinja", 1, "error")
