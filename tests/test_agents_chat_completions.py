"""Reading answers: what was billed is a reply with a verdict, and counts that cannot be are estimated."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chat_samples import ASKED, chat_server, endpoint, first
from teacher_server import TeacherServer, completion

from bundlewise.agents.chat.completions import QuestionSize, read_completion
from bundlewise.agents.ledger.calls import Reply


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TeacherServer]:
    with chat_server(monkeypatch) as running:
        yield running


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
        ({"input_tokens": 90, "output_tokens": 7}, (90, 7)),
        ({"prompt_tokens": 90, "completion_tokens": 30000}, (90, 30000)),
        ({"prompt_tokens": 90, "completion_tokens": 20000, "total_tokens": 20090}, (90, 20000)),
        ({"prompt_tokens": 50000, "completion_tokens": 7}, (50000, 7)),
        ({"prompt_tokens": 90, "total_tokens": 20090}, (90, 20000)),
        (USAGE | {"completion_tokens_details": {"reasoning_tokens": 29980}}, (90, 29987)),
        (USAGE | {"total_tokens": 0}, (90, 7)),
    ],
    ids=["whole floats", "a total", "usual", "other names", "high", "in total", "read", "rest", "apart", "no total"],
)
def test_counts_that_can_be_are_believed(server: TeacherServer, usage: Any, counts: tuple[int, int]) -> None:
    content = json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode()
    server.fault = first(1, lambda handler: handler.send(200, content))
    reply = endpoint(server).send(ASKED, None, "plain")
    assert ((reply.tokens_in, reply.tokens_out), reply.estimated) == (counts, False)


@pytest.mark.parametrize(
    ("usage", "is_capped", "written"),
    [
        ({"completion_tokens": -5}, False, 10),
        ({"completion_tokens": -5}, True, 2000),
        ({}, True, 2000),
        ({"completion_tokens": 10**19}, True, 2000),
        ({"prompt_tokens": 90, "completion_tokens": 30000, "total_tokens": 100}, False, 2000),
        ({"prompt_tokens": 90, "completion_tokens": 30000, "total_tokens": 100}, True, 30000),
        (USAGE | {"total_tokens": 5090}, False, 5000),
    ],
)
def test_no_estimate_is_below_what_is_likely_and_under_a_cap_below_what_may_be(
    usage: Any, is_capped: bool, written: int
) -> None:
    content = json.dumps({"choices": [{"message": {"content": "x" * 30}}], "usage": usage}).encode()
    reply = read_completion(content, 1.0, QuestionSize(7, 2000, is_capped))
    assert isinstance(reply, Reply)
    assert (reply.tokens_out, reply.estimated) == (written, True)


WHOLE = completion("Hello")
BROKEN = {
    "too large": WHOLE[:-1] + b', "x": "' + b"y" * 9_000_000 + b'"}',
    "cut": WHOLE[:95],
    "cut in the usage": WHOLE[:-10],
    "a stream": b'data: {"id": "x", "choices": [{"delta": {"content": "Hello"}}]}\n\ndata: [DONE]\n',
    "in a list": b"[" + WHOLE + b"]",
    "in a text": json.dumps(WHOLE.decode()).encode(),
    "in a text of a gateway": json.dumps({"statusCode": 200, "body": WHOLE.decode()}).encode(),
    "no choices": b'{"choices": null, "usage": {"input_tokens": 100, "output_tokens": 2000}}',
    "of another make": b'{"content": [{"text": "hello"}], "usage": {"input_tokens": 100, "output_tokens": 2000}}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_body_that_holds_signs_of_a_written_answer_is_billed_though_it_cannot_be_read(
    server: TeacherServer, content: bytes
) -> None:
    server.fault = first(99, lambda handler: handler.send(200, content))
    reply = endpoint(server).send(ASKED, None, "plain", "k")
    assert reply.verdict == "unreadable" and reply.tokens_in and 0 < reply.tokens_out <= 2000
    assert server.asked["k"] == 1


def test_a_whole_answer_with_padding_beyond_measure_is_an_answer(server: TeacherServer) -> None:
    server.fault = first(1, lambda handler: handler.send(200, WHOLE + b" " * 9_000_000))
    reply = endpoint(server).send(ASKED, None, "plain", "k")
    assert (reply.text, reply.verdict, reply.tokens_out, server.asked["k"]) == ("Hello", "good", 20, 1)


@pytest.mark.parametrize("content", [b"data: " + WHOLE, BROKEN["in a text"], BROKEN["in a text of a gateway"]])
def test_counts_in_a_body_that_cannot_be_read_are_believed(content: bytes) -> None:
    reply = read_completion(content, 1.0, QuestionSize(7, 2000))
    assert isinstance(reply, Reply)
    assert (reply.verdict, reply.tokens_in, reply.tokens_out, reply.estimated) == ("unreadable", 100, 20, False)
