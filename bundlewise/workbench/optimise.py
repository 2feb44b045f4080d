"""The optimiser: a large teacher rewords a template, and a rewrite is kept only if it is significantly better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from bundlewise.agents.teacher.ask import Asks
from bundlewise.agents.teacher.caps import CapError
from bundlewise.agents.teacher.contracts import Rewrite
from bundlewise.domain import Grouping, Prediction, Record, Session
from bundlewise.errors import DataError, PromptError, UsageError
from bundlewise.evaluation.metrics import gjs
from bundlewise.prompts.library import Library, using
from bundlewise.prompts.outside import rendering_outside
from bundlewise.prompts.sandbox import FILTERS_KNOWN
from bundlewise.prompts.template import Template
from bundlewise.workbench.answer_cache import Bench
from bundlewise.workbench.compare import ALPHA, compare
from bundlewise.workbench.lint import lint_template
from bundlewise.workbench.preview import World, rendered
from bundlewise.workbench.variants import Variant

STUDENTS = ("judge", "pair", "name", "write", "write_system", "notes", "demonstrations", "knowledge", "products")
"""Templates whose wording affects a student's answers."""
MISTAKES = 5
LONGER = 1.5
"""The largest length of a rewrite as a multiple of the template's, beyond a few words."""
WORDS = 200
Verdict = Literal["invalid", "the same", "not better on training", "not better on validation", "kept"]
Log = Callable[["Try"], None]


class Try(Record):
    """A rewrite and its outcome; differences are of mean GJS to the template in force at that time."""

    number: int
    fingerprint: str = ""
    reason: str = ""
    body: str = ""
    training: float | None = None
    validation: float | None = None
    interval: tuple[float, float] | None = None
    sessions: int = 0
    verdict: Verdict
    note: str = ""


def check_shows(name: str) -> None:
    """Raise a UsageError for a template whose wording does not affect a student's answers."""
    if name not in STUDENTS:
        raise UsageError(f"a rewrite of {name} does not affect a student's answers; choose {', '.join(STUDENTS)}")


@dataclass
class Optimiser:
    """Rewords one template up to `rewrites` times.

    A rewrite that is better on the `training` sessions is compared on the `validation` sessions, where the error
    `alpha` is shared among all possible rewrites.
    """

    name: str
    library: Library
    bench: Bench
    asker: Asks
    training: Sequence[Session]
    validation: Sequence[Session]
    rewrites: int = 4
    alpha: float = ALPHA
    log: Log | None = None
    tries: list[Try] = field(default_factory=list)
    stopped: str = ""

    def __post_init__(self) -> None:
        check_shows(self.name)

    def run(self) -> Template | None:
        """Try rewrites, each building on the best so far; return the one to keep, or None if none is better.

        If a cap is reached, the result so far is returned; see `stopped`. A rewrite that passes a template's limits,
        or fails at a session, is unusable.
        """
        with rendering_outside():
            return self._run()

    def _run(self) -> Template | None:
        kept: Template | None = None
        for number in range(1, self.rewrites + 1):
            try:
                proposed = self._propose(number)
            except CapError as error:
                self.stopped = str(error)
                break
            done, template = self._judge(number, proposed)
            self.tries.append(done)
            if self.log:
                self.log(done)
            if template is not None:
                kept, self.library = template, self.library.replacing(template)
        return kept

    def _propose(self, number: int) -> Rewrite | None:
        template, front = self.library.template(self.name), self.library.front(self.name)
        tried = [{"body": each.body.strip(), "verdict": _told(each)} for each in self.tries if each.body]
        return self.asker.ask(
            "rewrite",
            f"{self.name} {number}",
            "teacher_rewrite",
            Rewrite,
            self._faults,
            lambda: Rewrite(reason="", template=template.body),
            purpose=front.purpose,
            body=template.body.strip(),
            variables=[{"name": name, "about": variable.about} for name, variable in front.variables.items()],
            filters=FILTERS_KNOWN,
            example=self._example(),
            mistakes=self._mistakes(),
            tried=tried,
        )

    def _faults(self, reply: Rewrite) -> list[str]:
        """Return the faults of a proposed template, in words for the model."""
        template = self._template(reply)
        most = round(len(self.library.template(self.name).body) * LONGER) + WORDS
        if len(template.body) > most:
            return [f"it has {len(template.body)} characters, more than {most}; be shorter"]
        findings = lint_template(template, self.library)
        return [each.message for each in findings if each.severity == "error" or each.rule == "unused-variable"]

    def _template(self, reply: Rewrite) -> Template:
        return self.library.template(self.name).with_body(reply.template.strip("\n"))

    def _judge(self, number: int, proposed: Rewrite | None) -> tuple[Try, Template | None]:
        """Compare a rewrite on training sessions, and if it is better there, on validation sessions."""
        if proposed is None:
            return Try(number=number, verdict="invalid", note="no reply that can be used"), None
        template = self._template(proposed)
        library = self.library.replacing(template)
        said: dict[str, Any] = {"number": number, "reason": proposed.reason, "body": template.body}
        said["fingerprint"] = library.fingerprint(self.name)
        known = {self.library.fingerprint(self.name), *(each.fingerprint for each in self.tries)}
        if said["fingerprint"] in known:
            return Try(**said, verdict="the same", note="as it is, or as tried before"), None
        now = self._mean(self.library)
        try:
            said["training"] = self._mean(library) - now
            if said["training"] <= 0:
                return Try(**said, verdict="not better on training"), None
            variants = [Variant("now", self.library), Variant(f"rewrite {number}", library)]
            found = compare(variants, self.validation, self.bench, alpha=self.alpha / self.rewrites)
        except (DataError, PromptError) as error:
            return Try(**said, verdict="invalid", note=str(error)), None
        look = found.entries[1].looks[-1]
        said |= {"validation": look.difference, "interval": (look.low, look.high), "sessions": look.sessions}
        better = look.low > 0
        verdict: Verdict = "kept" if better else "not better on validation"
        return Try(**said, verdict=verdict), template if better else None

    def _scored(self, library: Library) -> list[tuple[float, Session, Prediction]]:
        """Return the training sessions with their answers and GJS."""
        found = self.bench.answers(library, self.training)
        return [(gjs(p.groups, s.groups), s, p) for p, s in zip(found, self.training, strict=True)]

    def _mean(self, library: Library) -> float:
        return sum(score for score, _, _ in self._scored(library)) / len(self.training)

    def _example(self) -> str:
        with using(self.library):
            return rendered(self.name, self.training[0], World())[0].text.strip()

    def _mistakes(self) -> list[dict[str, Any]]:
        """Return the training sessions with the worst scores under the template in force."""
        wrong = [row for row in self._scored(self.library) if row[0] < 1]
        worst = sorted(wrong, key=lambda row: (row[0], row[1].session_id))
        return [
            {"products": session.titles, "answered": numbers(found.groups), "annotated": numbers(session.groups)}
            for _, session, found in islice(worst, MISTAKES)
        ]


def numbers(groups: Grouping) -> str:
    """Return bundles by product numbers, `1, 2; 3, 4`."""
    return "; ".join(", ".join(str(place + 1) for place in group) for group in groups) or "none"


def _told(done: Try) -> str:
    """Return the outcome of an earlier rewrite, in words for the model."""
    if done.interval is not None:
        return f"{done.verdict}: GJS {done.validation:+.3f} on {done.sessions} validation sessions"
    return (
        f"{done.verdict}: GJS {done.training:+.3f} on training sessions" if done.training is not None else done.verdict
    )
