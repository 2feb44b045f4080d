"""The chat client and a server that lies: waits have an end, its own words are told, and no key is."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from traceback import format_exception
from typing import Any
from urllib.parse import quote

import pytest
from chat_samples import ASKED, KEY, answers, chat_server, endpoint, first, status
from teacher_server import TeacherServer

from bundlewise.agents.chat import pace
from bundlewise.agents.chat.client import ChatEndpoint, RefusedError
from bundlewise.agents.chat.pace import Pace
from bundlewise.errors import ModelError, UsageError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    with chat_server(monkeypatch) as running:
        yield running


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
    with pytest.raises(UsageError, match=r"must be above 0 and patience .* at least 0; give both in seconds"):
        ChatEndpoint("lab", "http://127.0.0.1/v1", **fields)


def test_endless_patience_is_a_time_too(server: TeacherServer) -> None:
    server.fault = first(2, status(503))
    assert endpoint(server, patience=float("inf"), timeout=float("inf")).send(ASKED, None, "plain").text == "Hello"


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
    refusal = json.dumps({"choices": [{"message": {"content": None, "refusal": echo}}]}).encode()
    server.fault = first(1, lambda handler: handler.send(200, refusal))
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


# Refusals that last


QUOTA = "You exceeded your current quota, please check your plan and billing details."
UNPAID = {
    "a word for it": (429, {"message": QUOTA, "code": "insufficient_quota"}),
    "in words": (429, {"message": QUOTA}),
    "a balance": (400, {"message": "Your credit balance is too low to access the API"}),
    "forbidden": (403, {"message": "account is in arrears"}),
}


@pytest.mark.parametrize(("code", "error"), UNPAID.values(), ids=UNPAID)
def test_a_server_that_waits_for_money_ends_the_run_at_once(server: TeacherServer, code: int, error: Any) -> None:
    asks = endpoint(server)
    asks.send(ASKED, None, "plain")
    server.fault = first(99, lambda handler: handler.send(code, json.dumps({"error": error}).encode()))
    with pytest.raises(ModelError, match=rf"refused \({code}\): .*; check your balance there"):
        asks.send(ASKED, None, "plain", "k")
    assert server.asked["k"] == 1


def test_a_quota_that_comes_back_with_time_is_waited_for(server: TeacherServer) -> None:
    server.fault = first(1, status(429, f"{QUOTA} Please retry in 0.1 s"))
    assert endpoint(server).send(ASKED, None, "plain").text == "Hello"


def test_a_server_that_redirects_in_circles_is_an_address_to_be_corrected(server: TeacherServer) -> None:
    where = "/v1/chat/completions"
    server.fault = first(99, lambda handler: handler.send(307, b"", location=where))
    with pytest.raises(ModelError, match=r"it redirects more than 3 times\); correct the address"):
        endpoint(server).send(ASKED, None, "plain", "k")
    assert server.asked["k"] == 4


@pytest.mark.parametrize("code", [200, 400, 500])
@pytest.mark.parametrize("body", ["x" * 175 + KEY, json.dumps({"a": " " * 970 + KEY}), " " * 65_530 + KEY])
def test_no_part_of_a_key_is_left_where_a_text_is_cut(server: TeacherServer, code: int, body: str) -> None:
    server.fault = first(99, lambda handler: handler.send(code, body.encode()))
    with pytest.raises((ModelError, RefusedError)) as told:
        endpoint(server, patience=0.1).send(ASKED, None, "plain")
    assert KEY[:5] not in str(told.value)
