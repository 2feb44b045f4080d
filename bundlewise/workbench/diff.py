"""The difference between two sets of prompts in the texts that they render for real sessions."""

from collections.abc import Sequence
from difflib import unified_diff

from bundlewise.domain import Record, Session
from bundlewise.errors import UsageError
from bundlewise.prompts.library import using
from bundlewise.workbench.preview import Rendered, World, rendered
from bundlewise.workbench.variants import Variant


class TemplateDifference(Record):
    """A template whose prompts differ: the number of sessions, the tokens per prompt, and the lines that differ."""

    template: str
    differ: int
    of: int
    tokens: float | None
    samples: tuple[tuple[str, str], ...]


def differences(
    a: Variant, b: Variant, sessions: Sequence[Session], worlds: Sequence[World], shown: int
) -> list[TemplateDifference]:
    """Return the differences in the rendered prompts of each template that is not the same in both sets.

    `samples` has for the first few sessions that differ what they are about, and a unified diff.
    """
    found = []
    for name in _asked(a, b):
        pairs = [_pair(name, a, b, session, world) for session, world in zip(sessions, worlds, strict=True)]
        differ = [(x, y) for x, y in pairs if _text(x) != _text(y)]
        samples = tuple((y[0].about if y else x[0].about, _diff(a, b, x, y)) for x, y in differ[:shown])
        deltas = [_tokens(y) - _tokens(x) for x, y in pairs if x and None not in (_tokens(x), _tokens(y))]  # type: ignore[operator]
        mean = round(sum(deltas) / len(deltas), 1) if deltas else None
        found.append(TemplateDifference(template=name, differ=len(differ), of=len(pairs), tokens=mean, samples=samples))
    return found


def _asked(a: Variant, b: Variant) -> list[str]:
    """Return the templates whose prompts may differ; a changed part counts in the templates that include it."""
    return [name for name in a.differs(b) if a.library.front(name).role != "partial"]


def _pair(name: str, a: Variant, b: Variant, session: Session, world: World) -> tuple[list[Rendered], list[Rendered]]:
    found = []
    for variant in (a, b):
        with using(variant.library):
            try:
                found.append(rendered(name, session, world))
            except UsageError:  # Neither set asks about this session.
                found.append([])
    return found[0], found[1]


def _text(prompts: Sequence[Rendered]) -> str:
    return "".join(f"# {prompt.about}\n{prompt.text.rstrip()}\n" for prompt in prompts)


def _tokens(prompts: Sequence[Rendered]) -> int | None:
    counts = [prompt.tokens for prompt in prompts]
    return None if None in counts else sum(count or 0 for count in counts)


def _diff(a: Variant, b: Variant, x: Sequence[Rendered], y: Sequence[Rendered]) -> str:
    lines = unified_diff(_text(x).splitlines(), _text(y).splitlines(), a.name, b.name, lineterm="", n=1)
    return "\n".join(lines)
