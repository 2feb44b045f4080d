"""bundlewise experiment: run grids over the dials of knowledge, compare and report."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import outputs
from bundlewise.commands.options import FILE, reads_data
from bundlewise.commands.outputs import force_option
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.extras import require
from bundlewise.terminal import note

if TYPE_CHECKING:
    from bundlewise.experiment.file import Experiment
    from bundlewise.experiment.run import Run
    from bundlewise.experiment.workers import Workers

FOLDER = click.Path(path_type=Path, file_okay=False)
HOME = Path("experiments")


class FailedCellsError(BundlewiseError):
    """Some cells failed; the report has the others."""


@click.group()
def command() -> None:
    """Run an experiment from a YAML file: every combination of its settings is a cell of a grid.

    The settings say which knowledge the student gets, how much of it, and how it uses it. The experiments demo,
    format, quantity, utilisation and retention are built in, on starter data; --data and --pack replace that data.
    """


def file_options(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that replace settings of the file."""
    for option in (
        click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a dial for all cells."),
        click.option("--seeds", help="Seeds, separated by commas."),
        click.option("--limit", type=click.IntRange(min=2), help="Score this many sessions, chosen at random."),
        click.option("--split", type=click.Choice(["validation", "test"]), help="Sessions to score."),
        click.option(
            "--teacher", "teachers", multiple=True, metavar="NAME=FILE", help="A teacher's predictions to compare with."
        ),
        click.option("--pack", "packs", multiple=True, metavar="DOMAIN=FILE", help="Recorded knowledge for a domain."),
        reads_data(multiple=True, metavar="DOMAIN=FILE", help="Sessions; the first domain given is scored."),
    ):
        wrapped = option(wrapped)
    return click.argument("file", metavar="FILE|NAME")(wrapped)


def opened(file: str, options: dict[str, Any]) -> "Experiment":
    """Read an experiment with the changes that options make, and check every cell."""
    from bundlewise.experiment.file import find, read
    from bundlewise.experiment.grid import cells_of

    changes: dict[str, Any] = {}
    for name, field in (("data", "data"), ("packs", "packs")):
        if given := _pairs(options[name], "--data" if name == "data" else "--pack"):
            changes[field] = given
    if named := _pairs(options["teachers"], "--teacher"):
        changes["teachers"] = [{"name": name, "predictions": path} for name, path in named.items()]
    changes |= {name: options[name] for name in ("split", "limit") if options[name] is not None}
    if options["seeds"] is not None:
        changes["seeds"] = [_number(seed) for seed in options["seeds"].split(",")]
    path = find(file)
    if "data" in changes and "packs" not in changes:
        changes["packs"] = {name: pack for name, pack in read(path).packs.items() if name in changes["data"]}
    if settings := _pairs(options["settings"], "--set"):
        values = {name: _value(name, value) for name, value in settings.items()}
        changes |= _set(read(path), values)
    experiment = read(path, changes)
    cells_of(experiment)
    return experiment


def _set(experiment: "Experiment", values: dict[str, Any]) -> dict[str, Any]:
    """Return settings and grids with dials set for all cells; in a grid the value replaces the list."""
    grids = [
        {name: [values[name]] if name in values else value for name, value in grid.items()} for grid in experiment.grid
    ]
    return {"settings": {**experiment.settings, **values}, "grid": grids}


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    for one in given:
        if "=" not in one or one.startswith("="):
            raise UsageError(f"{option} needs NAME=VALUE, got {one!r}")
    return dict(one.split("=", 1) for one in given)


def _value(name: str, text: str) -> Any:
    from bundlewise.strictly import read_yaml

    try:
        return read_yaml(text, f"--set {name}: {text[:60]!r}", "write a value such as 2 or [a, b]")
    except DataError as error:
        raise UsageError(str(error)) from error


def _number(text: str) -> int:
    if not text.strip().isdigit():
        raise UsageError(f"--seeds needs whole numbers with commas between, got {text!r}")
    return int(text)


@command.command("list")
def list_() -> None:
    """List the built-in experiments with their questions."""
    from bundlewise.experiment.file import SHIPPED, find, read

    for name in SHIPPED:
        click.echo(f"{name:<12} {read(find(name)).question}")


@command.command()
@file_options
def validate(file: str, **options: Any) -> None:
    """Check a file and its data, and list the cells.

    Nothing is run. The data are also checked for leaks between the sessions that teach and those that are scored.
    """
    from bundlewise.experiment.run import Run

    experiment = opened(file, options)
    made = Run(experiment, HOME / experiment.name, HOME / "cache", note)
    made.check()
    for one in made.planned:
        click.echo(one.name)
    note(f"{len(made.planned)} cells, {len(made.maker.inputs.scored)} sessions to score, no leak found")


