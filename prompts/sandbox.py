"""The sandbox for templates: it blocks access to Python and random values, and limits loops and texts."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.filters import FILTERS
from jinja2.meta import TrackingCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context

from bundlewise import text

MOST_STEPS = 200_000
"""The most turns of loops, calls and includes in one rendering; thirty products have 435 pairs."""
MOST_SECONDS = 5.0
MOST_CHARACTERS = 1_000_000
MOST_NUMBERS = 10_000
TITLES = 4096
"""The most titles whose kind is cached; a title occurs in one question for each other product of its session."""
_kind_of_text = lru_cache(TITLES)(text.kind)


def _kind(title: Any) -> str:
    return _kind_of_text(title) if isinstance(title, str) else text.kind(title)


OURS: dict[str, Callable[..., Any]] = {
    "line": text.line,
    "short": text.short,
    "kind": _kind,
    "shared_words": text.shared_words,
}
"""Our filters, which read titles; their source code is part of an adapter's fingerprint."""
SAFE_FILTERS = {
    *("abs", "attr", "capitalize", "count", "default", "dictsort", "first", "float", "groupby"),
    *("int", "items", "last", "length", "list", "lower", "map", "max", "min"),
    *("reject", "rejectattr", "reverse", "round", "select", "selectattr", "sort", "string", "sum"),
    *("title", "trim", "truncate", "unique", "upper", "wordcount"),
}
RANDOM = {"random", "lipsum", "now"}
FILTERS_KNOWN = sorted({*SAFE_FILTERS, *OURS, "join", "replace"})
SAFE_METHODS = {
    *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum"),
    *("isalpha", "isdigit", "islower", "isnumeric", "istitle", "isupper", "lower"),
    *("lstrip", "partition", "removeprefix", "removesuffix", "rfind", "rpartition", "rsplit"),
    *("rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title"),
    "upper",
}
"""Methods of texts that are safe, because they never make a text longer."""


class LimitError(TemplateRuntimeError):
    """A template that takes too many steps, or makes something too large."""


