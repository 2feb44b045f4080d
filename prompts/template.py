"""Read a template's file: front matter in YAML that describes it, and the Jinja body that is rendered."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bundlewise.domain import Record
from bundlewise.errors import DataError
from bundlewise.inputs import BOM
from bundlewise.strictly import read_yaml

SUFFIX = ".jinja"
MOST_BYTES = 100_000
MOST_FRONT = 20_000
"""Characters of front matter: reading YAML takes a server's time."""
FENCE = "---"
NEEDED = {"name", "version"}
"""Fields that identify lines as front matter."""
INVISIBLE = "\u200b\u2060\ufeff"
_DASHES = re.compile(r"-*[\u2010-\u2015\u2212][-\u2010-\u2015\u2212]*")
"""A line that is probably meant as a fence, because editors may turn three dashes into one long dash."""
_DASH = re.compile(r"[\u2010-\u2015\u2212]")
_MARKS = re.compile(r"""["']?(?:([^\w\s{}|#<>()"'\[\]])\1+|\u2014)["']?(?:ya?ml)?""")
"""A line of one repeated mark, which other programs use as a fence."""
SCALARS = ("item", "text", "int", "bool")
"""`item` is text from shops, shoppers and models, which a filter must keep on one line; `text` is our own text."""
Role = Literal["prompt", "system", "user", "partial", "wording"]


class Variable(Record):
    """A variable of a template.

    `type` is one of `SCALARS`, a list of one type, or an object of types by field.
    """

    type: Any
    about: str
    example: Any


class FrontMatter(Record):
    """The description of a template in its file; it is not rendered, so it is not part of the fingerprint.

    `role` is the use of the text: the whole text for a model that completes (prompt), a chat message (system, user), a
    part of other templates (partial), or the wording of knowledge records (wording). `system` names the template of
    the system message. `output` is the form of the model's answer: a JSON Schema, or the name of a contract. `held`
    says that a grammar enforces this form, so that the text need not describe it.
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
    """The content of a template's file: its path, its front matter as text, and its body; lines count from 1."""

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
        """The front matter; None if there is none.

        Raises:
            DataError: the front matter is invalid; the message names file and line.
        """
        return _front(self) if self.head else None

    def with_body(self, body: str) -> "Template":
        """Return the template with another body under the same front matter."""
        return replace(self, body=body.rstrip("\n") + "\n")

    def at(self, line: int) -> str:
        """Return the path, and the line of the file for a line of the body."""
        return f"{self.path}, line {line + self.before}"


def stem_of(path: Path) -> str:
    """Return the name of the template in a file; `judge.terse.jinja` is a variant of `judge`."""
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
    """Split a file's content into front matter and body; line ends of all systems are accepted.

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
    text = text.lstrip(BOM).replace("\r\n", "\n").replace("\r", "\n")
    head = _head(path, text)
    if len(head) > MOST_FRONT:
        what = f"{len(head):,} characters of front matter, a template has at most {MOST_FRONT:,}"
        raise DataError(f"{path}, line 1: {what}; shorten its examples")
    return Template(name, path, head, text[len(head) :])


def _head(path: str, text: str) -> str:
    """Return the front matter with its fences and the blank lines before it; empty if there is none.

    Raises:
        DataError: it begins or ends wrongly; otherwise its YAML would be rendered.
    """
    start = len(text) - len(text.lstrip())
    lines = text[start:].split("\n")
    before = text.count("\n", 0, start)
    # Blanks before the first text belong to its line.
    start = text.rfind("\n", 0, start) + 1
    if not _is_fence(lines[0]):
        _refuse_half_fences(lambda line: f"{path}, line {before + line}", lines)
        return ""
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if end is None:
        raise DataError(f"{path}, line {before + 1}: the front matter does not end; put a line {FENCE} after it")
    _refuse_second(lambda line: f"{path}, line {before + line}", lines, end + 1)
    length = sum(len(line) + 1 for line in text[start:].split("\n")[: end + 1])
    return text[: start + length]


def _refuse_second(where: Callable[[int], str], lines: list[str], start: int) -> None:
    """Raise a DataError if the body begins with front matter again."""
    rest = lines[start:]
    first = next((number for number, line in enumerate(rest) if line.strip()), None)
    if first is not None and _is_like_fence(rest[first]) and any(map(_is_field, rest[first + 1 : first + 2])):
        raise DataError(f"{where(start + first + 1)}: front matter occurs twice; keep one of them")


def _is_fence(line: str) -> bool:
    return line.strip().strip(INVISIBLE).strip() == FENCE


def _refuse_half_fences(where: Callable[[int], str], lines: list[str]) -> None:
    """Raise a DataError if the first line is almost a fence, or if front matter does not begin the file."""
    first = lines[0].strip()
    end = next((number for number, line in enumerate(lines[1:], 1) if _is_like_fence(line)), 0)
    if first.startswith(FENCE) or _DASHES.fullmatch(first) or (_is_like_fence(first) and _holds_fields(lines[1:], end)):
        what = f"{first[:40]!r} begins no front matter"
        raise DataError(f"{where(1)}: {what}; write {FENCE} and nothing else on the line")
    fences = [number for number, line in enumerate(lines) if _is_fence(line)]
    if _is_field(first) and (fences or _fields(lines) >= NEEDED):
        raise DataError(f"{where(1)}: front matter without its beginning; put a line {FENCE} before it")
    for fence in fences[:-1]:
        if any(map(_is_field, lines[fence + 1 : fence + 2])):
            raise DataError(f"{where(fence + 1)}: front matter has to begin the file; move what is before it after it")


def _is_like_fence(line: str) -> bool:
    """Say whether a line looks like a fence of any marks: `--`, `- - -`, `+++`, `***`, `~~~`, "```yaml"."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", line) if unicodedata.category(c)[0] not in "CZ")
    return _MARKS.fullmatch(seen if len(seen) == 1 else _DASH.sub("-", seen)) is not None


def _holds_fields(lines: list[str], end: int) -> bool:
    """Say whether lines are front matter: fields before a line like a fence, or several fields without one."""
    found = _fields(lines[: end - 1] if end else lines)
    return len(found) > 1 or (bool(found) and end > 0 and any(map(_is_field, lines[:1])))


def _fields(lines: list[str]) -> set[str]:
    """Return the fields of front matter that begin at the left margin of lines."""
    return {line.partition(":")[0].strip() for line in lines if line[:1].strip() and _is_field(line)}


def _is_field(line: str) -> bool:
    found = re.match(r"(\w+)\s*:", line.strip())
    return found is not None and found[1] in FrontMatter.model_fields


def _front(template: Template) -> FrontMatter:
    blank = len(template.head) - len(template.head.lstrip())
    before = template.head.count("\n", 0, blank) + 1
    inner = template.head[blank:].split("\n", 1)[1].rstrip().removesuffix(FENCE)
    remedy = "write it as YAML, with quotes around text that holds a colon"
    found = read_yaml(inner, template.path, remedy, before, about="front matter: ")
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
    """Return the line of the innermost key of a place in the front matter, or 1."""
    lines = head.split("\n")
    for key in reversed(place):
        for number, line in enumerate(lines, 1):
            if re.match(rf"\s*{re.escape(str(key))}\s*:", line):
                return number
    return 1


def _wrong_type(kind: Any) -> Any:
    """Return the invalid part of a type; None if the type is valid."""
    if isinstance(kind, list):
        return _wrong_type(kind[0]) if len(kind) == 1 else kind
    if isinstance(kind, dict):
        return next((wrong for part in kind.values() if (wrong := _wrong_type(part))), None)
    return None if kind in SCALARS else kind
