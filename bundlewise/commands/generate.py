"""bundlewise generate: find the bundles of sessions, or of a few titles."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.agents.student.modes import UTILISATIONS
from bundlewise.commands import outputs
from bundlewise.commands.arguments import TakesTexts
from bundlewise.commands.options import (
    FILE,
    answer_options,
    answers_of,
    dials_of,
    knowledge_option,
    policy_options,
    reads_data,
    student_option,
)
from bundlewise.commands.outputs import force_option
from bundlewise.domain import SPLITS, Session
from bundlewise.errors import UsageError
from bundlewise.files import cost_path, is_special, partial_path
from bundlewise.terminal import note, one_line
from bundlewise.titles import titles_fault

SHOWN = 3
"""Most records that `--why` prints for a bundle."""

if TYPE_CHECKING:
    from bundlewise.agents.student.dials import Form
    from bundlewise.bundles import Reason
    from bundlewise.domain import Prediction
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.pipeline.predictions import Spread


@click.command(cls=TakesTexts)
@reads_data()
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Sessions to answer.")
@click.option("--items", is_flag=True, help="The arguments are the titles of one session.")
@click.argument("titles", nargs=-1)
@click.option("-o", "--output", type=FILE, help="File for the predictions.")
@force_option
@click.option("--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student.")
@knowledge_option
@policy_options
@student_option
@click.option("--mode", type=click.Choice(UTILISATIONS), help="Check the mode that --kb and --adapter make.")
@answer_options
@click.option("--limit", type=click.IntRange(min=1), help="Answer only this many sessions, the first ones.")
@click.option("--calibrate", is_flag=True, help="Calibrate an untuned student on the validation split of DATA.")
@click.option(
    "--engine",
    "where",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the student runs: here, or on a Ray cluster.",
)
@click.option("--json", "as_json", is_flag=True, help="Print predictions as JSON lines.")
@click.option("--why", is_flag=True, help="Print the knowledge that each bundle rests on, strongest first.")
def command(
    data: str | None,
    split: str,
    items: bool,
    titles: tuple[str, ...],
    output: Path | None,
    force: bool,
    adapter: Path | None,
    kb: str | None,
    student: str,
    mode: str | None,
    limit: int | None,
    calibrate: bool,
    where: str,
    as_json: bool,
    why: bool,
    **options: Any,
) -> None:
    """Find the bundles of the sessions in DATA, or of one session given as titles.

    bundlewise generate --items "title" "title" ...

    Put titles that begin with - after all options and after --.

    An adapter brings its own retrieval policy and calibration. --engine ray spreads batches of sessions over a Ray
    cluster (RAY_ADDRESS, or this machine's cores). The same input always gives the same answer.
    """
    _check_input(data, items, titles, output, calibrate)
    _check_output(output, force)
    if why and (kb is None or output is not None):
        raise UsageError("--why prints the knowledge behind each bundle; add --kb, and leave out -o")
    if where == "ray" and output is None:
        raise UsageError("--engine ray spreads many sessions into a file; add --data and -o, or leave it out")
    from bundlewise.agents.student.compose import unreadable
    from bundlewise.data.sessions import load
    from bundlewise.progress import progress
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    from bundlewise.pipeline.student import Student

    given, answering = dials_of(options, kb), answers_of(options)
    sessions = [Session.of(titles)] if items else load(str(data), split)[:limit]  # type: ignore[arg-type]
    if items and (reason := unreadable(sessions[0])):
        raise UsageError(reason)
    on: dict[str, Any] = {"mode": mode, "calibrate": data if calibrate else None}
    live = Student.open(kb=kb, adapter=adapter, student=student, dials=given, answering=answering, note=note, **on)
    if output is None:
        with progress("generate", len(sessions)) as advance:
            predictions = live.answer(sessions, advance=advance)
    else:
        spread = _spread(student, adapter, kb, live.retriever, live.dials.form) if where == "ray" else None
        predictions = live.answer_to_file(sessions, output, spread=spread)
    reasons = [live.explain(s, p.groups) for s, p in zip(sessions, predictions, strict=True)] if why else []
    _show(sessions, predictions, reasons, output, as_json)


def _check_input(data: str | None, items: bool, titles: tuple[str, ...], output: Path | None, calibrate: bool) -> None:
    if items == (data is not None):
        raise UsageError("give either --data with a file or starter name, or --items with titles")
    if items and len(titles) < 2:
        raise UsageError(f"a session needs at least 2 titles, got {len(titles)}; quote each title")
    if not items and titles:
        raise UsageError(f"unexpected argument {titles[0]!r}; titles go with --items")
    if fault := titles_fault(titles):
        raise UsageError(fault)
    if calibrate and data is None:
        raise UsageError("--calibrate needs --data with annotated validation sessions")
    if output is not None and output.is_dir():
        raise UsageError(f"{output} is a folder; give a file name for the predictions")


def _check_output(output: Path | None, force: bool) -> None:
    if output is None or is_special(output):
        return
    outputs.guard_file(output, outputs.predictions, force)
    outputs.guard_file(cost_path(output), outputs.cost, force)
    outputs.guard_file(partial_path(output), outputs.begun, force)


def _spread(
    student: str, adapter: Path | None, kb: str | None, retriever: "Retriever | None", form: "Form"
) -> "Spread":
    """Return a function that answers on a Ray cluster, where each worker opens its own student and retriever."""
    from bundlewise.pipeline.ray import Students

    return Students(student, adapter, kb if retriever else None, retriever.policy if retriever else None, form).answer


def _show(
    sessions: list[Session],
    predictions: "list[Prediction]",
    reasons: "list[list[list[Reason]]]",
    output: Path | None,
    as_json: bool,
) -> None:
    whys = reasons or [[[] for _ in prediction.bundles] for prediction in predictions]
    rows = list(zip(sessions, predictions, whys, strict=True))
    if as_json:
        for _, prediction, why in rows:
            row = prediction.model_dump(mode="json", exclude={"seconds"})
            told = {"why": [[reason.model_dump() for reason in each] for each in why]} if reasons else {}
            click.echo(json.dumps(row | told, ensure_ascii=False, separators=(",", ":")))
    elif output is None:
        for session, prediction, why in rows:
            _show_one(session, prediction, why)
    failed = [p for p in predictions if p.outcome == "failed"]
    for prediction in failed[:5]:
        click.echo(one_line(f"{prediction.session_id}: no bundle ({prediction.reason})"), err=True)
    for prediction in [p for p in predictions if p.cut][:5]:
        click.echo(one_line(f"{prediction.session_id}: too long for the student, so {prediction.cut}"), err=True)
    if output is not None:
        click.echo(f"{len(predictions)} sessions in {output}, {len(failed)} failed", err=True)


def _show_one(session: Session, prediction: "Prediction", why: "list[list[Reason]]") -> None:
    bundles = "1 bundle" if len(prediction.bundles) == 1 else f"{len(prediction.bundles)} bundles"
    click.echo(one_line(f"{session.session_id}: {len(session.items)} products, {bundles}"))
    for bundle, reasons in zip(prediction.bundles, why, strict=True):
        click.echo(f"  {one_line(bundle.intent) or '(no intent)'}")
        for number in bundle.items:
            click.echo(f"    {number}. {one_line(session.items[number - 1].title)}")
        for reason in reasons[:SHOWN]:
            click.echo(f"    {100 * reason.effect:+.1f} points: {reason.kind}: {one_line(reason.text)}")
