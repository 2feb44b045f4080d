"""Choosing among groupings: what is described, that it is learnt, and that it never depends on the order."""

import numpy as np
import pytest

from bundlewise.agents.student.aims import gain
from bundlewise.agents.student.candidates import Described, candidates_of
from bundlewise.agents.student.chooser import FEWEST, Chooser, fit_chooser
from bundlewise.agents.student.decoder import Matrix, best_grouping
from bundlewise.domain import Grouping


def matrix(n: int, together: dict[tuple[int, int], float], apart: float = -1.0) -> Matrix:
    found = np.full((n, n), apart)
    for (a, b), value in together.items():
        found[a, b] = found[b, a] = value
    return found


def chained(seed: int) -> tuple[Matrix, Grouping]:
    """Return a session of a strong pair with a third product that hangs on by one link, and never belongs."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 0.1, (4, 4))
    log_odds = matrix(4, {(0, 1): 2.0, (1, 2): 1.2, (0, 2): -0.4}) + noise + noise.T
    return log_odds, ((0, 1),)


def test_what_independent_pairs_get_wrong_is_learnt_from_known_sessions() -> None:
    known = [chained(seed) for seed in range(FEWEST)]
    chooser = fit_chooser([m for m, _ in known], [truth for _, truth in known])
    assert chooser is not None
    new = [chained(seed) for seed in range(1000, 1030)]
    assert np.mean([gain(best_grouping(m), truth) for m, truth in new]) < 0.8
    assert np.mean([gain(chooser.choose(m), truth) for m, truth in new]) > 0.95


def test_fitting_twice_gives_the_same_chooser() -> None:
    known = [chained(seed) for seed in range(FEWEST)]
    matrices, truths = [m for m, _ in known], [truth for _, truth in known]
    assert fit_chooser(matrices, truths) == fit_chooser(matrices, truths)


def test_few_sessions_teach_nothing() -> None:
    known = [chained(seed) for seed in range(FEWEST - 1)]
    assert fit_chooser([m for m, _ in known], [truth for _, truth in known]) is None


def test_a_rare_length_counts_as_much_as_a_common_one() -> None:
    """Three short sessions want two bundles where ninety-odd long ones want one; both get what they want."""
    pair = (matrix(2, {(0, 1): -0.5}), ((0, 1),))
    known = [chained(seed) for seed in range(FEWEST)] + [pair] * 3
    chooser = fit_chooser([m for m, _ in known], [truth for _, truth in known])
    assert chooser is not None and chooser.choose(pair[0]) == ((0, 1),)


@pytest.mark.parametrize("n", [2, 3, 5, 12, 30])
def test_every_candidate_is_a_valid_grouping_listed_once_and_the_whole_session_is_among_them(n: int) -> None:
    log_odds = np.random.default_rng(n).normal(0, 2, (n, n))
    candidates = candidates_of((log_odds + log_odds.T) / 2)
    assert len(set(candidates)) == len(candidates)
    assert (tuple(range(n)),) in candidates
    for grouping in candidates:
        members = [place for group in grouping for place in group]
        assert len(set(members)) == len(members) and all(len(group) > 1 for group in grouping)


def test_features_are_finite_and_one_row_a_candidate() -> None:
    log_odds = matrix(4, {(0, 1): 3.0})
    candidates = candidates_of(log_odds)
    table = Described.of(log_odds, for_exact=False).for_gjs
    assert table.shape == (len(candidates), 32) and np.isfinite(table).all()
    by_candidate = dict(zip(candidates, table.tolist(), strict=True))
    pair, whole = by_candidate[((0, 1),)], by_candidate[((0, 1, 2, 3),)]
    assert pair[4:12] == [1, 0.5, 0.5, 0, 3, 3, 3, 3]
    assert whole[4:8] == [1, 1, 1, 1] and whole[9] == -1


def test_the_order_of_the_products_changes_nothing() -> None:
    log_odds = matrix(5, {(0, 1): 2.0, (2, 3): 1.5, (1, 4): 0.3, (0, 4): -0.2})
    alone = (1.0,) * 4 + (0.1, -0.2, 0.05, 0.3, 0.1, 0.1, 0.05, 0.02, 0.1, -0.1, -0.1, 0.02)
    chooser = Chooser(weights=alone + (0.0,) * 16)
    order = [3, 0, 4, 2, 1]
    moved = chooser.choose(log_odds[np.ix_(order, order)])
    back = {frozenset(order[place] for place in group) for group in moved}
    assert back == {frozenset(group) for group in chooser.choose(log_odds)}


def test_a_session_of_one_product_has_no_bundle() -> None:
    assert Chooser(weights=(0.0,) * 32).choose(np.zeros((1, 1))) == ()
