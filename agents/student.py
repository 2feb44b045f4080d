"""What the student does with a batch of sessions: judge pairs or label products, and name bundles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bundlewise.agents import answers
from bundlewise.agents.compose import JudgePrompt, judge_prompt, name_prompt
from bundlewise.agents.decoding import Calibration, best_grouping, calibrate
from bundlewise.agents.engine import Progress, StudentEngine
from bundlewise.domain import Retrieved, Session
from bundlewise.metrics import gjs
from bundlewise.progress import progress

Form = Literal["pairs", "labels"]


@dataclass(frozen=True)
class Reply:
    """The answer text to one session and what it cost in tokens."""

    text: str
    tokens_in: int
    tokens_out: int


def reply_by_pairs(
    engine: StudentEngine,
    sessions: Sequence[Session],
    prompts: Sequence[JudgePrompt],
    calibration: Calibration,
    progress: Progress | None = None,
) -> list[Reply]:
    """Ask about every pair, take the grouping with the best expected GJS, then ask for the intents."""
    judged = engine.judge(prompts, progress)
    groups = [best_grouping(calibration.apply(judgement.log_odds)) for judgement in judged]
    asked = [(number, group) for number, bundles in enumerate(groups) for group in bundles]
    named = engine.write(
        [name_prompt(sessions[number], group) for number, group in asked], [answers.intent_grammar()] * len(asked)
    )
    replies = []
    for number, (session, judgement) in enumerate(zip(sessions, judged, strict=True)):
        mine = [text for (owner, _), text in zip(asked, named, strict=True) if owner == number]
        # One token, yes or no, answers each question.
        spent = len(session.items) * (len(session.items) - 1) // 2 + sum(text.tokens_out for text in mine)
        text = answers.write(len(session.items), groups[number], tuple(text.text.strip() for text in mine))
        replies.append(Reply(text, judgement.tokens_in + sum(text.tokens_in for text in mine), spent))
    return replies


def fit_calibration(
    engine: StudentEngine, sessions: Sequence[Session], retrieved: Sequence[Retrieved]
) -> tuple[Calibration, float]:
    """Choose a student's calibration on annotated validation sessions; return it with its mean GJS there."""
    with progress("calibrate", len(sessions)) as advance:
        judged = engine.judge([judge_prompt(s, r) for s, r in zip(sessions, retrieved, strict=True)], advance)
    matrices, truths = [j.log_odds for j in judged], [session.groups for session in sessions]
    chosen = calibrate(matrices, truths)
    scores = [gjs(best_grouping(chosen.apply(m)), truth) for m, truth in zip(matrices, truths, strict=True)]
    return chosen, sum(scores) / len(scores)


def reply_by_labels(
    engine: StudentEngine, sessions: Sequence[Session], prompts: Sequence[str], progress: Progress | None = None
) -> list[Reply]:
    """Let the student write the whole answer under the grammar of the session's products."""
    grammars = [answers.answer_grammar(len(session.items)) for session in sessions]
    return [Reply(w.text, w.tokens_in, w.tokens_out) for w in engine.write(prompts, grammars, progress)]
