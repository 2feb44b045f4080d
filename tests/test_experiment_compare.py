"""Two runs beside each other, and results for other programs: CSV, Parquet, MLflow."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_experiment_report import NOTHING, TRUTHS, results, row

from bundlewise.errors import UsageError
from bundlewise.evaluation.metrics import paired_bootstrap
from bundlewise.experiment.compare import compare, comparison, export, flat, log_to_mlflow
from bundlewise.experiment.results import Results


def with_experiment(**changes: Any) -> Results:
    return results(experiment=results().experiment.model_copy(update=changes))


def test_rows_of_one_name_are_compared_session_by_session() -> None:
    first = results(rows=(row("a | b", NOTHING), row("gone", NOTHING)))
    second = results(rows=(row("a | b", [*TRUTHS[:8], *NOTHING[:8]]), row("new", TRUTHS)))
    ((name, a, b, gap),) = compare(first, second)
    assert (name, a.gjs.value, b.gjs.value, gap.value) == ("a | b", 0.0, 0.5, 0.5)
    assert (gap.low, gap.high) == pytest.approx(paired_bootstrap(b.by_session, a.by_session), abs=5e-5)
    told = comparison(first, second)
    assert "| a \\| b | .000 [.000, .000] | .500 [" in told
    assert "Only in the first: gone." in told and "Only in the second: new." in told


def test_a_run_does_not_differ_from_itself() -> None:
    assert all(gap.value == 0 and gap.p == 1 for *_, gap in compare(results(), results()))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (with_experiment(split="test"), "scored different sessions: split validation and test"),
        (with_experiment(limit=5), "scored different sessions: limit None and 5"),
        (with_experiment(data={"kiosk": "x"}), "scored different sessions: target shop and kiosk"),
        (results(hashes={"data shop": "cd" * 32}), "read different files as data shop"),
        (results(rows=(row("other", TRUTHS),)), "no row in common"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(other: Results, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(results(), other)


@pytest.mark.parametrize("name", ["table.csv", "folder/table.parquet", "table.CSV"])
def test_an_export_is_read_back_with_every_row_and_figure(tmp_path: Path, name: str) -> None:
    export(results(), tmp_path / name)
    path = tmp_path / name
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    rows = {each.name: each for each in results().rows}
    assert list(table["row"]) == list(rows)
    for record in table.to_dict("records"):
        known = rows[str(record["row"])]
        assert record["gjs"] == pytest.approx(known.gjs.value)
        for metric, estimate in known.metrics.items():
            found = [record[metric], record[f"{metric}_low"], record[f"{metric}_high"]]
            assert found == pytest.approx([estimate.value, estimate.low, estimate.high])
        assert known.difference is None or record["difference_p"] == pytest.approx(known.difference.p)
    assert table["cost_reduction"].dropna().tolist() == pytest.approx([0.9] * 3)
    assert table["ratio"].dropna().tolist() == [1.0, 0.5, 1.0]
    assert set(table["domains"].dropna()) == {"shop"}
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_an_export_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"table.xlsx must end with .csv or .parquet"):
        export(results(), tmp_path / "table.xlsx")


def test_every_record_has_the_same_columns() -> None:
    records = list(flat(results()))
    assert len({tuple(record) for record in records}) == 1


@pytest.mark.filterwarnings("ignore")
def test_rows_become_runs_of_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.md").write_text("# small\n")
    before = mlflow.get_tracking_uri()
    try:
        count = log_to_mlflow(results(), tmp_path / "run", f"file://{tmp_path / 'runs'}")
        runs = mlflow.search_runs(experiment_names=["bundlewise-small"], output_format="list")
    finally:
        mlflow.set_tracking_uri(before)
    assert count == len(runs) == len(results().rows)
    known = {each.name: each.gjs.value for each in results().rows}
    assert {run.info.run_name: run.data.metrics["gjs"] for run in runs} == pytest.approx(known)
    assert {run.data.params["role"] for run in runs} == {"cell", "baseline", "teacher"}
    assert len(list((tmp_path / "runs").rglob("report.md"))) == 1


@pytest.mark.filterwarnings("ignore")
def test_where_mlflow_cannot_write_the_remedies_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    before = mlflow.get_tracking_uri()
    try:
        with pytest.raises(UsageError, match=r"MLflow cannot write to odd://x .*give a server's http address"):
            log_to_mlflow(results(), tmp_path, "odd://x")
    finally:
        mlflow.set_tracking_uri(before)


def test_without_mlflow_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r'logging to MLflow needs .*pip install "bundlewise\[mlflow\]"'):
        log_to_mlflow(results(), tmp_path, "http://127.0.0.1:1")
