"""Choose records among candidates: fusion, reranking, diversity, quota and budget as pure functions.

Each candidate gets a verdict with the parts of its score and the reason why it was kept or dropped.
Scores are rounded to six digits and ties go to the smaller id, so that an answer does not depend on
the order of the candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import tanh
from typing import Literal

from bundlewise.agents.student.compose import demonstration
from bundlewise.domain import Knowledge, Record
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.policy import Policy
from bundlewise.prompts.render import render

RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""
HALF_BM25 = 10.0
HALF_SUPPORT = 10.0
GAIN_SCALE = 20.0
DIGITS = 6

CountTokens = Callable[[str], int]
Shown = Literal["text", "demonstration"]
"""How a prompt shows a record: its text, or its source session with the bundles."""


@dataclass(frozen=True)
class Candidate:
    """A record that may be chosen: its cosine to the query, and its BM25 score if it shares words with the query."""

    record: Knowledge
    cosine: float
    lexical: float | None = None


class Verdict(Record):
    """The decision on a candidate and its reason; `parts` add up to `score`, before diversity is considered.

    A thought has two verdicts if the policy asks for thoughts and for demonstrations.
    """

    record: Knowledge
    rank: int
    score: float
    parts: dict[str, float]
    kept: bool
    why: str
    shown: Shown = "text"


def relevance(candidates: Sequence[Candidate], policy: Policy) -> dict[str, float]:
    """Return how well each candidate fits the query, by id: from -1 to 1 for dense search, else from 0 to 1.

    Dense search uses the cosine, lexical search BM25 as b / (b + 10), hybrid search the sum of the reciprocal
    ranks in both, scaled so that the first place in both is 1.
    """
    if policy.search == "dense":
        return {c.record.id: c.cosine for c in candidates}
    if policy.search == "lexical":
        return {c.record.id: (c.lexical or 0.0) / ((c.lexical or 0.0) + HALF_BM25) for c in candidates}
    dense = _places({c.record.id: c.cosine for c in candidates})
    lexical = _places({c.record.id: c.lexical for c in candidates if c.lexical is not None})
    share = {
        key: 1 / (RRF + place) + (1 / (RRF + lexical[key]) if key in lexical else 0) for key, place in dense.items()
    }
    return {key: value * (RRF + 1) / 2 for key, value in share.items()}


def _places(scores: Mapping[str, float]) -> dict[str, int]:
    ranked = sorted(scores, key=lambda key: (-round(scores[key], DIGITS), key))
    return {key: place for place, key in enumerate(ranked, 1)}


def worth(record: Knowledge) -> tuple[float, float]:
    """Return the scaled held-out gain (-1 to 1) and support (0 to 1) of a record; a missing value is 0."""
    gain = tanh(GAIN_SCALE * record.gain) if record.gain is not None else 0.0
    support = max(0, record.support or 0)
    return gain, support / (support + HALF_SUPPORT)


def rank(candidates: Sequence[Candidate], vectors: Mapping[str, Vectors], policy: Policy, quota: int) -> list[Verdict]:
    """Order candidates, the chosen first; drop those beyond the quota or below the smallest cosine.

    If all candidates are rules, untested rules come after all tested rules, independent of their scores.

    Args:
        candidates: usually of one kind, each record once.
        vectors: unit vectors by id; needed only if the policy asks for diversity.
        policy: the dials.
        quota: the number of candidates to keep.
    """
    fitting = [c for c in candidates if c.cosine >= policy.min_score]
    parts: dict[str, dict[str, float]] = {
        key: {policy.search: score} for key, score in relevance(fitting, policy).items()
    }
    for candidate in fitting if policy.rerank else ():
        gain, support = worth(candidate.record)
        parts[candidate.record.id] |= {"gain": policy.rerank * gain / 2, "support": policy.rerank * support / 2}
    scores = {key: round(sum(values.values()), DIGITS) for key, values in parts.items()}
    records = {c.record.id: c.record for c in candidates}
    all_rules = all(record.kind == "rule" for record in records.values())
    untested = {key for key, record in records.items() if all_rules and record.is_untested}
    order = _diverse(scores, vectors, policy.diversity, quota, untested)
    found = [
        Verdict(
            record=records[key],
            rank=place,
            score=scores[key],
            parts={name: round(value, DIGITS) for name, value in parts[key].items()},
            kept=place <= quota,
            why=f"place {place} of {len(order)}"
            + (", untested, so behind all tested rules" if key in untested and len(untested) < len(records) else "")
            + ("" if place <= quota else f": the quota is {quota}"),
        )
        for place, key in enumerate(order, 1)
    ]
    low = sorted((c for c in candidates if c.cosine < policy.min_score), key=lambda c: (-c.cosine, c.record.id))
    return found + [dropped(c.record, c.cosine, f"cosine {c.cosine:.3f} is below {policy.min_score:g}") for c in low]


def dropped(record: Knowledge, score: float, why: str) -> Verdict:
    """Return the verdict on a candidate that is dropped before the ranking."""
    score = round(score, DIGITS)
    return Verdict(record=record, rank=0, score=score, parts={"score": score}, kept=False, why=why)


def _diverse(
    scores: Mapping[str, float],
    vectors: Mapping[str, Vectors],
    diversity: float,
    quota: int,
    untested: AbstractSet[str] = frozenset(),
) -> list[str]:
    """Order ids by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) up to the quota, then by score.

    Untested rules come after all others, independent of their scores.
    """
    left = sorted(scores, key=lambda key: (key in untested, -scores[key], key))
    chosen: list[str] = []
    alike = dict.fromkeys(left, 0.0)
    while diversity and left and len(chosen) < quota:
        mixed = {key: (1 - diversity) * scores[key] - diversity * alike[key] for key in left}
        best = min(left, key=lambda key: (key in untested, -round(mixed[key], DIGITS), key))
        left.remove(best)
        chosen.append(best)
        for key in left:
            cosine = round(float(vectors[key] @ vectors[best]), DIGITS)
            alike[key] = cosine if len(chosen) == 1 else max(alike[key], cosine)
    return chosen + left


def within_budget(ranked: Sequence[Verdict], budget: int | None, count: CountTokens) -> list[Verdict]:
    """Drop kept records that exceed the budget; the best of each kind are tried first, and a shorter one may still fit.

    The budget counts the tokens of the knowledge as it is written in the prompt.
    """
    if budget is None:
        return list(ranked)
    fits: set[tuple[str, Shown]] = set()
    over: dict[tuple[str, Shown], str] = {}
    for verdict in sorted((v for v in ranked if v.kept), key=lambda v: v.rank):
        key = _key(verdict)
        tokens = _tokens([v for v in ranked if _key(v) in fits | {key}], count)
        if tokens <= budget:
            fits.add(key)
        else:
            over[key] = f"the knowledge would have {tokens} tokens: the budget is {budget}"
    return [v.model_copy(update={"kept": False, "why": over[_key(v)]}) if _key(v) in over else v for v in ranked]


def _key(verdict: Verdict) -> tuple[str, Shown]:
    return verdict.record.id, verdict.shown


def _tokens(verdicts: Sequence[Verdict], count: CountTokens) -> int:
    """Return the tokens of knowledge in the form of prompts that shows it at greater length."""
    records = [v.record for v in verdicts if v.shown == "text"]
    solved = [demonstration(v.record) for v in verdicts if v.shown == "demonstration"]
    written = render("notes", records=records) + render("demonstrations", demonstrations=solved)
    return max(count(written), count(render("knowledge", records=records)))
