"""A cell: one setting of every dial, typed, possible, and equal to every cell that does the same."""

from typing import Any

import pytest
from pydantic import ValidationError

from bundlewise.experiment.cells import FORMATS, Cell
from bundlewise.knowledge_base.policy import Policy

HINTS = Policy().hints


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", ()),
        ("all", FORMATS),
        ("rules", ("rules",)),
        ("thoughts+patterns", ("patterns", "thoughts")),
        (["rules", "patterns"], ("patterns", "rules")),
        ([], ()),
    ],
)
def test_formats_are_given_as_words_or_lists_and_stand_in_one_order(given: Any, expected: tuple[str, ...]) -> None:
    assert Cell(formats=given).formats == expected


@pytest.mark.parametrize(
    ("dials", "expected"),
    [
        ({}, Policy(hints=HINTS)),
        ({"k": 2}, Policy(patterns=2, rules=2, thoughts=2, hints=HINTS)),
        ({"formats": "patterns+rules"}, Policy(patterns=2, rules=2, hints=0)),
        ({"form": "write"}, Policy.for_form("write", {})),
        ({"form": "write", "k": 0}, Policy(hints=HINTS, budget=1000, min_score=0.3)),
        (
            {"form": "write", "formats": "rules"},
            Policy.for_form("write", {"patterns": 0, "thoughts": 0, "demonstrations": 0, "hints": 0}),
        ),
        ({"form": "write", "k": 1}, Policy(patterns=1, rules=1, thoughts=1, hints=HINTS, budget=1000, min_score=0.3)),
        ({"form": "write", "student": "openai:small@http://localhost/v1"}, Policy.for_form("write", {}, counts=False)),
        ({"formats": "patterns", "k": 3}, Policy(patterns=3, hints=0)),
        ({"formats": "thoughts", "k": 0}, Policy(hints=HINTS)),
        ({"formats": "patterns+thoughts", "k": 1, "hints": 0}, Policy(patterns=1, thoughts=1, hints=0)),
        ({"retrieval": {"budget": 99, "search": "hybrid"}, "k": 0}, Policy(hints=HINTS, budget=99, search="hybrid")),
        ({"utilisation": "sft"}, Policy.none()),
        ({"utilisation": "plain"}, Policy.none()),
    ],
)
def test_a_policy_follows_from_formats_k_and_hints(dials: dict[str, Any], expected: Policy) -> None:
    assert Cell(**dials).policy == expected


@pytest.mark.parametrize(
    ("dials", "taught"),
    [
        ({"utilisation": "sft"}, FORMATS),
        ({"utilisation": "sft", "teach": False}, ()),
        ({"utilisation": "icl+sft"}, ()),
        ({"utilisation": "icl+sft", "teach": True, "formats": "rules"}, ("rules",)),
        ({"utilisation": "icl"}, ()),
    ],
)
def test_sft_puts_the_words_of_the_knowledge_into_the_weights_and_icl_sft_does_so_when_told(
    dials: dict[str, Any], taught: tuple[str, ...]
) -> None:
    assert Cell(**dials).taught == taught


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"utilisation": "icl", "formats": "none"}, {"utilisation": "plain"}),
        ({"utilisation": "icl", "k": 0, "hints": 0}, {"utilisation": "plain", "seed": 4, "ratio": 0.5}),
        ({"utilisation": "icl+sft", "formats": "none"}, {"utilisation": "sft", "formats": "none"}),
        ({"utilisation": "sft", "teach": False}, {"utilisation": "sft", "formats": "none", "k": 7}),
        ({"utilisation": "sft", "teach": False, "teacher": "recorded"}, {"utilisation": "sft", "formats": "none"}),
        ({"utilisation": "icl+sft", "k": 0, "hints": 0, "teach": True}, {"utilisation": "sft"}),
        ({"utilisation": "icl+sft", "teach": False}, {"utilisation": "icl+sft"}),
        ({"utilisation": "icl", "seed": 3, "sampler": "length"}, {"utilisation": "icl"}),
        ({"utilisation": "icl", "training": {"epochs": 9}, "tuned": 3}, {"utilisation": "icl"}),
        ({"utilisation": "icl", "k": 0}, {"utilisation": "icl", "k": 0, "formats": "thoughts"}),
        ({"hints": HINTS}, {}),
        ({"hints": 0, "formats": "rules"}, {"formats": "rules"}),
        ({"readers": True, "formats": "rules", "seed": 2}, {"formats": "rules"}),
        ({"readers": True, "utilisation": "sft"}, {"utilisation": "sft"}),
    ],
)
def test_cells_that_do_the_same_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert Cell(**one).canonical() == Cell(**other).canonical()
    assert Cell(**one).canonical().key == Cell(**other).canonical().key


