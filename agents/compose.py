"""Prompts for the student: one composition for training and for serving."""

from dataclasses import dataclass
from itertools import combinations

from bundlewise.domain import Grouping, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.prompts.render import render

MAX_PRODUCTS = 30


@dataclass(frozen=True)
class JudgePrompt:
    """Questions about all pairs of a session's products, side by side under one head.

    `pairs[k]` are the positions (from 0) that `questions[k]` is about.
    """

    head: str
    questions: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    products: int


def unreadable(session: Session) -> str:
    """Return why the student cannot read a session; empty when it can."""
    count = len(session.items)
    if 2 <= count <= MAX_PRODUCTS:
        return ""
    return (
        f"session {session.session_id} has {count} products; the student reads 2 to {MAX_PRODUCTS}: "
        "leave some out or split it"
    )


def judge_prompt(session: Session, retrieved: Retrieved) -> JudgePrompt:
    """Return the prompt for a session; with nothing retrieved it is exactly the plain student's.

    Raises:
        UsageError: the session has fewer than two or too many products.
    """
    if reason := unreadable(session):
        raise UsageError(reason)
    count = len(session.items)
    seen = session.blind()
    pairs = tuple(combinations(range(count), 2))
    titles = seen.titles
    questions = tuple(
        render("pair", first=titles[a], second=titles[b], hint=retrieved.hints.get((a, b), "")) for a, b in pairs
    )
    head = render("judge", session=seen, records=[record for record, _ in retrieved.records])
    return JudgePrompt(head, questions, pairs, count)


def name_prompt(session: Session, group: tuple[int, ...]) -> str:
    """Return the prompt that asks for the intent of one bundle."""
    return render("name", titles=[session.titles[place] for place in group])


def label_prompt(session: Session, retrieved: Retrieved, feedback: str = "") -> str:
    """Return the prompt that asks for a label per product; feedback names the last answer's faults."""
    records = [record for record, _ in retrieved.records]
    return render("label", session=session.blind(), records=records, feedback=feedback) + "\n"


def together(groups: Grouping, a: int, b: int) -> bool:
    """Say whether two products stand in one bundle."""
    return any(a in group and b in group for group in groups)
