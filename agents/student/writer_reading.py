"""The reading of a student that writes whole answers, fitted on annotated validation sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundlewise.agents.student.chooser import Chooser, best, finalists
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Engine
from bundlewise.agents.student.reading import Judged, Reading, affinity_of, fit_reading
from bundlewise.agents.student.whole_replies import grouping_scores, reply_by_writing, whole_prompt
from bundlewise.domain import Grouping, Retrieved, Session
from bundlewise.evaluation.metrics import gjs
from bundlewise.progress import progress

WEIGHTS = (0.0, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1)
"""The candidates for the weight of the student's log-likelihood of a grouping."""


@dataclass(frozen=True)
class _Ranked:
    """The candidates of a session with the chooser's scores, the student's log-likelihoods, and the annotation."""

    candidates: list[tuple[Grouping, float]]
    scores: list[float]
    truth: Grouping

    def gjs(self, weight: float) -> float:
        """Return the GJS of the best candidate with this weight of the student."""
        if not self.candidates:
            return 0.0
        return gjs(best(self.candidates, [weight * score for score in self.scores]), self.truth)


def fit_writer(
    engine: Engine,
    validation: Sequence[Session],
    retrieved: Sequence[Retrieved],
    chooser: Chooser | None,
    dials: AnswerDials,
) -> tuple[Reading, float]:
    """Fit the reading on annotated validation sessions; return it with its mean GJS there.

    With a chooser, three numbers are fitted: weight and bias of the pair evidence, and the weight of the student's
    log-likelihood of a grouping. Without one there is nothing to fit, and the GJS is that of the likeliest answers.
    """
    if chooser is not None and any(found.affinity for found in retrieved):
        known = zip(validation, retrieved, strict=True)
        rows = [_without_judgements(session, found) for session, found in known]
        reading, _ = fit_reading(rows, chooser)
        if reading.by_evidence:
            return _weighed(engine, validation, retrieved, reading)
    return Reading(), _written(engine, validation, retrieved, dials)


def _without_judgements(session: Session, found: Retrieved) -> Judged:
    size = len(session.items)
    return Judged(np.zeros((size, size)), affinity_of(found, size), session.groups)


def _weighed(
    engine: Engine, validation: Sequence[Session], retrieved: Sequence[Retrieved], reading: Reading
) -> tuple[Reading, float]:
    """Choose the weight of the log-likelihoods by the mean GJS, averaged with those of its neighbours."""
    assert reading.chooser is not None
    ranked, is_scored = [], True
    with progress("calibrate", len(validation)) as advance:
        for session, found in zip(validation, retrieved, strict=True):
            known = _without_judgements(session, found)
            candidates = finalists(reading.chooser.ranked(reading.log_odds(known.log_odds, known.affinity)))
            groupings = [grouping for grouping, _ in candidates]
            scores = grouping_scores(engine, session.blind(), found, groupings) if groupings else []
            is_scored = is_scored and scores is not None
            ranked.append(_Ranked(candidates, scores or [], known.truth))
            advance()
    means = [sum(row.gjs(weight) for row in ranked) / len(ranked) for weight in WEIGHTS]
    if not is_scored:  # A server gives no likelihoods.
        return reading, means[0]
    around = np.pad(means, 1, mode="edge")
    place = int(np.round(0.5 * around[1:-1] + 0.25 * (around[:-2] + around[2:]), 9).argmax())
    return reading.model_copy(update={"grouping": WEIGHTS[place]}), means[place]


def _written(
    engine: Engine, validation: Sequence[Session], retrieved: Sequence[Retrieved], dials: AnswerDials
) -> float:
    """Return the mean GJS of the student's likeliest answers; a prompt that is too long counts as zero."""
    greedy = dials.model_copy(update={"samples": 1})
    rows = [
        (session, found, whole_prompt(session.blind(), found, engine, greedy)[0])
        for session, found in zip(validation, retrieved, strict=True)
    ]
    read = [row for row in rows if engine.fits(row[2])]
    with progress("validate", len(read)) as advance:
        seen, known, prompts = [s.blind() for s, *_ in read], [f for _, f, _ in read], [p for *_, p in read]
        replies = reply_by_writing(engine, seen, known, prompts, Reading(), greedy, advance)
    scores = [gjs(reply.answer.groups, session.groups) for reply, (session, *_) in zip(replies, read, strict=True)]
    return sum(scores) / len(rows)
