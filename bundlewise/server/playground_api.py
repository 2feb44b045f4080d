"""The routes under /api of the playground: list, render, try and save prompt templates."""

from collections.abc import Callable
from itertools import islice
from typing import Annotated, TypeVar

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import BaseModel, Field

from bundlewise.domain import Item, Session
from bundlewise.errors import DataError
from bundlewise.prompts.library import check_name
from bundlewise.prompts.template import MOST_BYTES
from bundlewise.server.limits import MAX_ITEMS
from bundlewise.server.refusals import Refusal
from bundlewise.server.routes import OWNED
from bundlewise.server.service import alone, apart, beside
from bundlewise.server.shapes import Shape, Title
from bundlewise.workbench.playground import Playground, Shown, Source, TemplateLine, Tried

router = APIRouter(tags=["playground"], **OWNED)
Result = TypeVar("Result")


class Edit(Shape):
    """An edited template, and a session for it: one of the data set by its id, or a list of titles."""

    text: str = Field(max_length=MOST_BYTES)
    session: str = Field(default="", max_length=200)
    titles: list[Title] = Field(default=[], max_length=MAX_ITEMS)


class Save(Shape):
    """An edited template, and the mark of the text that the edit started from."""

    text: str = Field(max_length=MOST_BYTES)
    mark: str = Field(max_length=16)


class SessionLine(BaseModel):
    """A row of the list of sessions: the products, and the number of annotated bundles."""

    id: str
    domain: str
    split: str
    items: list[Item]
    bundles: int


def playground_of(request: Request) -> Playground:
    """Return the playground of the app that handles a request.

    Raises:
        Refusal: the playground is closed, since everybody may use this server.
    """
    playground: Playground | None = request.app.state.playground
    if playground is None:
        found = "the playground is closed; start the server on 127.0.0.1 or with keys"
        raise Refusal(403, found, code="playground_closed")
    return playground


Ground = Annotated[Playground, Depends(playground_of)]


@router.get("/prompts")
async def list_prompts(ground: Ground) -> list[TemplateLine]:
    """List the prompt templates in force."""
    return await _checked(ground.templates)


@router.get("/prompts/{name}")
async def show_prompt(ground: Ground, name: str) -> Source:
    """Show a template in force with its variables."""
    return await _checked(lambda: ground.source(name))


@router.get("/sessions")
async def list_sessions(
    ground: Ground,
    q: Annotated[str, Query(max_length=500)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> list[SessionLine]:
    """List sessions of the data set whose ids or titles contain the words."""
    words = set(q.casefold().split())

    def found() -> list[SessionLine]:
        fitting = islice((each for each in ground.sessions.values() if _holds(each, words)), limit)
        return [
            SessionLine(id=s.session_id, domain=s.domain, split=s.split, items=list(s.items), bundles=len(s.bundles))
            for s in fitting
        ]

    return await _checked(found)


@router.post("/prompts/{name}/render")
async def render_prompt(request: Request, ground: Ground, name: str, edit: Annotated[Edit, Body()]) -> Shown:
    """Show the prompts of an edited template for a session, part by part, with token counts."""
    session = await _session_of(ground, name, edit)
    retrieved = await alone(request, lambda: ground.retrieved(session))
    return await apart(request, lambda: ground.render(name, edit.text, session, retrieved))


@router.post("/prompts/{name}/try")
async def try_prompt(request: Request, ground: Ground, name: str, edit: Annotated[Edit, Body()]) -> Tried:
    """Answer a session under the template in force and under the edited one."""
    if len(edit.titles) == 1:
        raise Refusal(400, "a bundle needs two products; paste one more", code="invalid_value", param="titles")
    session = await _session_of(ground, name, edit)
    retrieved = await alone(request, lambda: ground.retrieved(session))
    # The template is rendered first without the student, so that a slow template does not block the student.
    if fault := await apart(request, lambda: ground.rehearsed(name, edit.text, session, retrieved)):
        return Tried(items=session.items, truth=(), fault=fault)
    return await alone(request, lambda: ground.attempt(name, edit.text, session))


@router.put("/prompts/{name}")
async def save_prompt(request: Request, ground: Ground, name: str, save: Annotated[Save, Body()]) -> Source:
    """Save an edited template in the folder that the server was started with."""
    return await apart(request, _mendable(lambda: ground.save(name, save.text, save.mark)))


async def _session_of(ground: Playground, name: str, edit: Edit) -> Session:
    def found() -> Session:
        check_name(name)
        return ground.session(edit.session, edit.titles)

    return await beside(found)


async def _checked(work: Callable[[], Result]) -> Result:
    """Run work that uses the disk outside the event loop."""
    return await beside(_mendable(work))


def _mendable(work: Callable[[], Result]) -> Callable[[], Result]:
    """Return work that reports an unusable template as a fault of the request."""

    def run() -> Result:
        try:
            return work()
        except DataError as error:
            raise Refusal(422, str(error), code="invalid_template") from error

    return run


def _holds(session: Session, words: set[str]) -> bool:
    text = " ".join((session.session_id, *session.titles)).casefold()
    return all(word in text for word in words)
