"""What differs between two sets of prompts, as models see it: in what is rendered for real sessions."""

from collections.abc import Sequence
from difflib import unified_diff

from bundlewise.domain import Record, Session
from bundlewise.errors import UsageError
from bundlewise.prompts.library import using
from bundlewise.workbench.preview import Rendered, World, rendered
from bundlewise.workbench.variants import Variant


class TemplateDifference(Record):
    """A template whose prompts differ: for how many of the sessions, by how many tokens a prompt, and the lines."""

    template: str
    differ: int
    of: int
    tokens: float | None
    samples: tuple[tuple[str, str], ...]


def differences(
    a: Variant, b: Variant, sessions: Sequence[Session], worlds: Sequence[World], shown: int
) -> list[TemplateDifference]:
    """Return for each template that is not the same in both what it renders differently over the sessions.

    `samples` holds for the first few sessions that differ what they are about, and a unified diff.
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
    """Return the templates whose prompts may differ; a part shows in those that include it."""
    return [name for name in a.differs(b) if a.library.front(name).role != "partial"]


def _pair(name: str, a: Variant, b: Variant, session: Session, world: World) -> tuple[list[Rendered], list[Rendered]]:
    found = []
    for variant in (a, b):
        with using(variant.library):
            try:
                found.append(rendered(name, session, world))
            except UsageError:  # This session is not asked about, which is the same for both.
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
