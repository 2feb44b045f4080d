"""What the renderings of one request may take, and how much of it is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bundlewise.errors import DataError
from bundlewise.prompts.template import Template

SECONDS = 2.0
"""Work of the renderings of one request together, and of what is done with their texts to show them."""
CHARACTERS = 4_000_000
"""Characters of what they make."""
TOO_SLOW = f"more than {SECONDS:.0f} s of work; do less in it"


class Allowance:
    """What is left to the renderings of one request."""

    def __init__(self) -> None:
        self.seconds, self.characters = SECONDS, CHARACTERS


_ALLOWANCE: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance() -> Iterator[Allowance]:
    """Let the renderings in the block share what one may take; a block inside another shares that of the outer."""
    if (outer := held()) is not None:
        yield outer
        return
    token = _ALLOWANCE.set(inner := Allowance())
    try:
        yield inner
    finally:
        _ALLOWANCE.reset(token)


def held() -> Allowance | None:
    """Return what is left to the request that is worked on; None outside of one."""
    return _ALLOWANCE.get()


def refuse_spent(left: Allowance, template: Template) -> None:
    """Raise a DataError about a template where the request has taken all that it may."""
    if left.seconds <= 0:
        raise DataError(f"{template.at(1)}: {TOO_SLOW}")
    if left.characters < 0:
        raise DataError(f"{template.at(1)}: more than {CHARACTERS:,} characters for one session; write less")
