"""The dialect of a server is learnt from its refusals, once for a run, and told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chat_samples import ASKED, SCHEMA, chat_server, endpoint, first, status
from teacher_server import Handler, TeacherServer

from bundlewise.agents.chat.client import RefusedError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    with chat_server(monkeypatch) as running:
        yield running


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
    ({"max_tokens": "Please rename max_tokens"}, {}, {"max_completion_tokens"}),
    ({"temperature": "temperature: 0 is below minimum 1"}, {}, {"max_tokens"}),
    ({"temperature": "temperature has to be left at its default"}, {}, {"max_tokens"}),
    ({"reasoning_effort": "what is reasoning_effort?"}, {"effort": "low"}, {"max_completion_tokens"}),
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
        "max_tokens: 2000 is above maximum 1024",
        "max_tokens must be at least 3000",
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


SYSTEM = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (400, "Only user and assistant roles are supported!"),
        (400, "Developer instruction is not enabled for models/gemma"),
        (500, "Jinja Exception: System role not supported"),
    ],
)
def test_a_model_without_a_system_is_told_all_by_the_user_once_for_the_run(
    server: TeacherServer, code: int, words: str
) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        is_untaken = bool(body["messages"][0]["role"] == "system")
        if is_untaken:
            status(code, words)(handler)
        return is_untaken

    server.fault = refuse
    asks, notes = endpoint(server), list[str]()
    asks.dialect.note = notes.append
    for _ in range(3):
        asks.send(SYSTEM, None, "plain")
    assert len(server.bodies) == 4 and len(notes) == 1
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": "Be short.\n\nhello"}]


def test_a_server_that_fails_without_a_word_at_every_schema_is_asked_in_a_lower_form(server: TeacherServer) -> None:
    def fail(handler: Handler, body: dict[str, Any]) -> bool:
        if "response_format" in body:
            status(500, "internal error")(handler)
        return "response_format" in body

    server.fault = fail
    asks, notes = endpoint(server), list[str]()
    asks.dialect.note = notes.append
    for _ in range(3):
        asks.send(ASKED, SCHEMA, "json_schema")
    assert len(server.bodies) == 4 + 4 + 1, "it is learnt from the second call"
    assert len(notes) == 1 and "response_format" not in server.bodies[-1]


def test_a_server_that_is_down_for_a_moment_is_asked_in_the_strict_form_afterwards(server: TeacherServer) -> None:
    asks = endpoint(server)
    asks.send(ASKED, SCHEMA, "json_schema")
    for _ in range(3):
        server.fault = first(2, status(500))
        asks.send(ASKED, SCHEMA, "json_schema")
    asks.send(ASKED, SCHEMA, "json_schema")
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"
