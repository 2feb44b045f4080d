"""What the student does with a batch of sessions: judge pairs or label products, and name bundles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from bundlewise.agents.answers import Answer, answer_grammar, intent_grammar, parse
from bundlewise.agents.choosing import Chooser
from bundlewise.agents.compose import JudgePrompt, fitting, judge_prompt, name_prompt
from bundlewise.agents.decoding import Matrix
from bundlewise.agents.engine import Engine, Judgement, Progress
from bundlewise.agents.limits import Limits
from bundlewise.agents.reading import Judged, Reading, affinity_of, fit_reading
from bundlewise.domain import Retrieved, Session
from bundlewise.progress import progress

Form = Literal["pairs", "labels"]
NO_LIMITS: Mapping[str, Limits] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Reply:
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
    sessions: Sequence[Session],
    retrieved: Sequence[Retrieved],
    prompts: Sequence[JudgePrompt],
    reading: Reading,
    progress: Progress | None = None,
    limits: Mapping[str, Limits] = NO_LIMITS,
) -> list[Reply]:
    """Ask about every pair, read the answers as bundles within a session's limits, then ask for the intents."""
    judged = judge_as_read(engine, prompts, reading, progress)
    bounds = [limits[s.session_id].on(s.items) if s.session_id in limits else None for s in sessions]
    known = [affinity_of(found, len(session.items)) for session, found in zip(sessions, retrieved, strict=True)]
    groups = [
        reading.bundles(judgement.log_odds, affinity, bound)
        for judgement, affinity, bound in zip(judged, known, bounds, strict=True)
    ]
    asked = [(number, group) for number, bundles in enumerate(groups) for group in bundles]
    named = engine.write(
        [name_prompt(sessions[number], group) for number, group in asked], [intent_grammar()] * len(asked)
    )
    replies = []
    for number, judgement in enumerate(judged):
        mine = [text for (owner, _), text in zip(asked, named, strict=True) if owner == number]
        # One token, yes or no, answers each question that was asked.
        answered = len(prompts[number].questions) if judgement.tokens_in else 0
        spent = answered + sum(text.tokens_out for text in mine)
        answer = Answer.of(zip(groups[number], (text.text.strip() for text in mine), strict=True))
        raw, read = "".join(text.text for text in mine), judgement.tokens_in + sum(text.tokens_in for text in mine)
        replies.append(Reply(answer, raw, read, spent, reading.likely(judgement.log_odds, known[number])))
    return replies


def judge_as_read(
    engine: Engine, prompts: Sequence[JudgePrompt], reading: Reading, progress: Progress | None = None
) -> list[Judgement]:
    """Let the student judge pairs; where its judgement has no weight in the reading, it is not asked."""
    if reading.student:
        return engine.judge(prompts, progress)
    if progress:
        progress(len(prompts))
    return [Judgement(np.zeros((prompt.products, prompt.products)), 0) for prompt in prompts]


def judge_known(engine: Engine, sessions: Sequence[Session], retrieved: Sequence[Retrieved]) -> list[Judged]:
    """Let the student judge annotated sessions, to find out how it is to be read; prompts are cut as in serving."""
    known = zip(sessions, retrieved, strict=True)
    prompts = [fitting(session, found, judge_prompt, engine.fits)[0] for session, found in known]
    with progress("calibrate", len(sessions)) as advance:
        judged = engine.judge(prompts, advance)
    rows = zip(sessions, retrieved, judged, strict=True)
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
    engine: Engine, sessions: Sequence[Session], prompts: Sequence[str], progress: Progress | None = None
) -> list[Reply]:
    """Let the student write the whole answer under the grammar of the session's products."""
    sizes = [len(session.items) for session in sessions]
    written = engine.write(prompts, [answer_grammar(size) for size in sizes], progress)
    return [Reply(parse(w.text, n), w.text, w.tokens_in, w.tokens_out) for w, n in zip(written, sizes, strict=True)]
