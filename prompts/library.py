"""The templates in use: the shipped ones, of which a user's own folder replaces some by name."""

import difflib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import FunctionLoader, TemplateNotFound, TemplateSyntaxError, meta, nodes

from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.prompts import outside
from bundlewise.prompts.faults import explain
from bundlewise.prompts.sandbox import PromptEnvironment, rendered
from bundlewise.prompts.template import SUFFIX, FrontMatter, Template, parse_template, read_template, stem_of

TEMPLATES = (
    *("judge", "pair", "name", "write", "write_system", "notes", "demonstrations", "knowledge", "products"),
    *("pattern", "rule", "thought", "thought_fields", "recall", "teacher", "teacher_repair", "teacher_kinds"),
    *("teacher_propose", "teacher_reflect", "teacher_rules", "teacher_think", "reasoning", "teacher_rewrite"),
)
VARIABLE = "BUNDLEWISE_PROMPTS"


@cache
def shipped(name: str) -> Template:
    """Return a shipped template, from a wheel or a checkout."""
    resource = files(__package__).joinpath(f"{name}{SUFFIX}")
    return parse_template(name, str(resource), resource.read_bytes())


def check_name(name: str) -> None:
    """Raise a UsageError if no template has this name."""
    if name not in TEMPLATES:
        close = difflib.get_close_matches(name, TEMPLATES, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(TEMPLATES)}"
        raise UsageError(f"no template named {name!r}; {hint}")


