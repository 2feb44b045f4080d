"""bundlewise prompts optimise: let a large teacher reword a template, and test each rewrite."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import outputs
from bundlewise.commands.options import FILE, data_option, own_folder
from bundlewise.commands.outputs import force_option
from bundlewise.commands.prompts_compare import answering_options, opening_of
from bundlewise.errors import UsageError
from bundlewise.models.endpoints import is_served

if TYPE_CHECKING:
    from bundlewise.workbench.optimise import Try


@click.command()
@click.argument("name")
@data_option
@click.option(
    "--teacher", default="grounded", show_default=True, help="Large teacher that rewrites: openai:MODEL[@URL]."
)
@click.option("--rewrites", type=click.IntRange(1, 20), default=4, show_default=True, help="Rewrites to try.")
@click.option("--max-calls", type=click.IntRange(min=1), default=12, show_default=True, help="Most paid calls.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="Stop before more US dollars than this are spent.")
@click.option("--ledger", type=FILE, help="File of paid calls.  [default: bundlewise-calls.sqlite]")
@click.option(
    "--screen",
    type=click.IntRange(min=2),
    default=48,
    show_default=True,
    help="Training sessions for a first comparison.",
)
@click.option("--limit", type=click.IntRange(min=2), default=96, show_default=True, help="Most validation sessions.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the rewrite that is kept.  [default: --prompts]",
)
@click.option(
    "--log", type=FILE, help="File of all rewrites, as JSON lines.  [default: NAME.optimise.jsonl in that folder]"
)
@force_option
@answering_options
def optimise(
    name: str,
    data: str,
    teacher: str,
    rewrites: int,
    max_calls: int,
    max_cost: float | None,
    ledger: Path | None,
    screen: int,
    limit: int,
    folder: Path | None,
    log: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Let a large teacher reword the template NAME, and keep a rewrite only if it is significantly better.

    A rewrite that is better on training sessions is compared on validation sessions. It is kept if the whole interval
    of the paired difference lies above zero there; the error of 5 % is shared among all rewrites. The rewrite that is
    kept is written into your folder. If the command is stopped, the same command continues: calls and answers are kept.
    """
    from bundlewise.data.sessions import load
    from bundlewise.files import write_jsonl
    from bundlewise.pipeline.distil import LEDGER, Payment, asking
    from bundlewise.prompts.library import check_name, current
    from bundlewise.prompts.outside import rendering_outside
    from bundlewise.workbench.compare import sample
    from bundlewise.workbench.optimise import Optimiser, check_shows
    from bundlewise.workbench.variants import Variant, save_template

    check_name(name)
    check_shows(name)  # This fails before a student is opened and a teacher is asked.
    if not is_served(teacher):
        raise UsageError(
            f"teacher {teacher} is not a language model, so it cannot reword; give --teacher openai:MODEL[@URL]"
        )
    folder = own_folder(folder, "the rewrite that is kept")
    log = log or folder / f"{name}.optimise.jsonl"
    outputs.guard_file(log, outputs.tries, force)
    known, library = load(data), current()
    training, validation = (
        sample([session for session in known if session.split == split], most, options["seed"])
        for split, most in (("train", screen), ("validation", limit))
    )

    def noted(each: "Try") -> None:
        write_jsonl(log, [row.model_dump(mode="json") for row in run.tries])
        click.echo(f"rewrite {each.number}: {outcome_of(each)}", err=True)

    payment = Payment(ledger or LEDGER, max_cost=max_cost, max_calls=max_calls)
    opening, now = opening_of(options), [Variant("now", library)]
    with opening.bench(now) as bench, asking(teacher, payment) as asker:
        if options["calibrate"]:
            opening.calibrate(bench, now, known, options["seed"])
        run = Optimiser(name, library, bench, asker, training, validation, rewrites, log=noted)
        kept = run.run()
    if run.stopped:
        click.echo(run.stopped, err=True)
    if kept is None:
        click.echo(f"none of {len(run.tries)} rewrites is significantly better; {name} stays as it is")
    else:
        with rendering_outside():
            click.echo(save_template(name, kept.text, folder))
    click.echo(f"all rewrites: {log}", err=True)


def outcome_of(each: "Try") -> str:
    """Return the outcome of a rewrite, with its numbers."""
    from bundlewise.workbench.page import said

    parts: list[str] = [each.verdict]
    if each.training is not None:
        parts.append(f"training {each.training:+.3f}")
    if each.validation is not None and each.interval is not None:
        parts.append(f"validation {said(each.validation, *each.interval)} on {each.sessions}")
    return ", ".join([*parts, *([each.note] if each.note else [])])
