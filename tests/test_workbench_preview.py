"""What is shown of a prompt is what the model gets: the same text, its tokens, and where knowledge stands in it."""

from pathlib import Path

import pytest
from samples import record, session

from bundlewise.agents.student.compose import judge_prompt, name_prompt, write_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.tokens import encode_judge
from bundlewise.agents.teacher.ask import messages_of
from bundlewise.agents.teacher.contracts import Kinds, schema_of
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved
from bundlewise.errors import UsageError
from bundlewise.prompts.library import TEMPLATES, Library, shipped, using
from bundlewise.workbench.preview import Rendered, World, added, rendered
from bundlewise.workbench.reader import Reader

TITLES = ["Wireless mouse, black", "Mechanical keyboard", "Foam roller"]
ASKED = session("s", TITLES, ((0, 1),))
KNOWN = Retrieved(records=((record("rule", "Put a mouse and a keyboard together"), 0.5),), hints={(0, 1): "often"})


def marked(prompt: Rendered) -> list[str]:
    return [part.text[start:end] for part in prompt.parts for start, end in part.knowledge]


def test_the_students_prompt_is_token_by_token_what_the_engine_reads(tiny_student: Path) -> None:
    reader = Reader(tiny_student)
    (found,) = rendered("judge", ASKED, World(KNOWN, reader=reader))
    prompt = judge_prompt(ASKED.blind(), KNOWN)
    assert found.text == "\n".join([prompt.head, *prompt.questions]) + "\n"
    tokenizer = StudentEngine.load(tiny_student).tokenizer
    assert found.tokens == len(encode_judge(tokenizer, prompt).ids)
    assert tokenizer.decode(encode_judge(tokenizer, prompt).ids[found.opening :]) == found.text
    assert marked(found) == ["Known from other shoppers:\n- Put a mouse and a keyboard together\n", " often"]
    assert [part.template for part in found.parts] == ["judge", "pair", "pair", "pair"]


def test_knowledge_is_found_however_one_words_it() -> None:
    body = "{% for record in records %}KNOW {{ record.text | line }} {% endfor %}"
    with using(Library({"knowledge": shipped("knowledge").with_body(body)})):
        (found,) = rendered("judge", ASKED, World(KNOWN))
    assert marked(found)[0] == "KNOW Put a mouse and a keyboard together "


def test_names_and_whole_answers_are_those_of_serving() -> None:
    (name,) = rendered("name", ASKED)
    assert name.text == name_prompt(ASKED, (0, 1)) and name.about == "session s, products 1, 2"
    (whole,) = rendered("write", ASKED, World(KNOWN))
    asked = write_prompt(ASKED.blind(), KNOWN)
    assert [(part.template, part.text) for part in whole.parts] == [
        ("write_system", asked.system),
        ("write", asked.user),
    ]
    assert marked(whole) == ["Rules:\n- Put a mouse and a keyboard together\n\n"]
    (all_of_it,) = rendered("name", session("s", TITLES))
    assert all_of_it.about == "session s, products 1, 2, 3"


def test_a_large_teachers_prompt_is_the_chat_it_is_sent() -> None:
    (found,) = rendered("teacher_kinds", ASKED)
    chat = messages_of("teacher_kinds", schema_of(Kinds), titles=TITLES)
    assert [{"role": part.role, "content": part.text} for part in found.parts] == chat
    assert found.estimated and found.tokens


def test_what_is_too_long_is_cut_as_in_serving(tiny_student: Path) -> None:
    long = session("s", [f"{'Extraordinary ' * 6}{word} Thing" for word in TITLES * 10])
    known = Retrieved(records=tuple((record("rule", f"rule {n} " * 60), 0.5) for n in range(9)))
    (found,) = rendered("judge", long, World(known, reader=Reader(tiny_student)))
    assert "knowledge records left out" in found.cut


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_can_be_looked_at_for_a_real_session(name: str) -> None:
    known = load("electronics")
    asked = next(each for each in known if each.session_id == "electronics-004")
    if name == "teacher_rules":
        known = known[:40]
    found = rendered(name, asked, World(KNOWN, known))
    assert found and all(prompt.fingerprint for prompt in found)
    assert any(prompt.text.strip() for prompt in found)


def test_a_session_that_is_not_asked_about_is_said() -> None:
    with pytest.raises(UsageError, match="teacher_think asks about annotated sessions, s has no bundles"):
        rendered("teacher_think", session("s", TITLES))
    with pytest.raises(UsageError, match="proposed as it is annotated, so nothing is reflected on"):
        rendered("teacher_reflect", session("s", ["Glide 11 tablet", "Glide 11 case"], ((0, 1),)))


@pytest.mark.parametrize(
    ("plain", "told", "expected"),
    [
        ("a\nb\n", "a\nK\nb\n", ["K\n"]),
        ("x?\n", "x often?\n", [" often"]),
        ("same\n", "same\n", []),
        ("", "all\n", ["all\n"]),
    ],
)
def test_what_is_added_is_marked(plain: str, told: str, expected: list[str]) -> None:
    assert [told[start:end] for start, end in added(plain, told)] == expected
