"""What rules say to do is read from their words: the template's, and those of a large model."""

import numpy as np
import pytest
from samples import record

from bundlewise.knowledge_base.conflicts import alike, condition, conditions, stance
from bundlewise.prompts.render import render


@pytest.mark.parametrize(("joins", "wanted"), [(True, 1), (False, -1)])
def test_the_rule_template_is_understood(joins: bool, wanted: int) -> None:
    text = render("rule", joins=joins, condition="a pad and a mouse", together=2, pairs=9)
    assert stance(text) == wanted
    assert condition(text) == "a pad and a mouse"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("A session with just two products is always one bundle; take all of them.", 1),
        ("Charms and beads together with their bracelet form one bundle.", 1),
        ("Teas group with teas.", 1),
        ("Take every member of the kind; do not split them by brand.", 1),
        ("Dresses of any cut form one bundle; skirts and tops stay outside it.", 1),
        ("Loners (one hat, one wallet) are left out; leaving products unbundled is normal.", -1),
        ("Strangers stay out. Kitchen goods are left out.", -1),
        ("Bras and panties are rarely merged.", -1),
        ("Keep the cable apart from the case.", -1),
        ("Intents are short labels such as 'different X'.", 0),
        ("", 0),
    ],
)
def test_the_first_clause_that_leans_to_one_side_decides(text: str, wanted: int) -> None:
    assert stance(text) == wanted


def test_rules_of_the_template_are_alike_by_condition_and_others_by_cosine() -> None:
    texts = [render("rule", joins=True, condition=c, together=3, pairs=9) for c in ("of one kind", "of one brand")]
    numbers = conditions([record("rule", text) for text in [*texts, "free words"]])
    assert numbers.tolist() == [0, 1, -1]
    cosine = np.array([[1.0, 0.99, 0.7], [0.99, 1.0, 0.4], [0.7, 0.4, 1.0]], np.float32)
    assert alike(cosine, numbers, numbers, 0.6).tolist() == [
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
