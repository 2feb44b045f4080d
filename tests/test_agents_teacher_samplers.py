"""Samplers: each chooses exactly what its definition says, by seed, and keeps the order of sessions."""

import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import BagOfWords, session

from bundlewise.agents.teacher import samplers
from bundlewise.agents.teacher.samplers import SAMPLERS, Sampler, by_difficulty, sample
from bundlewise.domain import Session
from bundlewise.errors import UsageError
from bundlewise.evaluation import baselines
from bundlewise.evaluation.metrics import gjs

Vectors = npt.NDArray[np.float32]
LETTERS = "abcdef"
# Between two and eight products; no two sessions hold the same titles.
SESSIONS = [session(f"s{n}", [f"{LETTERS[(n + k) % 6]} n{n}" for k in range(2 + n % 7)], ((0, 1),)) for n in range(40)]


def one_hot(titles: Sequence[str]) -> Vectors:
    """Give each letter its own axis."""
    return np.eye(len(LETTERS), dtype=np.float32)[[LETTERS.index(title) for title in titles]]


def no_embedder(titles: Sequence[str]) -> Vectors:
    raise AssertionError("embedded without need")


def chosen(sampler: Sampler, ratio: float = 0.5, seed: int = 0, sessions: Sequence[Session] = SESSIONS) -> list[str]:
    found = sample(sessions, sampler, ratio, seed, embed=BagOfWords().embed)
    return [s.session_id for s in found]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("ratio", "count"), [(0.001, 1), (0.3, 12), (0.5, 20), (0.96, 38), (0.99, 40), (1, 40)], ids=str
)
def test_the_share_is_kept_each_session_once_in_their_order(sampler: Sampler, ratio: float, count: int) -> None:
    found = chosen(sampler, ratio)
    assert len(found) == count
    places = [[s.session_id for s in SESSIONS].index(name) for name in found]
    assert places == sorted(set(places))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_all_are_returned_at_ratio_one_and_nothing_is_embedded(sampler: Sampler) -> None:
    assert sample(SESSIONS, sampler, 1.0, 0, embed=no_embedder) == SESSIONS
    assert sample(SESSIONS, sampler, 1.0, 0) == SESSIONS


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_of_no_sessions_none_are_chosen(sampler: Sampler) -> None:
    assert sample([], sampler, 0.5, 0, embed=no_embedder) == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_only_session_is_chosen_however_small_the_share(sampler: Sampler) -> None:
    assert chosen(sampler, 0.01, sessions=SESSIONS[:1]) == ["s0"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_determines_the_choice_and_another_seed_changes_it(sampler: Sampler) -> None:
    assert chosen(sampler, seed=3) == chosen(sampler, seed=3)
    assert len({tuple(chosen(sampler, seed=seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_random_chooses_the_sessions_that_the_teacher_graph_always_chose(ratio: float, seed: int) -> None:
    count = max(1, round(len(SESSIONS) * ratio))
    drawn = set(Random(seed).sample(range(len(SESSIONS)), count))
    assert sample(SESSIONS, "random", ratio, seed) == [s for place, s in enumerate(SESSIONS) if place in drawn]


def test_random_chooses_these_sessions_by_seed_0() -> None:
    # Written out, so that it is known should Python ever draw others.
    assert chosen("random", 0.1, seed=0) == ["s2", "s16", "s24", "s26"]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.floats(0.01, 1), st.integers(0, 99))
def test_length_gives_each_length_its_share_rounded_down_or_up(lengths: list[int], ratio: float, seed: int) -> None:
    sessions = [session(f"s{n}", ["title"] * length) for n, length in enumerate(lengths)]
    found = sample(sessions, "length", ratio, seed)
    assert len({s.session_id for s in found}) == len(found) == max(1, round(len(lengths) * ratio))
    kept = Counter(len(s.items) for s in found)
    for length, number in Counter(lengths).items():
        assert abs(kept[length] - number * len(found) / len(lengths)) < 1


def test_length_chooses_every_session_equally_often_the_only_one_of_its_length_too() -> None:
    sessions = [session(f"s{n}", ["title"] * (3 if n == 4 else 2)) for n in range(10)]
    met = Counter(s.session_id for seed in range(400) for s in sample(sessions, "length", 0.4, seed))
    # Each is expected 160 times; 45 is more than four standard deviations.
    assert all(abs(met[s.session_id] - 160) < 45 for s in sessions)


def cosine(one: Session, other: Session) -> float:
    a, b = Counter(one.titles), Counter(other.titles)
    dot = sum(a[letter] * b[letter] for letter in LETTERS)
    # Equal cosines must be equal to the bit, for ties.
    return round(dot / math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values())), 9)


def farthest(sessions: Sequence[Session], count: int, seed: int) -> list[Session]:
    """Choose by the definition alone, every cosine of two sessions computed anew."""
    places = [Random(seed).randrange(len(sessions))]
    while len(places) < count:
        left = [place for place in range(len(sessions)) if place not in places]
        places.append(min(left, key=lambda place: max(cosine(sessions[place], sessions[p]) for p in places)))
    return [sessions[place] for place in sorted(places)]


@given(
    st.lists(st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4), min_size=1, max_size=10),
    st.sampled_from([0.2, 0.5, 0.8]),
    st.integers(0, 9),
)
def test_diversity_chooses_the_farthest_points(drawn: list[list[str]], ratio: float, seed: int) -> None:
    sessions = [session(f"s{n}", titles) for n, titles in enumerate(drawn)]
    found = sample(sessions, "diversity", ratio, seed, embed=one_hot)
    assert found == farthest(sessions, len(found), seed)


def test_diversity_takes_one_session_of_each_sort_before_a_second_of_any() -> None:
    sessions = [session(f"s{n}", [LETTERS[n // 5]] * 3) for n in range(30)]
    for seed in range(5):
        found = sample(sessions, "diversity", 0.2, seed, embed=one_hot)
        assert sorted(s.titles[0] for s in found) == list(LETTERS)


def test_diversity_takes_the_earlier_of_equals_whatever_the_order_of_their_titles() -> None:
    titles = [f"{word} {n}" for n, word in enumerate(["mouse", "pad", "rug", "lamp", "tea"])]
    sessions = [session(f"s{n}", Random(n).sample(titles, len(titles))) for n in range(50)]
    first = Random(0).randrange(50)
    earliest = [place for place in range(50) if place != first][:9]
    found = chosen("diversity", 0.2, sessions=sessions)
    assert found == [f"s{place}" for place in sorted([first, *earliest])]


def on_a_circle(titles: Sequence[str]) -> Vectors:
    known = {"left": [-1, 0], "right": [1, 0], "up": [0, 1], "near": [0.8, 0.6]}
    return np.array([known[title] for title in titles], np.float32)


def test_an_opposite_is_farther_than_what_resembles_nothing() -> None:
    seed = next(seed for seed in range(99) if Random(seed).randrange(3) == 0)
    sessions = [session("s0", ["right"]), session("s1", ["up"]), session("s2", ["left"])]
    assert sample(sessions, "diversity", 0.7, seed, embed=on_a_circle) == [sessions[0], sessions[2]]


def test_titles_that_cancel_out_resemble_nothing() -> None:
    sessions = [session("s0", ["right"]), session("s1", ["near"]), session("s2", ["left", "right"])]
    found = {seed: sample(sessions, "diversity", 0.7, seed, embed=on_a_circle) for seed in range(9)}
    # Right and near have a cosine of 0.8, so the one without direction is farther from either.
    assert all(sessions[2] in two for two in found.values())


def test_blocks_of_embedding_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chosen("diversity", 0.3)
    monkeypatch.setattr(samplers, "BLOCK", 7)
    assert chosen("diversity", 0.3) == whole


def test_diversity_never_holds_the_cosines_of_all_pairs() -> None:
    n = 2000
    vectors = np.random.default_rng(0).standard_normal((n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sessions = [session(str(place), [str(place)]) for place in range(n)]
    tracemalloc.start()
    try:
        sample(sessions, "diversity", 0.02, 0, embed=lambda titles: vectors[[int(title) for title in titles]])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * n


def test_difficulty_chooses_the_lowest_scores() -> None:
    scores = Random(0).sample([n / 40 for n in range(40)], 40)
    assert sorted(by_difficulty(scores, 10, 0)) == [place for place, score in enumerate(scores) if score < 10 / 40]


def test_difficulty_leaves_ties_alone_to_chance() -> None:
    scores = [0.0] * 5 + [0.5] * 30 + [1.0] * 5
    drawn = [by_difficulty(scores, 20, seed) for seed in range(30)]
    assert all(set(found) > set(range(5)) for found in drawn)
    assert {place for found in drawn for place in found} == set(range(35))


def test_difficulty_is_by_the_gjs_of_word_overlap_clusters() -> None:
    titles = ["red mouse", "red mouse pad", "oat tea"]
    easy = [session(f"e{n}", titles, ((0, 1),)) for n in range(12)]
    torn = [session(f"t{n}", titles, ((1, 2),)) for n in range(3)]
    apart = [session(f"a{n}", ["lamp", "bulb", "wool rug"], ((0, 1),)) for n in range(3)]
    sessions = [*easy[:5], *torn, *easy[5:], *apart]
    matrices = [baselines.overlap(s.titles) for s in sessions]
    threshold = baselines.choose_threshold(matrices, [s.groups for s in sessions])
    scores = [gjs(baselines.clusters(m, threshold), s.groups) for m, s in zip(matrices, sessions, strict=True)]
    assert sample(sessions, "difficulty", 0.5, 1) == [sessions[n] for n in sorted(by_difficulty(scores, 9, 1))]
    # The easy ones are answered right, the torn ones by a third, those without a shared word not at all.
    assert sample(sessions, "difficulty", 3 / 18, 1) == apart
    assert sample(sessions, "difficulty", 6 / 18, 1) == [*torn, *apart]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "above 0 and at most 1, got 0.0; 0.5 reads half"),
        ({"ratio": -0.5}, "got -0.5"),
        ({"ratio": 1.1}, "got 1.1"),
        ({"ratio": math.nan}, "got nan"),
        ({"sampler": "best"}, "no sampler 'best'; choose from random, length, diversity, difficulty"),
        ({"sampler": "best", "ratio": 1.0}, "no sampler 'best'"),
        ({"sampler": "diversity"}, "'diversity' has no embedder; give one, or choose another sampler"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_its_value_and_a_remedy(options: dict[str, Any], message: str) -> None:
    given = {"sampler": "random", "ratio": 0.5, "seed": 0} | options
    with pytest.raises(UsageError, match=message):
        sample(SESSIONS, **given)