class Library:
    """Templates by name: the user's own, else the shipped ones; a library never changes after it is read."""

    def __init__(self, own: Mapping[str, Template] | None = None, folder: Path | None = None) -> None:
        """Make a library of the user's templates by name; `read_library` reads a folder."""
        self.own = dict(own or {})
        self.folder = folder
        self._fingerprints: dict[tuple[str, ...], str] = {}
        self._with_own: dict[str, bool] = {}

    def template(self, name: str) -> Template:
        """Return the template in use under a name.

        Raises:
            UsageError: there is no template of this name.
        """
        if name in self.own:
            return self.own[name]
        check_name(name)
        return shipped(name)

    def front(self, name: str) -> FrontMatter:
        """Return the front matter of a template, or that of the shipped template that it replaces.

        Raises:
            UsageError: it is a user's own part without front matter.
        """
        template = self.template(name)
        if template.front is None and name not in TEMPLATES:
            remedy = "give it front matter, or ask about a template that includes it"
            raise UsageError(f"{template.path} is a part, and its variables are not known; {remedy}")
        found = template.front or shipped(name).front
        assert found is not None
        return found

    def replacing(self, *templates: Template) -> "Library":
        """Return a copy of the library with some templates replaced or added.

        Raises:
            DataError: one of the new templates cannot be used.
        """
        library = Library(self.own | {template.name: template for template in templates}, self.folder)
        for template in templates:
            library.check(template.name)
        return library

    def check(self, name: str) -> None:
        """Compile a template and check its variables, so that faults are found before it is used.

        Raises:
            DataError: it cannot be used; the message names file, line and remedy.
        """
        template = self.template(name)
        _ = template.front
        if self._is_outside(name):
            outside.check(template, self._known, self._packed)
            return
        with self._explained(name):
            self.environment.get_template(f"{name}{SUFFIX}")
            for found in self.tree(name).find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
                self._check_reference(template, found)
        if name in TEMPLATES:
            given = shipped(name).front
            known = given.variables if given else {}
            for variable, line in self.undeclared(name):
                if variable not in known:
                    has = f"it has {', '.join(sorted(known)) or 'none'}"
                    raise DataError(f"{template.at(line)}: {variable} is no variable of {name}; {has}")

    def undeclared(self, name: str) -> list[tuple[str, int]]:
        """Return the variables that a template expects, each with the line of its body where it first occurs."""
        tree = self.tree(name)
        wanted = self.environment.names_from_outside(tree)
        lines = {node.name: node.lineno for node in reversed(list(tree.find_all(nodes.Name))) if node.ctx == "load"}
        return sorted(((each, lines.get(each, 1)) for each in wanted), key=lambda pair: (pair[1], pair[0]))

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """Return the text of a template.

        Raises:
            UsageError: there is no template of that name.
            DataError: a variable is missing, or the template does something forbidden; the message names file and line.
        """
        return self.render_each(name, [variables])[0]

    def render_each(self, name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the texts of a template for several sets of variables; see `render`."""
        template = self.template(name)
        if self._is_outside(name):
            return outside.rendered(template, [dict(row) for row in rows], self._known, self._packed)
        with self._explained(name):
            compiled = self.environment.get_template(f"{name}{SUFFIX}")
            return [rendered(compiled, row) for row in rows]

    def fault(self, name: str, error: Exception) -> DataError:
        """Return the error for an exception that a template raised, with file, line and remedy."""
        return DataError(explain(error, self.template(name), self._known(), self._variables))

    def included(self, *names: str) -> dict[str, str]:
        """Return the bodies of templates and of all templates that they include, by name."""
        seen: dict[str, str] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in seen:
                with self._explained(name):
                    seen[name] = self.template(name).body
                    found = meta.find_referenced_templates(self.tree(name))
                    waiting += [each.removesuffix(SUFFIX) for each in found if each]
        return seen

    def fingerprint(self, *names: str) -> str:
        """Return 12 hex digits over the bodies of templates and of all templates that they include."""
        if names not in self._fingerprints:
            bodies = self.included(*names)
            content = "\0".join(f"{name}{SUFFIX}\0{bodies[name]}" for name in sorted(bodies))
            self._fingerprints[names] = hashlib.sha256(content.encode()).hexdigest()[:12]
        return self._fingerprints[names]

    def _source(self, file: str) -> tuple[str, str, None] | None:
        """Return the body of a template for Jinja, and the path for its errors; None if there is no such template."""
        try:
            found = self.template(file.removesuffix(SUFFIX))
        except UsageError:
            return None
        return found.body, found.path, None

    def _variables(self, name: str) -> list[str]:
        return [*self.front(name).variables] if name in TEMPLATES else []

    @property
    def place(self) -> str:
        """The source of the templates, for messages."""
        return str(self.folder) if self.folder else "bundlewise"

    @cached_property
    def environment(self) -> PromptEnvironment:
        """The sandbox that the templates are compiled and rendered in."""
        return PromptEnvironment(FunctionLoader(self._source))

    def tree(self, name: str) -> nodes.Template:
        """Return a template's body as Jinja's syntax tree."""
        template = self.template(name)
        return self.environment.parse(template.body, f"{name}{SUFFIX}", template.path)

    def _check_reference(self, template: Template, found: Any) -> None:
        if not isinstance(found.template, nodes.Const):
            raise TemplateSyntaxError("an include needs a name in quotes", found.lineno, f"{template.name}{SUFFIX}")
        try:
            self.environment.get_template(found.template.value)
        except TemplateNotFound as error:
            said = f"no template {found.template.value!r} to include in {self.place}"
            raise TemplateSyntaxError(said, found.lineno, f"{template.name}{SUFFIX}") from error

    def _is_outside(self, name: str) -> bool:
        """Say whether another process must render a template: in a server, for a user's own, or if it includes one."""
        return outside.WORKERS.in_use and self._takes_own(name)

    def _takes_own(self, name: str) -> bool:
        if name not in self._with_own:
            parts = () if name in self.own else meta.find_referenced_templates(self.tree(name))
            found = (self._takes_own(part.removesuffix(SUFFIX)) for part in parts if part)
            self._with_own[name] = name in self.own or any(found)
        return self._with_own[name]

    def _known(self) -> list[Template]:
        return [self.template(each) for each in {*TEMPLATES, *self.own}]

    @cached_property
    def _packed(self) -> bytes:
        return outside.packed([*self.own.values()])

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except BundlewiseError:
            raise
        except Exception as error:  # The outermost handler of a template: each exception is the template's fault.
            raise self.fault(name, error) from error


def read_library(folder: Path) -> Library:
    """Read a folder of a user's own templates; shipped templates are used for all other names.

    Files `NAME.jinja` replace templates, or are parts that templates include. Files `NAME.VARIANT.jinja` are variants
    for comparisons.

    Raises:
        UsageError: there is no such folder, or no template in it.
        DataError: a template in it cannot be used; the shipped one never replaces it silently.
    """
    in_force = [path for path in files_in(folder) if path.name == f"{stem_of(path)}{SUFFIX}"]
    library = Library({stem_of(path): read_template(path) for path in in_force}, folder)
    for name in library.own:
        library.check(name)
    return library


def files_in(folder: Path) -> list[Path]:
    """Return the template files of a folder, including variants, sorted by name.

    Raises:
        UsageError: there is no such folder, or no template in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder} with prompts; check --prompts and {VARIABLE}")
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        remedy = f"start one: bundlewise --prompts {folder} prompts new judge"
        raise UsageError(f"{folder} holds no prompts, files NAME{SUFFIX}; {remedy}")
    return found


SHIPPED = Library()
_USED: ContextVar[Library | None] = ContextVar("library", default=None)


@cache
def _from_folder(folder: Path) -> Library:
    return read_library(folder)


def folder_in_force() -> Path | None:
    """Return the folder of the user's own templates, without reading it; None if there is none."""
    used, folder = _USED.get(), os.environ.get(VARIABLE)
    if used is not None:
        return used.folder
    return Path(folder) if folder else None


def current() -> Library:
    """Return the templates in use: those of `using`, of the folder in BUNDLEWISE_PROMPTS, or the shipped ones.

    A folder is read once per process, so that prompts never change during a run.
    """
    used = _USED.get()
    if used is not None:
        return used
    folder = folder_in_force()
    return _from_folder(folder) if folder else SHIPPED


@contextmanager
def using(library: Library) -> Iterator[Library]:
    """Use a library in the block, and in the threads that a graph starts there."""
    token = _USED.set(library)
    try:
        yield library
    finally:
        _USED.reset(token)


def forget() -> None:
    """Forget the folders that were read, so that they are read again."""
    _from_folder.cache_clear()