@command.command()
@file_options
@click.option("-o", "--output", type=FOLDER, help="Folder of the run.  [default: experiments/NAME]")
@click.option("--cache", type=FOLDER, help="Folder of results that runs share.  [default: cache, beside the run's]")
@click.option("--only", help="Run only cells whose name contains this, and the plain student.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where cells run."
)
@click.option("--dry-run", is_flag=True, help="Print the cells with estimated minutes, and run nothing.")
@click.option("--mlflow", metavar="URI", help="Also log the rows to MLflow.")
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the results, or the plan, as JSON.")
def run(
    file: str,
    output: Path | None,
    cache: Path | None,
    only: str | None,
    engine: str,
    dry_run: bool,
    mlflow: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run every cell of a grid, and write a report.

    Each cell is scored beside baselines and teachers. If the run is stopped or killed, the same command continues it.
    If a cell fails, the other cells still run, the report names the failure, and the exit code is 1.
    """
    from bundlewise.experiment.run import BEGUN, Run
    from bundlewise.experiment.workers import workers_named
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    if mlflow:
        require("mlflow", "--mlflow")
    experiment = opened(file, options)
    folder = output or HOME / experiment.name
    if not dry_run:
        outputs.guard_folder(folder, (BEGUN,), force)
    again = shlex.join(["bundlewise", *sys.argv[1:]] if "experiment" in sys.argv else run_again(folder))
    made = Run(experiment, folder, cache or folder.parent / "cache", note, only, again)
    workers = workers_named(engine, made.maker, made.planned)
    if dry_run:
        _say_plan(made, as_json)
        return
    make_and_tell(made, workers, mlflow=mlflow, as_json=as_json)


def make_and_tell(run: "Run", workers: "Workers", *, mlflow: str | None = None, as_json: bool = False) -> None:
    """Make what is planned, write the reports and print the table.

    Raises:
        FailedCellsError: some rows could not be made; the report has all others.
    """
    from bundlewise.experiment.compare import log_to_mlflow
    from bundlewise.experiment.report import write_reports

    results = run.run(workers)
    html, markdown = write_reports(results, run.folder)
    if mlflow:
        note(f"{log_to_mlflow(results, run.folder, mlflow)} runs logged to {mlflow}")
    click.echo(results.model_dump_json() if as_json else _summary(results))
    note(f"report: {html} and {markdown}")
    if results.failures:
        names = "; ".join(f"{failure.name}: {failure.reason}" for failure in results.failures)
        raise FailedCellsError(f"{len(results.failures)} failed, the rest is in the report. {names}")


def run_again(folder: Path) -> list[str]:
    """Return the command that runs the experiment of a folder again."""
    return ["bundlewise", "experiment", "run", str(folder / "experiment.yaml"), "-o", str(folder)]


def _say_plan(run: Any, as_json: bool) -> None:
    from bundlewise.experiment.run import plan

    rows, rests_on = plan(run.maker, run.planned)
    total = sum(row["minutes"] for row in rows)
    if as_json:
        click.echo(json.dumps({"cells": rows, "minutes": round(total, 1), "rests_on": rests_on}))
        return
    for row in rows:
        when = "cached" if row["cached"] else "fails" if row["problem"] else f"{row['minutes']:.1f} min"
        why = f": {row['problem']}" if row["problem"] else ""
        click.echo(f"{when:>10}  {row['cell']}{why}")
    done = sum(row["cached"] for row in rows)
    click.echo(f"{len(rows)} cells, {done} cached, about {total:.0f} minutes for the rest ({rests_on})")


def _summary(results: Any) -> str:
    from bundlewise.experiment.report import interval, verdicts

    width = max(len(row.name) for row in results.rows)
    lines = [f"{'':<{width}}  GJS [95 %]             against the {results.reference}"]
    for row in results.rows:
        gap = "" if row.difference is None else interval(row.difference, "+")
        lines.append(f"{row.name:<{width}}  {interval(row.gjs):<22} {gap}".rstrip())
    return "\n".join([*lines, "", *verdicts(results)])


@command.command()
@click.argument("folder", type=FOLDER)
def report(folder: Path) -> None:
    """Write the reports of a finished run again."""
    from bundlewise.experiment.report import write_reports
    from bundlewise.experiment.results import Results

    for path in write_reports(Results.read(folder), folder):
        click.echo(path)


@command.command()
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
def compare(first: Path, second: Path) -> None:
    """Compare two finished runs row by row.

    Each difference in GJS is paired over the same sessions.
    """
    from bundlewise.experiment.compare import comparison
    from bundlewise.experiment.results import Results

    click.echo(comparison(Results.read(first), Results.read(second)))


@command.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=FILE, required=True, help="A file that ends with .csv or .parquet.")
@force_option
def export(folder: Path, output: Path, force: bool) -> None:
    """Write the table of a finished run as CSV or Parquet."""
    from bundlewise.experiment import compare as comparing
    from bundlewise.experiment.results import Results

    outputs.guard_file(output, outputs.table, force)
    comparing.export(Results.read(folder), output)
    click.echo(output)
