"""Reading predictions strictly, and tables that fit a terminal."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from samples import session as sample

from bundlewise.domain import Bundle, Grouping, Item, PredictedBundle, Prediction, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.evaluation.scores import Scores, decimal, evaluate, read_predictions, score, table, thousands


def session(name: str) -> Session:
    items = tuple(Item(id=f"{name}{n}", title=f"Product {n}") for n in range(1, 5))
    return Session(session_id=name, items=items, bundles=(Bundle(item_ids=(f"{name}1", f"{name}2"), intent="a pair"),))


SESSIONS = [session("a"), session("b")]


def written(folder: Path, *lines: object) -> Path:
    path = folder / "predictions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("bundles", "expected"),
    [
        ([{"items": [1, 3]}], ((0, 2),)),
        ([{"items": [3, 1, 3]}], ((0, 2),)),
        ([{"items": ["a1", "a3"]}], ((0, 2),)),
        ([{"item_ids": ["a4", "a2"], "intent": "two", "score": 0.5}], ((1, 3),)),
        ([{"items": [1, 2], "item_ids": ["a2", "a1"]}], ((0, 1),)),
        ([{"items": [1, 2]}, {"items": [1, 2]}, {"items": [4]}, {"items": []}], ((0, 1), (0, 1), (3,), ())),
        ([], ()),
    ],
    ids=["numbers", "a number twice", "ids as items", "ids", "both", "what metrics drop or merge", "none"],
)
def test_products_are_named_by_number_or_id(
    tmp_path: Path, bundles: list[dict[str, object]], expected: Grouping
) -> None:
    path = written(tmp_path, {"session_id": "a", "bundles": bundles})
    assert read_predictions(path, SESSIONS) == {"a": expected}


def test_our_own_records_are_read_back(tmp_path: Path) -> None:
    bundle = PredictedBundle(items=(2, 4), item_ids=("b2", "b4"), intent="a pair")
    record = Prediction(session_id="b", bundles=(bundle,), raw="[2, 4]", tokens_in=7, seconds=0.5)
    assert read_predictions(written(tmp_path, record.model_dump_json()), SESSIONS) == {"b": record.groups}


def test_blank_lines_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff{"session_id": "a", "bundles": []}', "", "  ")
    assert read_predictions(path, SESSIONS) == {"a": ()}


def answer(*bundles: dict[str, object], session_id: object = "b") -> dict[str, object]:
    return {"session_id": session_id, "bundles": bundles}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{nonsense", "not valid JSON"),
        ("[1, 2]", "line must be an object"),
        ({"session_id": "b"}, "bundles is missing"),
        (answer(session_id=7), "session_id must be a text in double quotes, got 7"),
        (answer({"items": "1,2"}), r"bundles\[0\].items must be a list"),
        (answer({"intent": "x"}), "names no products; add items"),
        (answer({"items": [0, 1]}), "no item 0 in session 'b'; .* 1 to 4"),
        (answer({"items": [-1, 1]}), "no item -1 in session 'b'"),
        (answer({"items": [1, 5]}), "no item 5 in session 'b'"),
        (answer({"items": [1, 2.0]}), r"no item 2\.0 in session 'b'"),
        (answer({"items": [True, 2]}), "no item True in session 'b'"),
        (answer({"items": [[1, 2]]}), r"no item \[1, 2\] in session 'b'"),
        (answer({"item_ids": ["b1", "a1"]}), "no item 'a1' in session 'b'"),
        (answer({"items": [1], "item_ids": ["b2"]}), "name different products"),
        (answer(session_id="z"), "session 'z' is not among the 2 to score; check --data"),
        (answer(session_id="a"), "session 'a' occurs twice"),
    ],
)
def test_a_bad_line_is_named_with_its_fault(tmp_path: Path, line: object, message: str) -> None:
    path = written(tmp_path, answer(session_id="a"), line)
    with pytest.raises(DataError, match=rf"predictions\.jsonl, line 2: .*{message}"):
        read_predictions(path, SESSIONS)


def test_a_line_that_names_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text('\ufeff\n{"session_id": "a", "bundles": [], "bundles": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2: the key 'bundles' occurs twice in one object; keep one of them"):
        read_predictions(path, SESSIONS)


def test_a_file_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(written(tmp_path, ""), SESSIONS)
    (tmp_path / "predictions.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_predictions(tmp_path / "predictions.jsonl", SESSIONS)


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_a_path_that_is_no_file_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*; give a file"):
        read_predictions(tmp_path / name, SESSIONS)


def test_a_session_without_a_prediction_counts_as_zero() -> None:
    row = Scores("half", score({"b": ((0, 1),)}, SESSIONS))
    assert (row.summary.n, row.summary.answered, row.summary.gjs) == (2, 1, 0.5)


def test_a_row_publishes_metrics_and_intervals_in_one_shape() -> None:
    published = Scores("right", score({"a": ((0, 1),), "b": ((0, 1),)}, SESSIONS)).as_dict()
    intervals = published.pop("ci95")
    assert published["gjs"] == 1 and intervals["gjs"] == (1, 1)
    assert intervals["v1"].keys() == published["v1"].keys() == {"precision", "recall", "coverage"}


RIGHT = Scores("right", score({"a": ((0, 1),), "b": ((0, 1),)}, SESSIONS))
WRONG = Scores("wrong", score({"a": ((2, 3),)}, SESSIONS), tokens_in=1_200, tokens_out=64, seconds=3.25)


def test_the_two_lines_of_a_row_follow_the_two_lines_of_the_header() -> None:
    lines = table([RIGHT], width=80).splitlines()
    assert lines[0].split() == ["answered", "v1", "P/R/C", "exact", "P", "GJS"]
    assert lines[1].split() == ["name", "of", "v2", "P/R/C", "exact", "R", "95", "%"]
    assert lines[3].split() == ["right", "2", "1.000/1.000/1.000", "1.000", "1.000"]
    assert lines[4].split() == ["2", "1.000/1.000/1.000", "1.000", "1.000-1.000"]


def test_a_reference_adds_paired_differences_and_costs_appear_where_known() -> None:
    text = table([RIGHT, WRONG], reference=RIGHT, width=80)
    assert "-1.000 -1.000" in text
    assert "1k+64" in text and "3.2" in text
    assert "difference" not in table([RIGHT], width=80) and "seconds" not in table([RIGHT], width=80)


def test_the_widest_table_fits_eighty_columns_and_shortens_no_number() -> None:
    name = "runs/electronics/a-rather-long-name[of]-a-file.jsonl"
    wide = replace(WRONG, name=name, tokens_in=3_400_000, tokens_out=999_499, seconds=12_345.6, note=":x: [b]")
    lines = table([wide, RIGHT], reference=RIGHT, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line[:9].strip() for line in lines[3:]).startswith(name)
    assert "1.000-1.000" in table([RIGHT], width=20)
    assert all(text in "\n".join(lines) for text in ("3.4M+999k", "12,345.6", ":x: [b]"))


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0, "", ".000"),
        (0.6579, "", ".658"),
        (0.99996, "", "1.000"),
        (10.5, "", "10.500"),
        (0.0231, "+", "+.023"),
        (-0.0109, "+", "-.011"),
        (-1, "+", "-1.000"),
    ],
)
def test_decimals_are_written_as_in_papers(value: float, sign: str, text: str) -> None:
    assert decimal(value, sign) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1_000, "1k"), (999_499, "999k"), (999_500, "1.0M")]
)
def test_counts_are_short(count: int, text: str) -> None:
    assert thousands(count) == text


def test_predictions_of_a_split_are_scored_against_its_annotated_sessions() -> None:
    known = [
        sample("a", ["A", "B"], ((0, 1),), split="test"),
        sample("b", ["A", "B"], ((0, 1),), split="test"),
        sample("c", ["A", "B"], split="test"),
        sample("d", ["A", "B"], ((0, 1),)),
    ]
    bundle = PredictedBundle(items=(1, 2), item_ids=("a-1", "a-2"))
    made = Prediction(session_id="a", bundles=(bundle,), tokens_in=5, seconds=0.5)
    found = evaluate(known, [made])
    assert (found.gjs, found.summary.n, found.missing, found.tokens_in, found.seconds) == (0.5, 2, 1, 5, 0.5)
    with pytest.raises(DataError, match="session 'x' is not among the 4 to score"):
        evaluate(known, [made.model_copy(update={"session_id": "x"})])
    with pytest.raises(DataError, match="none of the sessions answered has annotated bundles"):
        evaluate(known[2:3], [made.model_copy(update={"session_id": "c"})])


def test_a_file_of_predictions_is_scored_as_the_predictions_are(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"session_id": "a", "bundles": [{"items": [1, 2]}]}\n', encoding="utf-8")
    assert evaluate([sample("a", ["A", "B"], ((0, 1),))], file).gjs == 1.0
