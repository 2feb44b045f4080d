"""Templates of one's own as files: copied from what is in force, and saved only if they can be used."""

import re
from importlib.resources import files
from pathlib import Path

from bundlewise.errors import UsageError
from bundlewise.files import write_bytes, write_text
from bundlewise.prompts.allowance import allowance
from bundlewise.prompts.library import Library, check_name, current, folder_in_force, forget, shipped
from bundlewise.prompts.template import SUFFIX, Template, parse_template, read_template
from bundlewise.workbench.cases import ENDING
from bundlewise.workbench.questions import as_object


def copy_template(name: str, folder: Path, variant: str | None = None) -> list[Path]:
    """Copy a template in force, with its cases, into a folder; return what was written.

    Raises:
        UsageError: there is no such template, or the folder has one of that name.
    """
    check_name(name)
    path = folder / f"{name}{'' if variant is None else f'.{_word(variant)}'}{SUFFIX}"
    if path.exists():
        raise UsageError(f"{path} is there already; edit it, or choose another --variant")
    write_text(path, _with_head(_in_force(name)))
    written, cases = [path], folder / f"{name}{ENDING}"
    resource = files("bundlewise.prompts").joinpath(f"{name}{ENDING}")
    if variant is None and resource.is_file() and not cases.exists():
        write_bytes(cases, resource.read_bytes())
        written.append(cases)
    return written


def _in_force(name: str) -> Template:
    """Return a template in force; its folder may be new, or hold another one that is broken, so it alone is read."""
    folder = folder_in_force()
    path = folder / f"{name}{SUFFIX}" if folder else None
    return read_template(path) if path and path.is_file() else shipped(name)


def _with_head(template: Template) -> str:
    """Return a template as a file, under the front matter of the one that ships if it has none."""
    return (template.head or shipped(template.name).head) + template.body


def _word(variant: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", variant):
        raise UsageError(f"a variant is a word of letters, digits, - and _, got {variant!r}")
    return variant


def edited(name: str, text: str) -> Template:
    """Return a template of one's own from the text of a file, front matter or not.

    Raises:
        DataError: it cannot be used; names line and remedy.
    """
    return library_with(name, text).template(name)


def library_with(name: str, text: str) -> Library:
    """Return the templates in force with one of them in another text.

    Raises:
        DataError: it cannot be used; names line and remedy.
    """
    check_name(name)
    found = parse_template(name, f"{name}{SUFFIX}", text.encode(errors="replace"))
    with allowance():
        library = current().replacing(found)
        # What only rendering shows is seen on the examples.
        library.render(name, {key: as_object(told.example) for key, told in library.front(name).variables.items()})
    return library


def save_template(name: str, text: str, folder: Path) -> Path:
    """Write a template into one's own folder if it can be used; it is in force from the next look at the folder.

    Raises:
        DataError: it cannot be used, and nothing is written.
    """
    template = edited(name, text)
    path = folder / f"{name}{SUFFIX}"
    write_text(path, _with_head(template))
    forget()
    return path
