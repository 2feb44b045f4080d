"""Render the prompt templates in use strictly, as text or as chat messages, and return their fingerprints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundlewise import scripts, text
from bundlewise.prompts.library import TEMPLATES, current
from bundlewise.source import syntax_fingerprint

__all__ = [
    "FORM_TEMPLATES",
    "STUDENT_TEMPLATES",
    "TEMPLATES",
    "fingerprint",
    "messages",
    "render",
    "render_each",
    "student_fingerprints",
]

FORM_TEMPLATES = {"pairs": ("judge", "pair", "name"), "write": ("write", "write_system")}
"""The templates of a tuned student's prompts by the form of its answers."""
STUDENT_TEMPLATES = tuple(name for names in FORM_TEMPLATES.values() for name in names)
Messages = list[dict[str, str]]


def render(name: str, /, **variables: Any) -> str:
    """Return the text of a template; a missing variable is an error.

    Raises:
        UsageError: there is no template of that name.
        DataError: a variable that the template needs was not given, or the template cannot be used.
    """
    return current().render(name, variables)


def render_each(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the texts of a template for several sets of variables; see `render`."""
    return current().render_each(name, rows)


def messages(name: str, /, **variables: Any) -> Messages:
    """Return a template as chat messages; the system message that its front matter names comes first."""
    library = current()
    front = library.front(name)
    before = messages(front.system, **variables) if front.system else []
    role = "system" if front.role == "system" else "user"
    return [*before, {"role": role, "content": library.render(name, variables)}]


def fingerprint(*names: str) -> str:
    """Return 12 hex digits over the bodies, without front matter, of templates and of all templates they include."""
    return current().fingerprint(*names)


def student_fingerprints(form: str | None = None) -> dict[str, str]:
    """Return the fingerprints of what makes a student's prompts in a form, or in any form.

    They are those of the templates, and of the code that reads titles.
    """
    names = STUDENT_TEMPLATES if form is None else FORM_TEMPLATES[form]
    read = syntax_fingerprint(Path(text.__file__), Path(scripts.__file__))
    return {name: fingerprint(name) for name in names} | {"text": read}
