"""The routes that OpenAI's clients know: /v1/chat/completions and /v1/models."""

import json
import re
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Annotated, Protocol

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from bundlewise.server.chat_shapes import (
    ChatRequest,
    ChatResponse,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Finish,
    Model,
    Models,
    Reply,
)
from bundlewise.server.refusals import ErrorBody, Refusal, error_body, shown
from bundlewise.server.service import CALLER, MODEL, Caller, Service, caller_of, service_of, while_there
from bundlewise.server.shapes import Usage
from bundlewise.server.strict import StrictRoute

STARTED = int(time.time())
router = APIRouter(
    prefix="/v1",
    route_class=StrictRoute,
    tags=["OpenAI"],
    responses={"4XX": {"model": ErrorBody}, "503": {"model": ErrorBody}},
)


class Talker(Protocol):
    """What answers a conversation."""

    def talk(self, messages: list[dict[str, str]]) -> Iterator[str]:
        """Yield the pieces of the reply to a conversation, its last message the user's."""


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
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def complete(request: Request, asked: Annotated[ChatRequest, Body()]) -> Response | ChatResponse:
    """Answer a conversation, whole or as a stream of server-sent events."""
    _require_model(asked.model)
    if asked.messages[-1].role != "user":
        found = f"the last message must be the user's, got {asked.messages[-1].role}"
        raise Refusal(400, found, code="invalid_value", param=f"messages.{len(asked.messages) - 1}.role")
    if asked.stream_options is not None and not asked.stream:
        raise Refusal(400, "stream_options needs stream: true", code="invalid_value", param="stream_options")
    answer = Answer(service_of(request), request.app.state.talker, asked, caller_of(request), request.state.request_id)
    if asked.stream:
        # The first piece is waited for, so that a full queue is a status and not a broken stream.
        await while_there(request, answer.begin())
        return StreamingResponse(answer.stream(), media_type="text/event-stream")
    return await while_there(request, answer.whole())


class Answer:
    """One reply on its way: pieces from a thread that runs the conversation, as text or as events."""

    def __init__(self, service: Service, talker: Talker, asked: ChatRequest, caller: Caller, request_id: str) -> None:
        self.caller, self.asked = caller, asked
        messages = [{"role": message.role, "content": message.text} for message in asked.messages]
        self._pieces = cut(talker.talk(messages), asked.most_words)
        self._head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": MODEL}
        self._first: str | None = None
        self._limiter = service.threads
        self.finish: Finish = "stop"

    async def _next(self) -> str | None:
        """Return the next piece, or None at the end; run under the caller, who may go meanwhile."""
        CALLER.set(self.caller)
        try:
            return await run_sync(self._step, limiter=self._limiter, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            self.caller.leave()
            raise

    def _step(self) -> str | None:
        try:
            return next(self._pieces)
        except StopIteration as end:
            self.finish = end.value or "stop"
            return None

    async def begin(self) -> None:
        """Wait for the first piece."""
        self._first = await self._next()

    async def whole(self) -> ChatResponse:
        """Return the whole answer."""
        parts = []
        while (piece := await self._next()) is not None:
            parts.append(piece)
        choice = Choice(message=Reply(content="".join(parts)), finish_reason=self.finish)
        return ChatResponse(choices=[choice], usage=self._usage(), **self._head)

    async def stream(self) -> AsyncIterator[str]:
        """Yield the events of the stream; a fault in its midst is an event too."""
        yield self._event([ChunkChoice(delta=Delta(role="assistant", content=""))])
        piece: str | None = self._first
        while piece is not None:
            yield self._event([ChunkChoice(delta=Delta(content=piece))])
            try:
                piece = await self._next()
            except Refusal as refusal:
                body = error_body(refusal.status_code, str(refusal.detail), refusal.code)
                yield f"data: {json.dumps(body)}\n\n"
                return
        yield self._event([ChunkChoice(delta=Delta(), finish_reason=self.finish)])
        if self.asked.stream_options and self.asked.stream_options.include_usage:
            yield self._event([], usage=self._usage())
        yield "data: [DONE]\n\n"

    def _event(self, choices: list[ChunkChoice], usage: Usage | None = None) -> str:
        chunk = Chunk(choices=choices, usage=usage, **self._head)
        return f"data: {chunk.model_dump_json()}\n\n"

    def _usage(self) -> Usage:
        return Usage.of(self.caller.read, self.caller.written)


def cut(pieces: Iterator[str], words: int | None) -> Generator[str, None, Finish]:
    """Yield pieces until they have so many words; return why they end."""
    left = words
    for piece in pieces:
        if left is None:
            yield piece
            continue
        found = re.findall(r"\s*\S+|\s+$", piece)
        if len(found) > left:
            if left:
                yield "".join(found[:left])
            return "length"
        left -= len(found)
        yield piece
    return "stop"
