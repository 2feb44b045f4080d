"""Prompts by name: built in, in force, in a folder or file, or a variant beside the user's own templates."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from bundlewise.errors import UsageError
from bundlewise.files import write_bytes, write_text
from bundlewise.prompts.allowance import allowance
from bundlewise.prompts.library import (
    SHIPPED,
    TEMPLATES,
    Library,
    check_name,
    current,
    folder_in_force,
    forget,
    read_library,
    shipped,
)
from bundlewise.prompts.template import SUFFIX, Template, parse_template, read_template, stem_of
from bundlewise.workbench.cases import ENDING
from bundlewise.workbench.questions import as_object

WAYS = f"shipped, current, a template's name, NAME.VARIANT in your folder, a folder, or a file NAME{SUFFIX}"


@dataclass(frozen=True)
class Variant:
    """A library of templates with the name that the user gave."""

    name: str
    library: Library

    def differs(self, other: "Variant") -> list[str]:
        """Return the names of the templates that differ."""
        return [name for name in TEMPLATES if self.library.fingerprint(name) != other.library.fingerprint(name)]


def variant_named(spec: str) -> Variant:
    """Return the prompts that a name stands for; templates that it does not name are those in force.

    Raises:
        UsageError: the name stands for no prompts.
        DataError: a template among them cannot be used.
    """
    if spec == "shipped":
        return Variant(spec, SHIPPED)
    if spec == "current" or spec in TEMPLATES:
        return Variant(spec, current())
    if Path(spec).is_dir():
        return Variant(spec, read_library(Path(spec)))
    path = _file_named(spec)
    if not path.is_file():
        raise UsageError(f"no prompts named {spec!r}; give {WAYS}")
    check_name(stem_of(path))
    return Variant(spec, current().replacing(read_template(path)))


def variants_named(specs: list[str]) -> list[Variant]:
    """Return the prompts that names stand for; the others are compared with the first.

    Raises:
        UsageError: two of them render the same.
    """
    found = [variant_named(spec) for spec in specs]
    for place, later in enumerate(found):
        for earlier in found[:place]:
            if not later.differs(earlier):
                raise UsageError(f"{earlier.name} and {later.name} are the same prompts; change one of them first")
    return found


def find_template(name: str) -> Template:
    """Return a template in force, a variant or a file, by name.

    Raises:
        UsageError: there is no such template.
    """
    if name in TEMPLATES:
        return current().template(name)
    path = _file_named(name)
    if not path.is_file():
        check_name(name)
    return read_template(path)


def _file_named(spec: str) -> Path:
    """Return the file with this path, or a path in the folder in force, where the file may be missing."""
    path, folder = Path(spec), folder_in_force()
    return path if path.is_file() or folder is None else folder / f"{spec.removesuffix(SUFFIX)}{SUFFIX}"


def copy_template(name: str, folder: Path, variant: str | None = None) -> list[Path]:
    """Copy a template in force, with its test cases, into a folder; return the files written.

    Raises:
        UsageError: there is no such template, or the folder has one of that name.
    """
    check_name(name)
    path = folder / f"{name}{'' if variant is None else f'.{_word(variant)}'}{SUFFIX}"
    if path.exists():
        raise UsageError(f"{path} exists already; edit it, or choose another --variant")
    write_text(path, _with_head(_in_force(name)))
    written, cases = [path], folder / f"{name}{ENDING}"
    resource = files("bundlewise.prompts").joinpath(f"{name}{ENDING}")
    if variant is None and resource.is_file() and not cases.exists():
        write_bytes(cases, resource.read_bytes())
        written.append(cases)
    return written


def _in_force(name: str) -> Template:
    """Return a template in force, reading only its file, since the folder may be new or have a broken template."""
    folder = folder_in_force()
    path = folder / f"{name}{SUFFIX}" if folder else None
    return read_template(path) if path and path.is_file() else shipped(name)


def _with_head(template: Template) -> str:
    """Return a template as the text of a file, with the built-in front matter if it has none."""
    return (template.head or shipped(template.name).head) + template.body


def _word(variant: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", variant):
        raise UsageError(f"a variant is a word of letters, digits, - and _, got {variant!r}")
    return variant


def edited(name: str, text: str) -> Template:
    """Return the user's own template from the text of a file, with or without front matter.

    Raises:
        DataError: the template cannot be used; the message names line and remedy.
    """
    return library_with(name, text).template(name)


def library_with(name: str, text: str) -> Library:
    """Return the templates in force, with another text for one of them.

    Raises:
        DataError: the template cannot be used; the message names line and remedy.
    """
    check_name(name)
    found = parse_template(name, f"{name}{SUFFIX}", text.encode(errors="replace"))
    with allowance():
        library = current().replacing(found)
        # Rendering the examples shows the faults that reading does not.
        library.render(name, {key: as_object(told.example) for key, told in library.front(name).variables.items()})
    return library


def save_template(name: str, text: str, folder: Path) -> Path:
    """Write a usable template into the user's own folder; it is in force when the folder is read the next time.

    Raises:
        DataError: the template cannot be used, and nothing is written.
    """
    template = edited(name, text)
    path = folder / f"{name}{SUFFIX}"
    write_text(path, _with_head(template))
    forget()
    return path
