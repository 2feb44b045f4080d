"""Models on servers: how a name is read, and that the key goes to the server it names and is shown nowhere."""

import asyncio
import shutil
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import quote

import httpx2
import openai
import pytest
from experiment_samples import small
from hypothesis import given
from hypothesis import strategies as st
from keyed_server import KeyedServer
from samples import session

from bundlewise.agents.student.compose import judge_prompt
from bundlewise.agents.student.reading import Reading
from bundlewise.cli import main
from bundlewise.data.sessions import write_sessions
from bundlewise.domain import Retrieved
from bundlewise.errors import BundlewiseError, ModelError, UsageError
from bundlewise.experiment.maker import Maker
from bundlewise.experiment.teachers import teacher_row
from bundlewise.finetune.adapters import Manifest, identity_of, write_manifest
from bundlewise.finetune.students import open_model
from bundlewise.graphs.assistant import AssistantState
from bundlewise.graphs.chat_pilot import ChatPilot
from bundlewise.knowledge_base.embedding import Embedder
from bundlewise.masking import without_key
from bundlewise.models.endpoints import Endpoint, in_short, is_served, model_of, reason_of
from bundlewise.pipeline.distil import Payment, asking
from bundlewise.prompts.library import shipped

KEY = "sk-a/b+c=d?e-0123456789"
FORMS = {
    "plain": KEY,
    "address": quote(KEY, safe=""),
    "JSON": KEY.replace("/", "\\/"),
    "base64": b64encode(KEY.encode()).decode(),
    "base64 of an address": urlsafe_b64encode(KEY.encode()).decode(),
    "header": f"Bearer {KEY}",
    "base64 of a header": b64encode(f"Bearer {KEY}".encode()).decode(),
    "hex": KEY.encode().hex(),
    "escapes of JSON": KEY.replace("+", "\\u002b").replace("a", "\\U0061").replace("/", "\\/"),
    "escapes within a text": KEY.replace("+", "\\\\u002B"),
    "all escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "escapes of a program": KEY.replace("=", "\\x3d").replace("?", "\\u{3f}"),
    "HTML": KEY.replace("+", "&#43;").replace("/", "&#x2F;").replace("=", "&equals;").replace("?", "&amp;quest;"),
    "twice an address": quote(quote(KEY, safe="")),
    "broken": KEY[:9] + "\n  " + KEY[9:15] + "\\n" + KEY[15:],
    "spaced": " ".join(KEY),
    "upper case": KEY.upper(),
}
SESSIONS = [
    session(f"{split}{n}", ["Glide 11 tablet", "Folio case for Glide 11", f"AA batteries {n}"], ((0, 1),), split=split)
    for split in ("train", "validation")
    for n in range(3)
]
MANIFEST: dict[str, Any] = dict.fromkeys(
    ["sessions", "seed", "trainable_parameters", "best_step", "steps", "tokens"], 0
)
MANIFEST |= dict.fromkeys(["base", "data", "stopped"], "") | dict.fromkeys(["teacher", "validation_gjs"])
MANIFEST |= {"mode": "sft", "policy": {}, "training": {}, "files": {}, "validations": (), "reading": Reading()}
MANIFEST |= {"seconds": 0.0, "final_loss": 0.0}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET"])
def test_every_key_of_the_client_is_masked_in_every_form(monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> None:
    monkeypatch.setenv(name, KEY)
    said = without_key(f"no such key: {form}, sorry")
    assert "***" in said and form.rstrip("=") not in said and said.endswith(", sorry")


def test_the_password_of_a_proxy_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pass-0123456789@proxy.test:3128")
    assert without_key("407 for me:pass-0123456789") == "407 for me:***"


@pytest.mark.parametrize("key", ["", "none", "EMPTY"])
def test_a_key_that_is_a_usual_word_masks_nothing(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert without_key("none is EMPTY") == "none is EMPTY"


def test_a_message_is_masked_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "sk-a" not in in_short("x" * 190 + " " + KEY)
    assert "sk-a" not in in_short(" " * 50_000 + KEY)
    assert "sk-a" not in in_short((KEY + " ") * 5_000), "however much of it is masked"


def test_a_traceback_holds_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def fail(*_: object, **__: object) -> None:
        try:
            raise ValueError(f"the server said {KEY}")
        except ValueError as error:
            raise OSError("it failed") from error

    monkeypatch.setattr("bundlewise.cli.root.main", fail)
    with pytest.raises(SystemExit):
        main(["--debug", "doctor"])
    said = capsys.readouterr().err
    assert "Traceback" in said and "the server said ***" in said and KEY not in said


KNOWN = "openai:m@http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("openai:gpt-4.1", "gpt-4.1", None),
        (KNOWN, "m", "http://127.0.0.1:1/v1"),
        ("openai:org/model:tag@http://h:1/v1", "org/model:tag", "http://h:1/v1"),
        ("openai:org/model@2024@https://h/v1", "org/model@2024", "https://h/v1"),
        ("openai:@cf/meta/llama@https://h", "@cf/meta/llama", "https://h"),
        ("openai:openai:m@HTTP://[::1]:80/v1", "openai:m", "HTTP://[::1]:80/v1"),
    ],
)
def test_a_name_is_a_model_and_the_address_behind_the_last_at(text: str, model: str, url: str | None) -> None:
    found = Endpoint.named(text)
    assert is_served(text) and found == Endpoint(model, url) and found.spec == text and model_of(text) == model


