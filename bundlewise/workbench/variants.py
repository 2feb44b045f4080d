"""Prompts by name: what ships, what is in force, a folder, a file, or a variant beside one's own templates."""

from dataclasses import dataclass
from pathlib import Path

from bundlewise.errors import UsageError
from bundlewise.prompts.library import SHIPPED, TEMPLATES, Library, check_name, current, folder_in_force, read_library
from bundlewise.prompts.template import SUFFIX, Template, read_template, stem_of

WAYS = f"shipped, current, a template's name, NAME.VARIANT in your folder, a folder, or a file NAME{SUFFIX}"


@dataclass(frozen=True)
class Variant:
    """A library under the name that a user gave it."""

    name: str
    library: Library

    def differs(self, other: "Variant") -> list[str]:
        """Name the templates that are not the same in both."""
        return [name for name in TEMPLATES if self.library.fingerprint(name) != other.library.fingerprint(name)]


def variant_named(spec: str) -> Variant:
    """Return the prompts that a name stands for; everything else in them is as it is in force.

    Raises:
        UsageError: it stands for none.
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
    """Return the prompts that names stand for, the first being what the others are compared with.

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
    """Return a template in force, or a variant or file, by name.

    Raises:
        UsageError: there is none.
    """
    if name in TEMPLATES:
        return current().template(name)
    path = _file_named(name)
    if not path.is_file():
        check_name(name)
    return read_template(path)


def _file_named(spec: str) -> Path:
    """Return the file of this path, or else the one in the folder in force, which may not be there."""
    path, folder = Path(spec), folder_in_force()
    return path if path.is_file() or folder is None else folder / f"{spec.removesuffix(SUFFIX)}{SUFFIX}"
