"""The workbench on the command line: a prompt engineer's way, and every mistake on it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import record, session

from bundlewise.cli import main
from bundlewise.data.sessions import write_sessions
from bundlewise.domain import KnownSession
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.prompts import library as module
from bundlewise.prompts.library import shipped

Call = Callable[..., tuple[int, str, str]]
SESSIONS = [
    session(f"{split}{n}", ["Glide 11 tablet", "Folio case for Glide 11", f"AA batteries {n}"], ((0, 1),), split=split)
    for split in ("train", "validation")
    for n in range(6)
]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(module.VARIABLE, raising=False)
    write_sessions(tmp_path / "data.jsonl", SESSIONS)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


def test_from_a_copy_over_lint_test_and_diff_to_a_comparison(call: Call, tiny_student: Path, tmp_path: Path) -> None:
    code, out, err = call("prompts", "new", "judge", "--to", "mine")
    assert (code, out.split()) == (0, ["mine/judge.jinja", "mine/judge.test.yaml"]) and "prompts diff" in err
    path = tmp_path / "mine" / "judge.jinja"
    path.write_text(path.read_text().replace("Which go together?", "Which are for one use?"), encoding="utf-8")
    assert call("--prompts", "mine", "prompts", "lint")[0] == 0
    code, out, err = call("--prompts", "mine", "prompts", "test", "judge")
    assert code == 100 and "failed  judge: the plain student is told" in out and "4 cases, 2 failed" in err
    cases = tmp_path / "mine" / "judge.test.yaml"
    cases.write_text(cases.read_text().replace("Which go together?", "Which are for one use?"), encoding="utf-8")
    assert call("prompts", "test", "judge", "--prompts", "mine")[0] == 0
    given = ("--data", "data.jsonl", "--student", tiny_student)
    code, out, _ = call("--prompts", "mine", "prompts", "diff", *given)
    assert code == 0 and "judge: differs for 12 of 12 sessions" in out and "+3 products. Which are for one use?" in out
    more = ("--html", "page.html", "--cache", "kept.sqlite", "--look", "3")
    code, out, err = call("--prompts", "mine", "prompts", "compare", "shipped", "current", *given, *more)
    assert code == 0 and "current against shipped: GJS" in out and "12 new answers" in err
    assert "Which are for one use?" in (tmp_path / "page.html").read_text()
    code, out, err = call("--prompts", "mine", "prompts", "compare", "shipped", "current", *given, *more, "--json")
    found = json.loads(out)
    assert (found["asked"], found["seen"], found["planned"]) == (0, 6, 6)
    assert found["entries"][1]["looks"][-1]["sessions"] == 6 and found["entries"][0]["gjs"] >= 0
    assert found["entries"][0]["prompts"]["judge"] != found["entries"][1]["prompts"]["judge"]


def test_render_prints_the_prompt_alone_and_tells_its_tokens_beside_it(call: Call, tiny_student: Path) -> None:
    given = ("--session", "train0", "--data", "data.jsonl", "--student", tiny_student)
    code, out, err = call("prompts", "render", "judge", *given)
    assert code == 0 and out.splitlines()[0] == "3 products. Which go together?" and len(out.splitlines()) == 4
    assert "tokens: 1 to open + " in err and " pair (3)" in err and "\x1b" not in out
    row = json.loads(call("prompts", "render", "judge", *given, "--json")[1])
    assert row["text"] == out and row["tokens"] == row["opening"] + sum(part["tokens"] for part in row["parts"])
    code, out, err = call("prompts", "render", "teacher_kinds", *given)
    assert code == 0 and "[system, teacher, about" in err and "What is each of them?" in out
    assert "JSON Schema" in out


def test_render_shows_what_a_knowledge_base_adds(call: Call, minilm: Path, tiny_student: Path, tmp_path: Path) -> None:
    told = "Put a tablet and its case together"
    store = KnowledgeStore.create(tmp_path / "kb", Embedder.named("minilm"))
    store.replace([record("rule", told)], [KnownSession.of(each) for each in SESSIONS], "test")
    given = ("--session", "train0", "--data", "data.jsonl", "--student", tiny_student, "--kb", "kb", "--rules", "1")
    code, out, err = call("prompts", "render", "judge", *given, "--hints", "0")
    assert code == 0 and out.splitlines()[:2] == ["Known from other shoppers:", f"- {told}"]
    assert f"knowledge: {len('Known from other shoppers:') + len(told) + 4} characters" in err
    row = json.loads(call("prompts", "render", "judge", *given, "--hints", "0", "--json")[1])
    assert row["parts"][0]["knowledge"] == [[0, len(told) + 30]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("prompts", "show", "jugde"), 2, "no template named 'jugde'; did you mean judge?"),
        (("prompts", "vars", "nothing"), 2, "no template named 'nothing'; choose one of judge, pair"),
        (("prompts", "render", "judge", "--session", "x", "--data", "data.jsonl"), 2, "no session 'x' in data.jsonl"),
        (("prompts", "render", "judge", "--data", "data.jsonl", "--rules", "1"), 2, "--rules needs a knowledge base"),
        (("prompts", "new", "judge"), 2, "no folder for your prompts; add --to DIR, or set BUNDLEWISE_PROMPTS"),
        (("prompts", "new", "judge", "--to", "m", "--variant", "a/b"), 2, "a variant is a word of letters"),
        (("prompts", "test", "reasoning"), 2, "no cases for reasoning; write reasoning.test.yaml beside it"),
        (("prompts", "compare", "judge", "--data", "data.jsonl"), 2, "a comparison needs two sets of prompts, got one"),
        (
            ("prompts", "compare", "judge", "shipped", "--data", "data.jsonl"),
            2,
            "judge and shipped are the same prompts",
        ),
        (
            ("prompts", "optimise", "judge", "--data", "data.jsonl"),
            2,
            "teacher grounded is not a language model, so it cannot",
        ),
        (
            ("prompts", "optimise", "rule", "--data", "data.jsonl", "--teacher", "openai:m@http://127.0.0.1:9"),
            2,
            "a rewrite of rule does not affect a student's answers; choose judge",
        ),
        (("--prompts", "nowhere", "prompts"), 2, "no folder nowhere with prompts; check --prompts"),
    ],
)
def test_mistakes_say_what_to_do(call: Call, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, _, err = call(*arguments)
    assert found == code and said in err and "Traceback" not in err


def test_a_folder_may_be_named_at_any_place_and_need_not_be_there_for_a_first_copy(call: Call, tmp_path: Path) -> None:
    for number, arguments in enumerate((("--prompts", "mine", "prompts"), ("prompts", "--prompts", "mine"))):
        code, out, err = call(*arguments, "new", ("judge", "pair")[number])
        assert code == 0 and out.startswith("mine/"), err
    assert "(mine/judge.jinja)" in call("prompts", "--prompts", "mine")[1]
    (tmp_path / "empty").mkdir()
    assert call("prompts", "new", "judge", "--prompts", "empty")[0] == 0


def test_a_variant_is_a_copy_of_what_is_in_force_though_another_template_is_broken(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "name.jinja").write_text("For {{ titles | map('kind') | join }}:", encoding="utf-8")
    (tmp_path / "mine" / "pair.jinja").write_text("{{ frist }}", encoding="utf-8")
    assert call("--prompts", "mine", "prompts", "new", "name", "--variant", "x")[0] == 0
    assert (tmp_path / "mine" / "name.x.jinja").read_text() == (
        shipped("name").head + "For {{ titles | map('kind') | join }}:"
    )


@pytest.mark.parametrize("verb", ["vars", "render"])
def test_a_part_of_ones_own_without_front_matter_is_shown_in_what_includes_it(
    call: Call, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "foot.jinja").write_text("Choose.", encoding="utf-8")
    code, _, err = call("--prompts", "mine", "prompts", verb, "foot")
    assert code == 2 and "mine/foot.jinja is a part, and its variables are not known; give it front matter" in err


def test_show_prints_the_file_and_vars_what_it_may_use(call: Call) -> None:
    assert call("prompts", "show", "judge")[1] == shipped("judge").text
    out = call("prompts", "vars", "judge")[1]
    assert "records: list of {kind: text, text: item}, retrieved knowledge" in out and "includes: knowledge" in out
    assert json.loads(call("prompts", "vars", "judge", "--json")[1])["name"] == "judge"


def test_a_broken_template_of_ones_own_stops_every_command_that_uses_prompts(
    call: Call, tiny_student: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pair.jinja").write_text("fine\n{{ frist }}", encoding="utf-8")
    said = "mine/pair.jinja, line 2: frist is no variable of pair; it has first, hint, second"
    data = ("--data", "data.jsonl")
    for arguments in (
        ("distil", *data, "--kb", "kb", "--embedder", "minilm"),
        ("finetune", *data, "--student", tiny_student, "-o", "adapter"),
        ("generate", *data, "--split", "train", "--student", tiny_student),
        ("prompts",),
        ("prompts", "render", "name", *data, "--student", tiny_student),
        ("prompts", "lint"),
    ):
        code, out, err = call("--prompts", "mine", *arguments)
        assert code == 1
        assert said in (err + out).replace(" error:", "")
    assert call("generate", *data, "--split", "train", "--student", tiny_student, "--prompts", "mine")[0] == 1
    assert call("generate", *data, "--split", "train", "--student", tiny_student)[0] == 0


@pytest.mark.slow
def test_an_adapter_is_refused_under_prompts_it_was_not_tuned_on_and_compared_with_a_warning(
    call: Call, tiny_student: Path, tmp_path: Path
) -> None:
    small = ("--epochs", "1", "--rank", "2", "--layers", "0")
    assert call("finetune", "--data", "data.jsonl", "--student", tiny_student, "-o", "adapter", *small)[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pair.jinja").write_text(shipped("pair").body.replace("?", " or not?"), encoding="utf-8")
    given = ("--data", "data.jsonl", "--student", tiny_student, "--adapter", "adapter")
    code, _, err = call("--prompts", "mine", "generate", *given, "--split", "train")
    assert code == 1 and "was tuned on other prompts (pair); tune it again or restore the templates" in err
    assert "or leave out those in mine (--prompts, BUNDLEWISE_PROMPTS)" in err
    code, out, err = call("--prompts", "mine", "prompts", "compare", "shipped", "current", *given, "--cache", "kept")
    assert code == 0 and "current against shipped" in out
    assert err.count("warning: ") == 1 and "was tuned on another pair than current has" in err
    assert call("generate", *given, "--split", "train")[0] == 0
    (tmp_path / "mine" / "pair.jinja").write_text(
        shipped("pair").text.replace("version: 1", "version: 9"), encoding="utf-8"
    )
    assert call("--prompts", "mine", "generate", *given, "--split", "train")[0] == 0


@pytest.mark.slow
def test_the_real_student_is_compared_under_two_wordings_and_again_for_nothing(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    assert call("prompts", "new", "judge", "--to", "mine", "--variant", "use")[0] == 0
    path = tmp_path / "mine" / "judge.use.jinja"
    path.write_text(path.read_text().replace("Which go together?", "Which are for one use?"), encoding="utf-8")
    given = (
        "--data",
        "electronics",
        "--limit",
        "16",
        "--look",
        "8",
        "--cache",
        "kept",
        "--html",
        "page.html",
        "--json",
    )
    first = json.loads(call("--prompts", "mine", "prompts", "compare", "judge", "judge.use", *given)[1])
    again = json.loads(call("--prompts", "mine", "prompts", "compare", "judge", "judge.use", *given)[1])
    assert first["asked"] == 2 * first["seen"] > 0 and again["asked"] == 0
    assert first["entries"] == again["entries"]
    assert all(entry["answered"] for entry in first["entries"])
    assert call("prompts", "test", "judge", "--with-model", "--student", smollm2)[0] in (0, 100)
