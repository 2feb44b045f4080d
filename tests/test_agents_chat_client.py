"""The chat client against a real server and its faults: it waits, tries again, or says what to do."""

import os
import re
import socket
import time
from collections.abc import Iterator
from threading import Thread, Timer
from typing import Any

import pytest
from chat_samples import ASKED, KEY, SCHEMA, answers, chat_server, endpoint, first, status
from teacher_server import Handler, TeacherServer, completion

from bundlewise.agents.chat import client, pace
from bundlewise.agents.chat.client import ChatEndpoint, RefusedError
from bundlewise.agents.chat.pace import Pace, asked_pause
from bundlewise.errors import ModelError, StoppedError, UsageError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    with chat_server(monkeypatch) as running:
        yield running


def hang_up(handler: Handler) -> None:
    handler.connection.close()
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """Send a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(30):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)


PASSING = {
    "429": status(429),
    "500": status(500),
    "502 with a page": lambda handler: handler.send(502, b"<html>bad gateway</html>"),
    "503": status(503),
    "529": status(529),
    "hangs up": hang_up,
    "body cut in the middle": lambda handler: handler.cut(completion("half")),
    "no JSON": lambda handler: handler.send(200, b"<html>"),
    "no choices": lambda handler: handler.send(200, b'{"choices": []}'),
    "no object": lambda handler: handler.send(200, b"[1]"),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again_and_the_answer_is_whole(server: TeacherServer, fault: Any) -> None:
    server.fault = first(2, fault)
    reply = endpoint(server).send(ASKED, None, "plain", "k")
    assert (reply.text, reply.finish, reply.tokens_in, reply.tokens_out) == ("Hello", "stop", 100, 20)
    assert server.asked["k"] == 3 and server.answered["k"] == 1


def test_a_slow_drip_ends_at_the_timeout_and_is_tried_again(server: TeacherServer) -> None:
    server.fault = first(1, drip)
    start = time.monotonic()
    assert endpoint(server, timeout=0.6).send(ASKED, None, "plain").text == "Hello"
    assert time.monotonic() - start < 5


def test_an_answer_that_never_begins_ends_at_the_timeout(server: TeacherServer) -> None:
    server.fault = first(1, lambda handler: time.sleep(1.5))
    assert endpoint(server, timeout=0.5).send(ASKED, None, "plain").text == "Hello"


@pytest.mark.parametrize("said", ["1", "0.7"])
def test_retry_after_holds_every_thread_back(server: TeacherServer, said: str) -> None:
    server.fault = first(1, status(429, retry_after=said))
    asks = endpoint(server)
    start = time.monotonic()
    assert asks.send(ASKED, None, "plain").text == "Hello"
    assert time.monotonic() - start >= float(said) - 0.05
    asks.pace.pause(0.4)
    start = time.monotonic()
    asks.send(ASKED, None, "plain")
    assert time.monotonic() - start >= 0.35


def test_retry_after_may_be_a_date() -> None:
    from email.utils import formatdate

    assert 3 < asked_pause(formatdate(time.time() + 5, usegmt=True)) <= 5
    assert asked_pause(formatdate(time.time() - 5)) == asked_pause("soon") == asked_pause(None) == 0.0


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (401, "set OPENAI_API_KEY to a key that is valid there"),
        (402, "check your balance there"),
        (403, "set OPENAI_API_KEY to a key that may use the model"),
        (404, "check the model's name"),
        (405, "check the address, which mostly ends in /v1, without /chat/completions"),
    ],
)
def test_a_refusal_of_whoever_asks_stops_at_once_without_the_key(server: TeacherServer, code: int, remedy: str) -> None:
    server.fault = first(9, status(code, f"the key {KEY} is wrong"))
    with pytest.raises(
        ModelError, match=rf"lab at http://127.* refused \({code}\): .*\*\*\* is wrong.*{remedy}"
    ) as told:
        endpoint(server).send(ASKED, None, "plain")
    assert KEY not in str(told.value) and sum(server.asked.values()) == 1


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refusal_of_one_call_is_that_calls_alone(server: TeacherServer, code: int) -> None:
    server.fault = first(1, status(code, "too long"))
    with pytest.raises(RefusedError, match=rf"refused \({code}\): .*too long"):
        endpoint(server).send(ASKED, None, "plain")


def test_an_answer_cut_by_length_is_an_answer_even_without_a_word(server: TeacherServer) -> None:
    server.fault = first(1, answers("", "length"))
    assert endpoint(server).send(ASKED, None, "plain").finish == "length"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_dies_and_comes_back_is_waited_for(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FIRST_CONTACT", 0.2)
    monkeypatch.setattr(client, "SILENCE", 0.5)
    told: list[str] = []
    port, asks = server.server_port, endpoint(server, patience=30, tell=told.append)
    asks.send(ASKED, None, "plain")
    server.close()
    asks.close()  # Threads of a closed server go on answering over connections that are open.
    back: list[TeacherServer] = []
    Timer(1.5, lambda: back.append(TeacherServer(port=port))).start()
    assert asks.send(ASKED, None, "plain").text == "Hello"
    back[0].close()
    waits, answers = told
    assert re.fullmatch(r"lab at http://127.* gives no answer \(.*refused\); trying again for 30 s", waits)
    assert answers == ""


def test_where_nobody_listens_it_is_told_at_once_and_given_up_soon(server: TeacherServer) -> None:
    told: list[tuple[float, str]] = []
    start = time.monotonic()
    asks = endpoint(
        server,
        url=f"http://127.0.0.1:{free_port()}/v1",
        patience=600,
        tell=lambda reason: told.append((time.monotonic() - start, reason)),
    )
    remedy = "start it, or correct the address, which is after the @ of the name or in OPENAI_BASE_URL"
    with pytest.raises(ModelError, match=rf"lab at http://127.* cannot be reached \(.*refused\); {remedy}"):
        asks.send(ASKED, None, "plain")
    assert time.monotonic() - start < 15
    ((soon, reason),) = told
    assert soon < 3 and "refused" in reason and "trying again for 3 s" in reason


def test_a_server_that_starts_a_moment_late_is_still_met(server: TeacherServer) -> None:
    port, told, late = free_port(), list[str](), list[TeacherServer]()
    Timer(1.0, lambda: late.append(TeacherServer(port=port))).start()
    asks = endpoint(server, url=f"http://127.0.0.1:{port}/v1", tell=told.append)
    assert asks.send(ASKED, None, "plain").text == "Hello"
    assert [bool(reason) for reason in told] == [True, False]
    late[0].close()


def test_a_name_that_is_no_place_is_given_up_soon(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(client, "FIRST_CONTACT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ModelError, match=r"cannot be reached \(.*Name or service not known\); start it, or correct"):
        endpoint(server, url="http://no.such.place.invalid/v1").send(ASKED, None, "plain")


@pytest.mark.parametrize("fault", [status(503), hang_up], ids=["503", "hangs up"])
def test_a_server_that_said_anything_at_all_is_waited_for_as_long_as_asked(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    monkeypatch.setattr(client, "FIRST_CONTACT", 0.0)
    server.fault = first(3, fault)
    assert endpoint(server).send(ASKED, None, "plain").text == "Hello"


def test_of_a_call_that_fails_among_others_that_succeed_nothing_is_told(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENCE", 1.2)
    told: list[str] = []
    asks = endpoint(server, tell=told.append)
    asks.patience = 2.4

    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        is_bad = handler.headers["Idempotency-Key"] == "bad"
        if is_bad:
            status(500)(handler)
        return is_bad

    def ask() -> None:
        with pytest.raises(RefusedError, match=r"gave no answer for 2 s \(500: no\), although it answered others"):
            asks.send(ASKED, None, "plain", "bad")

    server.fault = refuse
    bad = Thread(target=ask)
    bad.start()
    while bad.is_alive():
        asks.send(ASKED, None, "plain", "good")
        time.sleep(0.05)
    assert server.asked["bad"] > 2 and told == []


def test_out_of_patience_the_error_says_how_to_go_on(server: TeacherServer) -> None:
    server.fault = first(99, status(500, "on fire"))
    with pytest.raises(ModelError, match=r"gave no answer for 1 s \(500: .*on fire.*\); the same command goes on"):
        endpoint(server, patience=1.0).send(ASKED, None, "plain")


def test_a_stopped_run_waits_no_longer(server: TeacherServer) -> None:
    server.fault = first(99, status(429, retry_after="30"))
    asks = endpoint(server, patience=60)
    Timer(0.3, asks.stop.set).start()
    start = time.monotonic()
    with pytest.raises(StoppedError):
        asks.send(ASKED, None, "plain")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        ("plain", None),
        ("json_object", {"type": "json_object"}),
        ("json_schema", {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}),
    ],
)
def test_a_schema_goes_to_the_server_as_it_takes_it(server: TeacherServer, mode: Any, sent: Any) -> None:
    endpoint(server).send(ASKED, SCHEMA, mode)
    assert server.bodies[0].get("response_format") == sent


def test_a_model_that_reasons_is_told_its_effort_and_no_temperature(server: TeacherServer) -> None:
    endpoint(server, effort="low", max_output=77).send(ASKED, None, "plain")
    endpoint(server, temperature=0.5).send(ASKED, None, "plain")
    thinks, plain = server.bodies
    assert (thinks["reasoning_effort"], thinks["max_completion_tokens"]) == ("low", 77)
    assert "temperature" not in thinks and "max_tokens" not in thinks
    assert (plain["temperature"], plain["max_tokens"]) == (0.5, 2000)


def test_requests_and_tokens_in_a_minute_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    few = Pace(requests=2)
    assert [few.delay(1), few.delay(1), few.delay(1)] == [0.0, 0.0, 60.0]
    now[0] = 60.0
    assert few.delay(1) == 0.0
    short = Pace(tokens=100)
    assert [short.delay(500), short.delay(1)] == [0.0, 60.0]  # one call is always let through, however long


def test_an_address_with_a_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="put the key into OPENAI_API_KEY"):
        ChatEndpoint("lab", "http://user:secret@127.0.0.1/v1")


def test_the_key_comes_from_the_environment_and_a_server_without_accounts_needs_none(
    server: TeacherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint(server).send(ASKED, None, "plain")
    monkeypatch.delenv("OPENAI_API_KEY")
    endpoint(server).send(ASKED, None, "plain")
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {KEY}", "Bearer none"]
    assert "OPENAI_API_KEY" not in os.environ


def test_a_question_that_is_forbidden_by_a_server_that_answers_others_fails_alone(server: TeacherServer) -> None:
    asks = endpoint(server)
    asks.send(ASKED, None, "plain")
    server.fault = first(1, status(403, "flagged by moderation"))
    with pytest.raises(RefusedError, match=r"refused \(403\): flagged by moderation"):
        asks.send(ASKED, None, "plain")