def test_a_name_that_means_no_server_is_its_own_model() -> None:
    assert not is_served("gpt-4.1") and model_of("gpt-4.1") == "gpt-4.1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt-4.1", "'gpt-4.1' is not a model on a server; write openai:MODEL or openai:MODEL@http"),
        ("openai:", "openai: names no model; write openai:MODEL"),
        ("openai:@http://h/v1", "openai:@http://h/v1 names no model"),
        ("openai:m@", "the address in openai:m@ does not begin with http:// or https://; write openai:MODEL"),
        ("openai:m@h:1/v1", "the address in openai:m@h:1/v1 does not begin with http"),
        ("openai:m@ftp://h/v1", "openai:m@ftp://h/v1 holds an address in the model's name"),
        ("openai:m@http://h/v1@http://i/v1", "holds an address in the model's name"),
        ("openai:m@me:sk-1@h/v1", r"the address in openai:m@\*\*\*@h/v1 does not begin"),
        ("openai:m@http://me:sk-1@h/v1", "the address at h holds more than a path; put the key into OPENAI_API_KEY"),
        ("openai:m@http://me:sk-1/2@h/v1", r"http://\*\*\*@h/v1 is not an address"),
        ("openai:m@http://me:80/sk-1@h/v1", "the address at me holds more than a path"),
        ("openai:m@http://@h/v1", "the address at h holds more than a path"),
        ("openai:m@http://h/v1?key=sk-1", "the address at h holds more than a path"),
        ("openai:m@http://h/v1#sk-1", "the address at h holds more than a path"),
        ("openai:m@http://h:0/v1", "http://h:0/v1 is not an address; give one like http://127.0.0.1:8080/v1"),
        ("openai:m@http://h:99999/v1", "http://h:99999/v1 is not an address"),
        ("openai:m@http:///v1", "http:///v1 is not an address"),
        ("openai:m@http://[::1/v1", "is not an address"),
        ("openai:m@http://gооd/v1", "is not an address"),  # noqa: RUF001 - Cyrillic letters that look like Latin ones.
        ("openai:m@http://h\\.evil/v1", "is not an address"),
        ("openai:m @http://h/v1", "holds a blank or an invisible character"),
        ("openai: m", "holds a blank"),
        ("openai:m@http://h/v1\n", "holds a blank"),
        ("openai:m@http://h/\tv1", "holds a blank"),
        ("openai:m\u200b@http://h/v1", "holds a blank or an invisible character"),
    ],
)
def test_a_name_that_cannot_be_used_is_an_error_that_shows_no_secret(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Endpoint.named(text)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base", "address"),
    [
        ("http://h:1/v1", "http://other/v1", "http://h:1/v1/"),
        (None, "http://other/v1/", "http://other/v1/"),
        (None, " ", "https://api.openai.com/v1/"),
    ],
)
def test_the_server_is_the_one_of_the_name_or_of_the_environment_or_openai(
    monkeypatch: pytest.MonkeyPatch, url: str | None, base: str, address: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base)
    assert Endpoint("m", url).address == address


