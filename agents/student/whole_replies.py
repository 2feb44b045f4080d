"""The student's replies as whole answers: written texts, of which one is chosen, or the groupings of the evidence."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from bundlewise.agents.student.aims import GJS, Aim, best_expected
from bundlewise.agents.student.answer_text import answer_grammar, grouping_text, intents_grammar, read_answer
from bundlewise.agents.student.answers import Answer
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.chooser import best, finalists
from bundlewise.agents.student.compose import fitting, together, write_prompt
from bundlewise.agents.student.decoder import Matrix, best_grouping
from bundlewise.agents.student.dials import AnswerDials
from bundlewise.agents.student.engine import Engine
from bundlewise.agents.student.limits import Bounds
from bundlewise.agents.student.reading import Reading, affinity_of
from bundlewise.agents.student.replies import NO_BOUNDS, StudentReply
from bundlewise.agents.student.tokens import Progress, Written
from bundlewise.domain import BlindSession, Grouping, Retrieved
from bundlewise.progress import go_on

DRAWN = 8
"""The fewest answers whose shares are taken for probabilities."""
ORDERS = 2
"""The number of orders of the products over which a grouping's score is averaged."""


def reply_by_writing(
    engine: Engine,
    sessions: Sequence[BlindSession],
    retrieved: Sequence[Retrieved],
    prompts: Sequence[ChatPrompt],
    reading: Reading,
    dials: AnswerDials,
    progress: Progress | None = None,
    bounds: Mapping[str, Bounds] = NO_BOUNDS,
) -> list[StudentReply]:
    """Return whole answers within the sessions' bounds.

    Where the reading decides by the pair evidence, the student scores the candidates and names the bundles. Elsewhere
    it writes `samples` answers, and the one with the highest expected GJS over all of them is taken.
    """
    by_evidence = [n for n, found in enumerate(retrieved) if reading.by_evidence and found.affinity]
    by_samples = sorted(set(range(len(sessions))).difference(by_evidence))
    replies: dict[int, StudentReply] = {}
    for places, reply in ((by_evidence, _by_evidence), (by_samples, _by_samples)):
        if places:
            rows = [(sessions[n], retrieved[n], prompts[n], bounds.get(sessions[n].session_id)) for n in places]
            replies.update(zip(places, reply(engine, rows, reading, dials, progress), strict=True))
    return [replies[n] for n in range(len(sessions))]


Row = tuple[BlindSession, Retrieved, ChatPrompt, Bounds | None]


def _by_samples(
    engine: Engine, rows: Sequence[Row], reading: Reading, dials: AnswerDials, progress: Progress | None
) -> list[StudentReply]:
    prompts = [prompt for *_, prompt, _ in rows]
    grammars = [answer_grammar(len(session.items), dials.thinks) for session, *_ in rows]
    if dials.samples > 1:
        drawn = engine.sample(prompts, grammars, dials.samples, progress)
    else:
        drawn = [[text] for text in engine.write(prompts, grammars, progress)]
    return [
        decided(texts, len(session.items), limits, reading.aim)
        for (session, *_, limits), texts in zip(rows, drawn, strict=True)
    ]


def decided(texts: Sequence[Written], products: int, bounds: Bounds | None = None, aim: Aim = GJS) -> StudentReply:
    """Return the answer that is best over all texts by the aim; ties go to the more frequent grouping.

    If no text keeps to the bounds, the shares of texts that join two products decide on a grouping that does.
    """
    answers = [read_answer(text.text, products) for text in texts]
    counts = Counter(answer.groups for answer in answers if answer.groups)
    candidates = [groups for groups, _ in counts.most_common() if bounds is None or bounds.admits(groups)]
    likely = shares(list(counts.elements()), products)
    if candidates:
        chosen = best_expected(candidates, list(counts.items()), aim)
    elif counts and bounds is not None:
        chosen = best_grouping(_log_odds(likely, counts.total()), bounds, aim)
    else:
        chosen = ()
    alike = [n for n, answer in enumerate(answers) if answer.groups == chosen]
    whole = min(alike, key=lambda n: len(answers[n].faults), default=0)
    intents = [_intent_of(group, answers[whole], answers) for group in chosen]
    faults = answers[whole].faults if alike and (chosen or not counts) else ()
    answer = Answer(chosen, tuple(intents), faults) if faults else Answer.of(zip(chosen, intents, strict=True))
    read, wrote = sum(text.tokens_in for text in texts), sum(text.tokens_out for text in texts)
    return StudentReply(answer, texts[whole].text, read, wrote, likely if len(texts) > 1 else None)


