"""The student's replies to a batch of sessions: it judges pairs, and writes the intents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bundlewise.agents.student.answers import Answer, intent_grammar
from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.compose import JudgePrompt, fitting, judge_prompt, name_prompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.engine import Engine, Judgement
from bundlewise.agents.student.intent_form import said
from bundlewise.agents.student.limits import Bounds
from bundlewise.agents.student.reading import Judged, Reading, affinity_of, fit_reading
from bundlewise.agents.student.tokens import Progress, Written
from bundlewise.domain import BlindSession, Retrieved, Session
from bundlewise.progress import go_on, progress

NO_BOUNDS: Mapping[str, Bounds] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class StudentReply:
    """The answer to one session, the model's text, and the tokens read and written.

    `likely` has the n x n probabilities that two products go together, if pairs were judged.
    """

    answer: Answer
    raw: str
    tokens_in: int
    tokens_out: int
    likely: Matrix | None = None


def reply_by_pairs(
    engine: Engine,
    sessions: Sequence[BlindSession],
    retrieved: Sequence[Retrieved],
    prompts: Sequence[JudgePrompt],
    reading: Reading,
    progress: Progress | None = None,
    bounds: Mapping[str, Bounds] = NO_BOUNDS,
) -> list[StudentReply]:
    """Ask about every pair, find the bundles within the session's bounds, then ask for the intents."""
    judged = judge_as_read(engine, prompts, reading, progress)
    known = [affinity_of(found, len(session.items)) for session, found in zip(sessions, retrieved, strict=True)]
    groups = []
    for session, judgement, affinity in zip(sessions, judged, known, strict=True):
        go_on()
        groups.append(reading.bundles(judgement.log_odds, affinity, bounds.get(session.session_id)))
    asked = [(number, group) for number, bundles in enumerate(groups) for group in bundles]
    named = _intents(engine, [fitting_name(sessions[number], group, engine.fits) for number, group in asked])
    replies = []
    for number, judgement in enumerate(judged):
        mine = [text for (owner, _), text in zip(asked, named, strict=True) if owner == number]
        # The student answers each question by one token, yes or no.
        answered = len(prompts[number].questions) if judgement.tokens_in else 0
        spent = answered + sum(text.tokens_out for text in mine)
        answer = Answer.of(zip(groups[number], (said(text.text) for text in mine), strict=True))
        raw, read = "".join(text.text for text in mine), judgement.tokens_in + sum(text.tokens_in for text in mine)
        replies.append(StudentReply(answer, raw, read, spent, reading.likely(judgement.log_odds, known[number])))
    return replies


def _intents(engine: Engine, prompts: Sequence[str]) -> list[Written]:
    """Return the intents that the student writes; an empty text for a prompt that is too long."""
    places = [place for place, prompt in enumerate(prompts) if engine.fits(prompt)]
    asked = [prompts[place] for place in places]
    written = engine.write(asked, [intent_grammar(prompt) for prompt in asked])
    found = dict(zip(places, written, strict=True))
    return [found.get(place, Written("", 0, 0)) for place in range(len(prompts))]


def fitting_name(session: BlindSession, group: tuple[int, ...], fits: Callable[[str], bool]) -> str:
    """Return the prompt that asks for the intent of one bundle, with titles cut to what the student can read."""
    return fitting(session, Retrieved(), lambda seen, _: name_prompt(seen, group), fits)[0]


def judge_as_read(
    engine: Engine, prompts: Sequence[JudgePrompt], reading: Reading, progress: Progress | None = None
) -> list[Judgement]:
    """Return the student's judgements of pairs.

    A prompt is skipped, with log-odds of zero, if the reading gives the student no weight or the prompt is too long;
    the evidence alone then decides.
    """
    places = [place for place, prompt in enumerate(prompts) if reading.student and engine.fits(prompt)]
    if progress and len(places) < len(prompts):
        progress(len(prompts) - len(places))
    judged = engine.judge([prompts[place] for place in places], progress) if places else []
    found = dict(zip(places, judged, strict=True))
    unasked = (Judgement(np.zeros((prompt.products, prompt.products)), 0) for prompt in prompts)
    return [found.get(place, blank) for place, blank in enumerate(unasked)]


def judge_known(engine: Engine, sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> list[Judged]:
    """Return the student's judgements of annotated sessions, to fit its reading.

    The student sees blind sessions; the annotations are kept beside them. Prompts are cut as in serving, and sessions
    with prompts that are still too long are left out.
    """
    composed = [
        (session, found, fitting(session.blind(), found, judge_prompt, engine.fits)[0])
        for session, found in zip(sessions, retrieved, strict=True)
    ]
    known = [row for row in composed if engine.fits(row[2])]
    with progress("calibrate", len(known)) as advance:
        judged = engine.judge([prompt for *_, prompt in known], advance)
    rows = ((session, found, judgement) for (session, found, _), judgement in zip(known, judged, strict=True))
    return [Judged(j.log_odds, affinity_of(r, len(s.items)), s.groups) for s, r, j in rows]


def fit_student(
    engine: Engine,
    validation: Sequence[Session],
    retrieved: Sequence[Retrieved],
    chooser: Chooser | None = None,
) -> tuple[Reading, float]:
    """Fit the reading of a student on annotated validation sessions; return it with its mean GJS there."""
    return fit_reading(judge_known(engine, validation, retrieved), chooser)