class _Budget:
    """The steps and the time of one rendering."""

    def __init__(self) -> None:
        self.steps = 0
        self.until = time.thread_time() + MOST_SECONDS

    def charge(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise LimitError(f"more than {MOST_STEPS:,} turns of loops and calls; let it end sooner")
        if self.steps % 16 == 0 and time.thread_time() > self.until:
            raise LimitError(f"more than {MOST_SECONDS:.0f} s of work; do less in it")


_BUDGET: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def budget() -> Iterator[None]:
    """Give the rendering in the block a budget; an inner block shares the budget of the outer one."""
    if _BUDGET.get(None) is not None:
        yield
        return
    token = _BUDGET.set(_Budget())
    try:
        yield
    finally:
        _BUDGET.reset(token)


def rendered(template: Template, variables: Mapping[str, Any]) -> str:
    """Return the text of a template within a budget; half a character (a lone surrogate) is an error."""
    with budget():
        found = str(template.render(variables))
    if not found.isascii():
        found.encode()
    return found


def _charge() -> None:
    _BUDGET.get().charge()


def _sized(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise LimitError(f"a text of {length:,} characters, more than {MOST_CHARACTERS:,}; write less")


def bounded(parts: Iterable[Any]) -> str:
    """Join texts; a result that is too long is a LimitError."""
    texts, length = [], 0
    for part in parts:
        found = part if isinstance(part, str) else str(part)
        length += len(found)
        _sized(length)
        texts.append(found)
    return "".join(texts)


# Jinja never evaluates a filter with `pass_context` at compile time, where no limit applies.
@pass_context
def _counted(_: Context, values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values of a loop, and count each as a turn."""
    for value in values:
        _charge()
        yield value


@pass_context
def _concatenated(_: Context, values: Sequence[Any]) -> str:
    return bounded(_plain(value) for value in values)


@pass_context
def _join(context: Context, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Join values as texts with a separator."""
    if attribute is not None:
        values = context.environment.filters["map"](context, values, attribute=attribute)
    texts = [value if isinstance(value, str) else _plain(value) for value in _counted(context, values)]
    _sized(sum(map(len, texts)) + len(d) * len(texts))
    return d.join(texts)


@pass_context
def _replace(_: Context, value: Any, old: str, new: str, count: int = -1) -> str:
    """Replace a text in a text."""
    found = str(value)
    _sized(len(found) + found.count(old) * len(new))
    return found.replace(old, new, count)


def _plain(value: Any) -> str:
    """Return the printed form of a text or a number; other values are errors."""
    return str(_printed(value))


@pass_context
def _finalized(_: Context, value: Any) -> Any:
    return _printed(value)


def _printed(value: Any) -> Any:
    if isinstance(value, (str, int, float, Undefined)):
        return value
    if value is None:
        raise TemplateRuntimeError("None is printed; print it only if it has a value, by {% if %}")
    remedy = 'join its parts: {{ things | join(", ") }}' if isinstance(value, Iterable) else "print one of its fields"
    raise TemplateRuntimeError(f"{type(value).__name__} is printed as Python writes it; {remedy}")


def _numbers(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MOST_NUMBERS:
        raise LimitError(f"range of {len(found):,} numbers, more than {MOST_NUMBERS:,}; loop over what is given")
    return found


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """A stricter form of Jinja's sandbox: undefined, unsafe, random, endless or huge values are errors."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(bounded)

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(loader=loader, undefined=StrictUndefined, finalize=_finalized, auto_reload=False)
        # Without the optimizer nothing is evaluated at compile time, where no limit applies and no line is known.
        self.optimized = False
        self.filters = {name: FILTERS[name] for name in SAFE_FILTERS} | OURS
        self.filters |= {"join": _join, "replace": _replace, "counted": _counted, "concatenated": _concatenated}
        self.globals = {"range": _numbers, "dict": dict, "namespace": self.globals["namespace"]}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse a template, and add a counter to every loop and a length check to every concatenation."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise TemplateSyntaxError("recursive loops are not allowed", loop.lineno, name, filename)
            loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
        return _measured(tree)

    def names_from_outside(self, tree: nodes.Template) -> set[str]:
        """Return the names that a template expects, without evaluating any part of it."""
        found = TrackingCodeGenerator(self)
        found.optimizer = None
        found.visit(tree)
        return found.undeclared_identifiers - self.globals.keys()

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return a template's globals as one dict, because Jinja's chain of dicts is slower at each rendering."""
        return {**self.globals, **(d or {})}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Evaluate an operator within the limits."""
        _charge()
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise LimitError(f"the operator {operator} is not allowed here")
        if operator == "*":
            for thing, times in ((left, right), (right, left)):
                if isinstance(thing, str | Sequence) and isinstance(times, int):
                    _sized(len(thing) * max(0, times))
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, str | Sequence):
            _sized(len(found))
        elif isinstance(found, int) and abs(found) > 10**18:
            raise LimitError("a number is too large; use smaller numbers")
        return found

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a macro or method, and count it as a turn."""
        _charge()
        return super().call(__context, __obj, *args, **kwargs)

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Any:
        """Include another template, and count it as a turn."""
        if _BUDGET.get(None) is not None:
            _charge()
        return super().get_template(name, parent, globals)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow only those methods of texts that never make them longer."""
        if isinstance(obj, str) and callable(value):
            return attr in SAFE_METHODS
        return super().is_safe_attribute(obj, attr, value)


def _measured(tree: nodes.Template) -> nodes.Template:
    """Replace `a ~ b`, which Jinja joins without limit, by a filter with a limit."""

    def walk(node: nodes.Node) -> None:
        for name, value in node.iter_fields():
            if isinstance(value, nodes.Concat):
                setattr(node, name, _bounded_concat(value))
            elif isinstance(value, list):
                value[:] = [_bounded_concat(v) if isinstance(v, nodes.Concat) else v for v in value]
        for child in node.iter_child_nodes():
            walk(child)

    walk(tree)
    return tree


def _bounded_concat(node: nodes.Concat) -> nodes.Filter:
    parts = nodes.List(node.nodes, lineno=node.lineno)
    return nodes.Filter(parts, "concatenated", [], [], None, None, lineno=node.lineno)
