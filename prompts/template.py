"""A template as a file: front matter in YAML that says what it is for, and the Jinja body that is rendered."""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from bundlewise.domain import Record
from bundlewise.errors import DataError

SUFFIX = ".jinja"
MOST_BYTES = 100_000
FENCE = "---"
SCALARS = ("item", "text", "int", "bool")
"""`item` is text from shops, shoppers and models, which a filter must keep on its line; `text` is our own."""
Role = Literal["prompt", "system", "user", "partial", "wording"]


class Variable(Record):
    """What a template is given under a name.

    `type` is one of `SCALARS`, a list of one type, or an object of types by field.
    """

    type: Any
    about: str
    example: Any


class FrontMatter(Record):
    """What a template's file says of it; none of it is rendered, so none of it is in the fingerprint.

    `role`: the whole text for a model that completes (prompt), a chat message (system, user), a part of others
    (partial), or the wording of knowledge records (wording). `system` names the template of the message before.
    `output` is what the model is to answer: JSON Schema, or the name of a contract; `held` says that a grammar
    holds it to that, so that the text need not tell.
    """

    name: str
    version: int = Field(ge=1)
    purpose: str
    role: Role
    system: str = ""
    used_by: tuple[str, ...]
    variables: dict[str, Variable]
    output: dict[str, Any] | None = None
    held: bool = False


@dataclass(frozen=True)
class Template:
    """A template's file, read: where it is, its front matter as text, and its body; lines count from 1."""

    name: str
    path: str
    head: str
    body: str

    @property
    def before(self) -> int:
        """The number of lines before the body."""
        return self.head.count("\n")

    @property
    def text(self) -> str:
        """The whole file."""
        return self.head + self.body

    @cached_property
    def front(self) -> FrontMatter | None:
        """The front matter, if there is any.

        Raises:
            DataError: it cannot be understood; names file and line.
        """
        return _front(self) if self.head else None

    def with_body(self, body: str) -> "Template":
        """Return the template with another body under the same front matter."""
        return replace(self, body=body.rstrip("\n") + "\n")

    def at(self, line: int) -> str:
        """Name a line of the body as a line of the file."""
        return f"{self.path}, line {line + self.before}"


def stem_of(path: Path) -> str:
    """Return the name of the template that a file is or stands for: `judge.terse.jinja` is a variant of `judge`."""
    return path.name.removesuffix(SUFFIX).partition(".")[0]


def read_template(path: Path) -> Template:
    """Read a template's file.

    Raises:
        DataError: it cannot be read, is not UTF-8, is too long, or its front matter does not end.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check path and permissions") from error
    return parse_template(stem_of(path), str(path), content)


def parse_template(name: str, path: str, content: bytes) -> Template:
    """Take a file's content apart; line ends of any kind are the same.

    Raises:
        DataError: it is not UTF-8, too long, or its front matter does not end.
    """
    if len(content) > MOST_BYTES:
        raise DataError(
            f"{path}: {len(content):,} bytes, a template has at most {MOST_BYTES:,}; pass data as variables"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.startswith(f"{FENCE}\n"):
        return Template(name, path, "", text)
    end = re.compile(rf"^{FENCE}[ \t]*\n", re.MULTILINE).search(text, len(FENCE) + 1)
    if end is None:
        raise DataError(f"{path}, line 1: the front matter does not end; put a line {FENCE} after it")
    return Template(name, path, text[: end.end()], text[end.end() :])


def _front(template: Template) -> FrontMatter:
    inner = template.head.split("\n", 1)[1].rsplit(FENCE, 1)[0]
    try:
        found = yaml.safe_load(inner)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        remedy = "write it as YAML, with quotes around text that holds a colon"
        raise DataError(f"{template.path}, line {line}: front matter: {error.problem}; {remedy}") from error
    try:
        front = FrontMatter.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "it"
        line = _line_of(template.head, fault["loc"])
        remedy = "compare with `bundlewise prompts show judge`"
        raise DataError(
            f"{template.path}, line {line}: front matter: {field}: {fault['msg'].lower()}; {remedy}"
        ) from error
    for name, variable in front.variables.items():
        if wrong := _wrong_type(variable.type):
            line = _line_of(template.head, (name,))
            remedy = f"choose {', '.join(SCALARS)}, a list of one of them, or an object of them"
            raise DataError(f"{template.path}, line {line}: front matter: type of {name}: no type {wrong!r}; {remedy}")
    return front


def _line_of(head: str, place: tuple[Any, ...]) -> int:
    """Return the line of the front matter where the innermost key of a place stands, or the first."""
    lines = head.split("\n")
    for key in reversed(place):
        for number, line in enumerate(lines, 1):
            if re.match(rf"\s*{re.escape(str(key))}\s*:", line):
                return number
    return 1


def _wrong_type(kind: Any) -> Any:
    """Return the part of a type that is none."""
    if isinstance(kind, list):
        return _wrong_type(kind[0]) if len(kind) == 1 else kind
    if isinstance(kind, dict):
        return next((wrong for part in kind.values() if (wrong := _wrong_type(part))), None)
    return None if kind in SCALARS else kind
