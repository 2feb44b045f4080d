"""Frequent patterns: kinds of products that training bundles hold together, by FP-Growth."""

from collections import Counter
from collections.abc import Mapping, Sequence

from bundlewise.agents.teacher import Pattern
from bundlewise.domain import Session

MIN_SUPPORT = 2
MIN_SHARE = 0.005
LONGEST = 4


def mine(
    sessions: Sequence[Session], kinds: Mapping[str, tuple[str, ...]], min_share: float = MIN_SHARE
) -> list[Pattern]:
    """Return frequent sets of two to four different kinds, the best supported first.

    Args:
        sessions: training sessions.
        kinds: session id -> kind of every product in order.
        min_share: smallest share of all bundles that must hold a pattern; never fewer than two bundles.
    """
    baskets = [
        (session.session_id, frozenset(kinds[session.session_id][place] for place in group))
        for session in sessions
        for group in session.groups
    ]
    frequent = _frequent_sets([basket for _, basket in baskets], min_share)
    held = {session.session_id: frozenset(kinds[session.session_id]) for session in sessions}
    share = Counter(kind for _, basket in baskets for kind in basket)
    patterns = []
    for wanted in frequent:
        supporters = tuple(sorted({session_id for session_id, basket in baskets if wanted <= basket}))
        holders = tuple(sorted(session_id for session_id, present in held.items() if wanted <= present))
        bundles = sum(wanted <= basket for _, basket in baskets)
        expected = float(len(baskets))
        for kind in wanted:
            expected *= share[kind] / len(baskets)
        if len(supporters) >= MIN_SUPPORT:
            patterns.append(Pattern(tuple(sorted(wanted)), holders, supporters, round(bundles / expected, 3)))
    return sorted(patterns, key=lambda pattern: (-pattern.support, -pattern.confidence, pattern.kinds))


def _frequent_sets(baskets: Sequence[frozenset[str]], min_share: float) -> list[frozenset[str]]:
    import pandas
    from mlxtend.frequent_patterns import fpgrowth

    names = sorted({kind for basket in baskets for kind in basket})
    if len(baskets) < MIN_SUPPORT:
        return []
    table = pandas.DataFrame([[name in basket for name in names] for basket in baskets], columns=names)
    least = max(MIN_SUPPORT / len(baskets), min_share)
    found = fpgrowth(table, min_support=least - 1e-9, use_colnames=True, max_len=LONGEST)
    return [frozenset(itemset) for itemset in found["itemsets"] if len(itemset) > 1] if len(found) else []
