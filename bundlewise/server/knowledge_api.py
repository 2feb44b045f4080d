"""The routes under /api that show the knowledge behind answers, record by record, and the server's configuration."""

from itertools import islice
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from bundlewise import __version__
from bundlewise.agents.student.compose import MAX_PRODUCTS
from bundlewise.domain import Item, Knowledge, KnowledgeKind, Status
from bundlewise.knowledge_base.records import Records
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.student import Student
from bundlewise.server.assistant_api import Threads
from bundlewise.server.refusals import Refusal
from bundlewise.server.routes import OWNED
from bundlewise.server.service import alone, service_of
from bundlewise.text import head_noun, kind, short
from bundlewise.titles import LONGEST
from bundlewise.workbench.playground import Playground

MOST = 200
"""Most records that a search ranks."""
EXAMPLES = 5
router = APIRouter(tags=["knowledge"], **OWNED)


class Shelf(BaseModel):
    """Some records of the knowledge base, their total number, and the numbers by kind and domain.

    In a search by words, `score` says how well each record matches, and `total` is None.
    """

    records: list[Knowledge]
    scores: list[float] = []
    total: int | None = None
    more: bool = False
    kinds: dict[str, int] = {}
    domains: dict[str, int] = {}


class About(BaseModel):
    """The parts of this server (student, catalogue, knowledge, playground), and example messages for its catalogue."""

    version: str
    student: str
    adapter: bool
    knowledge: int
    products: int
    cart: int
    examples: list[str]
    playground: bool
    saves: bool


@router.get("/knowledge")
async def browse_knowledge(
    request: Request,
    q: Annotated[str, Query(max_length=LONGEST)] = "",
    kind: KnowledgeKind | None = None,
    domain: Annotated[str, Query(max_length=100)] = "",
    status: Status | None = "active",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=50)] = 20,
) -> Shelf:
    """List the knowledge records in the order of ids, or search the active records by words, best first."""
    held = records_of(request)
    if not q.strip():
        empty = Shelf(records=[], total=0)
        return await run_sync(lambda: _page(held, kind, domain, status, offset, limit) if held else empty)
    student, most = service_of(request).student, min(offset + limit + 1, MOST)
    found = (await alone(request, lambda: student.find(q, kind, domain, most)))[offset:]
    rows = found[:limit]
    return Shelf(records=[r for r, _ in rows], scores=[score for _, score in rows], more=len(found) > limit)


@router.get("/knowledge/{key}")
async def show_knowledge(request: Request, key: str) -> Knowledge:
    """Show a record of any status with all its fields."""
    held = records_of(request)
    found = await run_sync(lambda: held.get([key]) if held else {})
    if key not in found:
        raise Refusal(404, "no such record in the knowledge base; look for it by words", code="not_found")
    return found[key]


@router.get("/about")
async def show_about(request: Request, assistant: Threads) -> About:
    """Describe this server."""
    held, student = records_of(request), service_of(request).student
    playground: Playground | None = request.app.state.playground
    counts = await run_sync(held.counts) if held else {}
    about = student.about
    return About(
        version=__version__,
        student=str(about.get("student", "")),
        adapter=bool(about.get("adapter")),
        knowledge=sum(number for (_, _, status), number in counts.items() if status == "active"),
        products=len(assistant.finder.products),
        cart=MAX_PRODUCTS,
        examples=examples_of(assistant),
        playground=playground is not None,
        saves=playground is not None and playground.folder is not None,
    )


def records_of(request: Request) -> Records | None:
    """Return the records of the student's knowledge base; None without one."""
    student = service_of(request).student
    return student.retriever.store.records if isinstance(student, Student) and student.retriever else None


def _page(
    held: Records, kind: KnowledgeKind | None, domain: str, status: Status | None, offset: int, limit: int
) -> Shelf:
    records = list(islice(held.select(kind, domain or None, status, offset + limit), offset, None))
    kinds: dict[str, int] = {}
    domains: dict[str, int] = {}
    total = 0
    for (of_kind, of_domain, of_status), number in held.counts().items():
        if of_status == status or status is None:
            in_kind, in_domain = kind in (None, of_kind), domain in ("", of_domain)
            kinds[of_kind] = kinds.get(of_kind, 0) + number * in_domain
            domains[of_domain] = domains.get(of_domain, 0) + number * in_kind
            total += number * (in_kind and in_domain)
    return Shelf(records=records, total=total, more=offset + limit < total, kinds=kinds, domains=domains)


def examples_of(assistant: Assistant) -> list[str]:
    """Return example messages for this catalogue: a search, a list of products, and a question for companions."""
    products = assistant.finder.products[:EXAMPLES]
    if not products:
        return []
    noun = head_noun(kind(products[0].title))
    pasted = "\n".join(f"- {item.title}" for item in products)
    goes = f"What goes with {short(products[0].title, 4).rstrip(',;:')}?"
    return [f"Find a {noun}{_under(products)}", f"Bundle these:\n{pasted}", goes]


def _under(products: tuple[Item, ...]) -> str:
    price = products[0].price
    return "" if price is None else f" under {10 * (int(price) // 10 + 1)}"
