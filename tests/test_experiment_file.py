"""An experiment's file: typed settings in YAML; what is unknown or impossible is named before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bundlewise.errors import DataError, UsageError
from bundlewise.experiment.cells import FORMATS
from bundlewise.experiment.file import SHIPPED, Experiment, find, read, written
from bundlewise.experiment.grid import cells_of

KNOWN = {
    "name": "small",
    "question": "Does it run?",
    "data": {"a": "a.jsonl", "b": "b.jsonl"},
    "grid": [{"utilisation": ["icl", "sft"]}],
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "e.yaml"
    path.write_text(yaml.safe_dump(KNOWN | changes), encoding="utf-8")
    return path


def labels(folder: Path, *grid: dict[str, Any], **changes: Any) -> list[str]:
    return [planned.name for planned in cells_of(read(write(folder, grid=list(grid), **changes)))]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_experiments_are_sound_and_compare_with_the_plain_student(name: str) -> None:
    experiment = read(find(name))
    planned = cells_of(experiment)
    assert experiment.name == name and planned[0].label == "plain student"
    assert len({one.cell.key for one in planned}) == len(planned)
    assert len({one.name for one in planned}) == len(planned)


def test_the_shipped_format_has_every_combination_of_formats_in_every_utilisation() -> None:
    cells = [planned.cell for planned in cells_of(read(find("format")))]
    for utilisation in ("icl", "sft", "icl+sft"):
        formats = {cell.formats for cell in cells if cell.utilisation == utilisation}
        assert len(formats - {()}) == 7 and FORMATS in formats
    assert {cell.utilisation for cell in cells if not cell.formats} == {"plain", "sft"}


def test_the_shipped_quantity_has_four_samplers_ratios_domains_and_formats() -> None:
    cells = [planned.cell for planned in cells_of(read(find("quantity")))]
    assert {cell.sampler for cell in cells if cell.ratio < 1} == {"random", "length", "diversity", "difficulty"}
    assert {0.1, 1.0} <= {cell.ratio for cell in cells}
    assert {len(cell.domains or "1") for cell in cells} == {1, 2, 3}
    assert {len(cell.formats) for cell in cells if cell.reads} == {1, 2, 3}


def test_the_shipped_utilisation_goes_from_no_record_to_eight() -> None:
    cells = [planned.cell for planned in cells_of(read(find("utilisation")))]
    assert {cell.k for cell in cells if cell.reads} == {0, 1, 2, 4, 8}
    assert {cell.utilisation for cell in cells} == {"plain", "icl", "sft", "icl+sft"}


@pytest.mark.parametrize("student", ["Qwen/Qwen2.5-0.5B-Instruct", "openai:small@http://localhost/v1"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_experiments_give_a_larger_base_texts_and_whole_answers(name: str, student: str) -> None:
    experiment = read(find(name))
    settings = {**experiment.settings, "student": student}
    grid = [{**each, "utilisation": "icl"} for each in experiment.grid]
    cells = [one.cell for one in cells_of(experiment.model_copy(update={"settings": settings, "grid": grid}))]
    assert {cell.form for cell in cells} == {"write"}
    policies = [cell.policy for cell in cells if cell.reads and cell.k != 0]
    assert policies and all(policy.patterns or policy.rules or policy.thoughts for policy in policies)
    assert {policy.budget for policy in policies} == {None if student.startswith("openai") else 1000}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_experiments_let_the_smallest_base_judge_pairs(name: str) -> None:
    assert {one.cell.form for one in cells_of(read(find(name)))} == {"pairs"}


def test_each_cell_stands_once_and_its_seeds_together(tmp_path: Path) -> None:
    grid = {"formats": ["none", "rules"], "utilisation": ["icl", "icl+sft"]}
    assert labels(tmp_path, grid, {"formats": "rules", "utilisation": "icl"}, seeds=[0, 1]) == [
        "plain student",
        "none, sft",
        "none, sft, seed 1",
        "rules, icl",
        "rules, icl+sft",
        "rules, icl+sft, seed 1",
    ]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"k": [2, 1], "utilisation": ["sft", "icl"]}, ["sft", "icl, k 2", "icl, k 1"]),
        ({"ratio": [0.5, 1], "sampler": ["random", "length"]}, ["ratio 0.5, random", "ratio 0.5, length", "ratio 1.0"]),
        ({"domains": [1, 2, "b"]}, ["a", "a+b", "b"]),
        ({"formats": ["all", "patterns+rules"]}, ["thoughts", "patterns+rules"]),
        ({"formats": ["all", "rules"], "k": 1}, ["all, k 1", "rules, k 1"]),
        (
            {"retrieval": [{"min_score": 0.2}, {"budget": 9, "diversity": 1}]},
            ["min_score 0.2", "budget 9, diversity 1"],
        ),
    ],
)
def test_a_row_is_told_by_the_dials_of_its_grid_that_change_something(
    tmp_path: Path, grid: dict[str, Any], expected: list[str]
) -> None:
    assert labels(tmp_path, grid)[1:] == expected


def test_every_student_of_a_grid_has_its_own_plain_row_and_the_first_is_the_reference(tmp_path: Path) -> None:
    found = labels(tmp_path, {"student": ["one", "two"], "utilisation": "icl"})
    assert found == [
        "plain student",
        "plain student, student two",
        "icl, student one",
        "icl, student two",
    ]


def test_a_base_that_a_grid_has_from_the_settings_has_its_plain_row_too(tmp_path: Path) -> None:
    named, usual = {"student": ["one"], "utilisation": "icl"}, {"utilisation": ["icl"]}
    assert labels(tmp_path, usual, named, settings={"student": "two"}) == [
        "plain student",
        "plain student, student one",
        "icl, student two",
        "icl, student one",
    ]
    assert labels(tmp_path, named, usual)[:2] == ["plain student", "plain student, student smollm2-135m"]


def test_forms_and_dials_of_answering_have_plain_rows_of_their_own(tmp_path: Path) -> None:
    found = labels(tmp_path, {"form": ["pairs", "write"], "utilisation": "icl"}, settings={"answering": {"samples": 2}})
    assert found == ["plain student", "plain student, form write", "icl, form pairs", "icl, form write"]
    found = labels(tmp_path, {"form": "write", "answering": [{"samples": 1}, {"samples": 8}], "utilisation": "icl"})
    assert found == [
        "plain student",
        "plain student, samples 8",
        "icl, form write, samples 1",
        "icl, form write, samples 8",
    ]


def test_cells_that_would_have_one_name_are_numbered(tmp_path: Path) -> None:
    assert labels(tmp_path, {"k": 1}, {"k": 1, "utilisation": "icl+sft"}, {"k": 1, "formats": "rules"})[1:] == [
        "all, icl, k 1",
        "all, icl+sft, k 1",
        "rules, icl, k 1",
    ]
    assert labels(tmp_path, {"hints": 4}, {"hints": 4, "retrieval": {"min_score": 0.5}})[1:] == [
        "hints 4",
        "hints 4, min_score 0.5",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "unknown setting 'colour'; choose from name, question, data"),
        ({"split": "train"}, "split: Input should be 'validation' or 'test', got 'train'"),
        ({"limit": 1}, "limit: .*greater than or equal to 2, got 1"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"seeds": [1, 1]}, "seed 1 stands twice in seeds"),
        ({"grid": []}, "grid: .*at least 1"),
        ({"data": {}}, "data: .*at least 1"),
        ({"packs": {"c": "c.jsonl"}}, r"packs name domain 'c', which is not in data \(a, b\)"),
        ({"name": "a name"}, "name: .*should match pattern"),
        ({"payment": {"max_costs": 1}}, "payment: unknown setting 'max_costs'; choose from prices, max_cost"),
        ({"payment": {"ledger": "x"}}, "payment: unknown setting 'ledger'"),
        ({"payment": {"max_cost": "much"}}, "payment.*should be a valid number"),
        ({"teachers": [{"name": "t"}]}, "teacher 't' needs either predictions or an endpoint"),
        ({"teachers": [{"name": "t", "endpoint": "x", "predictions": "y"}]}, "teacher 't' needs either"),
        ({"teachers": [{"name": "t", "file": "x"}]}, "unknown setting 'teachers.0.file'"),
        ({"teachers": [{"name": "t", "predictions": "x"}] * 2}, "two rows would be called 't'"),
        ({"teachers": [{"name": "plain student", "predictions": "x"}]}, "two rows would be called 'plain student'"),
        ({"teachers": [{"name": "whole session", "predictions": "x"}]}, "two rows would be called 'whole session'"),
        (
            {"teachers": [{"name": n, "predictions": "x", "retention": True} for n in "ab"]},
            "retention is against one teacher",
        ),
        (
            {"teachers": [{"name": "t", "endpoint": "gpt"}]},
            "teacher 't': 'gpt' is not a model on a server; write openai:MODEL",
        ),
        (
            {"teachers": [{"name": "t", "endpoint": "openai:m@h:1"}]},
            "teacher 't': the address in openai:m@h:1 does not",
        ),
        ({"teachers": [{"name": "t", "predictions": "x", "price": "openai:"}]}, "teacher 't': openai: names no model"),
        ({"machine": {"dollars_per_hour": -1}}, "machine.dollars_per_hour: .*greater than or equal to 0"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        read(write(tmp_path, **changes))
    assert str(tmp_path / "e.yaml") in str(raised.value)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "grid 1 of small is empty; give each setting at least one value"),
        ({"k": []}, "grid 1 of small is empty"),
        ({"colour": ["red"]}, "grid 1 of small: unknown setting 'colour'; choose from utilisation, formats"),
        ({"seed": [1]}, r"grid 1 of small: unknown setting 'seed'; write seeds: \[0, 1\] at the top"),
        ({"k": ["many"]}, "grid 1 of small: k: .*valid integer.*got 'many'"),
        ({"k": list(range(50)), "hints": list(range(50))}, "grid 1 of small has 2,500 cells; 2,000 are the most"),
        ({"hints": [5], "formats": ["rules"]}, "grid 1 of small: hints are read from thoughts"),
        ({"domains": [3]}, "grid 1 of small: domains must be 1 to 2 here, got 3; add more to data"),
        ({"domains": ["a+c"]}, r"domains must be a number or names from data \(a, b\), got 'a\+c'"),
        ({"domains": ["a+a"]}, "domains must be a number or names"),
        ({"domains": [1.5]}, "domains must be a number or names"),
        ({"domains": [True]}, "domains must be a number or names"),
        ({"teacher": ["recorded"]}, "grid 1 of small: no pack of domain 'a' for teacher recorded; add it to packs"),
        ({"student": [5]}, "plain student of small: student: .*valid string, got 5"),
    ],
)
def test_a_wrong_grid_is_named_with_its_place(tmp_path: Path, grid: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels(tmp_path, grid)


def test_a_teacher_may_not_have_the_name_of_a_cell(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a cell and a teacher would both be called 'icl'; give the teacher another"):
        labels(tmp_path, {"utilisation": "icl"}, teachers=[{"name": "icl", "predictions": "x"}])


def test_a_wrong_setting_of_all_cells_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="settings of small: unknown setting 'seed'"):
        labels(tmp_path, {"k": 1}, settings={"seed": 3})
    with pytest.raises(UsageError, match="unknown setting 'colour'"):
        labels(tmp_path, {"k": 1}, settings={"colour": 3})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name: [", "line 1: expected the node content, .*; write `name: value` lines in YAML"),
        (b"\xff\xfe\xfa", "line 1: not UTF-8 at byte 2; save the file"),
        (b"name: x\nfrom: 2024-13-45", "line 1: not YAML .month must be in 1..12.; write"),
        (b"name: x\nask: \x00", "line 2: holds a control character; write"),
        (b"split: validation\nname: a\nsplit: test", "line 3: 'split' occurs twice, in line 1 and in line 3; keep one"),
        (b"grid:\n  k: [1]\n  'k': [2]", "line 3: 'k' occurs twice, in line 2 and in line 3; keep one"),
        (b"- a", "holds list instead of settings"),
        (b"", "NoneType"),
    ],
)
def test_what_is_no_yaml_of_settings_is_a_data_error(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "e.yaml").write_bytes(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "e.yaml")


def test_an_unknown_experiment_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no experiment 'formats'; give a YAML file, or one of demo, format, quantity"):
        find("formats")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(DataError, match="could not determine a constructor for the tag"):
        read(tmp_path / "e.yaml")


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    experiment = read(write(tmp_path, seeds=[1, 2], machine={"dollars_per_hour": 0.5}, payment={"max_cost": 2}))
    (tmp_path / "again.yaml").write_text(written(experiment), encoding="utf-8")
    assert read(tmp_path / "again.yaml") == experiment


def test_changes_replace_topmost_fields(tmp_path: Path) -> None:
    changed: Experiment = read(write(tmp_path), {"split": "test", "limit": 5})
    assert (changed.split, changed.limit, changed.name) == ("test", 5, "small")