def _intent_of(group: tuple[int, ...], first: Answer, answers: Sequence[Answer]) -> str:
    """Return the intent of a bundle in the chosen answer, else in another, else that of the most similar bundle."""
    for answer in (first, *answers):
        known = dict(zip(answer.groups, answer.intents, strict=True))
        if known.get(group):
            return known[group]
    rows = [
        (_overlap(group, other), intent) for a in answers for other, intent in zip(a.groups, a.intents, strict=True)
    ]
    return max(rows, default=(0.0, ""), key=lambda row: row[0])[1]


def _overlap(a: Sequence[int], b: Sequence[int]) -> float:
    return len({*a} & {*b}) / len({*a} | {*b})


def shares(groupings: Sequence[Grouping], products: int) -> Matrix:
    """Return the shares of groupings that join two products, n x n with a zero diagonal."""
    found = np.zeros((products, products))
    for groups in groupings:
        for a in range(products):
            for b in range(a):
                if together(groups, a, b):
                    found[a, b] += 1
                    found[b, a] += 1
    return found / max(1, len(groupings))


def likely_pairs(
    engine: Engine,
    sessions: Sequence[BlindSession],
    retrieved: Sequence[Retrieved],
    reading: Reading,
    dials: AnswerDials,
) -> list[Matrix]:
    """Return the probabilities that two products go together, by the evidence or as shares of drawn answers.

    Where one session is given several times with other knowledge, answers are drawn for the first time only. The
    probabilities then come from the likelihoods of these answers, so that they can be compared.
    """
    drawing = dials.model_copy(update={"samples": max(dials.samples, DRAWN)})
    found: dict[int, Matrix] = {}
    asked: list[tuple[int, ChatPrompt]] = []
    for place, (session, known) in enumerate(zip(sessions, retrieved, strict=True)):
        size = len(session.items)
        found[place] = np.zeros((size, size))
        if reading.by_evidence and known.affinity:
            found[place] = reading.likely(found[place], affinity_of(known, size))
        elif engine.fits(prompt := whole_prompt(session, known, engine, drawing)[0]):
            asked.append((place, prompt))
    known_answers = _drawn(engine, [(sessions[place], prompt) for place, prompt in asked], drawing)
    for place, prompt in asked:
        session = sessions[place]
        groupings, size = known_answers[id(session)], len(session.items)
        again = sum(sessions[other] is session for other, _ in asked) > 1
        found[place] = _likelihood_shares(engine, prompt, groupings, size) if again else shares(groupings, size)
    return [found[place] for place in range(len(sessions))]


def _drawn(
    engine: Engine, rows: Sequence[tuple[BlindSession, ChatPrompt]], dials: AnswerDials
) -> dict[int, list[Grouping]]:
    """Return the groupings of drawn answers by the identity of the session; each session is drawn for once."""
    first: dict[int, tuple[BlindSession, ChatPrompt]] = {}
    for session, prompt in rows:
        first.setdefault(id(session), (session, prompt))
    sizes = [len(session.items) for session, _ in first.values()]
    prompts = [prompt for _, prompt in first.values()]
    grammars = [answer_grammar(size, dials.thinks) for size in sizes]
    texts = engine.sample(prompts, grammars, dials.samples) if prompts else []
    return {
        key: [read_answer(text.text, size).groups for text in mine]
        for key, mine, size in zip(first, texts, sizes, strict=True)
    }


def _likelihood_shares(engine: Engine, prompt: ChatPrompt, groupings: Sequence[Grouping], size: int) -> Matrix:
    """Return `shares` weighted by the likelihood of each grouping after a prompt; unweighted if there is none."""
    known = [groups for groups in dict.fromkeys(groupings) if groups]
    scores = engine.score([prompt], [[grouping_text(groups) for groups in known]]) if known else None
    if not scores:
        return shares(groupings, size)
    weights = np.exp(np.array(scores[0]) - max(scores[0]))
    parts = [weight * shares([groups], size) for groups, weight in zip(known, weights / weights.sum(), strict=True)]
    return np.sum(parts, axis=0)  # type: ignore[no-any-return]