def test_an_address_in_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://h/v1")
    with pytest.raises(UsageError, match="OPENAI_BASE_URL: ftp://h/v1 is not an address; give one like"):
        _ = Endpoint("m").address


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1", "https://API.openai.com"])
def test_openai_itself_needs_a_key_and_another_server_does_not(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match=r"no key for m at https://.*; set OPENAI_API_KEY, or name another server"):
        _ = Endpoint("m", url).key
    assert Endpoint.named(KNOWN).key == "none"
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert Endpoint("m", url).key == Endpoint.named(KNOWN).key == KEY


@pytest.mark.parametrize(
    ("named", "other", "is_same"),
    [
        ("http://h:1/v1", "http://h:1/elsewhere", True),
        ("http://h/v1", "http://H:80/v1", True),
        ("http://h/v1", "https://h/v1", True),
        ("http://h:8080/v1", "https://h:8080/v1", True),
        ("http://h:8080/v1", "https://h/v1", False),
        ("http://h/v1", "https://h:8443/v1", False),
        ("https://h/v1", "http://h/v1", False),
        ("https://h:1/v1", "http://h:1/v1", False),
        ("http://h:1/v1", "http://h:2/v1", False),
        ("http://h:1/v1", "http://h.evil:1/v1", False),
        ("http://127.0.0.1:1/v1", "http://localhost:1/v1", False),
        ("http://h:1/v1", "ftp://h:1/v1", False),
        ("http://h:1/v1", "http://h:1@evil/v1", False),
    ],
)
def test_a_redirect_stays_on_the_host_and_port_that_were_named(named: str, other: str, is_same: bool) -> None:
    check = Endpoint("m", named).guard()
    request = httpx2.Request("POST", other)
    if is_same:
        check(request)
    else:
        with pytest.raises(ModelError, match=rf"m at {named}/? redirects to \w+://.*, which is another server"):
            check(request)


# Everybody who asks a model on a server; each returns what went wrong, or nothing.


def teacher(spec: str, place: Path, student: Path) -> str:
    with asking(spec, Payment(place / "calls.sqlite", patience=3.0)):
        return ""


def experiment(spec: str, place: Path, student: Path) -> str:
    teachers = [{"name": "large", "endpoint": spec}]
    payment = {"patience": 3.0}
    maker = Maker(small(place, student, teachers=teachers, payment=payment), place / "cache")
    teacher_row(maker, maker.inputs.experiment.teachers[0])
    return ""


def embedder(spec: str, place: Path, student: Path) -> str:
    Embedder.named(spec).embed(["Folio case"])
    return ""


def served(spec: str, place: Path, student: Path) -> str:
    open_model(spec, None, None).engine.judge([judge_prompt(SESSIONS[0].blind(), Retrieved())])
    return ""


def pilot(spec: str, place: Path, student: Path) -> str:
    ChatPilot.named(spec).decide(AssistantState())
    return ""


def pilot_awaited(spec: str, place: Path, student: Path) -> str:
    model: Any = ChatPilot.named(spec)._model

    async def ask() -> None:
        try:
            await model.ainvoke("hello")
        finally:
            await model.bound.root_async_client.close()

    try:
        asyncio.run(ask())
    except openai.AuthenticationError as error:
        return reason_of(error)
    return ""


def said_by_command(*arguments: object) -> str:
    with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()), pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return said.getvalue() if left.value.code else ""


def compare(spec: str, place: Path, student: Path) -> str:
    write_sessions(place / "data.jsonl", SESSIONS)
    own = place / "mine" / "judge.jinja"
    own.parent.mkdir()
    own.write_text(shipped("judge").text.replace("Which go together?", "Which are for one use?"), encoding="utf-8")
    asked = ("--data", place / "data.jsonl", "--student", spec, "--form", "pairs", "--cache", place / "kept.sqlite")
    return said_by_command("--prompts", own.parent, "prompts", "compare", "shipped", "current", *asked)


def optimise(spec: str, place: Path, student: Path) -> str:
    write_sessions(place / "data.jsonl", SESSIONS)
    asked = ("--data", place / "data.jsonl", "--student", student, "--teacher", spec, "--rewrites", 1)
    kept = ("--to", place / "mine", "--cache", place / "kept.sqlite", "--ledger", place / "calls.sqlite")
    return said_by_command("prompts", "optimise", "judge", *asked, *kept)


