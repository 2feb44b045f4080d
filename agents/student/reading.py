"""The reading: combines a student's judgements with the knowledge base's pair evidence, and finds the bundles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bundlewise.agents.student.aims import GJS, Aim
from bundlewise.agents.student.chooser import Chooser, fit_chooser
from bundlewise.agents.student.compose import together
from bundlewise.agents.student.decoder import Calibration, Matrix, best_grouping, calibrate
from bundlewise.agents.student.limits import Bounds
from bundlewise.bundles import Reason
from bundlewise.domain import Grouping, Knowledge, Record, Retrieved, Session
from bundlewise.evaluation.metrics import gjs


class Reading(Record):
    """Weights for a pair's log-odds, student * judgement + evidence * affinity + bias, and the rule for bundles.

    The student reads a hint as one of five words; `evidence` also uses the number behind that word,
    as kNN language models interpolate with retrieved examples. The rule for bundles is the chooser, or,
    without one, the best expected GJS. `grouping` is the weight of the student's log-likelihood of a whole grouping
    in the chooser; only a student that writes whole answers has one.
    """

    student: float = 1.0
    evidence: float = 0.0
    bias: float = 0.0
    grouping: float = 0.0
    chooser: Chooser | None = None
    aim: Aim = GJS

    @classmethod
    def of(cls, calibration: Calibration) -> "Reading":
        """Return the reading of a student that is calibrated by bias and temperature alone."""
        return cls(student=1 / calibration.temperature, bias=calibration.bias / calibration.temperature)

    def aimed(self, aim: Aim) -> "Reading":
        """Return the same reading with another aim."""
        return self.model_copy(update={"aim": aim})

    def log_odds(self, judged: Matrix, affinity: Matrix) -> Matrix:
        """Return the n x n log-odds from the student's judgements and the pair evidence."""
        return self.student * judged + self.evidence * affinity + self.bias

    def likely(self, judged: Matrix, affinity: Matrix) -> Matrix:
        """Return the n x n probabilities that two products go together, zero on the diagonal."""
        odds = np.clip(self.log_odds(judged, affinity), -50, 50)
        found: Matrix = 1 / (1 + np.exp(-odds))
        np.fill_diagonal(found, 0.0)
        return found

    @property
    def by_evidence(self) -> bool:
        """Say whether the pair evidence decides without judgements of pairs."""
        return self.chooser is not None and self.evidence > 0 and not self.student

    def bundles(self, judged: Matrix, affinity: Matrix, bounds: Bounds | None = None) -> Grouping:
        """Return the best bundles of a session within the bounds."""
        log_odds = self.log_odds(judged, affinity)
        find = self.chooser.choose if self.chooser else best_grouping
        return find(log_odds, bounds, self.aim)


def cohesion(likely: Matrix, group: Sequence[int]) -> float:
    """Return the mean probability of a group's pairs, which is the student's confidence in a bundle."""
    block = likely[np.ix_(group, group)]
    return float(block[np.triu_indices(len(group), 1)].mean()) if len(group) > 1 else 0.0


def reasons(
    group: Sequence[int], used: Sequence[tuple[Knowledge, float]], whole: Matrix, less: Mapping[str, Matrix]
) -> list[Reason]:
    """Return each record with the bundle's change in cohesion without it, the largest change first."""
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
    """A session's judgements, the pair evidence of the knowledge base, and the annotated bundles."""

    log_odds: Matrix
    affinity: Matrix
    truth: Grouping


def affinity_of(retrieved: Retrieved, products: int) -> Matrix:
    """Return the log-odds of the pair evidence as an n x n matrix, with zeros for pairs without evidence."""
    matrix = np.zeros((products, products))
    for (a, b), score in retrieved.affinity.items():
        matrix[a, b] = matrix[b, a] = score
    return matrix


def learn_chooser(sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> Chooser | None:
    """Fit a chooser on the pair evidence of annotated training sessions; None without evidence or enough sessions.

    The evidence for a session excludes the session's own annotation.
    """
    known = [(s, r) for s, r in zip(sessions, retrieved, strict=True) if r.affinity and s.split == "train"]
    return fit_chooser([affinity_of(r, len(s.items)) for s, r in known], [s.groups for s, _ in known])


def fit_reading(validation: Sequence[Judged], chooser: Chooser | None = None) -> tuple[Reading, float]:
    """Fit the reading of a student on annotated validation sessions; return it with its mean GJS there.

    With a chooser, a logistic regression over the pairs weighs student and evidence, because the chooser expects
    calibrated log-odds. Otherwise, and when all or no pairs are bundled, bias and temperature are calibrated.
    """
    weighed = _weigh(validation) if chooser else None
    if weighed is not None:
        reading = weighed.model_copy(update={"chooser": chooser})
    else:
        reading = Reading.of(calibrate([v.log_odds for v in validation], [v.truth for v in validation]))
    scores = [gjs(reading.bundles(v.log_odds, v.affinity), v.truth) for v in validation]
    return reading, sum(scores) / len(scores)


def _weigh(validation: Sequence[Judged]) -> Reading | None:
    """Fit the weights of student and evidence on pairs; None when all or no pairs are bundled.

    A negative weight of the student is due to chance, so it is replaced by zero.
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
