"""/v1/chat/completions and /v1/models: the official client and LangChain's talk to the real server unchanged."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from server_samples import KEY, OTHER_KEY, THOUGHT, TITLES, app_of, served

from bundlewise.server.chat_shapes import ChatMessage, ChatRequest
from bundlewise.server.keys import Keys

LIST = "Which of these go together?\n" + "\n".join(f"- {title}" for title in TITLES)
ASKED: list[Any] = [{"role": "user", "content": LIST}]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(app_of(keys=Keys([KEY]))) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_the_official_client_gets_a_whole_answer_with_usage(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="bundlewise", messages=ASKED, temperature=0, seed=1, n=1)
    (choice,) = found.choices
    said = str(choice.message.content)
    assert choice.finish_reason == "stop" and choice.message.role == "assistant"
    assert (
        "words in common" in said and "75% sure" in said and TITLES[0] in said and "one bundle among 3 products" in said
    )
    assert found.usage and (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (
        30,
        3,
        33,
    )
    assert found.id.startswith("chatcmpl-") and found.object == "chat.completion" and found.model == "bundlewise"


def test_the_official_client_streams_the_same_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="bundlewise", messages=ASKED).choices[0].message.content
    options: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model="bundlewise", messages=ASKED, stream=True, stream_options=options)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.total_tokens == 33
    assert len({c.id for c in chunks}) == 1 and len(chunks) > 4


def test_the_official_client_lists_and_shows_the_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["bundlewise"]
    assert client.models.retrieve("bundlewise").owned_by == "bundlewise"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9'"):
        client.models.retrieve("gpt-9")


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
NOTHING = {
    **{name: [] for name in ("stop", "tools", "functions", "modalities")},
    **{name: {} for name in ("logit_bias", "metadata", "stream_options", "response_format")},
    **dict.fromkeys(("user", "prompt_cache_key", "safety_identifier"), ""),
    "tool_choice": "auto",
    "function_call": "none",
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "parallel_tool_calls": True,
    "store": False,
    "seed": 7,
    "stream": False,
}
INTEGERS_AND_NULLS = [
    {"stop": [None]},
    {"metadata": {"a": None}},
    {"metadata": {"a": None, "b": "x"}},
    {"logit_bias": {"50256": None}},
    {"logit_bias": {"50256": 0, "1": 0.0}},
    {"stop": ["", None]},
    {"echo": False},
    {"max_tokens": 100.0},
    {"max_completion_tokens": 100.0, "seed": 1.0, "n": 1.0, "top_logprobs": 0.0},
]
OPTIONAL = [name for name, field in ChatRequest.model_fields.items() if not field.is_required()]


@pytest.mark.parametrize(
    "given",
    [
        NOTHING,
        *({name: value} for name, value in NOTHING.items()),
        dict.fromkeys(OPTIONAL),
        {"a_parameter_of_tomorrow": None},
        {"tool_choice": "none"},
        {"tool_choice": "none", "tools": [TOOL]},
        {"response_format": {"type": "text", "schema": None}},
        {"stream_options": {"include_usage": False}},
        {"stream_options": {"include_usage": None}},
        {"modalities": ["text"], "user": "u", "metadata": {"a": "b"}},
    ],
    ids=str,
)
def test_values_that_ask_for_nothing_are_taken(address: str, given: Any) -> None:
    body = {"model": "bundlewise", "messages": ASKED}
    headers = {"Authorization": f"Bearer {KEY}"}
    plain, found = (
        httpx.post(f"{address}/v1/chat/completions", json=each, headers=headers) for each in (body, body | given)
    )
    assert found.status_code == 200, found.text
    assert found.json()["choices"] == plain.json()["choices"]


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["find a tablet", "under 300"], "find a tablet under 300"),
        (["find a tablet ", "under 300"], "find a tablet under 300"),
        (["Find a tablet.", "It costs 300."], "Find a tablet. It costs 300."),
        (["find a tablet", "", "under 300"], "find a tablet under 300"),
        (["Which go together?", "- a lamp\n- a bulb"], "Which go together?\n- a lamp\n- a bulb"),
        (["Which go together?", "- a lamp", "- a bulb"], "Which go together?\n- a lamp\n- a bulb"),
        (["Bundle these:", "1. a lamp", "2. a bulb"], "Bundle these:\n1. a lamp\n2. a bulb"),
        (["a lamp\n", "a bulb"], "a lamp\na bulb"),
        ([], ""),
    ],
)
def test_parts_of_text_are_one_message(parts: list[str], whole: str) -> None:
    content = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in parts]
    assert ChatMessage.model_validate({"role": "user", "content": content}).text == whole


def test_an_order_in_two_parts_is_one_order(client: openai.OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        for text in ("find a tablet", "under 300")
    ]
    said = client.chat.completions.create(model="bundlewise", messages=[{"role": "user", "content": parts}])
    assert str(said.choices[0].message.content).count("I found") == 1


@pytest.mark.parametrize("given", INTEGERS_AND_NULLS)
def test_lists_of_nulls_ask_for_nothing_and_an_integer_may_be_written_with_a_point(
    address: str, given: dict[str, Any]
) -> None:
    body = {"model": "bundlewise", "messages": [{"role": "user", "content": "find a stylus"}], **given}
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 0.5}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["x"]}, "stop"),
        ({"stop": "x"}, "stop"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}}, "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tools": [TOOL]}, "tools"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tools"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"top_k": 3}}, "top_k"),
        ({"messages": []}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0",
        ),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "x"}]}, "messages.1.role"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(client: openai.OpenAI, given: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": "bundlewise", "messages": ASKED} | given))
    assert str(caught.value.param).startswith(param)
    assert caught.value.type == "invalid_request_error"


def test_a_wrong_key_and_a_wrong_model_are_the_clients_own_errors(address: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="wrong key"):
        openai.OpenAI(base_url=f"{address}/v1", api_key=OTHER_KEY, max_retries=0).models.list()
    with pytest.raises(openai.NotFoundError, match="ask 'bundlewise'"):
        client.chat.completions.create(model="gpt-4.1", messages=ASKED)


def test_a_reply_is_cut_after_as_many_words_as_are_wanted(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="bundlewise", messages=ASKED, max_tokens=3).choices[0]
    assert (found.message.content, found.finish_reason) == ("Added Padmoor Glide", "length")


def test_parts_of_text_and_an_assistants_own_message_are_read(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="bundlewise", messages=ASKED).choices[0].message
    again: Any = [*ASKED, first.model_dump(), {"role": "user", "content": [{"type": "text", "text": "why bundle 1?"}]}]
    said = client.chat.completions.create(model="bundlewise", messages=again).choices[0].message.content
    assert THOUGHT.text in str(said)


def test_a_bare_list_is_bundled_at_once(client: openai.OpenAI) -> None:
    bare: Any = [{"role": "user", "content": "\n".join(TITLES)}]
    assert "words in common" in str(
        client.chat.completions.create(model="bundlewise", messages=bare).choices[0].message.content
    )


@pytest.mark.parametrize("said", ["Hi,\nI'm looking for a tablet.\nThanks", "find tablet\nadd 1\nfind case\nadd 1"])
def test_lines_that_are_talk_or_orders_are_no_list(client: openai.OpenAI, said: str) -> None:
    asked: Any = [{"role": "user", "content": said}]
    found = str(client.chat.completions.create(model="bundlewise", messages=asked).choices[0].message.content)
    assert "in the catalogue" in found or "I found" in found
    assert "bundle" not in found and "Hi" not in found


def test_langchain_talks_to_it_whole_and_streaming(address: str) -> None:
    chat = ChatOpenAI(model="bundlewise", base_url=f"{address}/v1", api_key=KEY, max_retries=0)  # type: ignore[arg-type]
    whole = chat.invoke(LIST)
    assert "words in common" in str(whole.content)
    assert whole.usage_metadata and whole.usage_metadata["input_tokens"] == 30
    chunks = list(chat.stream(LIST, stream_usage=True))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert [c.usage_metadata["total_tokens"] for c in chunks if c.usage_metadata] == [33]


def test_the_asynchronous_client_too(address: str) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY) as client:
            found = await client.chat.completions.create(model="bundlewise", messages=ASKED)
            return str(found.choices[0].message.content)

    assert "words in common" in asyncio.run(ask())


def test_a_stream_is_server_sent_events_that_end_with_done(address: str) -> None:
    body = {"model": "bundlewise", "messages": ASKED, "stream": True}
    with httpx.stream(
        "POST", f"{address}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}
    ) as found:
        rows = [row for row in found.iter_lines() if row]
    assert found.headers["content-type"].startswith("text/event-stream")
    assert rows[-1] == "data: [DONE]" and all(json.loads(row.removeprefix("data: "))["id"] for row in rows[:-1])