def _log_odds(likely: Matrix, count: int) -> Matrix:
    """Return shares of `count` texts as log-odds, with half a text added on each side."""
    yes = likely * count + 0.5
    found: Matrix = np.log(yes / (count + 1 - yes))
    return found


def _by_evidence(
    engine: Engine, rows: Sequence[Row], reading: Reading, dials: AnswerDials, progress: Progress | None
) -> list[StudentReply]:
    assert reading.chooser is not None
    groups, likely = [], []
    for session, known, _, bounds in rows:
        go_on()
        size = len(session.items)
        affinity, nothing = affinity_of(known, size), np.zeros((size, size))
        ranked = finalists(reading.chooser.ranked(reading.log_odds(nothing, affinity), bounds, reading.aim))
        more = grouping_scores(engine, session, known, [g for g, _ in ranked]) if reading.grouping and ranked else []
        groups.append(best(ranked, [reading.grouping * score for score in more or []]) if ranked else ())
        likely.append(reading.likely(nothing, affinity))
    opened = {n: _opened(engine, rows[n], found) for n, found in enumerate(groups) if found}
    asked = [n for n, prompt in opened.items() if engine.fits(prompt)]
    grammars = [intents_grammar(len(groups[n])) for n in asked]
    named = dict(zip(asked, engine.write([opened[n] for n in asked], grammars), strict=True))
    if progress:
        progress(len(rows))
    return [_named(groups[n], named.get(n, Written("", 0, 0)), likely[n]) for n in range(len(rows))]


def _opened(engine: Engine, row: Row, groups: Grouping) -> ChatPrompt:
    """Return the prompt of a session whose answer begins with its bundles, cut so that the intents have room."""
    session, known, *_ = row
    line = grouping_text(groups)
    prompt, _ = fitting(session, known, write_prompt, lambda prompt: engine.fits(prompt.opened(line)))
    return prompt.opened(line)


def _named(groups: Grouping, text: Written, likely: Matrix) -> StudentReply:
    raw = grouping_text(groups) + text.text if groups else ""
    return StudentReply(read_answer(raw, len(likely)), raw, text.tokens_in, text.tokens_out, likely)


def grouping_scores(
    engine: Engine, session: BlindSession, known: Retrieved, groupings: Sequence[Grouping], orders: int = ORDERS
) -> list[float] | None:
    """Return the log-likelihood of the line of each grouping, the mean over some orders of the products.

    The prompts ask for no reasoning. The list is empty if the student cannot read the session; it is None if the
    engine gives no likelihoods.
    """
    size, found = len(session.items), []
    for turn in range(orders):
        order = _order(size, turn)
        place = {old: new for new, old in enumerate(order)}
        seen = session.model_copy(update={"items": tuple(session.items[old] for old in order)})
        prompt, _ = fitting(seen, known, write_prompt, engine.fits)
        texts = [grouping_text(tuple(tuple(sorted(place[p] for p in g)) for g in groups)) for groups in groupings]
        if not engine.fits(prompt):
            return []
        scores = engine.score([prompt], [texts])
        if scores is None:
            return None
        found.append(scores[0])
    return [float(value) for value in np.mean(found, axis=0)]


def _order(size: int, turn: int) -> list[int]:
    """Return an order of the products: as given, reversed, then random ones."""
    if turn < 2:
        return list(range(size))[:: 1 if turn == 0 else -1]
    return [int(place) for place in np.random.default_rng(turn).permutation(size)]


def whole_prompt(
    session: BlindSession, retrieved: Retrieved, engine: Engine, dials: AnswerDials, feedback: str = ""
) -> tuple[ChatPrompt, str]:
    """Return the prompt that asks for a whole answer, cut to what the student reads, and a description of the cuts."""

    def compose(seen: BlindSession, found: Retrieved) -> ChatPrompt:
        return write_prompt(seen, found, reasoning=dials.thinks, feedback=feedback)

    return fitting(session, retrieved, compose, engine.fits)
