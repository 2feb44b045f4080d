"""The routes under /api of the assistant: threads, catalogue and ratings; only its owner can use a thread."""

import secrets
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from bundlewise.agents.assistant.conversation import Action, Desk, ThreadLine, ThreadView
from bundlewise.data.feedback import NOTE
from bundlewise.domain import Item
from bundlewise.pipeline.assistant import Assistant
from bundlewise.server.refusals import Refusal
from bundlewise.server.routes import OWNED, Owner
from bundlewise.server.service import beside, caller_of
from bundlewise.server.shapes import Shape, asked
from bundlewise.server.turns import EVENTS, Turn, Turns
from bundlewise.titles import LONGEST

STREAM: dict[int | str, dict[str, Any]] = {200: {"content": EVENTS, "description": "Events of the reply"}}
router = APIRouter(tags=["assistant"], **OWNED)


class Said(Shape):
    """A shopper's message."""

    text: str = Field(min_length=1, max_length=LONGEST, pattern=r"\S")


class Rating(Shape):
    """A shopper's rating of a bundle of the thread (by its number, from 1), or of the last reply."""

    what: int | None = Field(default=None, ge=1, le=100)
    up: bool
    note: str = Field(default="", max_length=NOTE)


Clicked = Annotated[Action, BeforeValidator(partial(asked, Action))]


class NewThread(Shape):
    """The name of a new thread."""

    thread: str


class Kept(Shape):
    """The id of a stored rating."""

    id: str


def assistant_of(request: Request) -> Assistant:
    """Return the assistant of the app that handles a request."""
    assistant: Assistant = request.app.state.assistant
    return assistant


def turns_of(request: Request) -> Turns:
    """Return the running turns of the app that handles a request."""
    turns: Turns = request.app.state.turns
    return turns


Threads = Annotated[Assistant, Depends(assistant_of)]
UnderWay = Annotated[Turns, Depends(turns_of)]


@router.get("/threads")
async def list_threads(assistant: Threads, owner: Owner) -> list[ThreadLine]:
    """List the owner's threads, the latest first."""
    return await beside(lambda: assistant.threads(owner))


@router.post("/threads")
async def begin_thread() -> NewThread:
    """Return the name of a new thread; it exists after its first message."""
    return NewThread(thread=secrets.token_hex(12))


@router.get("/threads/{thread}")
async def view_thread(request: Request, thread: str, assistant: Threads, turns: UnderWay, owner: Owner) -> ThreadView:
    """Show a thread; `pending` says that an answer is being made. One that a kill interrupted continues now."""
    running = turns.of(owner, thread)
    try:
        view = await beside(lambda: assistant.view(thread, owner))
    except Refusal:
        if running is None:
            raise
        # The first message of the thread is not stored yet.
        return ThreadView(thread=thread, messages=(), cart=Desk().card(), bundles=(), found=(), pending=True)
    if view.pending and running is None and turns.of(owner, thread) is None:
        running = turns.start(owner, thread, lambda: assistant.resume(thread, owner), caller_of(request))
    return view.model_copy(update={"pending": running is not None})


@router.get("/threads/{thread}/events", response_class=StreamingResponse, responses=STREAM)
async def follow_thread(thread: str, assistant: Threads, turns: UnderWay, owner: Owner) -> StreamingResponse:
    """Stream the answer that is being made, from its first event on; the stream is empty if there is none."""
    running = turns.of(owner, thread)
    if running is None:
        await beside(lambda: assistant.view(thread, owner))
        running = Turn()
        running.is_over = True
    return StreamingResponse(running.follow(), media_type="text/event-stream")


@router.delete("/threads/{thread}", status_code=204)
async def forget_thread(thread: str, assistant: Threads, owner: Owner) -> None:
    """Delete a thread for good."""
    await beside(lambda: assistant.forget(thread, owner))


@router.post("/threads/{thread}/messages", response_class=StreamingResponse, responses=STREAM)
async def say(
    request: Request, thread: str, said: Annotated[Said, Body()], assistant: Threads, turns: UnderWay, owner: Owner
) -> StreamingResponse:
    """Send a message to a thread; the reply is a stream of server-sent events, made even without a reader."""
    turn = turns.start(owner, thread, lambda: assistant.send(thread, said.text, owner), caller_of(request))
    return await _streamed(turn)


@router.post("/threads/{thread}/actions", response_class=StreamingResponse, responses=STREAM)
async def act(
    request: Request, thread: str, action: Annotated[Clicked, Body()], assistant: Threads, turns: UnderWay, owner: Owner
) -> StreamingResponse:
    """Run an action, such as a click, in a thread; the reply is a stream of server-sent events."""
    turn = turns.start(owner, thread, lambda: assistant.act(thread, action, owner), caller_of(request))
    return await _streamed(turn)


@router.post("/threads/{thread}/resume", response_class=StreamingResponse, responses=STREAM)
async def resume(request: Request, thread: str, assistant: Threads, turns: UnderWay, owner: Owner) -> StreamingResponse:
    """Finish a turn that a kill interrupted; without such a turn the stream ends at once."""
    turn = turns.start(owner, thread, lambda: assistant.resume(thread, owner), caller_of(request))
    return await _streamed(turn)


@router.post("/threads/{thread}/ratings")
async def rate(thread: str, rating: Annotated[Rating, Body()], assistant: Threads, owner: Owner) -> Kept:
    """Store a rating of a bundle, or of the last reply."""
    kept = await beside(lambda: assistant.rate(thread, owner, rating.what, rating.up, rating.note))
    return Kept(id=kept.id)


@router.get("/products")
async def search_products(
    assistant: Threads,
    q: Annotated[str, Query(max_length=LONGEST)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    max_price: Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)] = None,
) -> list[Item]:
    """Search the catalogue; without words, return the cheapest products."""
    return await beside(lambda: assistant.search(q, limit, max_price))


async def _streamed(turn: Turn) -> StreamingResponse:
    """Return the events of a turn as they come, after the first event, so that a refusal has an HTTP status."""
    await turn.begun()
    return StreamingResponse(turn.follow(), media_type="text/event-stream")
