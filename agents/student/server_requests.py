"""Requests of a student to its server: errors in plain words, and fields that not every server takes."""

from collections.abc import Callable
from typing import Any

from bundlewise.errors import ModelError
from bundlewise.models.endpoints import REMEDIES, in_short

LOOK = "check its address and log"
REFUSALS = {400, 422, 500, 501}
"""The answers of servers that give one text a request when they are asked for several."""


def answered(model: str, request: Callable[[], Any]) -> Any:
    """Return the answer of a model's server to a request.

    Raises:
        ModelError: the server does not answer, or answers with an error.
    """
    from openai import APIStatusError, OpenAIError

    try:
        return request()
    except OpenAIError as error:
        remedy = REMEDIES.get(error.status_code, LOOK) if isinstance(error, APIStatusError) else LOOK
        raise ModelError(f"the server of {model} does not answer: {in_short(str(error))}; {remedy}") from error


def refuses_several(error: ModelError) -> bool:
    """Say whether an error can be a server's refusal to give several texts at once."""
    from openai import APIStatusError

    return isinstance(error.__cause__, APIStatusError) and error.__cause__.status_code in REFUSALS


def unless_refused(full: Callable[[], Any], plain: Callable[[], Any]) -> tuple[Any, bool]:
    """Return the answer to the full request and True, or that to the plain one and False if the full one is refused.

    Raises:
        ModelError: the server does not answer, or refuses the plain request too.
    """
    from openai import BadRequestError

    try:
        return full(), True
    except ModelError as error:
        if not isinstance(error.__cause__, BadRequestError):
            raise
    return plain(), False
