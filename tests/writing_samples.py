"""Students for tests of whole answers: one writes by a script, one knows how good a grouping is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.engine import Judgement
from bundlewise.agents.student.tokens import Progress, Prompt, Written

Opinion = Callable[[list[str], list[list[int]]], float]
"""The log-likelihood of bundles (product numbers from 1) of the titles in a prompt."""


def titles_of(prompt: Prompt) -> list[str]:
    """Return the titles that a prompt asks about, in its order."""
    assert isinstance(prompt, ChatPrompt)
    asked = prompt.user.rpartition("Products:\n")[2]
    return [row.partition(". ")[2] for row in asked.splitlines() if row[:1].isdigit()]


def numbers_of(line: str) -> list[list[int]]:
    """Return the product numbers of a line of bundles."""
    return [[int(number) for number in part.split()] for part in line.strip().split(";")]


@dataclass
class ScriptedWriter:
    """Writes `says` in turn, and scores groupings by its opinion; without an opinion it knows no likelihoods."""

    says: Sequence[str] = ("Set up a desk\n",)
    opinion: Opinion | None = None
    most: int | None = None
    prompts: list[Prompt] = field(default_factory=list)
    grammars: list[str] = field(default_factory=list)
    scored: list[tuple[Prompt, tuple[str, ...]]] = field(default_factory=list)

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Refuse: this student is never asked about pairs."""
        raise AssertionError("asked about pairs")

    def write(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Return the next text for each prompt, and the last one for ever after."""
        return [texts[0] for texts in self.sample(prompts, grammars, 1, progress)]

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return the next `count` texts for each prompt."""
        found = []
        for prompt, grammar in zip(prompts, grammars, strict=True):
            self.prompts.append(prompt)
            self.grammars.append(grammar)
            taken, self.says = [*self.says[:count]], self.says[count:] or self.says[-1:]
            found.append([Written(text, 10, 5) for text in [*taken, *taken[-1:] * count][:count]])
            if progress:
                progress(1)
        return found

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[list[float]] | None:
        """Return the opinion of each grouping; None without one."""
        self.scored += [(prompt, tuple(texts)) for prompt, texts in zip(prompts, answers, strict=True)]
        if self.opinion is None:
            return None
        return [
            [self.opinion(titles_of(prompt), numbers_of(text)) for text in texts]
            for prompt, texts in zip(prompts, answers, strict=True)
        ]

    def fits(self, prompt: JudgePrompt | Prompt) -> bool:
        """Say whether the user's text has at most `most` characters."""
        return self.most is None or (isinstance(prompt, ChatPrompt) and len(prompt.user) <= self.most)


def likes(*together: set[str], strength: float = 40.0) -> Opinion:
    """Return the opinion that exactly these sets of titles are bundles, less so by each other bundle."""

    def opinion(titles: list[str], bundles: list[list[int]]) -> float:
        named = [{titles[number - 1] for number in bundle} for bundle in bundles]
        right = sum(each in named for each in together)
        return -strength * (len(together) + len(named) - 2 * right)

    return opinion
