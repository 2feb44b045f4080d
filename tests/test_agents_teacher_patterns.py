"""Frequent patterns: exact counts, exact lift, nothing that is not frequent."""

import tracemalloc
from itertools import combinations
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import session

from bundlewise.agents.teacher.patterns import FEWEST, LONGEST, MIN_SUPPORT, PER_BUNDLE, mine
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


def orders(count: int, products: int) -> list[Session]:
    """Return large orders of one and the same products."""
    titles = [f"kind{n:03}" for n in range(products)]
    return [session(f"o{n}", titles, (tuple(range(products)),)) for n in range(count)]


@pytest.mark.parametrize(("count", "products"), [(2, 14), (2, 60), (4, 28), (3, 400), (300, 60)])
def test_large_orders_that_are_alike_are_bounded_in_number_and_time_and_what_is_cut_is_told(
    count: int, products: int
) -> None:
    given, told = orders(count, products), list[str]()
    start = process_time()
    found = mine(given, kinds_of(given), cut=told.append)
    assert process_time() - start < 10
    assert len(found) == max(FEWEST, PER_BUNDLE * count)
    assert told[-1].endswith("best supported sets of kinds are kept; other frequent sets are left out")
    assert {pattern.support for pattern in found} == {count}


def test_what_is_kept_of_many_are_the_best_supported() -> None:
    best = [session(f"b{n}", ["mouse", "pad", "mat"], ((0, 1, 2),)) for n in range(3)]
    given = [*orders(2, 20), *best]
    found = mine(given, kinds_of(given))
    assert [pattern.kinds for pattern in found[:4]] == [
        ("mat", "mouse"),
        ("mat", "mouse", "pad"),
        ("mat", "pad"),
        ("mouse", "pad"),
    ]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=7), min_size=2, max_size=12))
@settings(max_examples=30, deadline=None)
def test_a_library_finds_the_same_sets(drawn: list[list[str]]) -> None:
    import pandas
    from mlxtend.frequent_patterns import fpgrowth

    sessions = [session(f"s{n}", titles, (tuple(range(len(titles))),)) for n, titles in enumerate(drawn)]
    table = pandas.DataFrame([[name in titles for name in "abcdefgh"] for titles in drawn], columns=[*"abcdefgh"])
    frequent = fpgrowth(table, min_support=MIN_SUPPORT / len(drawn) - 1e-9, use_colnames=True, max_len=LONGEST)
    wanted = {tuple(sorted(kinds)) for kinds in frequent["itemsets"] if len(kinds) > 1}
    found = {pattern.kinds for pattern in mine(sessions, kinds_of(sessions))}
    assert found == wanted if len(wanted) <= FEWEST else found < wanted


def test_every_session_is_seen_once() -> None:
    seen: list[str] = []
    mine([*planted(), session("bare", ["mouse"])], kinds_of([*planted(), session("bare", ["mouse"])]), seen=seen.append)
    assert sorted(seen) == ["bare", "s1", "s2", "s3", "s4", "s5"]


def test_many_sessions_with_many_kinds_take_little_memory_and_time() -> None:
    kinds = {f"s{n}": tuple(f"kind{(n * 7 + k * 13) % 30000}" for k in range(8)) for n in range(10_000)}
    given = [session(name, titles, ((0, 1, 2), (3, 4, 5))) for name, titles in kinds.items()]
    tracemalloc.start()
    start = process_time()
    mine(given, kinds)
    assert process_time() - start < 20
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()
