"""Limits on the time and the characters that all renderings of one request may use together."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bundlewise.errors import DataError
from bundlewise.prompts.template import Template

SECONDS = 2.0
"""The most seconds of work of all renderings of one request, including the work to show their texts."""
CHARACTERS = 4_000_000
"""The most characters of their texts."""
TOO_SLOW = f"more than {SECONDS:.0f} s of work; do less in it"


class Allowance:
    """The seconds and characters that the renderings of one request may still use."""

    def __init__(self) -> None:
        self.seconds, self.characters = SECONDS, CHARACTERS


_ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance() -> Iterator[Allowance]:
    """Share one allowance among the renderings in the block; an inner block shares the allowance of the outer one."""
    if (outer := held()) is not None:
        yield outer
        return
    token = _ALLOWANCE.set(inner := Allowance())
    try:
        yield inner
    finally:
        _ALLOWANCE.reset(token)


def held() -> Allowance | None:
    """Return the allowance of the current request; None outside of a request."""
    return _ALLOWANCE.get()


def refuse_spent(left: Allowance, template: Template) -> None:
    """Check that a request has allowance left.

    Raises:
        DataError: it has used its seconds or characters; the message names the template.
    """
    if left.seconds <= 0:
        raise DataError(f"{template.at(1)}: {TOO_SLOW}")
    if left.characters < 0:
        raise DataError(f"{template.at(1)}: more than {CHARACTERS:,} characters for one session; write less")
