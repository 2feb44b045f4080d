"""The app: the routes, one format for all errors, the gate before every request, and the web page."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from bundlewise import __version__
from bundlewise.agents.assistant.offers import Bundler
from bundlewise.pipeline.assistant import Assistant
from bundlewise.prompts.library import folder_in_force
from bundlewise.prompts.outside import rendering_outside
from bundlewise.server import assistant_api, bundles, completions, health, knowledge_api, playground_api
from bundlewise.server.cookies import Seal
from bundlewise.server.gate import Gate, is_closed
from bundlewise.server.keys import Keys
from bundlewise.server.limits import ServerLimits
from bundlewise.server.meters import Meters
from bundlewise.server.queued import QueuedStudent
from bundlewise.server.refusals import refuse, refuse_invalid
from bundlewise.server.service import KnowingBundler, Service
from bundlewise.server.turns import Turns
from bundlewise.workbench.playground import Playground

PAGE = Path(__file__).parent / "web"
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
ABOUT = "Product bundles in shoppers' sessions. Errors have OpenAI's format; every answer has an X-Request-ID."


def create_app(
    student: KnowingBundler,
    *,
    keys: Keys | None = None,
    limits: ServerLimits | None = None,
    hosts: Collection[str] | None = None,
    assistant: Callable[[Bundler], Assistant] = Assistant.open,
    playground: Playground | None = None,
    page: Path = PAGE,
) -> FastAPI:
    """Return the app that serves a student.

    Args:
        student: the student that answers; a `Student` or an object with its methods.
        keys: bearer keys; without keys everybody may use the server.
        limits: the limits that protect the server.
        hosts: the accepted names in the header Host; None accepts all.
        assistant: opens the assistant, with the student behind the server's queue.
        playground: the playground of prompts; None closes it, as on a server that everybody may use.
        page: the folder with the page's files; it is served at / if it has an index.html.
    """
    meters, limits = Meters(), limits or ServerLimits()
    service = Service(student, limits, meters)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with rendering_outside(warm=playground is not None or folder_in_force() is not None):
            await service.start()
            yield
            await service.stop()
        app.state.assistant.close()

    # FastAPI's pages of documentation are off, since they load scripts from the network.
    app = FastAPI(
        title="bundlewise", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.service, app.state.assistant = service, assistant(QueuedStudent(service))
    app.state.seal = Seal.beside(app.state.assistant.place)
    app.state.turns, app.state.playground = Turns(service.threads, meters), playground
    for part in (bundles, completions, assistant_api, knowledge_api, playground_api, health):
        app.include_router(part.router)
    if (page / "index.html").is_file():
        # A mount at the root would hide the methods that a path of the API accepts, so this is a route.
        app.router.default = Page(page)
    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(RequestValidationError, refuse_invalid)
    app.add_middleware(Gate, keys=keys or Keys(), limits=limits, meters=meters, hosts=hosts)
    return app


class Page:
    """The page's files, with a policy that lets the browser load nothing from other servers."""

    def __init__(self, folder: Path) -> None:
        self._files = StaticFiles(directory=folder, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file; a missing path of the API is not looked up as a file."""
        if is_closed(scope["path"]):
            raise HTTPException(404)

        async def send_under_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Browsers cache pictures, so that the page has them even while the server is down.
                kept = b"max-age=3600" if scope["path"].endswith(".svg") else b"no-cache"
                own = [(b"content-security-policy", POLICY.encode()), (b"cache-control", kept)]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self._files(scope, receive, send_under_policy)
