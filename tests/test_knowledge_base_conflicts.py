"""Rules that contradict each other or their own numbers are listed, the most alike first."""

from random import Random

import pytest
from samples import BagOfWords, record

from bundlewise.domain import Knowledge
from bundlewise.knowledge_base import conflicts as module
from bundlewise.knowledge_base.conflicts import Conflict, conflicts
from bundlewise.prompts.render import render

TOGETHER = record("rule", "put hats and gloves of one brand together")
APART = record("rule", "keep hats and gloves of one brand apart")
OTHER = record("rule", "keep phones separately")


def found(*records: Knowledge, threshold: float = 0.6) -> list[Conflict]:
    return conflicts(records, BagOfWords().embed([known.text for known in records]), threshold)


def measured(joins: bool, condition: str, source: str) -> Knowledge:
    return record("rule", render("rule", joins=joins, condition=condition, together=3, pairs=9), [source])


def test_two_rules_that_say_opposite_things_about_similar_products_conflict() -> None:
    (conflict,) = found(APART, OTHER, TOGETHER)
    assert conflict.records == (TOGETHER, APART)
    assert conflict.similarity == 0.75
    assert conflict.reason == "the first puts together, the second keeps apart similar products"


def test_the_threshold_decides_what_is_similar() -> None:
    assert found(TOGETHER, APART, threshold=0.8) == []
    assert len(found(TOGETHER, APART, OTHER, threshold=-1.0)) == 2


@pytest.mark.parametrize(
    "change", [{"status": "retired"}, {"status": "quarantined"}, {"domain": "food"}, {"kind": "thought"}]
)
def test_only_active_rules_of_one_domain_conflict(change: dict[str, str]) -> None:
    assert found(TOGETHER, APART.model_copy(update=change)) == []


def test_rules_of_the_template_conflict_over_one_condition_only() -> None:
    rules = [measured(True, "a cap and a glove", "s1"), measured(False, "a cap and a glove", "s2")]
    (conflict,) = found(*rules, measured(False, "a cap and a shoe", "s3"), threshold=1.1)
    assert conflict.records == tuple(rules)
    assert conflict.reason == "the first puts together, the second keeps apart the same products"


def test_an_active_rule_with_a_negative_gain_conflicts_with_its_numbers() -> None:
    harmful = record("rule", "put all together", gain=-0.02)
    assert found(harmful, harmful.model_copy(update={"id": "x", "status": "quarantined"})) == [
        Conflict((harmful,), 1.0, "it is active, though it harmed held-out sessions: gain -0.0200")
    ]


def test_order_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(5)
    rules = [record("rule", f"{verb} w{n % 5} w{n % 3} w{n}") for n in range(20) for verb in ("join", "separate")]
    wanted = found(*rules, threshold=0.5)
    assert len(wanted) > 20
    assert [c.similarity for c in wanted] == sorted((c.similarity for c in wanted), reverse=True)
    monkeypatch.setattr(module, "BLOCK", 3)
    assert found(*random.sample(rules, len(rules)), threshold=0.5) == wanted


def test_nothing_is_in_conflict_with_nothing() -> None:
    assert found() == []
