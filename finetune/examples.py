"""SFT examples: the texts that the student reads, and the tokens that it should answer at given places."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any, Literal

from bundlewise.agents.student import intent_form
from bundlewise.agents.student.answer_text import answer_text, intent_line, is_intent
from bundlewise.agents.student.chat import chat_ids
from bundlewise.agents.student.compose import fitting, judge_prompt, name_prompt, together, write_prompt
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.tokens import Encoded, Prompt, answer_ids, by_length, encode_judge, start_ids, token_ids
from bundlewise.domain import Knowledge, Retrieved, Session
from bundlewise.finetune.config import TrainingConfig
from bundlewise.prompts.render import render
from bundlewise.text import kind, line

LESSON_TOKENS = 96
"""The most tokens of a record that are taught: a thought begins with its lesson, and its end is cut if it is long."""


@dataclass(frozen=True)
class Example:
    """A text as token ids, the wanted next token at each place, and the task that it teaches."""

    encoded: Encoded
    targets: tuple[int, ...]
    task: Literal["judge", "name", "lesson", "write"] = "judge"


def reorder(session: Session, retrieved: Retrieved, order: Sequence[int]) -> tuple[Session, Retrieved]:
    """Return a session with its products in another order, and its retrieved knowledge with the same order."""
    place = {old: new for new, old in enumerate(order)}
    items = tuple(session.items[old] for old in order)
    moved = {(a, b): (min(place[a], place[b]), max(place[a], place[b])) for a, b in retrieved.hints}
    hints = {moved[pair]: word for pair, word in retrieved.hints.items()}
    affinity = {moved[pair]: score for pair, score in retrieved.affinity.items()}
    changes = {"hints": hints, "affinity": affinity}
    return session.model_copy(update={"items": items}), retrieved.model_copy(update=changes)


def judge_example(tokenizer: Any, session: Session, retrieved: Retrieved) -> Example:
    """Return the questions about all pairs of a session with the annotators' answers."""
    yes, no = answer_ids(tokenizer)
    groups = session.groups
    targets = tuple(yes if together(groups, a, b) else no for a, b in combinations(range(len(session.items)), 2))
    return Example(encode_judge(tokenizer, judge_prompt(session.blind(), retrieved)), targets)


def name_example(tokenizer: Any, session: Session, bundle: int) -> Example:
    """Return the question for one bundle's intent with the annotators' answer."""
    prompt = start_ids(tokenizer) + token_ids(tokenizer, name_prompt(session.blind(), session.groups[bundle]))
    answer = [*token_ids(tokenizer, f" {intent_form.taught(session.bundles[bundle].intent)}\n"), tokenizer.eos_token_id]
    return _written(prompt, answer, "name")


def lesson_example(tokenizer: Any, record: Knowledge) -> Example:
    """Return the question for a record's text, given only its kinds of products, so that the weights learn it."""
    prompt = start_ids(tokenizer) + token_ids(tokenizer, render("recall", kinds=record.kinds))
    answer = [*token_ids(tokenizer, f" {line(record.text)}\n")[:LESSON_TOKENS], tokenizer.eos_token_id]
    return _written(prompt, answer, "lesson")


def write_example(
    tokenizer: Any, session: Session, retrieved: Retrieved, dials: AnswerDials, fits: Callable[[Prompt], bool]
) -> Example:
    """Return the question for a session's whole answer, cut as in serving, with the annotators' answer.

    If a bundle has no annotated intent, only the line of bundles is taught.
    """
    asked, _ = fitting(
        session.blind(), retrieved, lambda seen, found: write_prompt(seen, found, reasoning=dials.thinks), fits
    )
    intents = [intent_line(bundle.intent) for bundle in session.bundles]
    thought = "; ".join(_kinds(session, group) for group in sorted(session.groups)) if dials.thinks else ""
    text = answer_text(session.groups, intents if all(map(is_intent, intents)) else (), thought)
    answer = token_ids(tokenizer, text) + ([tokenizer.eos_token_id] if all(map(is_intent, intents)) else [])
    return _written(chat_ids(tokenizer, asked), answer, "write")


