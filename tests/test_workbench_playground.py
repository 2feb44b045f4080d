"""The playground: templates, a session before and after an edit, and saving to one's own folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundlewise.dataset import load
from bundlewise.errors import DataError, UsageError
from bundlewise.finetune.students import open_student
from bundlewise.metrics import gjs
from bundlewise.prompts import library as module
from bundlewise.prompts.library import TEMPLATES, current, shipped
from bundlewise.workbench.answering import AnswerCache, Bench
from bundlewise.workbench.opening import Opening
from bundlewise.workbench.playground import Playground, templates

SESSIONS = load("electronics")
ASKED = next(s for s in SESSIONS if s.bundles and len(s.items) == 3)
EDIT = shipped("judge").text.replace("Which go together?", "Which would one buy together?")


@pytest.fixture
def playground(tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Playground]:
    monkeypatch.setenv(module.VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foot.jinja").write_text("x", encoding="utf-8")
    module.forget()
    cache = AnswerCache(tmp_path / "kept.sqlite")
    bench = Bench(open_student(str(tiny_student), None, None), cache)
    yield Playground(SESSIONS, Opening(str(tiny_student)), bench, tmp_path)
    cache.close()
    module.forget()


def test_templates_are_listed_with_all_that_an_editor_shows() -> None:
    found = {info.name: info for info in templates()}
    assert list(found) == list(TEMPLATES)
    judge = found["judge"]
    assert judge.text == shipped("judge").text and not judge.own and judge.fingerprint == current().fingerprint("judge")
    assert judge.variables["records"]["type"] == [{"kind": "text", "text": "item"}]
    assert judge.model_dump_json()


def test_a_session_is_shown_before_and_after_an_edit_with_answers_and_scores(playground: Playground) -> None:
    trial = playground.trial("judge", ASKED.session_id, EDIT)
    before, after = trial.before, trial.after
    assert "Which go together?" in before.prompts[0].text and "Which would one buy together?" in after.prompts[0].text
    assert before.prompts[0].tokens != after.prompts[0].tokens and before.fingerprint != after.fingerprint
    assert before.answer and after.answer and trial.findings == ()
    groups = tuple(tuple(number - 1 for number in bundle.items) for bundle in after.answer.bundles)
    assert after.answer.gjs == gjs(groups, ASKED.groups)
    assert playground.render("judge", ASKED.session_id)[0] == before.prompts[0]


def test_a_saved_edit_is_in_force_at_once_and_a_broken_one_is_not_saved(playground: Playground) -> None:
    saved = playground.save("judge", EDIT)
    assert current().fingerprint("judge") == saved.fingerprint and Path(saved.path).read_text() == EDIT
    assert "Which would one buy together?" in playground.render("judge", ASKED.session_id)[0].text
    with pytest.raises(
        DataError, match=r"judge\.jinja, line 1: sessoin is no variable of judge; it has records, session"
    ):
        playground.save("judge", "{{ sessoin }}")
    for broken in (
        "{{ ''.__class__ }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    ):
        with pytest.raises(DataError, match=r"judge\.jinja, line 1: (access to attribute '__class__'|more than)"):
            playground.render("judge", ASKED.session_id, broken)
        with pytest.raises(DataError, match=r"judge\.jinja, line 1: "):
            playground.save("judge", broken)
    assert Path(saved.path).read_text() == EDIT


def test_what_is_saved_without_front_matter_gets_that_of_the_template(playground: Playground) -> None:
    saved = playground.save("name", shipped("name").body.replace("Intent", "Aim"))
    assert Path(saved.path).read_text().startswith(shipped("name").head)


def test_lint_is_told_with_an_edit_and_does_not_stop_it(playground: Playground) -> None:
    trial = playground.trial("judge", ASKED.session_id, "Which?")
    assert {finding.rule for finding in trial.findings} == {"unused-variable"}


@pytest.mark.parametrize(
    ("name", "session_id", "said"),
    [("jugde", "electronics-001", "did you mean judge"), ("judge", "nobody", "no session 'nobody'; it has ")],
)
def test_unknown_names_are_usage_errors(playground: Playground, name: str, session_id: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        playground.render(name, session_id)


def test_without_a_student_or_a_folder_it_renders_and_says_what_is_missing(tiny_student: Path) -> None:
    playground = Playground(SESSIONS, Opening(str(tiny_student)))
    trial = playground.trial("judge", ASKED.session_id, EDIT)
    assert trial.before.answer is None
    with pytest.raises(UsageError, match="no student is open"):
        playground.answer(ASKED.session_id)
    with pytest.raises(UsageError, match="no folder to save to"):
        playground.save("judge", EDIT)
