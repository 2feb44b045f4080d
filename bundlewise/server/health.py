"""The routes for operators: /healthz, /readyz and /metrics."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from bundlewise.server.refusals import BEARER, ErrorBody
from bundlewise.server.service import service_of

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the student answers, and if not, why."""

    status: str


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process is alive."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(request: Request) -> Response:
    """Say whether the student is loaded and answers."""
    state = service_of(request).state
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    401: {"model": ErrorBody},
}


@router.get("/metrics", response_class=Response, responses=TEXT, dependencies=[Security(BEARER)])
async def metrics(request: Request) -> Response:
    """Return the meters in Prometheus' text format."""
    return Response(service_of(request).meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
