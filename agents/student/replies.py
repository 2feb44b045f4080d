"""What the student does with a batch of sessions: judge pairs or label products, and name bundles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from bundlewise.agents.student.answers import Answer, answer_grammar, intent_grammar, parse
from bundlewise.agents.student.chooser import Chooser
from bundlewise.agents.student.compose import JudgePrompt, fitting, judge_prompt, name_prompt
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.engine import Engine, Judgement, Progress, Written
from bundlewise.agents.student.intent_form import said
from bundlewise.agents.student.limits import Bounds
from bundlewise.agents.student.reading import Judged, Reading, affinity_of, fit_reading
from bundlewise.domain import BlindSession, Retrieved, Session
from bundlewise.progress import go_on, progress

Form = Literal["pairs", "labels"]
NO_BOUNDS: Mapping[str, Bounds] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class StudentReply:
    """The answer to one session, what the model wrote for it, and what it cost in tokens.

    `likely` is how probably two products go together, n x n, where pairs were judged.
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
    """Ask about every pair, read the answers as bundles within a session's bounds, then ask for the intents."""
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
        # One token, yes or no, answers each question that was asked.
        answered = len(prompts[number].questions) if judgement.tokens_in else 0
        spent = answered + sum(text.tokens_out for text in mine)
        answer = Answer.of(zip(groups[number], (said(text.text) for text in mine), strict=True))
        raw, read = "".join(text.text for text in mine), judgement.tokens_in + sum(text.tokens_in for text in mine)
        replies.append(StudentReply(answer, raw, read, spent, reading.likely(judgement.log_odds, known[number])))
    return replies


def _intents(engine: Engine, prompts: Sequence[str]) -> list[Written]:
    """Return the intents that the student writes; none for a prompt that it cannot read."""
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
    """Let the student judge pairs.

    It is not asked where its judgement has no weight in the reading, nor what it cannot read: knowledge alone speaks.
    """
    places = [place for place, prompt in enumerate(prompts) if reading.student and engine.fits(prompt)]
    if progress and len(places) < len(prompts):
        progress(len(prompts) - len(places))
    judged = engine.judge([prompts[place] for place in places], progress) if places else []
    found = dict(zip(places, judged, strict=True))
    unasked = (Judgement(np.zeros((prompt.products, prompt.products)), 0) for prompt in prompts)
    return [found.get(place, blank) for place, blank in enumerate(unasked)]


def judge_known(engine: Engine, sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> list[Judged]:
    """Let the student judge annotated sessions, to find out how it is to be read.

    Here what is annotated parts from what the student sees. Prompts are cut as in serving; sessions whose prompts it
    cannot read even so are left out.
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
    """Choose how a student is read on annotated validation sessions; return it with its mean GJS there."""
    return fit_reading(judge_known(engine, validation, retrieved), chooser)


def reply_by_labels(
    engine: Engine, sessions: Sequence[BlindSession], prompts: Sequence[str], progress: Progress | None = None
) -> list[StudentReply]:
    """Let the student write the whole answer under the grammar of the session's products."""
    sizes = [len(session.items) for session in sessions]
    written = engine.write(prompts, [answer_grammar(size) for size in sizes], progress)
    return [
        StudentReply(parse(w.text, n), w.text, w.tokens_in, w.tokens_out) for w, n in zip(written, sizes, strict=True)
    ]