def probe(spec: str, place: Path, student: Path) -> str:
    folder = shutil.copytree(student, place / "published")
    write_manifest(folder, Manifest.model_validate(MANIFEST | identity_of(folder)))
    (folder / "parity.json").write_text("{}", encoding="utf-8")
    said = said_by_command("models", "probe", folder, "--student", spec)
    # The lab's answers are not those of the random student; being asked is what counts here.
    return "" if "the server gives other answers" in said else said


User = Callable[[str, Path, Path], str]
USERS: dict[str, User] = {
    user.__name__: user
    for user in (teacher, experiment, embedder, served, pilot, pilot_awaited, compare, optimise, probe)
}
everybody = pytest.mark.parametrize("user", USERS.values(), ids=USERS)


def asked_by(user: User, spec: str, place: Path, student: Path) -> str:
    """Let a user ask, and return what went wrong."""
    try:
        return user(spec, place, student)
    except BundlewiseError as error:
        return str(error)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KeyedServer]]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    servers: list[KeyedServer] = []

    def call(*given: Any) -> KeyedServer:
        servers.append(KeyedServer(KEY, *given))
        return servers[-1]

    yield call
    for server in servers:
        server.close()


Opened = Callable[..., KeyedServer]


@everybody
def test_the_key_is_sent_to_the_server_named_whatever_else_the_environment_says(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = opened(), opened()
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "LANGSMITH_GATEWAY", "OPENAI_PROXY"):
        monkeypatch.setenv(name, other.url)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-0123456789")
    assert asked_by(user, f"openai:org/model:tag@v2@{server.url}", tmp_path, tiny_student) == ""
    assert server.keys == {f"Bearer {KEY}"} and other.heard == []
    assert {body["model"] for body in server.bodies} == {"org/model:tag@v2"}
    assert "sk-admin" not in str(server.heard)


@everybody
def test_a_name_without_an_address_asks_the_server_in_the_environment(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = opened()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert asked_by(user, "openai:lab", tmp_path, tiny_student) == ""
    assert server.keys == {f"Bearer {KEY}"}


@everybody
@pytest.mark.parametrize("key", ["", "sk-wrong-0123456789"])
def test_a_server_that_demands_another_key_is_an_error_that_does_not_show_it(
    user: User, key: str, opened: Opened, tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server = opened()
    said = asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student)
    assert "no such key" in said and "sk-wrong" not in said
    # What a client is awaited for has no remedies.
    assert "set OPENAI_API_KEY to a key that is valid there" in said or user is pilot_awaited
    assert server.keys == {f"Bearer {key or 'none'}"}


@everybody
def test_openai_is_not_asked_without_a_key(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    said = asked_by(user, "openai:lab", tmp_path, tiny_student)
    assert "no key for lab at https://api.openai.com/v1/; set OPENAI_API_KEY, or name another server" in said


@everybody
def test_a_server_that_redirects_to_another_port_passes_neither_key_nor_question_on(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path
) -> None:
    other = opened()
    server = opened(f"{other.url}/taken")
    said = asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student)
    assert f"lab at {server.url}/ redirects to {other.url}/taken, which is another server" in said
    assert other.heard == [] and len(server.heard) == 1


@everybody
def test_a_server_that_redirects_to_another_name_of_its_host_passes_nothing_on(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path
) -> None:
    server = opened()
    server.elsewhere = f"http://localhost:{server.server_port}/moved"
    said = asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student)
    assert f"redirects to {server.elsewhere}, which is another server" in said
    assert len(server.heard) == 1


@everybody
def test_a_redirect_to_another_path_of_the_server_is_followed_with_the_key(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path
) -> None:
    server = opened("/moved")
    assert asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student) == ""
    assert server.keys == {f"Bearer {KEY}"}
    assert {headers["path"] for headers in server.heard if headers["path"].startswith("/moved")} == {"/moved"}


@pytest.mark.parametrize("user", [teacher, embedder, served, pilot])
@pytest.mark.parametrize("status", [301, 302, 303, 308])
def test_every_sort_of_redirect_to_another_server_is_refused(
    user: User, status: int, opened: Opened, tmp_path: Path, tiny_student: Path
) -> None:
    other = opened()
    server = opened(f"{other.url}/taken", status)
    assert "which is another server" in asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student)
    assert other.heard == []


