"""The routes for OpenAI's clients: /v1/chat/completions and /v1/models."""

import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from bundlewise.agents.assistant.conversation import BundlesEvent, CartEvent
from bundlewise.agents.assistant.listed import is_list
from bundlewise.agents.assistant.wording import words_of
from bundlewise.pipeline.assistant import Assistant
from bundlewise.server.chat_shapes import (
    AssistantMessage,
    ChatRequest,
    ChatResponse,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Finish,
    Model,
    Models,
)
from bundlewise.server.refusals import Refusal, error_body, shown
from bundlewise.server.routes import STRICT
from bundlewise.server.service import MODEL, Caller, Service, caller_of, service_of, while_there
from bundlewise.server.shapes import Usage
from bundlewise.server.turns import EVENTS, pieces_of

AND_BUNDLE = {"role": "user", "content": "bundle this"}


def spoken(assistant: Assistant, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the reply to a conversation in pieces of text.

    A message that is only a list of products is bundled at once, since such a client does not need a cart.
    """
    held, bundled = 0, False
    for event in assistant.complete(messages):
        held = len(event.items) if isinstance(event, CartEvent) else held
        bundled = bundled or isinstance(event, BundlesEvent)
        yield words_of(event)
    if is_list(str(messages[-1]["content"])) and held > 1 and not bundled:
        yield "\n"
        for event in assistant.complete([*messages, AND_BUNDLE]):
            yield words_of(event)


STARTED = int(time.time())
WORD = re.compile(r"\s*\S+|\s+$")
router = APIRouter(prefix="/v1", tags=["OpenAI"], **STRICT)


@router.get("/models")
async def list_models() -> Models:
    """List the one model."""
    return Models(data=[Model(id=MODEL, created=STARTED)])


@router.get("/models/{name}")
async def show_model(name: str) -> Model:
    """Show the one model."""
    _require_model(name)
    return Model(id=MODEL, created=STARTED)


def _require_model(name: str) -> None:
    if name != MODEL:
        raise Refusal(404, f"no model {shown(name)}; ask {MODEL!r}", code="model_not_found", param="model")


@router.post(
    "/chat/completions",
    response_model=ChatResponse,
    responses={200: {"content": EVENTS}},
)
async def complete(request: Request, asked: Annotated[ChatRequest, Body()]) -> Response | ChatResponse:
    """Answer a conversation, whole or as a stream of server-sent events."""
    _require_model(asked.model)
    if asked.messages[-1].role != "user":
        found = f"the last message must be the user's, got {asked.messages[-1].role}"
        raise Refusal(400, found, code="invalid_value", param=f"messages.{len(asked.messages) - 1}.role")
    if asked.stream_options is not None and asked.stream_options.include_usage and not asked.stream:
        raise Refusal(400, "stream_options needs stream: true", code="invalid_value", param="stream_options")
    answer = ChatAnswer(
        service_of(request), request.app.state.assistant, asked, caller_of(request), request.state.request_id
    )
    if asked.stream:
        # This waits for the first piece, so that a full queue gives an HTTP status and no broken stream.
        await while_there(request, answer.begin())
        return StreamingResponse(answer.stream(), media_type="text/event-stream")
    return await while_there(request, answer.whole())


class ChatAnswer:
    """One reply in progress, returned as a whole or as events."""

    def __init__(
        self, service: Service, assistant: Assistant, asked: ChatRequest, caller: Caller, request_id: str
    ) -> None:
        self._asked, self._caller = asked, caller
        messages = [{"role": message.role, "content": message.text} for message in asked.messages]
        self._pieces = pieces_of(lambda: spoken(assistant, messages), caller, service.threads)
        self._first = ""
        self._head: dict[str, Any] = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": MODEL}
        self._reply = Words(asked.most_words)

    async def begin(self) -> None:
        """Wait for the first piece."""
        self._first = await anext(self._pieces, "")

    async def whole(self) -> ChatResponse:
        """Return the whole answer."""
        async with aclosing(self._pieces):
            parts = [self._reply.take(piece) async for piece in self._pieces]
        choice = Choice(message=AssistantMessage(content="".join(parts)), finish_reason=self._reply.finish)
        return ChatResponse(choices=[choice], usage=self._usage(), **self._head)

    async def stream(self) -> AsyncIterator[str]:
        """Yield the events of the stream; a later refusal is an event too."""
        async with aclosing(self._pieces):
            yield self._event([ChunkChoice(delta=Delta(role="assistant", content=""))])
            try:
                async for text in self._texts():
                    yield self._event([ChunkChoice(delta=Delta(content=text))])
            except Refusal as refusal:
                body = error_body(refusal.status_code, str(refusal.detail), refusal.code)
                yield f"data: {json.dumps(body)}\n\n"
                return
            yield self._event([ChunkChoice(delta=Delta(), finish_reason=self._reply.finish)])
            if self._asked.stream_options and self._asked.stream_options.include_usage:
                yield self._event([], usage=self._usage())
            yield "data: [DONE]\n\n"

    async def _texts(self) -> AsyncIterator[str]:
        if text := self._reply.take(self._first):
            yield text
        async for piece in self._pieces:
            if text := self._reply.take(piece):
                yield text

    def _event(self, choices: list[ChunkChoice], usage: Usage | None = None) -> str:
        chunk = Chunk(choices=choices, usage=usage, **self._head)
        return f"data: {chunk.model_dump_json()}\n\n"

    def _usage(self) -> Usage:
        return Usage.of(self._caller.read, self._caller.written)


class Words:
    """The text of a reply, cut after a number of words."""

    def __init__(self, most: int | None) -> None:
        self._left = most
        self.finish: Finish = "stop"

    def take(self, piece: str) -> str:
        """Return what a piece adds to the text."""
        if self._left is None:
            return piece
        found = WORD.findall(piece)
        kept = found[: self._left]
        if any(word.strip() for word in found[self._left :]):
            self.finish = "length"
        self._left -= sum(bool(word.strip()) for word in kept)
        return "".join(kept)
