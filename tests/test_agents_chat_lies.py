"""The chat client and a server that lies: what was billed is counted, waits have an end, dialects are learnt."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from traceback import format_exception
from typing import Any
from urllib.parse import quote

import pytest
from teacher_server import Handler, TeacherServer
from test_agents_chat import ASKED, KEY, OPENED, SCHEMA, answers, endpoint, first, status

from bundlewise.agents import pace
from bundlewise.agents.chat import ChatEndpoint, RefusedError
from bundlewise.agents.pace import Pace
from bundlewise.errors import ModelError, UsageError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = TeacherServer()
    yield running
    running.close()
    while OPENED:
        OPENED.pop().close()


# What is billed


def said(**message: Any) -> bytes:
    finish = message.pop("finish", "stop")
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": USAGE}).encode()


USAGE = {"prompt_tokens": 90, "completion_tokens": 7}
CALLED = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
BILLED = {
    "empty": (said(content=""), "empty", ""),
    "blank": (said(content=" \n"), "empty", " \n"),
    "null": (said(content=None), "empty", ""),
    "left out": (said(role="assistant"), "empty", ""),
    "refused": (said(content=None, refusal="Not that."), "refused", "Not that."),
    "refused beside a text": (said(content="{}", refusal="Not that."), "refused", "Not that."),
    "filtered": (said(content="half", finish="content_filter"), "refused", "half"),
    "tools": (said(content=None, tool_calls=CALLED), "tools", json.dumps(CALLED)),
    "function": (said(content="", function_call={"name": "f"}), "tools", '{"name": "f"}'),
    "parts": (said(content=[{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]), "good", "Hello"),
    "tools beside a text": (said(content="Hello", tool_calls=CALLED), "good", "Hello"),
    "a number": (said(content=5), "unreadable", None),
    "no message": (json.dumps({"choices": [{}], "usage": USAGE}).encode(), "unreadable", None),
    "no choice": (json.dumps({"choices": [], "usage": USAGE}).encode(), "unreadable", None),
    "an error": (
        json.dumps({"choices": [{"message": {}, "finish_reason": "error", "error": "down"}], "usage": USAGE}).encode(),
        "unreadable",
        "down",
    ),
    "no UTF-8": (said(content="Hxllo").replace(b"Hx", b"H\xff"), "unreadable", "H\ufffdllo"),
}


@pytest.mark.parametrize(("content", "verdict", "text"), BILLED.values(), ids=BILLED)
def test_an_answer_that_was_billed_is_never_asked_for_again_here(
    server: TeacherServer, content: bytes, verdict: str, text: str | None
) -> None:
    server.fault = first(1, lambda handler: handler.send(200, content))
    reply = endpoint(server).send(ASKED, None, "plain", "k")
    assert (reply.verdict, reply.tokens_in, reply.tokens_out) == (verdict, 90, 7)
    assert text is None or reply.text == text
    assert server.asked["k"] == 1


ABSURD = [10**19, "1" + "0" * 5000, "1e400", -5, '"many"', True, 3.5, None, [20], {}, float("inf"), float("nan"), 10**9]


@pytest.mark.parametrize("count", ABSURD, ids=lambda count: str(count)[:9])
@pytest.mark.parametrize("name", USAGE)
def test_a_count_of_tokens_that_cannot_be_is_estimated(server: TeacherServer, name: str, count: Any) -> None:
    body = {"choices": [{"message": {"content": "x" * 30}}], "usage": USAGE | {name: "COUNT"}}
    content = json.dumps(body).replace('"COUNT"', count if type(count) is str else json.dumps(count))
    server.fault = first(1, lambda handler: handler.send(200, content.encode()))
    reply = endpoint(server).send(ASKED, None, "plain")
    assert reply.estimated
    assert (reply.tokens_in, reply.tokens_out) == ((7, 7) if name == "prompt_tokens" else (90, 10))


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 90.0, "completion_tokens": 7.0}, (90, 7)),
        ({"prompt_tokens": 90, "total_tokens": 97}, (90, 7)),
        (USAGE, (90, 7)),
    ],
    ids=["whole floats", "a total", "as usual"],
)
def test_counts_that_can_be_are_believed(server: TeacherServer, usage: Any, counts: tuple[int, int]) -> None:
    content = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    server.fault = first(1, lambda handler: handler.send(200, content))
    reply = endpoint(server).send(ASKED, None, "plain")
    assert ((reply.tokens_in, reply.tokens_out), reply.estimated) == (counts, False)


# A success that is an error


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "the model is being loaded"}},
        {"error": "the model is being loaded"},
        {"detail": "the model is being loaded"},
        {"object": "error", "message": "the model is being loaded"},
    ],
)
def test_an_error_in_a_success_is_told_in_the_servers_words(server: TeacherServer, body: Any) -> None:
    server.fault = first(99, lambda handler: handler.send(200, json.dumps(body).encode()))
    with pytest.raises(ModelError, match="the model is being loaded"):
        endpoint(server, patience=0.4).send(ASKED, None, "plain")


def test_an_error_in_a_success_counts_as_the_status_it_names(server: TeacherServer) -> None:
    bad = json.dumps({"error": {"code": 400, "message": "too long"}}).encode()
    server.fault = first(1, lambda handler: handler.send(200, bad))
    with pytest.raises(RefusedError, match=r"refused \(400\): .*too long"):
        endpoint(server).send(ASKED, None, "plain")
    key = json.dumps({"error": {"code": 401, "message": "no such key"}}).encode()
    server.fault = first(1, lambda handler: handler.send(200, key))
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        endpoint(server).send(ASKED, None, "plain")


# Patience


@pytest.mark.parametrize("wanted", ["3600", "inf", "1e10", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_patience_bounds_every_pause_that_a_server_asks_for(server: TeacherServer, wanted: str) -> None:
    server.fault = first(99, status(429, "slowly", retry_after=wanted))
    told: list[str] = []
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"gave no answer for 1 s \(429: slowly"):
        endpoint(server, patience=1.0, tell=told.append).send(ASKED, None, "plain")
    assert 0.9 < time.monotonic() - start < 4
    assert re.search(r"429: slowly; it asks to wait ([\d,]+|inf) s\); trying again for 1 s", told[0]), "told at once"
    assert sum(server.asked.values()) == 2, "it is tried once more at the end"


@pytest.mark.parametrize("wanted", ["nan", "-3600", "-inf", "soon", "", "Thu, 99 Foo 2020", "0"])
def test_a_pause_that_is_none_is_not_waited_for(server: TeacherServer, wanted: str) -> None:
    server.fault = first(1, status(429, retry_after=wanted))
    start = time.monotonic()
    assert endpoint(server).send(ASKED, None, "plain").text == "Hello"
    assert time.monotonic() - start < 3


def test_the_pause_that_another_call_was_told_is_bounded_by_ones_own_patience(server: TeacherServer) -> None:
    asks = endpoint(server, patience=0.5)
    asks.pace.pause(3600)
    start = time.monotonic()
    assert asks.send(ASKED, None, "plain").text == "Hello"
    assert 0.4 < time.monotonic() - start < 3


def test_the_users_own_pace_costs_no_patience(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MINUTE", 1.0)
    server.fault = first(2, status(500))
    asks = endpoint(server, patience=1.2, pace=Pace(requests=1))
    start = time.monotonic()
    assert asks.send(ASKED, None, "plain").text == "Hello"
    assert time.monotonic() - start > 1.9, "two waits of a second, longer than patience"


@pytest.mark.parametrize("fields", [{"patience": float("nan")}, {"timeout": float("nan")}, {"patience": -1.0}])
def test_a_time_that_is_none_is_refused(fields: Any) -> None:
    with pytest.raises(UsageError, match="is no time; give seconds"):
        ChatEndpoint("lab", "http://127.0.0.1/v1", **fields)


def test_endless_patience_is_a_time_too(server: TeacherServer) -> None:
    server.fault = first(2, status(503))
    assert endpoint(server, patience=float("inf"), timeout=float("inf")).send(ASKED, None, "plain").text == "Hello"


# The dialect


def strict(handler: Handler, body: dict[str, Any], untaken: dict[str, str]) -> bool:
    """Refuse the first parameter of a body that a model does not take."""
    for name, words in untaken.items():
        if name in body:
            status(400, words)(handler)
            return True
    return False


LENGTH = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
HEAT = "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported."
DIALECTS = [
    ({"max_tokens": LENGTH}, {}, {"max_completion_tokens"}),
    ({"max_tokens": "use max_completion_tokens"}, {}, {"max_completion_tokens"}),
    ({"temperature": HEAT}, {}, {"max_tokens"}),
    ({"max_tokens": LENGTH, "temperature": HEAT}, {}, {"max_completion_tokens"}),
    (
        {"max_completion_tokens": "Unknown name max_completion_tokens"},
        {"effort": "low"},
        {"max_tokens", "reasoning_effort"},
    ),
    (
        {"reasoning_effort": "Extra inputs are not permitted: reasoning_effort"},
        {"effort": "low"},
        {"max_completion_tokens"},
    ),
    ({"response_format": "response_format is not supported"}, {}, {"max_tokens", "temperature"}),
    (
        {"max_tokens": "unknown field max_tokens", "max_completion_tokens": "unknown field max_completion_tokens"},
        {},
        {"temperature"},
    ),
]


@pytest.mark.parametrize(("untaken", "fields", "taken"), DIALECTS)
def test_what_a_model_refuses_is_renamed_or_left_out_once_for_the_run(
    server: TeacherServer, untaken: dict[str, str], fields: Any, taken: set[str]
) -> None:
    server.fault = lambda handler, body: strict(handler, body, untaken)
    asks, notes = endpoint(server, **fields), list[str]()
    asks.dialect.note = notes.append
    for _ in range(3):
        assert asks.send(ASKED, SCHEMA, "json_schema").tokens_out == 20
    assert taken <= set(server.bodies[-1]) and not set(untaken) & set(server.bodies[-1])
    refused = len(server.bodies) - 3
    assert refused == len(notes) <= 3, "each refusal is learnt from and told"
    assert len({json.dumps(body) for body in server.bodies[-3:]}) == 1


def test_a_model_names_what_it_refuses_apart_from_its_words(server: TeacherServer) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        if "temperature" in body:
            error = {"error": {"message": "no", "param": "temperature", "code": "unsupported_value"}}
            handler.send(400, json.dumps(error).encode())
        return "temperature" in body

    server.fault = refuse
    assert endpoint(server).send(ASKED, None, "plain").text == "Hello"


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 2000. This model supports at most 1024 completion tokens",
        "'max_tokens' or 'max_completion_tokens' is too large: the context has 4096 tokens",
        "content filter: the temperature sensor",
        "This model's maximum context length is 8192 tokens; reduce max_tokens",
    ],
)
def test_a_refusal_of_what_is_asked_changes_no_parameter(server: TeacherServer, words: str) -> None:
    server.fault = first(1, status(400, words))
    asks = endpoint(server)
    with pytest.raises(RefusedError, match="refused"):
        asks.send(ASKED, None, "plain")
    asks.send(ASKED, None, "plain")
    assert set(server.bodies[0]) == set(server.bodies[1])


def test_where_a_cap_rests_on_the_greatest_length_it_is_never_left_out(server: TeacherServer) -> None:
    names = {name: f"unknown field {name}" for name in ("max_tokens", "max_completion_tokens")}
    server.fault = lambda handler, body: strict(handler, body, names)
    asks = endpoint(server)
    asks.dialect.is_bounded = True
    with pytest.raises(RefusedError, match="unknown field max_completion_tokens"):
        asks.send(ASKED, None, "plain")


FORMS = [
    (400, "Invalid schema for response_format 'answer': In context=(), 'minItems' is not permitted."),
    (400, "Unknown name \"additionalProperties\" at 'generation_config.response_schema': Cannot find field."),
    (400, "failed to parse grammar"),
    (422, "nope"),
    (500, "Failed to parse grammar: unexpected keyword"),
]


@pytest.mark.parametrize(("code", "words"), FORMS)
@pytest.mark.parametrize(
    ("untaken", "kind"), [({"json_schema"}, "json_object"), ({"json_schema", "json_object"}, None)]
)
def test_at_the_first_refusal_of_a_schema_another_form_is_asked_for_in_the_whole_run(
    server: TeacherServer, code: int, words: str, untaken: set[str], kind: str | None
) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        is_untaken = body.get("response_format", {}).get("type") in untaken
        if is_untaken:
            status(code, words)(handler)
        return is_untaken

    server.fault = refuse
    asks, notes = endpoint(server, patience=3.0), list[str]()
    asks.dialect.note = notes.append
    for _ in range(3):
        asks.send(ASKED, SCHEMA, "json_schema")
    assert len(server.bodies) == 3 + len(untaken) and notes
    assert server.bodies[-1].get("response_format", {}).get("type") == kind


def test_a_question_that_is_refused_in_every_form_is_refused_by_the_first_words(server: TeacherServer) -> None:
    server.fault = lambda handler, body: bool(status(400, f"no {len(server.bodies)}")(handler)) or True
    asks = endpoint(server)
    with pytest.raises(RefusedError, match="no 1"):
        asks.send(ASKED, SCHEMA, "json_schema")
    server.fault = None
    asks.send(ASKED, SCHEMA, "json_schema")
    assert server.bodies[-1]["response_format"]["type"] == "json_schema", "nothing was learnt from it"


# The key


FORMS_OF_THE_KEY = {
    "as it is": f"{KEY}/+",
    "in an address": quote(KEY + "/+", safe=""),
    "in base64": b64encode(f"{KEY}/+".encode()).decode(),
    "as it was sent": f"Bearer {KEY}/+",
    "in base64 as sent": b64encode(f"Bearer {KEY}/+".encode()).decode(),
}


@pytest.mark.parametrize("echo", FORMS_OF_THE_KEY.values(), ids=FORMS_OF_THE_KEY)
def test_a_key_that_the_server_echoes_is_masked_in_answers_and_errors(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch, echo: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}/+")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-other-1234567890")
    echo += " sk-other-1234567890"
    server.fault = first(1, answers(f"the key is {echo}", f"stop {echo}"))
    reply = endpoint(server).send(ASKED, None, "plain")
    assert "***" in reply.text and secret_in(reply.text, reply.finish) is None
    server.fault = first(1, lambda handler: handler.send(200, said(content=None, refusal=echo)))
    assert secret_in(endpoint(server).send(ASKED, None, "plain").text) is None
    for fault, patience in ((status(400, echo), 5.0), (status(401, echo), 5.0), (status(500, echo), 0.2)):
        server.fault = first(99, fault)
        with pytest.raises((ModelError, RefusedError)) as told:
            endpoint(server, patience=patience).send(ASKED, None, "plain")
        chained: BaseException | None = told.value
        while chained is not None:
            assert secret_in(str(chained)) is None
            chained = chained.__cause__ or chained.__context__
        assert secret_in("".join(format_exception(told.value))) is None


def secret_in(*texts: str) -> str | None:
    forms = (
        KEY,
        quote(KEY),
        b64encode(KEY.encode()).decode()[:20],
        "sk-other",
        b64encode(f"Bearer {KEY}".encode())[:20],
    )
    return next((text for text in texts for form in forms if str(form) in text), None)


def test_a_key_that_is_a_word_is_left_in_answers(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.fault = first(1, answers("none of them"))
    assert endpoint(server).send(ASKED, None, "plain").text == "none of them"
