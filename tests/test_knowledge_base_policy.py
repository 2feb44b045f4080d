"""The dials of retrieval: what each may be, and what a wrong value says."""

from typing import Any

import pytest

from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy


def test_without_quotas_nothing_is_retrieved() -> None:
    assert Policy.none().is_plain
    assert not Policy().is_plain
    assert Policy.of(patterns=None, min_score=None) == Policy()


@pytest.mark.parametrize("name", ["patterns", "rules", "thoughts"])
def test_each_kind_has_its_own_quota(name: str) -> None:
    policy = Policy.of(**{name: 3}, hints=0)
    assert not policy.is_plain
    assert {kind: policy.quota(kind) for kind in ("pattern", "rule", "thought")} == {
        kind: 3 if name == f"{kind}s" else 0 for kind in ("pattern", "rule", "thought")
    }


@pytest.mark.parametrize(
    ("dial", "value", "allowed"),
    [
        *((name, -1, "at least 0") for name in ("patterns", "rules", "thoughts", "hints", "budget")),
        ("min_score", -1.5, "between -1 and 1"),
        ("min_score", 2.0, "between -1 and 1"),
        ("diversity", 1.5, "between 0 and 1"),
        ("rerank", -0.1, "between 0 and 1"),
        ("search", "sparse", "dense, lexical or hybrid"),
        ("wording", "sung", "told or fields"),
        ("domain", "", "any, own or the name of a domain"),
    ],
)
def test_a_value_that_a_dial_cannot_have_is_a_usage_error(dial: str, value: Any, allowed: str) -> None:
    with pytest.raises(UsageError, match=f"^{dial} must be {allowed}, got {value}$"):
        Policy.of(**{dial: value})


@pytest.mark.parametrize(
    ("domain", "of_session", "searched"),
    [
        ("any", "food", None),
        ("own", "food", "food"),
        ("own", "", None),
        ("food", "clothing", "food"),
    ],
)
def test_knowledge_comes_from_the_domain_asked_for(domain: str, of_session: str, searched: str | None) -> None:
    assert Policy.of(domain=domain).domain_of(of_session) == searched
