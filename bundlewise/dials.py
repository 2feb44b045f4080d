"""Dials: settings that a command, an experiment or a program gives by name."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from bundlewise.domain import Record
from bundlewise.errors import UsageError


class DialSet(Record):
    """Settings by name; `allowed` has all names, each with a description of its values."""

    allowed: ClassVar[Mapping[str, str]]

    @classmethod
    def of(cls, **dials: Any) -> Self:
        """Build dials from options; None keeps the default.

        Raises:
            UsageError: a dial has a value that is not allowed, or there is no such dial.
        """
        try:
            return cls.model_validate({key: value for key, value in dials.items() if value is not None})
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            if name not in cls.allowed:
                raise UsageError(f"no dial named {name!r}; choose {', '.join(cls.allowed)}") from error
            raise UsageError(f"{name} must be {cls.allowed[name]}, got {fault['input']}") from error
