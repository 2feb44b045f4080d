"""Strict rendering of the prompt templates, and their fingerprints."""

import hashlib
import inspect
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bundlewise import text
from bundlewise.errors import UsageError

TEMPLATES = (
    *("judge", "pair", "name", "label", "knowledge", "products", "pattern", "rule", "thought", "recall"),
    *("teacher", "teacher_repair", "teacher_kinds", "teacher_propose", "teacher_reflect", "teacher_rules"),
    *("teacher_think", "reasoning"),
)

STUDENT_TEMPLATES = ("judge", "pair", "name")


class PackageLoader(BaseLoader):
    """Load templates that lie beside this module, in a wheel as in a checkout."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, None, None]:
        """Return the source of a template."""
        resource = files(__package__).joinpath(template)
        if not resource.is_file():
            raise TemplateNotFound(template)
        return resource.read_text(encoding="utf-8"), None, None


@cache
def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader(), undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False
    )
    environment.filters |= {
        "line": text.line,
        "short": text.short,
        "kind": text.kind,
        "shared_words": text.shared_words,
    }
    return environment


def _check(name: str) -> None:
    if name not in TEMPLATES:
        raise UsageError(f"no template named {name!r}; choose one of {', '.join(TEMPLATES)}")


def render(name: str, **variables: Any) -> str:
    """Return the text of a template; a missing variable is an error, never an empty place.

    Raises:
        UsageError: there is no template of that name.
        jinja2.UndefinedError: a variable that the template needs was not given.
    """
    _check(name)
    return _environment().get_template(f"{name}.jinja").render(**variables)


def fingerprint(*names: str) -> str:
    """Return 12 hex digits over the sources of templates and of all they include."""
    environment = _environment()
    assert environment.loader is not None
    seen: dict[str, str] = {}
    waiting = [f"{name}.jinja" for name in names]
    for name in names:
        _check(name)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        source = environment.loader.get_source(environment, name)[0]
        seen[name] = source
        waiting += [found for found in meta.find_referenced_templates(environment.parse(source)) if found]
    digest = hashlib.sha256("\0".join(f"{n}\0{seen[n]}" for n in sorted(seen)).encode())
    return digest.hexdigest()[:12]


def student_fingerprints() -> dict[str, str]:
    """Return the fingerprint of each thing that makes a tuned student's prompts: templates, and how titles are read."""
    filters = hashlib.sha256(inspect.getsource(text).encode()).hexdigest()[:12]
    return {name: fingerprint(name) for name in STUDENT_TEMPLATES} | {"text": filters}
