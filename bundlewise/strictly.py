"""Read JSON and YAML strictly: a key that occurs twice in one object is an error."""

import json
import unicodedata
from typing import Any

from bundlewise.errors import DataError

KEEP_ONE = "keep one of them"
MOST_PARTS = 100_000
"""The most values, keys and lists of a YAML text, each counted as often as aliases repeat it."""
MERGE = "tag:yaml.org,2002:merge"
"""The tag of `<<`, which includes the keys of another mapping."""
ORDERED = "tag:yaml.org,2002:omap"
"""The tag of an ordered mapping, which is written as a list of single pairs."""


class RepeatedKey(ValueError):
    """A key that occurs twice in one object, so that its value is ambiguous."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict: a hook for `json.loads`.

    Raises:
        RepeatedKey: a key occurs twice.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise RepeatedKey(f"the key {name[:60]!r} occurs twice in one object")
        found[name] = value
    return found


def refuse_repeated_keys(text: str | bytes, where: str) -> None:
    """Check that no key of a JSON text occurs twice in one object.

    Raises:
        DataError: a key occurs twice; the message begins with `where`.
    """
    try:
        json.loads(text, object_pairs_hook=once)
    except RepeatedKey as error:
        raise DataError(f"{where}: {error}; {KEEP_ONE}") from error


def read_yaml(text: str, path: str, remedy: str, before: int = 0, about: str = "") -> Any:
    """Return the value of a YAML text whose mappings have each key once.

    Args:
        text: the YAML.
        path: the file that contains the text, for messages.
        remedy: the remedy for invalid YAML, for messages.
        before: the number of lines in the file before the text.
        about: the part of the file, for messages.

    Raises:
        DataError: it is not YAML, a key occurs twice, or aliases repeat too much; the message names file and line.
    """
    import yaml

    loader = yaml.SafeLoader(text) if not (odd := _unreadable(text)) else None
    if loader is None:
        raise DataError(f"{path}, line {before + odd}: {about}holds a control character; {remedy}")
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if twice := _repeated(loader, node):
            name, first, second = twice
            lines = f"in line {before + first} and in line {before + second}"
            raise DataError(f"{path}, line {before + second}: {about}{name!r} occurs twice, {lines}; {KEEP_ONE}")
        if wrong := _endless(node):
            raise DataError(f"{path}, line {before + wrong[1]}: {about}{wrong[0]}; write it out without aliases")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}, line {before + line}: {about}{error.problem}; {remedy}") from error
    except (ValueError, RecursionError) as error:  # An impossible date, for example, or endless brackets.
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}, line {before + 1}: {about}not YAML ({reason}); {remedy}") from error
    finally:
        loader.dispose()


def _unreadable(text: str) -> int:
    """Return the line of the first character that YAML forbids; 0 if there is none."""
    from yaml.reader import Reader

    found = Reader.NON_PRINTABLE.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _endless(top: Any) -> tuple[str, int] | None:
    """Return the fault of aliases and its line: a part that contains itself, or too many copies; None without fault."""
    sizes: dict[int, int] = {}
    inside = set[int]()

    def within_itself(node: Any) -> int:
        """Return the line of a part that contains itself, or 0; record the part's size."""
        if id(node) in inside:
            return int(node.start_mark.line) + 1
        if id(node) in sizes:
            return 0
        inside.add(id(node))
        parts = node.value if isinstance(node.value, list) else []
        below = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
        found = next((line for each in below if (line := within_itself(each))), 0)
        inside.discard(id(node))
        sizes[id(node)] = 1 + sum(sizes.get(id(each), 0) for each in below)
        return found

    if line := within_itself(top):
        return "an alias is inside the part that it refers to", line
    return (f"aliases make {sizes[id(top)]:,} values of it", 1) if sizes[id(top)] > MOST_PARTS else None


def _repeated(loader: Any, top: Any) -> tuple[str, int, int] | None:
    """Return the first key that occurs twice in one mapping of a YAML text, and its two lines."""
    import yaml

    waiting, seen = [top], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # An alias refers to a part that is checked where it is written.
            continue
        seen.add(id(node))
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
            if node.tag == ORDERED:
                pairs = [pair for part in node.value if isinstance(part, yaml.MappingNode) for pair in part.value]
        lines: dict[Any, int] = {}
        for key, _ in pairs:
            line = key.start_mark.line + 1
            plain = isinstance(key, yaml.ScalarNode) and key.tag != MERGE
            name = loader.construct_object(key, deep=True) if plain else (key.tag, str(key.value))
            name = unicodedata.normalize("NFC", name) if isinstance(name, str) else name
            if name in lines:
                return str(key.value)[:60], lines[name], line
            lines[name] = line
        if isinstance(node, yaml.MappingNode):
            waiting += [part for _, part in reversed(node.value)]
    return None
