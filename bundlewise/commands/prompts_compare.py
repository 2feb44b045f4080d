"""bundlewise prompts compare: find out which prompts give better answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.agents.student.dials import AnswerDials
from bundlewise.commands import outputs
from bundlewise.commands.options import (
    FILE,
    answer_options,
    data_option,
    dials_of,
    knowledge_option,
    policy_options,
    student_option,
)
from bundlewise.commands.outputs import force_option
from bundlewise.commands.prompts_look import json_option
from bundlewise.domain import SPLITS
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy

if TYPE_CHECKING:
    from bundlewise.workbench.answer_cache import Bench
    from bundlewise.workbench.compare import Comparison
    from bundlewise.workbench.opening import Opening

Command = Callable[..., Any]


def answering_options(command: Command) -> Command:
    """Add the options of the student, its knowledge, and the cache of answers."""
    for option in reversed(
        (
            student_option,
            click.option(
                "--adapter", type=click.Path(path_type=Path, file_okay=False), help="Adapter folder of a tuned student."
            ),
            knowledge_option,
            policy_options,
            answer_options,
            click.option("--seed", default=0, show_default=True, help="Seed of the order of the sessions."),
            click.option("--calibrate", is_flag=True, help="Calibrate for each on 60 training sessions."),
            click.option("--cache", type=FILE, help="File of kept answers.  [default: in the cache folder]"),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="A B [C]...")
@data_option
@click.option("--split", type=click.Choice(SPLITS), default="validation", show_default=True, help="Sessions to answer.")
@click.option("--limit", type=click.IntRange(min=2), default=96, show_default=True, help="Most sessions to ask about.")
@click.option(
    "--look", type=click.IntRange(min=2), default=16, show_default=True, help="Sessions between two interim results."
)
@answering_options
@click.option("--html", type=FILE, help="Write a page with the sessions whose score differs.")
@force_option
@json_option
def compare(
    specs: tuple[str, ...],
    data: str,
    split: str,
    limit: int,
    look: int,
    html: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare prompts B, C, ... with A by the student's answers to the same sessions.

    Each of them is: shipped (built in), current (with your folder), a template's name, NAME.VARIANT in your folder, a
    folder, or a file NAME.jinja or NAME.VARIANT.jinja. The comparison ends early when the interval of every
    difference excludes zero. The error of 5 % holds over all interim results and comparisons together. Answers are
    kept, so that a second run asks for new ones only.
    """
    from bundlewise.data.sessions import load
    from bundlewise.workbench.compare import check_student_reads, sample
    from bundlewise.workbench.compare import compare as run
    from bundlewise.workbench.variants import variants_named

    if len(specs) < 2:
        raise UsageError("a comparison needs two sets of prompts, got one; give two or more, such as: shipped current")
    outputs.guard_file(html, outputs.page, force)
    variants, known = variants_named(list(specs)), load(data)
    sessions = sample([session for session in known if session.split == split], limit, options["seed"])
    opening = opening_of(options)
    check_student_reads(variants, opening.answer_dials.form)
    with opening.bench(variants) as bench:
        if options["calibrate"]:
            opening.calibrate(bench, variants, known, options["seed"])
        found = run(variants, sessions, bench, look=look, watch=None if as_json else _watch)
        if html is not None:
            about = {"data": f"{data} {split}", "sessions": f"{found.seen} of at most {found.planned}"}
            worlds = opening.worlds(sessions[: found.seen], known, bench.student.retriever)
            _write(html, found, worlds, about | {"student": opening.student})
    if as_json:
        click.echo(json.dumps(_as_dict(found, bench)))
    else:
        _say(found, bench, options["student"])
    if html is not None:
        click.echo(f"page in {html}", err=True)


def opening_of(options: dict[str, Any]) -> "Opening":
    """Return the opening that a command's options describe; its warnings go to stderr."""
    from bundlewise.workbench.opening import Opening

    kb = options["kb"]
    given = dials_of({key: options[key] for key in Policy.model_fields}, kb)
    return Opening(
        options["student"],
        options["adapter"],
        kb,
        given,
        {name: options[name] for name in AnswerDials.model_fields},
        options["cache"],
        warn=lambda text: click.echo(f"warning: {text}", err=True),
    )


def _write(path: Path, found: "Comparison", worlds: Any, about: dict[str, str]) -> None:
    from bundlewise.workbench.page import write_page

    write_page(path, found, worlds, about)


def _watch(found: "Comparison") -> None:
    from bundlewise.workbench.page import said, verdict

    for entry in found.entries[1:]:
        look = entry.looks[-1]
        if look.sessions == found.seen:
            text = said(look.difference, look.low, look.high)
            click.echo(
                f"{look.sessions} of {found.planned} sessions, {entry.variant.name}: {text}, {verdict(entry)}", err=True
            )


def _say(found: "Comparison", bench: "Bench", student: str) -> None:
    from bundlewise.evaluation.scores import table
    from bundlewise.models.prices import in_dollars
    from bundlewise.workbench.page import said, verdict

    click.echo(table([entry.row for entry in found.entries]))
    first = found.entries[0].variant.name
    for entry in found.entries[1:]:
        look, flips = entry.looks[-1], found.flips(entry)
        text = said(look.difference, look.low, look.high)
        early = " early" if look.sessions < found.planned and look.decided else ""
        click.echo(
            f"{entry.variant.name} against {first}: GJS {text}, {verdict(entry)}{early} ({look.sessions} sessions)"
        )
        better = [p for p in flips if entry.scores[p].gjs > found.entries[0].scores[p].gjs]
        for what, places in (("better", better), ("worse", [p for p in flips if p not in better])):
            if places:
                names = ", ".join(found.sessions[place].session_id for place in places[:6])
                click.echo(f"  {what}: {len(places)} ({names}{', ...' if len(places) > 6 else ''})")
    cost = cost_of(found, student)
    spent = "runs on this machine" if cost is None else f"cost {in_dollars(cost[0])}"
    click.echo(f"{bench.asked} new answers, the others were kept; {spent}", err=True)


def cost_of(found: "Comparison", student: str) -> tuple[float | None] | None:
    """Return the cost of the answers in US dollars, (None,) if the price is unknown, or None for a local student."""
    from bundlewise.models.endpoints import is_served, model_of
    from bundlewise.models.prices import price_of

    if not is_served(student):
        return None
    price = price_of(model_of(student))
    rows = [entry.row for entry in found.entries]
    return (sum(price.cost(row.tokens_in or 0, row.tokens_out or 0) for row in rows) if price else None,)


def _as_dict(found: "Comparison", bench: "Bench") -> dict[str, Any]:
    from bundlewise.prompts.render import STUDENT_TEMPLATES

    entries = []
    for entry in found.entries:
        looks = [{"sessions": x.sessions, "gjs": x.difference, "interval": [x.low, x.high]} for x in entry.looks]
        flips = [found.sessions[place].session_id for place in found.flips(entry)]
        row = entry.row
        tokens = {"tokens_in": row.tokens_in, "tokens_out": row.tokens_out, "seconds": row.seconds}
        prompts = {name: entry.variant.library.fingerprint(name) for name in STUDENT_TEMPLATES}
        entries.append(
            {"name": row.name, "prompts": prompts, **row.as_dict(), **tokens, "looks": looks, "flips": flips}
        )
    return {"planned": found.planned, "seen": found.seen, "asked": bench.asked, "entries": entries}