@pytest.mark.parametrize("user", [teacher, embedder, served, pilot, pilot_awaited])
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_drop_the_question_is_an_error_that_names_the_address(
    user: User, status: int, opened: Opened, tmp_path: Path, tiny_student: Path
) -> None:
    server = opened("/moved/v1/there", status)
    said = asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student)
    assert f"answers {status} and wants to be asked at http://127.0.0.1:{server.server_port}/moved/v1/there" in said
    assert "name that address after the @ of the model or in OPENAI_BASE_URL" in said
    assert {headers["path"].startswith("/moved") for headers in server.heard} == {False}


@pytest.mark.parametrize("user", [teacher, embedder, served, pilot])
def test_a_redirect_of_308_keeps_the_question(user: User, opened: Opened, tmp_path: Path, tiny_student: Path) -> None:
    server = opened("/moved", 308)
    assert asked_by(user, f"openai:lab@{server.url}", tmp_path, tiny_student) == ""


@pytest.mark.parametrize("user", [teacher, embedder, served, pilot, pilot_awaited])
def test_a_proxy_carries_questions_to_the_server_named_and_to_no_other(
    user: User, opened: Opened, tmp_path: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = opened()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
    assert asked_by(user, "openai:lab@http://models.test/v1", tmp_path, tiny_student) == ""
    assert {headers["host"] for headers in proxy.heard} == {"models.test"} and proxy.keys == {f"Bearer {KEY}"}
    proxy.heard.clear()
    proxy.elsewhere = "http://others.test/v1"
    said = asked_by(user, "openai:lab2@http://models.test/v1", tmp_path, tiny_student)
    assert "lab2 at http://models.test/v1/ redirects to http://others.test/v1, which is another server" in said
    assert {headers["host"] for headers in proxy.heard} == {"models.test"}


HEX = KEY.encode().hex()
UNITS = {
    "backslashes": "\\",
    "letters": "s",
    "spaced": "s ",
    "broken": "s\\n",
    "ampersands": "&amp;",
    "percents": "%25",
    "near-matches": KEY[:-1] + "!",
    "beginnings": KEY[:6],
    "keys": KEY + " ",
    "hex": HEX[:-1],
    "spelt": "".join(f"\\u{ord(c):04x}" for c in KEY[:-1]) + "!",
    "address": "%73",
    "HTML": "&#115;",
    "zero width": "s\u200b",
    "zeros": "&#0",
    "words": "word ",
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_a_long_text_is_masked_in_a_time_that_grows_with_its_length(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert without_key("s") == "s"
    text = unit * (1_000_000 // len(unit))
    start = process_time()
    masked = without_key(text)
    assert process_time() - start < 8
    assert (masked == text) is (KEY not in unit)


@given(st.lists(st.sampled_from([*FORMS.values(), *UNITS.values(), "\\", "%25", "&", "x", "\u0436"]), max_size=6))
def test_between_texts_that_come_near_it_no_form_of_a_key_is_left(parts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        masked = without_key(", ".join(parts))
        assert masked.count("***") >= sum(part in FORMS.values() for part in parts)
        assert not any(form in masked for form in FORMS.values())
        assert without_key(masked) == masked


@pytest.mark.parametrize(
    "key", ["token-0123456789", "n-0123456789", "aaaaaaaaaaaa", "\u043a\u043b\u044e\u0447-\u00e9-0123"]
)
def test_a_key_is_found_whatever_it_begins_with_and_whatever_stands_before(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for before in ("C:\\dir\\", "%25", "&#1", "\\n", "x "):
        for form in (key, " ".join(key), key.encode().hex(), quote(key[:3]) + key[3:]):
            assert key[-6:] not in without_key(f"{before}{form}!"), (before, form)
            assert "***" in without_key(f"{before}{form}!"), (before, form)


def test_the_values_of_headers_from_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "X-Api-Key: abc-0123456789\nAuthorization: Bearer def-0123456789\nbad"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", lines)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-0123456789")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-0123456789")
    said = without_key("X-Api-Key: abc-0123456789, def-0123456789, org-0123456789 and proj-0123456789")
    assert said == "X-Api-Key: ***, ***, *** and ***"
    assert without_key("Bearer def-0123456789") == "Bearer ***"
