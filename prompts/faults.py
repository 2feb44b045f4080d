"""Explain the faults of templates with file, line and remedy."""

import difflib
from collections.abc import Callable, Sequence
from types import TracebackType

from jinja2 import TemplateAssertionError, TemplateSyntaxError
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from bundlewise.prompts.sandbox import FILTERS_KNOWN, RANDOM
from bundlewise.prompts.template import SUFFIX, Template

REPEATED = 10
"""With so many nested calls of templates, a template is assumed to call itself."""


def explain(
    error: Exception, template: Template, known: Sequence[Template], variables: Callable[[str], Sequence[str]]
) -> str:
    """Return the fault of a template or of one that it includes, with file, line and remedy.

    Args:
        error: the exception that the template raised.
        template: the template that was rendered.
        known: all templates, including those that it includes.
        variables: returns the variables of a template by its name.
    """
    template, line = _place(error, template, known)
    said = error.msg if isinstance(error, SyntaxError) else getattr(error, "message", "") or str(error)
    said, remedy = said.rstrip("."), "correct that line"
    if isinstance(error, TemplateAssertionError) and said.startswith("No filter named"):
        word = said.split("'")[1]
        close = difflib.get_close_matches(word, FILTERS_KNOWN, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(FILTERS_KNOWN)}"
        remedy = "leave it out, since a prompt must be the same every time" if word in RANDOM else hint
        said = f"no filter {word!r}"
    elif isinstance(error, UndefinedError):
        remedy = f"{template.name} has {', '.join(variables(template.name)) or 'what includes it gives'}"
    elif isinstance(error, SecurityError):
        remedy = "a template may use its variables, filters and tests, and nothing else"
    elif isinstance(error, (RecursionError, IndentationError)):
        said, remedy = _endless(error)
    elif isinstance(error, MemoryError):
        said, remedy = "it takes more memory than a template may have", "make less in it"
    elif not isinstance(error, TemplateError):
        said = ": ".join(filter(None, (type(error).__name__, said)))
    return f"{template.at(line)}: {said}; {remedy}"


def _endless(error: Exception) -> tuple[str, str]:
    """Return fault and remedy for endless recursion: the template calls itself, or is nested too deep."""
    frames, trace = 0, error.__traceback__
    while isinstance(trace, TracebackType):
        frames += trace.tb_frame.f_code.co_filename.endswith(SUFFIX)
        trace = trace.tb_next
    if frames >= REPEATED:
        return "it includes or calls itself endlessly", "let it end"
    return "brackets, blocks, lists or a row of operators are nested too deep", "write it in smaller parts"


def _place(error: Exception, template: Template, known: Sequence[Template]) -> tuple[Template, int]:
    """Return the innermost template in which an error occurred, and the line of its body."""
    if isinstance(error, TemplateSyntaxError):
        name = (error.name or "").removesuffix(SUFFIX)
        return next((each for each in known if each.name == name), template), error.lineno
    by_path, found, trace = {each.path: each for each in known}, (template, 1), error.__traceback__
    while isinstance(trace, TracebackType):
        if (inside := by_path.get(trace.tb_frame.f_code.co_filename)) is not None:
            found = (inside, trace.tb_lineno)
        trace = trace.tb_next
    return found