def _kinds(session: Session, group: tuple[int, ...]) -> str:
    return " + ".join(kind(session.titles[place]) for place in group)


def _written(prompt: list[int], answer: list[int], task: Literal["name", "lesson", "write"]) -> Example:
    places = tuple(range(len(prompt) - 1, len(prompt) + len(answer) - 1))
    return Example(Encoded(tuple(prompt + answer[:-1]), places), tuple(answer), task)


def examples(
    tokenizer: Any,
    sessions: Sequence[Session],
    retrieved: Sequence[Retrieved],
    *,
    intents: float,
    seed: int,
    lessons: Sequence[Knowledge] = (),
) -> list[Example]:
    """Return one epoch of examples in the form `pairs`.

    They are all questions of every session with shuffled products, some intents, and lessons.

    Args:
        tokenizer: the student's tokenizer.
        sessions: annotated training sessions.
        retrieved: the knowledge for each session, never from the session itself.
        intents: share of all bundles (0 to 1) whose intent is asked for.
        seed: determines the orders and the choice.
        lessons: records whose texts are taught, at most as many as there are sessions.
    """
    random = Random(seed)
    made = []
    for session, found in zip(sessions, retrieved, strict=True):
        order = list(range(len(session.items)))
        random.shuffle(order)
        made.append(judge_example(tokenizer, *reorder(session, found, order)))
    bundles = [(s, k) for s in sessions for k, bundle in enumerate(s.bundles) if intent_form.taught(bundle.intent)]
    chosen = random.sample(bundles, round(len(bundles) * intents))
    made += [name_example(tokenizer, session, number) for session, number in chosen]
    taught = random.sample(list(lessons), min(len(lessons), len(sessions)))
    return made + [lesson_example(tokenizer, record) for record in taught]


def whole_examples(
    tokenizer: Any,
    sessions: Sequence[Session],
    retrieved: Sequence[Retrieved],
    dials: AnswerDials,
    fits: Callable[[Prompt], bool],
    *,
    without: float,
    seed: int,
    lessons: Sequence[Knowledge] = (),
) -> list[Example]:
    """Return one epoch of examples in the form `write`: a whole answer for every session with shuffled products.

    Args:
        tokenizer: the student's tokenizer.
        sessions: annotated training sessions.
        retrieved: the knowledge for each session, never from the session itself.
        dials: the form in which the student will answer.
        fits: says whether the student can read a prompt and answer it.
        without: share of the sessions (0 to 1) that are shown without knowledge.
        seed: determines the orders and the choice.
        lessons: records whose texts are taught, at most as many as there are sessions.
    """
    random = Random(seed)
    bare = set(random.sample(range(len(sessions)), round(len(sessions) * without)))
    made = []
    for number, (session, found) in enumerate(zip(sessions, retrieved, strict=True)):
        order = list(range(len(session.items)))
        random.shuffle(order)
        seen, known = reorder(session, Retrieved() if number in bare else found, order)
        made.append(write_example(tokenizer, seen, known, dials, fits))
    taught = random.sample(list(lessons), min(len(lessons), len(sessions)))
    return made + [lesson_example(tokenizer, record) for record in taught]


NAME_EVERY = 2


def plan(epochs: Sequence[Sequence[Example]], config: TrainingConfig) -> list[list[Example]]:
    """Return all batches in order: texts of similar length are together, and batches are shuffled by the seed.

    Intents and lessons are spread evenly over every second batch: in batches of their own they would be
    forgotten during the next questions, and in every batch they would cost one more forward pass each time.
    """
    random = Random(config.seed)
    batches = []
    for examples in epochs:
        judging = [example for example in examples if example.task in ("judge", "write")]
        writing = [example for example in examples if example.task not in ("judge", "write")]
        lengths = [len(example.encoded.ids) for example in judging]
        epoch = [[judging[i] for i in batch] for batch in by_length(lengths, config.batch_tokens)]
        random.shuffle(epoch)
        random.shuffle(writing)
        hosts = range(0, len(epoch), NAME_EVERY)
        for turn, place in enumerate(hosts):
            epoch[place] += writing[turn :: len(hosts)]
        batches += epoch
    return batches
