"""The rows of an experiment's table: every metric with its interval, the cost, and the comparison."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, Self

from bundlewise.domain import Grouping, Prediction, Record, Session
from bundlewise.evaluation.metrics import Interval, holm, paired_bootstrap, paired_p, pooled, ratio, score_session

Role = Literal["cell", "baseline", "teacher"]
FAILURES_SHOWN = 20


class Estimate(Record):
    """A number with its 95 % interval over sessions."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Interval) -> Self:
        """Return the estimate, rounded for a table."""
        return cls(value=round(value, 4), low=round(interval[0], 4), high=round(interval[1], 4))


class GjsDifference(Estimate):
    """A paired difference in GJS to another row; `holm` is corrected for all cells of the experiment."""

    p: float
    holm: float | None = None

    @classmethod
    def between(cls, row: "Row", base: "Row") -> Self:
        """Return the paired difference in GJS of a row to a base, over the same sessions."""
        estimate = Estimate.of(row.gjs.value - base.gjs.value, paired_bootstrap(row.by_session, base.by_session))
        return cls(**estimate.model_dump(), p=round(paired_p(row.by_session, base.by_session), 4))


class Cost(Record):
    """The average cost of a session; None is unknown. Money is US dollars for 1,000 sessions.

    Tuning and distilling are done once, so their whole cost is given.
    """

    tokens_in: float | None = None
    tokens_out: float | None = None
    seconds: float | None = None
    dollars: float | None = None
    memory_gb: float | None = None
    trainable_parameters: int | None = None
    tuning_seconds: float | None = None
    distil_seconds: float | None = None
    distil_tokens: int | None = None
    distil_dollars: float | None = None
    distil_failed: int | None = None


class Row(Record):
    """One way to make bundles, scored over all sessions; its repeats are runs with different seeds.

    `by_session` is the GJS of each session, a mean over repeats; `by_repeat` is the GJS of each repeat, a mean over
    sessions. `failed` counts answers that could not be read, `unanswered` those without a bundle of two; both count
    zero in every metric.
    """

    name: str
    role: Role
    repeats: int
    sessions: int
    metrics: Mapping[str, Estimate]
    by_session: tuple[float, ...]
    by_repeat: tuple[float, ...]
    bundles: float
    unanswered: int
    failed: int = 0
    failures: tuple[str, ...] = ()
    repaired: int = 0
    intent: float | None = None
    validation_gjs: float | None = None
    cost: Cost = Cost()
    difference: GjsDifference | None = None
    retention: Estimate | None = None
    cost_reduction: float | None = None
    knowledge: Mapping[str, int] = {}
    teaching_sessions: int | None = None
    note: str = ""
    settings: Mapping[str, Any] = {}

    @property
    def gjs(self) -> Estimate:
        """The headline metric."""
        return self.metrics["gjs"]


def row_of(
    name: str,
    role: Role,
    repeats: Sequence[Sequence[Grouping]],
    sessions: Sequence[Session],
    **known: Any,
) -> Row:
    """Score the bundles of each repeat, given as positions, against the annotated sessions, and return the row."""
    scored = [
        [score_session(groups, session.groups) for groups, session in zip(repeat, sessions, strict=True)]
        for repeat in repeats
    ]
    return Row(
        name=name,
        role=role,
        repeats=len(repeats),
        sessions=len(sessions),
        metrics={metric: Estimate.of(value, interval) for metric, (value, interval) in pooled(scored).items()},
        by_session=tuple(round(fmean(score.gjs for score in scores), 6) for scores in zip(*scored, strict=True)),
        by_repeat=tuple(round(fmean(score.gjs for score in scores), 4) for scores in scored),
        bundles=round(fmean(len(groups) for repeat in repeats for groups in repeat), 2),
        unanswered=sum(not score.answered for scores in scored for score in scores),
        **known,
    )


def failures_of(repeats: Sequence[Sequence[Prediction]]) -> dict[str, Any]:
    """Return the numbers of failed and of repaired answers, and the first failures with their reasons."""
    answers = [prediction for repeat in repeats for prediction in repeat]
    failed = [f"{answer.session_id}: {answer.reason}" for answer in answers if answer.outcome == "failed"]
    repaired = sum(answer.outcome == "repaired" for answer in answers)
    return {"failed": len(failed), "failures": tuple(failed[:FAILURES_SHOWN]), "repaired": repaired}


def compared(rows: Sequence[Row], reference: str, teacher: str | None, planned: int = 0) -> list[Row]:
    """Return the rows with their paired difference to the reference, retention and cost reduction.

    Holm's correction is over the experiment's cells, since the question is about them: `planned` of them if some have
    no row. It leaves out baselines and teachers. If the reference itself failed, there are no differences.
    """
    base = next((row for row in rows if row.role == "cell" and row.name == reference), None)
    against = next((row for row in rows if row.role == "teacher" and row.name == teacher), None)
    found = [_against(row, base, against) for row in rows]
    p_values = {row.name: row.difference.p for row in found if row.role == "cell" and row.difference}
    corrected = dict(zip(p_values, holm(list(p_values.values()), planned), strict=True))
    return [_corrected(row, corrected) if row.role == "cell" else row for row in found]


def _against(row: Row, base: Row | None, teacher: Row | None) -> Row:
    changes: dict[str, Any] = {}
    if base is not None and row.name != base.name:
        changes["difference"] = GjsDifference.between(row, base)
    if teacher is not None and row.role != "teacher":
        changes["retention"] = Estimate.of(*ratio(row.by_session, teacher.by_session))
        if row.role == "cell" and row.cost.dollars is not None and teacher.cost.dollars:
            changes["cost_reduction"] = round(1 - row.cost.dollars / teacher.cost.dollars, 4)
    return row.model_copy(update=changes)


def _corrected(row: Row, corrected: Mapping[str, float]) -> Row:
    if row.difference is None:
        return row
    difference = row.difference.model_copy(update={"holm": round(corrected[row.name], 4)})
    return row.model_copy(update={"difference": difference})
