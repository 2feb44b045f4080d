"""How a student's judgements are read: with the knowledge base's own numbers beside them, into bundles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bundlewise.agents.student.chooser import Chooser, fit_chooser
from bundlewise.agents.student.compose import together
from bundlewise.agents.student.decoder import Calibration, Matrix, best_grouping, calibrate
from bundlewise.agents.student.limits import Bounds
from bundlewise.domain import Grouping, Knowledge, Reason, Record, Retrieved, Session
from bundlewise.evaluation.metrics import gjs


class Reading(Record):
    """Log-odds of a pair = student * judgement + evidence * affinity + bias; then a rule that chooses.

    The student reads a hint as one of five words; `evidence` lets the number behind it count as well,
    as kNN language models interpolate with what they retrieve. Without a chooser the grouping of the
    best expected GJS is answered.
    """

    student: float = 1.0
    evidence: float = 0.0
    bias: float = 0.0
    chooser: Chooser | None = None

    @classmethod
    def of(cls, calibration: Calibration) -> "Reading":
        """Return the reading of a student that is calibrated by bias and temperature alone."""
        return cls(student=1 / calibration.temperature, bias=calibration.bias / calibration.temperature)

    def log_odds(self, judged: Matrix, affinity: Matrix) -> Matrix:
        """Return n x n log-odds from the student's judgements and the evidence's."""
        return self.student * judged + self.evidence * affinity + self.bias

    def likely(self, judged: Matrix, affinity: Matrix) -> Matrix:
        """Return the n x n probabilities that two products go together, zero on the diagonal."""
        odds = np.clip(self.log_odds(judged, affinity), -50, 50)
        found: Matrix = 1 / (1 + np.exp(-odds))
        np.fill_diagonal(found, 0.0)
        return found

    def bundles(self, judged: Matrix, affinity: Matrix, bounds: Bounds | None = None) -> Grouping:
        """Return the bundles of a session, the best that are within bounds."""
        log_odds = self.log_odds(judged, affinity)
        return self.chooser.choose(log_odds, bounds) if self.chooser else best_grouping(log_odds, bounds)


def cohesion(likely: Matrix, group: Sequence[int]) -> float:
    """Return the mean probability of a group's pairs: how sure the student is of a bundle."""
    block = likely[np.ix_(group, group)]
    return float(block[np.triu_indices(len(group), 1)].mean()) if len(group) > 1 else 0.0


def reasons(
    group: Sequence[int], used: Sequence[tuple[Knowledge, float]], whole: Matrix, less: Mapping[str, Matrix]
) -> list[Reason]:
    """Return the records with what the bundle loses without each, the largest change first; each record once."""
    before, scores = cohesion(whole, group), dict[str, tuple[Knowledge, float]]()
    for record, score in used:
        scores.setdefault(record.id, (record, score))
    found = [
        Reason(
            id=record.id,
            kind=record.kind,
            domain=record.domain,
            text=record.text,
            score=round(score, 4),
            effect=round(before - cohesion(less[record.id], group), 4),
        )
        for record, score in scores.values()
    ]
    return sorted(found, key=lambda reason: (-abs(reason.effect), -reason.score, reason.id))


@dataclass(frozen=True)
class Judged:
    """A session's judgements, what the knowledge base says of its pairs, and the annotated bundles."""

    log_odds: Matrix
    affinity: Matrix
    truth: Grouping


def affinity_of(retrieved: Retrieved, products: int) -> Matrix:
    """Return the evidence's log-odds as an n x n matrix, zeros where it says nothing."""
    matrix = np.zeros((products, products))
    for (a, b), score in retrieved.affinity.items():
        matrix[a, b] = matrix[b, a] = score
    return matrix


def learn_chooser(sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> Chooser | None:
    """Fit a chooser to what the evidence says of annotated training sessions, which never saw their own annotation.

    None where nothing was retrieved, or sessions are too few.
    """
    known = [(s, r) for s, r in zip(sessions, retrieved, strict=True) if r.affinity and s.split == "train"]
    return fit_chooser([affinity_of(r, len(s.items)) for s, r in known], [s.groups for s, _ in known])


def fit_reading(validation: Sequence[Judged], chooser: Chooser | None = None) -> tuple[Reading, float]:
    """Choose how a student is read on annotated validation sessions; return it with its mean GJS there.

    With a chooser, student and evidence are weighed by a logistic regression over the pairs, for the log-odds
    that it was fitted to. Without, or where all or no pairs are bundled, bias and temperature are calibrated.
    """
    weighed = _weigh(validation) if chooser else None
    if weighed is not None:
        reading = weighed.model_copy(update={"chooser": chooser})
    else:
        reading = Reading.of(calibrate([v.log_odds for v in validation], [v.truth for v in validation]))
    scores = [gjs(reading.bundles(v.log_odds, v.affinity), v.truth) for v in validation]
    return reading, sum(scores) / len(scores)


def _weigh(validation: Sequence[Judged]) -> Reading | None:
    """Fit the weights of student and evidence on pairs; None where all or no pairs are bundled.

    A student that contradicts the evidence only by chance gets no say rather than a negative one.
    """
    rows: list[Matrix] = []
    bundled: list[bool] = []
    for session in validation:
        upper = np.triu_indices(len(session.log_odds), 1)
        rows.append(np.stack([session.log_odds[upper], session.affinity[upper]], axis=1))
        bundled += [together(session.truth, a, b) for a, b in combinations(range(len(session.log_odds)), 2)]
    table, target = np.concatenate(rows), np.array(bundled)
    if target.all() or not target.any():
        return None
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(table, target)
    student, evidence = model.coef_[0].tolist()
    if student < 0:
        model = LogisticRegression().fit(table[:, 1:], target)
        student, evidence = 0.0, float(model.coef_[0][0])
    return Reading(student=round(student, 4), evidence=round(evidence, 4), bias=round(float(model.intercept_[0]), 4))
