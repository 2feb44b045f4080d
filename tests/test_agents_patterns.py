"""Frequent patterns: exact counts, exact lift, nothing that is not frequent."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import session

from bundlewise.agents.patterns import LONGEST, MIN_SUPPORT, mine
from bundlewise.domain import Grouping, Session


def kinds_of(sessions: list[Session]) -> dict[str, tuple[str, ...]]:
    return {s.session_id: tuple(s.titles) for s in sessions}


def planted() -> list[Session]:
    """Return five sessions that hold mouse and pad; three bundle them, one of these twice."""
    return [
        session("s1", ["mouse", "pad", "rug"], ((0, 1),)),
        session("s2", ["rug", "pad", "mouse"], ((1, 2),)),
        session("s3", ["mouse", "pad", "mouse", "pad"], ((0, 1), (2, 3))),
        session("s4", ["mouse", "pad", "lamp", "bulb"], ((2, 3),)),
        session("s5", ["mouse", "pad", "rug", "tea"], ((2, 3),)),
    ]


def test_a_planted_pattern_is_found_with_exact_numbers() -> None:
    (pattern,) = mine(planted(), kinds_of(planted()))
    assert pattern.kinds == ("mouse", "pad")
    assert pattern.holders == ("s1", "s2", "s3", "s4", "s5")
    assert pattern.supporters == ("s1", "s2", "s3")
    assert (pattern.support, pattern.confidence) == (3, 3 / 5)
    # Of 6 bundles 4 hold a mouse, 4 a pad and 4 both: (4/6) / (4/6 * 4/6).
    assert pattern.lift == 1.5


@given(
    st.lists(
        st.lists(st.sampled_from("abcdef"), min_size=2, max_size=6).flatmap(
            lambda titles: st.tuples(st.just(titles), st.integers(2, len(titles)))
        ),
        max_size=8,
    )
)
@settings(max_examples=30, deadline=None)
def test_exactly_the_sets_that_two_sessions_bundle_are_found(drawn: list[tuple[list[str], int]]) -> None:
    sessions = [session(f"s{n}", titles, (tuple(range(size)),)) for n, (titles, size) in enumerate(drawn)]
    found = {pattern.kinds: pattern for pattern in mine(sessions, kinds_of(sessions))}
    for size in range(2, LONGEST + 1):
        for kinds in combinations("abcdef", size):
            supporters = {s.session_id for s in sessions if set(kinds) <= {s.titles[p] for g in s.groups for p in g}}
            assert (kinds in found) == (len(supporters) >= MIN_SUPPORT)
            if kinds in found:
                assert set(found[kinds].supporters) == supporters
                assert set(found[kinds].holders) == {s.session_id for s in sessions if set(kinds) <= set(s.titles)}


def test_the_order_of_sessions_changes_nothing_and_the_best_supported_stands_first() -> None:
    sessions = [*planted(), *(session(f"t{n}", ["lamp", "bulb"], ((0, 1),)) for n in range(4))]
    found = mine(sessions, kinds_of(sessions))
    assert found == mine(sessions[::-1], kinds_of(sessions))
    assert [pattern.kinds for pattern in found] == [("bulb", "lamp"), ("mouse", "pad")]


def test_two_products_of_one_kind_are_no_pattern() -> None:
    sessions = [session(f"s{n}", ["mouse", "mouse"], ((0, 1),)) for n in range(3)]
    assert mine(sessions, kinds_of(sessions)) == []


@pytest.mark.parametrize("groups", [(), ((0, 1),)], ids=["no bundle", "one bundle"])
def test_too_little_to_be_frequent_is_no_pattern(groups: Grouping) -> None:
    sessions = [session("s", ["mouse", "pad"], groups)]
    assert mine(sessions, kinds_of(sessions)) == []


def test_a_larger_share_asks_for_more_bundles() -> None:
    assert mine(planted(), kinds_of(planted()), min_share=4 / 6)
    assert mine(planted(), kinds_of(planted()), min_share=5 / 6) == []
