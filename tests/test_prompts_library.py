"""A folder of one's own is laid over the templates that ship; what is broken is an error and never passed over."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from bundlewise.errors import DataError, UsageError
from bundlewise.prompts import library as module
from bundlewise.prompts.library import SHIPPED, TEMPLATES, Library, current, read_library, shipped, using
from bundlewise.prompts.render import fingerprint, messages, render
from bundlewise.prompts.sandbox import SAFE_METHODS
from bundlewise.prompts.template import FrontMatter, parse_template

NAME = "Shop for {{ titles | map('kind') | join(' and ') }}. Why:\n"
HEAD = shipped("name").head


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    module.forget()


def overlay(folder: Path, **bodies: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (folder / f"{name.replace('__', '.')}.jinja").write_text(body, encoding="utf-8")
    return folder


def test_a_half_copied_set_works_and_the_rest_is_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: fingerprint(name) for name in TEMPLATES}
    monkeypatch.setenv(module.VARIABLE, str(overlay(tmp_path, name=NAME)))
    assert render("name", titles=["USB mouse", "Desk pad"]) == "Shop for usb mouse and desk pad. Why:"
    assert {name for name in TEMPLATES if fingerprint(name) != before[name]} == {"name"}
    assert current().front("name").purpose == SHIPPED.front("name").purpose


def test_an_own_part_changes_all_that_include_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: fingerprint(name) for name in TEMPLATES}
    body = "{% for record in records %}* {{ record.text | line }}\n{% endfor %}{% include 'foot.jinja' %}"
    monkeypatch.setenv(module.VARIABLE, str(overlay(tmp_path, knowledge=body, foot="--\n")))
    assert {name for name in TEMPLATES if fingerprint(name) != before[name]} == {"knowledge", "judge"}
    assert render("knowledge", records=[{"text": "a\nb"}]) == "* a b\n--"


def test_front_matter_line_ends_and_byte_order_marks_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    known = shipped("name")
    head = known.head.replace("version: 1", "version: 7").replace("Asks for", "Demands")
    for content in (head + known.body, known.body, (head + known.body).replace("\n", "\r\n"), "\ufeff" + known.body):
        (tmp_path / "name.jinja").write_bytes(content.encode())
        assert read_library(tmp_path).fingerprint("name") == SHIPPED.fingerprint("name")
    (tmp_path / "name.jinja").write_text(known.body.replace("Intent", "Aim"), encoding="utf-8")
    assert read_library(tmp_path).fingerprint("name") != SHIPPED.fingerprint("name")


def test_variants_wait_to_be_compared_and_are_not_in_force(tmp_path: Path) -> None:
    library = read_library(overlay(tmp_path, name__terse="Why {{ titles | length }}?", pair=shipped("pair").body))
    assert set(library.own) == {"pair"}


def test_prompts_do_not_change_in_the_middle_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.VARIABLE, str(overlay(tmp_path, name=NAME)))
    first = fingerprint("name")
    overlay(tmp_path, name="Other {{ titles | length }}")
    assert fingerprint("name") == first
    module.forget()
    assert fingerprint("name") != first


def test_a_library_in_use_is_seen_by_the_block_alone(tmp_path: Path) -> None:
    seen: list[str] = []
    with using(Library({"name": shipped("name").with_body("X{{ titles | length }}")})):
        thread = Thread(target=lambda: seen.append(render("name", titles=[])))
        thread.start()
        thread.join()
        assert render("name", titles=[]) == "X0"
    assert [render("name", titles=["a"])] != seen and seen[0].startswith("Shopping for")


def test_a_chat_opens_with_the_template_that_front_matter_names() -> None:
    chat = messages("teacher_kinds", schema="{}", titles=["mouse"])
    assert [message["role"] for message in chat] == ["system", "user"]
    assert chat[0]["content"] == render("teacher", schema="{}")
    assert chat[1]["content"] == render("teacher_kinds", titles=["mouse"])
    assert messages("name", titles=["mouse"]) == [{"role": "user", "content": render("name", titles=["mouse"])}]


BROKEN = [
    ("Why {{ titles", 1, "expected token 'end of print statement'|unexpected end of template"),
    ("a\n{% for t in titles %}", 2, "Unexpected end of template"),
    ("a\n\n{{ tittles | length }}", 3, "tittles is no variable of name; it has titles"),
    ("a\n{% if not titles %}{{ hidden }}{% endif %}", 2, "hidden is no variable of name; it has titles"),
    ("a\n{{ titles | shrot }}", 2, "no filter 'shrot'; did you mean short"),
    ("{{ titles | random }}", 1, "no filter 'random'; leave it out, since a prompt must be the same every time"),
    ("a\n{% include 'nowhere.jinja' %}", 2, "no template 'nowhere.jinja' to include"),
    ("a\n{% include titles[0] %}", 2, "an include needs a name in quotes"),
    ("{% for t in titles recursive %}{% endfor %}", 1, "recursive loops are not allowed"),
]
WHEN_RENDERED = [
    ("a\n{{ ''.__class__ }}", 2, "access to attribute '__class__' of 'str' object is unsafe"),
    ("{{ titles.__init__.__globals__ }}", 1, "is unsafe"),
    ("{% set n = namespace() %}{{ n.__class__ }}", 1, "is unsafe"),
    ("a\n{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", 2, "turns of loops"),
    ("{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}\n{{ m(1) }}", 1, "endlessly"),
    ("a\n{% include 'name.jinja' %}", 2, "endlessly"),
    ("{% for i in range(99999999) %}{% endfor %}", 1, "range of 99,999,999 numbers"),
    ("a\n{{ 'x' * 1000000000 }}", 2, "a text of 1,000,000,000 characters"),
    (
        "{% set n = namespace(x='0123456789') %}\n{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        2,
        "text",
    ),
    ("{% set n = namespace(x=['0']) %}\n{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}", 2, "text of"),
    ("{{ 9 ** 9 ** 9 ** 9 }}", 1, "the operator"),
    ("{{ 'a'.center(999999999) }}", 1, "is unsafe"),
    ("{{ '%999999999d' % 1 }}", 1, "the operator % is not allowed"),
    ("a\n{{ titles }}", 2, "list is printed as Python writes it; join its parts"),
    ("{{ none }}", 1, "None is printed"),
    ("{{ 1 // 0 }}", 1, "ZeroDivisionError"),
    ("{{ 1 | short }}", 1, "TypeError"),
    ("{{ titles.append(1) }}", 1, "is unsafe"),
]


@pytest.mark.parametrize(("body", "line", "said"), BROKEN)
@pytest.mark.parametrize("head", ["", HEAD], ids=["bare", "with front matter"])
def test_a_broken_template_is_refused_before_anything_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, body: str, line: int, said: str
) -> None:
    monkeypatch.setenv(module.VARIABLE, str(overlay(tmp_path, name=head + body)))
    wanted = rf"{tmp_path}/name\.jinja, line {line + head.count(chr(10))}: .*({said})"
    with pytest.raises(DataError, match=wanted):
        render("pair", first="a", second="b", hint="")


@pytest.mark.parametrize(("body", "line", "said"), WHEN_RENDERED)
def test_what_only_rendering_shows_is_told_by_file_and_line(tmp_path: Path, body: str, line: int, said: str) -> None:
    library = read_library(overlay(tmp_path, name=HEAD + body))
    with pytest.raises(DataError, match=rf"{tmp_path}/name\.jinja, line {line + HEAD.count(chr(10))}: .*{said}.*;"):
        library.render("name", {"titles": ["USB mouse"]})


def test_a_template_may_use_methods_of_texts_that_only_change_letters(tmp_path: Path) -> None:
    library = read_library(overlay(tmp_path, name=HEAD + "{{ titles[0].upper() }} {{ titles[0].lower() }}"))
    assert library.render("name", {"titles": ["USB mouse"]}) == "USB MOUSE usb mouse"
    assert all(hasattr(str, method) for method in SAFE_METHODS)


def test_an_error_in_a_part_is_placed_there(tmp_path: Path) -> None:
    library = read_library(overlay(tmp_path, knowledge="a\n{{ records[0].txt }}"))
    with pytest.raises(DataError, match=rf"{tmp_path}/knowledge\.jinja, line 2: .*no attribute 'txt'"):
        library.render("judge", {"records": [{"text": "a"}], "session": {"items": []}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ok\n\xff\xfe", r"line 2: not UTF-8 at byte 4; save the file as UTF-8"),
        (b"x" * 1_000_000, r"1,000,000 bytes, a template has at most 100,000"),
        (b"---\nname: name\n", r"line 1: the front matter does not end"),
        (b"---\nname: [" + b"x," * 20_000 + b"]\n---\nx", r"line 1: 40,017 characters of front matter, a template has"),
        (b"---\nname: [\n---\nx", r"line \d: front matter: "),
        (b"---\nname: a: b\n---\nx", r"line 2: front matter: mapping values are not allowed here"),
        (b"---\nname: name\nversion: 0\n---\nx", r"line 3: front matter: version: input should be greater"),
        (b"---\n- a\n---\nx", r"line 1: front matter: it: input should be"),
        (b"---\nname: name\n  ---\nx", r"line 1: the front matter does not end"),
        (b"\n\n---\nname: name\n", r"line 3: the front matter does not end"),
        (b"----\nname: name\n----\nx", r"line 1: '----' begins no front matter; write --- and nothing else"),
        (b"\n---name: name\n---\nx", r"line 2: '---name: name' begins no front matter"),
        ("\u2014\nname: name\n\u2014\nx".encode(), r"line 1: '\u2014' begins no front matter"),
        *(
            (f"{fence}\nname: name\nversion: 1\n{fence}\nx".encode(), "line 1: .* begins no front matter; write ---")
            for fence in (
                "--",
                "- - -",
                "+++",
                "***",
                "~~~",
                "===",
                "-\u00ad--",
                "\uff0d" * 3,
                "\0---",
                '"---"',
                "\u2500" * 3,
            )
        ),
        (b"```yaml\nname: name\nversion: 1\n```\nx", r"line 1: '```yaml' begins no front matter"),
        (b"--\nname: name\nversion: 1\nx", r"line 1: '--' begins no front matter"),
        (b"name: name\nversion: 1\npurpose: p\nx", r"line 1: front matter without its beginning; put a line ---"),
        (HEAD.encode() + b"\n---\nname: name\n---\nx", r"line \d+: front matter occurs twice; keep one of them"),
        (b"name: name\nversion: 1\n---\nx", r"line 1: front matter without its beginning; put a line ---"),
        (b"{# mine #}\n---\nname: name\n---\nx", r"line 2: front matter has to begin the file"),
        (HEAD.replace("version", "name: x\nversion").encode(), r"line 3: front matter: 'name' occurs twice, in line 2"),
        (b"\n---\nname: name\npurpose: \x07\n---\nx", r"line 4: front matter: holds a control character"),
        (HEAD.replace("version", "colour").encode(), r"line \d: front matter: (version|colour): "),
        (HEAD.replace("[item]", "[thing]").encode(), r"front matter: type of titles: no type 'thing'; choose item"),
    ],
)
def test_a_file_that_is_no_template_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "name.jinja").write_bytes(content)
    with pytest.raises(DataError, match=rf"{tmp_path}/name\.jinja(:|, ){said}|{tmp_path}/name\.jinja.*{said}"):
        read_library(tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        "- one\n- two\n---\n- three\n",
        "***\nYou are a shop.\n***\nname the kind.\n",
        "Title\n=====\nrole: {{ x }}\n",
        "name: {{ first }}\nrole: {{ second }}\nWhich?\n",
        "+++\nname: {{ first }}\nWhich?\n",
        "| a | b |\n|---|---|\n",
        "--\nWhat goes together?\n",
    ],
)
def test_a_body_that_only_begins_with_a_list_or_a_rule_stays_a_body(tmp_path: Path, body: str) -> None:
    template = parse_template("name", "name.jinja", body.encode())
    assert (template.head, template.body) == ("", body)


def test_a_folder_without_templates_and_one_that_is_not_there_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no prompts, files NAME\.jinja; start one: "):
        read_library(tmp_path)
    with pytest.raises(UsageError, match=f"no folder {tmp_path / 'x'} with prompts; check --prompts"):
        read_library(tmp_path / "x")


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_ships_is_sound_and_its_examples_render(name: str) -> None:
    front = SHIPPED.front(name)
    assert front.name == name and isinstance(front, FrontMatter)
    SHIPPED.check(name)


def test_a_template_without_front_matter_is_all_body() -> None:
    found = parse_template("name", "name.jinja", b"--\nx\n")
    assert (found.head, found.body, found.front, found.at(2)) == ("", "--\nx\n", None, "name.jinja, line 2")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("---\n", "--- \n", 1),
        lambda text: text.replace("---\n", "---\t \n", 2),
        lambda text: f" {text}",
        lambda text: f"\n \n{text}",
        lambda text: f"\ufeff\ufeff\n{text}".replace("\n", "\r\n"),
        lambda text: f"\u200b{text}",
    ],
    ids=["a blank behind", "a tab behind", "a blank before", "empty lines before", "marks and CRLF", "no width"],
)
def test_front_matter_is_never_printed_whatever_stands_around_its_fences(change: Callable[[str], str]) -> None:
    text = HEAD + "{{ titles[0] }}\n---\nname it\n"
    found = parse_template("name", "name.jinja", change(text).encode())
    assert found.body == "{{ titles[0] }}\n---\nname it\n"
    assert found.front is not None and found.front.name == "name"
    assert found.before == change(text).partition("{{")[0].count("\n")
