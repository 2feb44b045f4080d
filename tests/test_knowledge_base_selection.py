"""From candidates to chosen records: every score adds up, every verdict has a reason, ties are settled by id."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import record

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.selection import Candidate, Verdict, rank, relevance, within_budget, worth
from bundlewise.prompts.render import render

RULES = sorted((record("rule", f"rule {letter}") for letter in "abcdef"), key=lambda r: r.id)
PLANE = {r.id: np.array([np.cos(n), np.sin(n)], np.float32) for n, r in enumerate(RULES)}

scores = st.floats(-1, 1).map(lambda value: round(value, 1))
candidates = st.lists(
    st.tuples(st.sampled_from(RULES), scores, st.none() | st.floats(0, 30)), unique_by=lambda c: c[0].id
).map(lambda rows: [Candidate(*row) for row in rows])
policies = st.builds(
    Policy,
    rules=st.integers(0, 4),
    min_score=scores,
    search=st.sampled_from(["dense", "lexical", "hybrid"]),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    rerank=st.sampled_from([0.0, 0.5]),
)


def words(text: str) -> int:
    return len(text.split())


def kept(verdicts: list[Verdict]) -> list[Knowledge]:
    return [verdict.record for verdict in verdicts if verdict.kept]


@given(found=candidates, policy=policies)
def test_every_candidate_gets_one_verdict_with_a_reason_and_a_score_that_adds_up(
    found: list[Candidate], policy: Policy
) -> None:
    verdicts = rank(found, PLANE, policy, policy.rules)
    assert sorted(v.record.id for v in verdicts) == sorted(c.record.id for c in found)
    assert all(v.why for v in verdicts)
    assert all(v.score == pytest.approx(sum(v.parts.values()), abs=1e-5) for v in verdicts)
    assert [v.rank for v in verdicts if v.rank] == list(range(1, sum(v.rank > 0 for v in verdicts) + 1))
    assert len(kept(verdicts)) == min(policy.rules, sum(c.cosine >= policy.min_score for c in found))


@given(found=candidates, policy=policies, shuffle=st.randoms())
def test_the_order_of_arrival_changes_nothing(found: list[Candidate], policy: Policy, shuffle: object) -> None:
    moved = found.copy()
    shuffle.shuffle(moved)  # type: ignore[attr-defined]
    assert rank(moved, PLANE, policy, policy.rules) == rank(found, PLANE, policy, policy.rules)


def test_ties_go_to_the_smaller_id() -> None:
    same = [Candidate(rule, 0.5) for rule in reversed(RULES)]
    assert kept(rank(same, {}, Policy(), 2)) == RULES[:2]


def test_a_floor_drops_what_is_below_it_and_says_so() -> None:
    found = [Candidate(RULES[0], 0.29), Candidate(RULES[1], 0.3)]
    verdicts = rank(found, {}, Policy(min_score=0.3), 5)
    assert kept(verdicts) == [RULES[1]]
    assert verdicts[1].why == "cosine 0.290 is below 0.3"


def test_what_is_beyond_the_quota_names_it() -> None:
    verdicts = rank([Candidate(rule, 0.5) for rule in RULES[:3]], {}, Policy(), 1)
    assert [v.why for v in verdicts] == [
        "place 1 of 3",
        "place 2 of 3: the quota is 1",
        "place 3 of 3: the quota is 1",
    ]


def test_hybrid_search_fuses_reciprocal_ranks() -> None:
    a, b, c = RULES[:3]
    found = [Candidate(a, 0.9), Candidate(b, 0.5, 3.0), Candidate(c, 0.4, 9.0)]
    fused = relevance(found, Policy(search="hybrid"))
    assert fused[a.id] == pytest.approx((1 / 61) * 61 / 2)
    assert fused[b.id] == pytest.approx((1 / 62 + 1 / 62) * 61 / 2)
    assert fused[c.id] == pytest.approx((1 / 63 + 1 / 61) * 61 / 2)


def test_lexical_search_goes_by_the_words_alone() -> None:
    found = [Candidate(RULES[0], 0.9), Candidate(RULES[1], 0.1, 10.0)]
    assert relevance(found, Policy(search="lexical")) == {RULES[0].id: 0.0, RULES[1].id: 0.5}


@pytest.mark.parametrize(
    ("gain", "support", "expected"), [(None, None, (0, 0)), (0.0, 10, (0, 0.5)), (1.0, 0, (1, 0)), (-1.0, 0, (-1, 0))]
)
def test_the_worth_of_a_record_is_its_held_out_gain_and_support(
    gain: float | None, support: int | None, expected: tuple[float, float]
) -> None:
    assert worth(record("rule", "r", gain=gain, support=support)) == pytest.approx(expected)


def test_reranking_lifts_what_has_helped() -> None:
    helped = record("rule", "helped", gain=0.05, support=40)
    tested = record("rule", "tested", gain=0.0)
    found = [Candidate(tested, 0.6), Candidate(helped, 0.5)]
    assert kept(rank(found, {}, Policy(), 1)) == [tested]
    best = rank(found, {}, Policy(rerank=0.5), 1)[0]
    assert best.record == helped
    assert set(best.parts) == {"dense", "gain", "support"}


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_untested_rules_stand_behind_all_tested_ones_whatever_their_scores(diversity: float) -> None:
    tested = [record("rule", f"tested {n}", gain=0.0) for n in range(2)]
    found = [Candidate(RULES[0], 0.9), Candidate(tested[0], 0.2), Candidate(RULES[1], 0.8), Candidate(tested[1], 0.3)]
    vectors: dict[str, Vectors] = {c.record.id: np.array([1, 0], np.float32) for c in found}
    verdicts = rank(found, vectors, Policy(diversity=diversity), 3)
    assert [v.record for v in verdicts] == [tested[1], tested[0], RULES[0], RULES[1]]
    assert [v.why for v in verdicts][2] == "place 3 of 4, untested, so behind all tested rules"


def test_diversity_passes_over_what_is_like_the_chosen_ones() -> None:
    near: dict[str, Vectors] = {
        RULES[0].id: np.array([1, 0], np.float32),
        RULES[1].id: np.array([0.999, 0.045], np.float32),
        RULES[2].id: np.array([0, 1], np.float32),
    }
    found = [Candidate(RULES[0], 0.9), Candidate(RULES[1], 0.89), Candidate(RULES[2], 0.5)]
    assert kept(rank(found, near, Policy(), 2)) == [RULES[0], RULES[1]]
    assert kept(rank(found, near, Policy(diversity=0.5), 2)) == [RULES[0], RULES[2]]


def shown(records: list[Knowledge]) -> int:
    """Return the words of knowledge in the prompt, judging or writing, that shows it at greater length."""
    return max(words(render(name, records=records)) for name in ("knowledge", "notes"))


@given(texts=st.lists(st.integers(1, 12), min_size=1, max_size=8), budget=st.integers(0, 60))
def test_the_rendered_knowledge_never_exceeds_the_budget(texts: list[int], budget: int) -> None:
    records = [record("rule", f"{n} " + "word " * length) for n, length in enumerate(texts)]
    ranked = rank([Candidate(r, 0.5) for r in records], {}, Policy(), 5)
    found = within_budget(ranked, budget, words)
    assert shown(kept(found)) <= budget
    assert [v.record for v in found] == [v.record for v in ranked]
    cut = {v.record.id: v.why for v in found if not v.kept and v.rank <= 5}
    assert all(f"the budget is {budget}" in why for why in cut.values())
    # What was cut would not have fitted beside what is kept.
    for verdict in found:
        if verdict.record.id in cut and not any(v.rank > verdict.rank for v in found if v.kept):
            assert shown([*kept(found), verdict.record]) > budget


def test_without_a_budget_nothing_is_cut() -> None:
    ranked = rank([Candidate(rule, 0.5) for rule in RULES], {}, Policy(), 3)
    assert within_budget(ranked, None, words) == ranked