@pytest.mark.parametrize(
    "dials",
    [
        {"seed": 1, "ratio": 0.5},
        {"utilisation": "sft", "seed": 1},
        {"sampler": "length", "ratio": 0.5},
        {"ratio": 0.5},
        {"domains": ("a", "b")},
        {"k": 1},
        {"hints": 5},
        {"readers": True},
        {"readers": True, "seed": 1},
        {"teacher": "recorded"},
        {"student": "other"},
        {"retrieval": {"min_score": 0.3}},
        {"utilisation": "sft", "tuned": 5},
        {"utilisation": "sft", "training": {"epochs": 2}},
        {"utilisation": "icl+sft"},
        {"utilisation": "icl+sft", "teach": True},
    ],
)
def test_a_dial_that_changes_something_makes_another_cell(dials: dict[str, Any]) -> None:
    usual = Cell(utilisation=dials["utilisation"]) if len(dials) > 1 and "utilisation" in dials else Cell()
    changed = Cell(**dials).canonical()
    assert changed.key != usual.canonical().key
    assert {name: getattr(changed, name) for name in dials} == {n: getattr(Cell(**dials), n) for n in dials}


@pytest.mark.parametrize("utilisation", ["plain", "icl", "sft", "icl+sft"])
@pytest.mark.parametrize("formats", ["none", "patterns", "thoughts", "all"])
@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_the_canonical_cell_does_what_the_cell_does_and_is_its_own(
    utilisation: Any, formats: str, k: int, ratio: float
) -> None:
    cell = Cell(utilisation=utilisation, formats=formats, k=k, ratio=ratio, seed=5, sampler="length")
    canonical = cell.canonical()
    for name in ("policy", "is_tuned", "reads", "taught", "knows"):
        assert getattr(canonical, name) == getattr(cell, name)
    assert not cell.is_tuned or canonical.config == cell.config
    assert canonical.canonical() == canonical


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"formats": "rules+ideas"}, "'patterns', 'rules' or 'thoughts'"),
        ({"teacher": "large"}, r"no teacher 'large'; choose grounded, recorded \(from packs\), openai:MODEL"),
        ({"teacher": "recorded:pack.jsonl"}, "no teacher 'recorded:pack.jsonl'"),
        ({"teacher": "openai:"}, "openai: names no model; write openai:MODEL"),
        ({"student": "openai:m@host:80"}, "openai:m@host:80 does not begin with http:// or https://"),
        ({"hints": 5, "formats": "rules"}, "hints are read from thoughts; add thoughts"),
        ({"teach": True}, "teach needs formats and a tuned student"),
        ({"teach": True, "utilisation": "sft", "formats": "none"}, "teach needs formats and a tuned student"),
        (
            {"utilisation": "sft", "student": "openai:m@http://x"},
            "openai:m@http://x is on a server and can",
        ),
        ({"student": "openai:m@http://x", "retrieval": {"budget": 5}}, "retrieval.budget counts tokens, those of"),
        ({"retrieval": {"hints": 5}}, "retrieval.hints follows from formats, k, hints and seeds"),
        ({"demonstrations": 2, "formats": "rules"}, "demonstrations are read from thoughts; add thoughts"),
        ({"demonstrations": 2, "form": "pairs"}, "demonstrations are shown to a student that writes; set form: write"),
        ({"form": "labels"}, "'pairs' or 'write'"),
        ({"answering": {"form": "write"}}, "answering.form follows from form"),
        ({"answering": {"sample": 1}}, "answering has no dial 'sample'; choose from samples, reasoning, repairs"),
        ({"answering": {"repairs": 4}}, "repairs must be from 0 to 3, got 4"),
        ({"training": {"seed": 5}}, "training.seed follows from formats, k, hints and seeds"),
        ({"retrieval": {"quota": 5}, "utilisation": "sft"}, "retrieval has no dial 'quota'; choose from min_score"),
        ({"training": {"epoch": 5}, "utilisation": "icl"}, "training has no dial 'epoch'; choose from epochs"),
        ({"retrieval": {"min_score": 7}}, "min_score must be"),
        ({"training": {"epochs": 0}}, "epochs: input should be greater than or equal to 1, got 0"),
        ({"ratio": 0}, "greater than 0"),
        ({"k": -1}, "greater than or equal to 0"),
        ({"sampler": "best"}, "'random', 'length', 'diversity' or 'difficulty'"),
    ],
)
def test_an_impossible_cell_is_refused_with_what_is_wrong(dials: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Cell(**dials)


def test_the_form_its_dials_and_demonstrations_reach_the_student() -> None:
    cell = Cell(form="write", answering={"samples": 3}, demonstrations=2, k=0)
    assert cell.dials == {"form": "write", "samples": 3}
    assert cell.policy.demonstrations == 2 and cell.canonical().demonstrations == 2
    plain = Cell(utilisation="plain", form="write", answering={"samples": 3}, demonstrations=2).canonical()
    assert plain.demonstrations is None and plain.dials == cell.dials and plain.policy.is_plain
