"""The comparison of two runs of an experiment, and the export of results as tables."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundlewise.errors import UsageError
from bundlewise.experiment.report import cell, interval, probability
from bundlewise.experiment.results import Results
from bundlewise.experiment.rows import GjsDifference, Row
from bundlewise.extras import require
from bundlewise.files import atomic_writer, write_text


def compare(ours: Results, theirs: Results) -> list[tuple[str, Row, Row, GjsDifference]]:
    """Return the rows that both runs have, with the paired difference in GJS: second minus first.

    Raises:
        UsageError: the runs scored different sessions, or have no row in common.
    """
    for name in ("target", "split", "limit"):
        first, second = getattr(ours.experiment, name), getattr(theirs.experiment, name)
        if first != second:
            raise UsageError(f"the runs scored different sessions: {name} {first} and {second}; compare like with like")
    data = f"data {ours.experiment.target}"
    if ours.hashes[data] != theirs.hashes[data]:
        raise UsageError(f"the runs read different files as {data}; run one of them again")
    known = {row.name: row for row in theirs.rows}
    pairs = [(row, known[row.name]) for row in ours.rows if row.name in known]
    if not pairs:
        raise UsageError("the runs have no row in common; compare two runs of one experiment")
    return [(a.name, a, b, GjsDifference.between(b, a)) for a, b in pairs]


def comparison(ours: Results, theirs: Results) -> str:
    """Return the comparison as a Markdown table; the rows of one run only are named below it."""
    lines = ["| row | first | second | difference | p |", "|---|---|---|---|---|"]
    for name, a, b, gap in compare(ours, theirs):
        lines.append(
            f"| {cell(name)} | {interval(a.gjs)} | {interval(b.gjs)} | {interval(gap, '+')} | {probability(gap.p)} |"
        )
    first, second = {row.name for row in ours.rows}, {row.name for row in theirs.rows}
    for which, names in (("first", first - second), ("second", second - first)):
        if names:
            lines.append(f"\nOnly in the {which}: {'; '.join(sorted(names))}.")
    return "\n".join(lines)


def flat(results: Results) -> Iterator[dict[str, Any]]:
    """Yield every row as one flat record of plain values; all records have the same columns."""
    for row in results.rows:
        record: dict[str, Any] = {
            "experiment": results.experiment.name,
            "row": row.name,
            "role": row.role,
            "split": results.experiment.split,
            "sessions": row.sessions,
            "repeats": row.repeats,
            "unanswered": row.unanswered,
            "failed": row.failed,
            "repaired": row.repaired,
            "bundles": row.bundles,
            "intent": row.intent,
            "validation_gjs": row.validation_gjs,
        }
        for name, estimate in row.metrics.items():
            record |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        gap, kept = row.difference, row.retention
        for field in ("value", "low", "high", "p", "holm"):
            record[f"difference_{field}"] = getattr(gap, field) if gap else None
        for field in ("value", "low", "high"):
            record[f"retention_{field}"] = getattr(kept, field) if kept else None
        record |= row.cost.model_dump() | {"cost_reduction": row.cost_reduction}
        for name in ("utilisation", "teacher", "sampler", "ratio", "k", "hints", "student", "tuned"):
            record[name] = row.settings.get(name)
        for name, usual in (("formats", "none"), ("domains", results.experiment.target)):
            record[name] = ("+".join(row.settings[name]) or usual) if name in row.settings else None
        yield record


def export(results: Results, path: Path) -> None:
    """Write the rows as CSV or Parquet, by the ending of the file's name.

    Raises:
        UsageError: the name has another ending.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UsageError(f"{path} must end with .csv or .parquet")
    records = list(flat(results))
    if kind == ".csv":
        text = io.StringIO()
        table = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(records)
        write_text(path, text.getvalue())
        return
    require("parquet", f"writing {path}")
    from pyarrow import Table, parquet

    with atomic_writer(path) as stream:
        parquet.write_table(Table.from_pylist(records), stream)


def log_to_mlflow(results: Results, folder: Path, uri: str) -> int:
    """Log every row as a run of MLflow, and the reports with the first; return the number of runs.

    Raises:
        UsageError: MLflow is not installed, or cannot write to `uri`.
    """
    require("mlflow", "logging to MLflow")
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(f"bundlewise-{results.experiment.name}")
        return sum(_logged(mlflow, record, None if number else folder) for number, record in enumerate(flat(results)))
    except MlflowException as error:
        said = " ".join(str(error).split())[:160]
        raise UsageError(
            f"MLflow cannot write to {uri} ({said}...); give a server's http address, set MLFLOW_ALLOW_FILE_STORE=true "
            'for a folder; sqlite:/// needs pip install "bundlewise[mlflow]"'
        ) from error


def _logged(mlflow: Any, record: dict[str, Any], folder: Path | None) -> int:
    numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    with mlflow.start_run(run_name=record["row"]):
        mlflow.log_metrics(numbers)
        mlflow.log_params({k: v for k, v in record.items() if isinstance(v, str)})
        for path in sorted(folder.glob("re*.*")) if folder else ():  # results.json, report.html, report.md
            mlflow.log_artifact(str(path))
    return 1
