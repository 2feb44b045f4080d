"""The student's prompts: training and serving compose them with the same functions."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from bundlewise.agents.student.answer_text import grouping_text, intent_line
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.domain import BlindSession, Grouping, Item, Knowledge, Prediction, Retrieved, Session
from bundlewise.errors import UsageError
from bundlewise.progress import go_on
from bundlewise.prompts.allowance import allowance
from bundlewise.prompts.render import messages, render, render_each
from bundlewise.text import short
from bundlewise.titles import titles_fault

MAX_PRODUCTS = 30
TITLE_CUTS = (8, 4, 2, 1)
LONGEST_WORD = 16
TOO_LONG = (
    "the prompt is longer than the student can read, even with titles cut to a word; "
    "leave products out, or shorten the titles or the templates"
)
Prompt = TypeVar("Prompt")


@dataclass(frozen=True)
class JudgePrompt:
    """A head, followed by a question about each pair of a session's products.

    `pairs[k]` has the positions (from 0) of the two products in `questions[k]`.
    """

    head: str
    questions: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    products: int


def size_of(prompt: JudgePrompt | ChatPrompt | str) -> int:
    """Return the size of a prompt in bytes."""
    if isinstance(prompt, JudgePrompt):
        return sum(len(text.encode()) for text in (prompt.head, *prompt.questions))
    texts = prompt.texts if isinstance(prompt, ChatPrompt) else [prompt]
    return sum(len(text.encode()) for text in texts)


def unreadable(session: Session) -> str:
    """Return the reason why the student cannot read a session; empty when it can."""
    count = len(session.items)
    if 2 <= count <= MAX_PRODUCTS:
        return titles_fault(session.titles)
    return (
        f"session {session.session_id} has {count} products; the student reads 2 to {MAX_PRODUCTS}: "
        "leave some out or split it"
    )


def refusal(session: Session, found: Prediction) -> str:
    """Return why the student has not read a session that it was asked about; empty when it has."""
    return unreadable(session) or (TOO_LONG if found.reason == TOO_LONG else "")


def judge_prompt(session: BlindSession, retrieved: Retrieved) -> JudgePrompt:
    """Return the prompt for a session; without retrieved knowledge it is the plain student's prompt.

    Raises:
        UsageError: the session has fewer than two or too many products.
    """
    if reason := unreadable(session):
        raise UsageError(reason)
    count = len(session.items)
    pairs = tuple(combinations(range(count), 2))
    titles = session.titles
    asked = [{"first": titles[a], "second": titles[b], "hint": retrieved.hints.get((a, b), "")} for a, b in pairs]
    questions = tuple(render_each("pair", asked))
    head = render("judge", session=session, records=[record for record, _ in retrieved.records])
    return JudgePrompt(head, questions, pairs, count)


def name_prompt(session: BlindSession, group: tuple[int, ...]) -> str:
    """Return the prompt that asks for the intent of one bundle."""
    return render("name", titles=[session.titles[place] for place in group])


def write_prompt(
    session: BlindSession, retrieved: Retrieved, *, reasoning: bool = False, feedback: str = ""
) -> ChatPrompt:
    """Return the prompt that asks for a whole answer; `feedback` names the last answer's faults.

    Raises:
        UsageError: the session has fewer than two or too many products.
    """
    if reason := unreadable(session):
        raise UsageError(reason)
    system, user = messages(
        "write",
        session=session,
        records=[record for record, _ in retrieved.records],
        demonstrations=[demonstration(record) for record, _ in retrieved.demonstrations],
        feedback=feedback,
        reasoning=reasoning,
    )
    return ChatPrompt(system["content"], user["content"])


def demonstration(thought: Knowledge) -> dict[str, Any]:
    """Return the source session of a thought as a solved question."""
    rows = sorted(zip(thought.groups, thought.intents, strict=True))
    intents = [intent_line(intent) for _, intent in rows]
    return {"titles": list(thought.titles), "bundles": grouping_text(thought.groups).strip(), "intents": intents}


def demonstration_fault(thought: Knowledge) -> str:
    """Return the reason why a thought cannot be shown as a solved question; empty if it can."""
    if not (thought.titles and thought.groups):
        return "it has no titles and bundles, which a demonstration shows"
    if len(thought.intents) != len(thought.groups) or not all(thought.intents):
        return "it has no intents, which a demonstration shows; distil again"
    return ""


def fitting(
    session: BlindSession,
    retrieved: Retrieved,
    compose: Callable[[BlindSession, Retrieved], Prompt],
    fits: Callable[[Prompt], bool],
) -> tuple[Prompt, str]:
    """Return a prompt that fits the student, and a description of the cuts: knowledge first, then titles.

    The questions stay. A prompt that is still too long is returned as well: see `TOO_LONG`.
    """
    with allowance():  # A user's template has one allowance for all its renderings of a session.
        return _fitted(session, retrieved, compose, fits)


def _fitted(
    session: BlindSession,
    retrieved: Retrieved,
    compose: Callable[[BlindSession, Retrieved], Prompt],
    fits: Callable[[Prompt], bool],
) -> tuple[Prompt, str]:
    go_on()
    prompt, left = compose(session, retrieved), retrieved
    while _shown(left) and not fits(prompt):
        go_on()
        left = _with_less(left)
        prompt = compose(session, left)
    cut = ""
    if (gone := _shown(retrieved) - _shown(left)) > 0:
        cut = f"{gone} of {_shown(retrieved)} knowledge records left out"
    titles = ""
    for words in TITLE_CUTS:
        if fits(prompt):
            break
        go_on()
        prompt = compose(_shortened(session, words), left)
        titles = f"titles cut to {words} words" if words > 1 else "titles cut to a word"
    return prompt, ", ".join(filter(None, (cut, titles)))


def _shown(retrieved: Retrieved) -> int:
    """Return the number of records and demonstrations, which a prompt may show."""
    return len(retrieved.records) + len(retrieved.demonstrations)


def _with_less(retrieved: Retrieved) -> Retrieved:
    """Return knowledge without its last demonstration, or without its last record if it has none."""
    name = "demonstrations" if retrieved.demonstrations else "records"
    return retrieved.model_copy(update={name: getattr(retrieved, name)[:-1]})


def _shortened(session: BlindSession, count: int) -> BlindSession:
    """Return the session with titles cut to `count` words of limited length."""
    titles = [" ".join(word[:LONGEST_WORD] for word in short(title, count).split()) for title in session.titles]
    items = tuple(Item(id=item.id, title=title) for item, title in zip(session.items, titles, strict=True))
    return session.model_copy(update={"items": items})


def together(groups: Grouping, a: int, b: int) -> bool:
    """Say whether two products are in one bundle."""
    return any(a in group and b in group for group in groups)
