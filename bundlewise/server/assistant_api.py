"""The routes under /api: the assistant's threads, catalogue and knowledge, each thread for its owner alone."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from bundlewise.agents.conversation import LONGEST, Action, Event
from bundlewise.assistant import Assistant, ThreadLine, ThreadView
from bundlewise.domain import Item, KnowledgeKind
from bundlewise.feedback import NOTE
from bundlewise.server.refusals import ErrorBody, Refusal, error_body
from bundlewise.server.service import caller_of, service_of, while_there
from bundlewise.server.shapes import FoundKnowledge, Shape
from bundlewise.server.streaming import pieces_of, plainly
from bundlewise.server.strict import StrictRoute

COOKIE = "bundlewise_owner"
YEAR = 365 * 24 * 3600
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events of the reply"}
}
router = APIRouter(
    prefix="/api",
    route_class=StrictRoute,
    tags=["assistant"],
    responses={"4XX": {"model": ErrorBody}, "503": {"model": ErrorBody}},
)


class Said(Shape):
    """What a shopper says."""

    text: str = Field(min_length=1, max_length=LONGEST)


class Rating(Shape):
    """What a shopper thinks of a bundle of the thread (by its number from 1), or of the last reply."""

    what: int | None = Field(default=None, ge=1, le=100)
    up: bool
    note: str = Field(default="", max_length=NOTE)


class NewThread(Shape):
    """The name of a thread that was begun."""

    thread: str


class Kept(Shape):
    """The id of a rating that was kept."""

    id: str


def owner_of(request: Request, response: Response) -> str:
    """Return whose threads a request is about: the key's, or without keys a random cookie's, made when missing."""
    if request.state.owner is not None:
        return str(request.state.owner)
    mark = request.cookies.get(COOKIE, "")
    if not (len(mark) == 43 and mark.isascii()):
        mark = secrets.token_urlsafe(32)
        request.state.new_mark = mark
        response.set_cookie(COOKIE, mark, max_age=YEAR, path="/api", httponly=True, samesite="strict")
    return f"cookie-{hashlib.sha256(mark.encode()).hexdigest()}"


def assistant_of(request: Request) -> Assistant:
    """Return the assistant of the app that a request came to."""
    assistant: Assistant = request.app.state.assistant
    return assistant


Owner = Annotated[str, Depends(owner_of)]
Threads = Annotated[Assistant, Depends(assistant_of)]


async def _plainly(work: Callable[[], Any]) -> Any:
    """Run what touches the disk beside the loop; a wrong request is the client's fault."""

    def run() -> Any:
        with plainly():
            return work()

    return await run_sync(run)


@router.get("/threads")
async def list_threads(assistant: Threads, owner: Owner) -> list[ThreadLine]:
    """List the owner's threads, the latest first."""
    found: list[ThreadLine] = await _plainly(lambda: assistant.threads(owner))
    return found


@router.post("/threads")
async def begin_thread(owner: Owner) -> NewThread:
    """Return the name of a new thread; it exists once something is said in it."""
    return NewThread(thread=secrets.token_hex(12))


@router.get("/threads/{thread}")
async def view_thread(thread: str, assistant: Threads, owner: Owner) -> ThreadView:
    """Show a thread as it is; `pending` while an answer is on its way."""
    view: ThreadView = await _plainly(lambda: assistant.view(thread, owner))
    return view


@router.delete("/threads/{thread}", status_code=204)
async def forget_thread(thread: str, assistant: Threads, owner: Owner) -> None:
    """Delete a thread for good."""
    await _plainly(lambda: assistant.forget(thread, owner))


@router.post("/threads/{thread}/messages", response_class=StreamingResponse, responses=STREAM)
async def say(
    request: Request, thread: str, said: Annotated[Said, Body()], assistant: Threads, owner: Owner
) -> StreamingResponse:
    """Say something in a thread; the reply comes as server-sent events, and ends even if nobody listens."""
    return await _streamed(request, lambda: assistant.send(thread, said.text, owner))


@router.post("/threads/{thread}/actions", response_class=StreamingResponse, responses=STREAM)
async def act(
    request: Request, thread: str, action: Annotated[Action, Body()], assistant: Threads, owner: Owner
) -> StreamingResponse:
    """Do what was clicked in a thread; what comes of it are server-sent events."""
    return await _streamed(request, lambda: assistant.act(thread, action, owner))


@router.post("/threads/{thread}/ratings")
async def rate(thread: str, rating: Annotated[Rating, Body()], assistant: Threads, owner: Owner) -> Kept:
    """Keep what somebody thinks of a bundle, or of the last reply."""
    kept = await _plainly(lambda: assistant.rate(thread, owner, rating.what, rating.up, rating.note))
    return Kept(id=kept.id)


@router.get("/products")
async def search_products(
    assistant: Threads,
    text: Annotated[str, Query(max_length=LONGEST)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    max_price: Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)] = None,
) -> list[Item]:
    """Search the catalogue."""
    found: list[Item] = await _plainly(lambda: assistant.search(text, limit, max_price))
    return found


@router.get("/knowledge")
async def search_knowledge(
    request: Request,
    text: Annotated[str, Query(min_length=1, max_length=500, pattern=r"\S")],
    kind: KnowledgeKind | None = None,
    domain: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> FoundKnowledge:
    """Search the distilled knowledge."""
    service, caller = service_of(request), caller_of(request)

    def look() -> FoundKnowledge:
        with plainly():
            return FoundKnowledge.of(service.student.find(text, kind, domain, limit))

    return await while_there(request, service.queue.do(caller.client, look))


async def _streamed(request: Request, talk: Callable[[], Iterator[Event]]) -> StreamingResponse:
    """Return the events of a turn as they come; the first is waited for, so that a refusal is a status."""
    events = pieces_of(talk, caller_of(request), service_of(request).threads, stay=True)
    first = await anext(events, None)

    async def rows() -> AsyncIterator[str]:
        async with aclosing(events):
            try:
                if first is not None:
                    yield _row(first.type, first.model_dump_json())
                async for event in events:
                    yield _row(event.type, event.model_dump_json())
            except Refusal as refusal:
                body = ErrorBody.model_validate(error_body(refusal.status_code, str(refusal.detail), refusal.code))
                yield _row("error", body.model_dump_json())

    response = StreamingResponse(rows(), media_type="text/event-stream")
    if mark := getattr(request.state, "new_mark", ""):
        response.set_cookie(COOKIE, mark, max_age=YEAR, path="/api", httponly=True, samesite="strict")
    return response


def _row(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
