"""The comparison of several prompts, paired over the same sessions, until it is decided or no session is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

from bundlewise.domain import Prediction, Session
from bundlewise.errors import UsageError
from bundlewise.evaluation.metrics import SessionScore, score_session
from bundlewise.evaluation.scores import Scores
from bundlewise.prompts.render import FORM_TEMPLATES
from bundlewise.workbench.answer_cache import Bench
from bundlewise.workbench.sequential import Look, look_at
from bundlewise.workbench.variants import Variant

LOOK = 16
"""Sessions between two looks (interim results)."""
ALPHA = 0.05
Watch = Callable[["Comparison"], None]


@dataclass
class Entry:
    """A set of prompts with its answers so far, and the looks at its difference to the first set."""

    variant: Variant
    predictions: list[Prediction] = field(default_factory=list)
    scores: list[SessionScore] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether it is decided that it is better, or worse, than the first."""
        return bool(self.looks) and self.looks[-1].decided

    @property
    def row(self) -> Scores:
        """Its row in a table."""
        return Scores(
            self.variant.name,
            self.scores,
            tokens_in=sum(prediction.tokens_in for prediction in self.predictions),
            tokens_out=sum(prediction.tokens_out for prediction in self.predictions),
            seconds=sum(prediction.seconds for prediction in self.predictions),
        )


@dataclass(frozen=True)
class Comparison:
    """Several prompts on the same sessions; the other entries are compared with the first.

    The error `alpha` is shared among the comparisons. At most `planned` sessions are asked about.
    """

    entries: list[Entry]
    sessions: list[Session]
    alpha: float = ALPHA

    @property
    def planned(self) -> int:
        """The largest number of sessions that are asked about."""
        return len(self.sessions)

    @property
    def seen(self) -> int:
        """The number of sessions asked about so far."""
        return len(self.entries[0].scores)

    @cached_property
    def level(self) -> float:
        """The error of one comparison, by Bonferroni's correction."""
        return self.alpha / max(1, len(self.entries) - 1)

    def flips(self, entry: Entry) -> list[int]:
        """Return the sessions whose GJS differs from the GJS under the first prompts, the largest difference first."""
        first = self.entries[0].scores
        changes = {
            n: b.gjs - a.gjs for n, (a, b) in enumerate(zip(first, entry.scores, strict=False)) if b.gjs != a.gjs
        }
        return sorted(changes, key=lambda place: (-abs(changes[place]), place))


def sample(sessions: Sequence[Session], limit: int | None, seed: int) -> list[Session]:
    """Return annotated sessions in a random order that depends only on the seed; a longer sample begins the same.

    Raises:
        UsageError: too few sessions are annotated.
    """
    annotated = [session for session in sessions if session.bundles]
    if len(annotated) < 2:
        raise UsageError(
            f"{len(annotated)} annotated sessions are too few to compare on; give another --split or --data"
        )
    order = sorted(annotated, key=lambda session: sha256(f"{seed}:{session.session_id}".encode()).hexdigest())
    return order[:limit]


def check_student_reads(variants: Sequence[Variant], form: str) -> None:
    """Raise an error for prompts that are the same to a student that answers in a form.

    Raises:
        UsageError: two of them differ only in templates that the student never reads.
    """
    # A repair is written in every form.
    read = {*FORM_TEMPLATES[form], *FORM_TEMPLATES["write"]}
    for later in variants[1:]:
        differ = later.differs(variants[0])
        if not read & set(differ):
            raise UsageError(
                f"{variants[0].name} and {later.name} differ in {', '.join(differ)} alone, which the student does not "
                "read; distil with each and compare what they teach: bundlewise --prompts DIR distil"
            )


def compare(
    variants: Sequence[Variant],
    sessions: Sequence[Session],
    bench: Bench,
    *,
    look: int = LOOK,
    alpha: float = ALPHA,
    watch: Watch | None = None,
) -> Comparison:
    """Ask about the sessions in order, under all prompts, until every comparison is decided or no session is left.

    Args:
        variants: the prompts; the others are compared with the first.
        sessions: annotated sessions in a random order, see `sample`.
        bench: the student that answers.
        look: sessions between two looks.
        alpha: the error over all looks and comparisons together.
        watch: called after every look.
    """
    comparison = Comparison([Entry(variant) for variant in variants], list(sessions), alpha)
    ends = [*range(look, len(sessions), look), len(sessions)]
    for number, end in enumerate(ends, 1):
        batch = sessions[comparison.seen : end]
        for entry in comparison.entries:
            if not entry.decided:
                _answer(entry, batch, bench)
        for entry in comparison.entries[1:]:
            if not entry.decided:
                _look(comparison, entry, ends[:number])
        if watch:
            watch(comparison)
        if all(entry.decided for entry in comparison.entries[1:]):
            break
    return comparison


def _answer(entry: Entry, sessions: Sequence[Session], bench: Bench) -> None:
    found = bench.answers(entry.variant.library, sessions)
    entry.predictions += found
    entry.scores += [score_session(p.groups, s.groups) for p, s in zip(found, sessions, strict=True)]


def _look(comparison: Comparison, entry: Entry, looks: Sequence[int]) -> None:
    first = comparison.entries[0].scores
    differences = [b.gjs - a.gjs for a, b in zip(first, entry.scores, strict=True)]
    entry.looks.append(look_at(differences, looks, comparison.planned, comparison.level))
