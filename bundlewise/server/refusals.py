"""Refusals: one format for every failure of the server, with a status that clients understand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from bundlewise.errors import UsageError

SHOWN = 80
"""Most characters of a refused value that the message quotes."""
FORMS = {"one session", "a batch", "a title", "a product", "a text", "parts"}
"""Parts of pydantic's path that name the form of a value; the client's body does not contain them."""
KINDS = {401: "authentication_error", 429: "rate_limit_error"}


class ErrorDetail(BaseModel):
    """An error in the format of OpenAI's clients."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


BEARER = HTTPBearer(auto_error=False, description="a key of the server's; none where it runs without keys")
"""The key that the gate asks for, as OpenAPI describes it; the routes themselves do not check it."""
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "503": {"model": ErrorBody}}


class Refusal(HTTPException):
    """A refused request: the status, the fault and its parameter, and the time to wait before another try."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        again = {} if wait is None else {"Retry-After": str(max(1, round(wait + 0.5)))}
        super().__init__(status, message, (headers or {}) | again)
        self.code, self.param = code, param


@contextmanager
def plainly() -> Iterator[None]:
    """Turn the project's errors about a wrong request into refusals."""
    try:
        yield
    except UsageError as error:
        missing = str(error).startswith("no such thread")
        raise Refusal(404 if missing else 400, str(error), code="not_found" if missing else "invalid_value") from error


def shown(value: object) -> str:
    """Return a value for a message: short, on one line, without invisible characters."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return the body of a refusal."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code)).model_dump()


def response_to(refusal: HTTPException) -> JSONResponse:
    """Return the answer to a request that is refused."""
    code = getattr(refusal, "code", None) or HTTPStatus(refusal.status_code).phrase.lower().replace(" ", "_")
    body = error_body(refusal.status_code, str(refusal.detail), code, getattr(refusal, "param", None))
    return JSONResponse(body, refusal.status_code, refusal.headers)


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer a refusal of the server or of the framework (404, 405)."""
    assert isinstance(error, HTTPException)
    return response_to(error)


async def refuse_invalid(_: Request, error: Exception) -> JSONResponse:
    """Answer a body that does not fit its schema: name the first fault by the path of the field."""
    assert isinstance(error, RequestValidationError)
    return response_to(invalid(error.errors()))


def invalid(faults: Sequence[Any]) -> Refusal:
    """Return the refusal of a request in which pydantic found faults; the path leaves out its first part, body."""
    fault = faults[0]
    path = [str(step) for step in fault["loc"][1:] if step not in FORMS]
    param = ".".join(path) or None
    what, value = fault["msg"][0].lower() + fault["msg"][1:], fault.get("input")
    got = "" if fault["type"] in ("missing", "extra_forbidden") else f", got {shown(value)}"
    if fault["type"] == "string_too_long":
        got = f", got {len(str(value)):,}; shorten it"
    more = f" ({len(faults) - 1} more faults)" if len(faults) > 1 else ""
    message = f"{param or 'the body'}: {what}{got}{more}; see /openapi.json for what is taken"
    code = "unknown_parameter" if fault["type"] == "extra_forbidden" else "invalid_value"
    return Refusal(400, message, code=code, param=param)
