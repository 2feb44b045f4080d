"""bundlewise ledger: show, forget, export and import the paid calls of large teachers."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bundlewise.agents.ledger.rows import VERDICTS
from bundlewise.commands import outputs
from bundlewise.commands.options import FILE
from bundlewise.commands.outputs import force_option
from bundlewise.errors import UsageError
from bundlewise.files import is_special

FAILED = "failed"
Row = dict[str, Any]
ledger_option = click.option(
    "--ledger", type=FILE, default="bundlewise-calls.sqlite", show_default=True, help="The ledger of paid calls."
)
prices_option = click.option(
    "--prices", type=FILE, help="Price table.  [default: BUNDLEWISE_PRICES, or the built-in table]"
)


def _moment(context: click.Context, parameter: click.Parameter, value: datetime | None) -> float | None:
    """Return a local time in Unix seconds; refuse a time before 1970 or without a number."""
    try:
        moment = None if value is None else value.timestamp()
    except (ValueError, OverflowError, OSError):
        moment = 0.0
    if moment is not None and moment <= 0:
        raise click.BadParameter(f"{value} is before every ledger; give a time since 1970", context, parameter)
    return moment


@click.group()
def command() -> None:
    """Show the paid calls of large teachers, forget some, and move them to another machine.

    After the import of another machine's calls, the same `bundlewise distil` runs here without a network.
    """


@command.command()
@ledger_option
@prices_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(ledger: Path, prices: Path | None, as_json: bool) -> None:
    """Print calls, tokens and cost by stage and model.

    Unusable answers are listed by their fault: empty, refused, a tool call (tools), not a completion (unreadable), or
    not in the form that was asked for (faulty).
    """
    from bundlewise.agents.ledger.calls import CallLedger
    from bundlewise.agents.ledger.schema import renewal_of

    with closing(CallLedger.open_for_reading(_existing(ledger))) as kept:
        rows, parts, gone = ([*map(_priced(prices), of())] for of in (kept.totals, kept.verdicts, kept.forgotten))
        damaged = kept.damaged()
    failed = [part for part in parts if part["verdict"] != "good"]
    if as_json:
        click.echo(
            json.dumps({"ledger": str(ledger), "stages": rows, "failed": failed, "forgotten": gone, "damaged": damaged})
        )
        return
    for row in rows:
        click.echo(f"{row['stage']:<10} {row['model']}: {_told(row)}")
        for part in failed:
            if (part["stage"], part["model"]) == (row["stage"], row["model"]):
                click.echo(f"{'':<10} of these {part['verdict']}: {_told(part)}")
    for row in gone:
        click.echo(f"{'forgotten':<10} {row['model']}: {_told(row)}")
    if damaged:
        click.echo(f"{damaged:,} damaged calls in {ledger} are not counted; {renewal_of(ledger)}", err=True)
    if not rows and not damaged:
        click.echo(f"no calls in {ledger}", err=True)


@command.command()
@ledger_option
@prices_option
@click.option("--stage", "stages", multiple=True, help="Only calls of this stage; repeat it for more.")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice([*VERDICTS, FAILED]),
    help="Only answers with this verdict; repeat it for more. failed means all but good.",
)
@click.option("--before", type=click.DateTime(), callback=_moment, help="Only answers from before this local time.")
@click.option("--after", type=click.DateTime(), callback=_moment, help="Only answers from this local time or later.")
@click.option("--dry-run", is_flag=True, help="Print what would be forgotten, and forget nothing.")
def forget(
    ledger: Path,
    prices: Path | None,
    stages: tuple[str, ...],
    verdicts: tuple[str, ...],
    before: float | None,
    after: float | None,
    dry_run: bool,
) -> None:
    """Forget answers, so that they are asked and paid for again.

    Answers without a time, from early versions, count as older than any time. `bundlewise ledger show` still counts
    what was paid for forgotten answers.
    """
    from bundlewise.agents.ledger.books import Which
    from bundlewise.agents.ledger.calls import CallLedger

    if not (stages or verdicts or before is not None or after is not None):
        raise UsageError("no answers are chosen; give --stage, --verdict, --before or --after")
    chosen = [name for one in verdicts for name in (VERDICTS[1:] if one == FAILED else (one,))]
    which = Which(stages, chosen, before, after)
    with closing(CallLedger(_existing(ledger), writable=not dry_run)) as kept:
        _refuse_unknown(stages, kept.totals(), ledger)
        for row in map(_priced(prices), kept.verdicts(which)):
            click.echo(f"{row['stage']:<10} {row['model']}, {row['verdict']}: {_told(row)}")
        if dry_run:
            click.echo(f"{sum(row['calls'] for row in kept.verdicts(which)):,} calls would be forgotten in {ledger}")
        else:
            click.echo(f"{kept.forget(*which):,} calls forgotten in {ledger}")


@command.command()
@click.argument("file", type=FILE)
@ledger_option
@click.option("--what-is-readable", "salvaged", is_flag=True, help="Skip damaged calls, and say how many are lost.")
@force_option
def export(file: Path, ledger: Path, salvaged: bool, force: bool) -> None:
    """Write all calls to FILE as JSON lines.

    The file contains prompts and answers, but no key.
    """
    from bundlewise.agents.ledger.books import export_what_is_readable
    from bundlewise.agents.ledger.calls import CallLedger

    outputs.guard_file(file, outputs.calls, force)
    if salvaged:
        read, lost = export_what_is_readable(_existing(ledger), file)
        told = f"{read:,} calls in {file}; {lost:,} more are named in {ledger} and cannot be read"
        click.echo(told, err=is_special(file))
        return
    with closing(CallLedger.open_for_reading(_existing(ledger))) as kept:
        written, damaged = kept.export(file)
    left = f"; {damaged:,} damaged ones are left out" if damaged else ""
    click.echo(f"{written:,} calls in {file}{left}", err=is_special(file))


@command.command(name="import")
@click.argument("file", type=FILE)
@ledger_option
def take_in(file: Path, ledger: Path) -> None:
    """Add the calls of an exported FILE to the ledger.

    Calls that the ledger has already stay, but a good answer replaces an unusable one.
    """
    from bundlewise.agents.ledger.calls import CallLedger

    with closing(CallLedger(ledger)) as kept:
        new, all_of_them = kept.take_in(file)
    click.echo(f"{new:,} new calls of {all_of_them:,} in {ledger}")


def _existing(ledger: Path) -> Path:
    if not ledger.is_file():
        raise UsageError(f"no ledger {ledger}; name it with --ledger, or let `bundlewise distil` make it")
    return ledger


def _priced(prices: Path | None) -> Callable[[Row], Row]:
    """Return a function that adds the cost to a row of calls; the cost is None if the price is unknown."""
    from bundlewise.models.prices import price_of

    def with_cost(row: Row) -> Row:
        price = price_of(row["model"], prices)
        return row | {"cost": price.cost(row["tokens_in"], row["tokens_out"]) if price else None}

    return with_cost


def _told(row: Row) -> str:
    from bundlewise.models.prices import in_dollars

    tokens = f"{row['tokens_in']:,} tokens in, {row['tokens_out']:,} out"
    return f"{row['calls']:,} calls, {tokens}, {row['seconds']:,.0f} s, {in_dollars(row['cost'])}"


def _refuse_unknown(stages: Sequence[str], rows: Sequence[Row], ledger: Path) -> None:
    known = list(dict.fromkeys(row["stage"] for row in rows))
    if unknown := [stage for stage in stages if stage not in known]:
        there = f"choose from {', '.join(known)}" if known else "it holds no calls"
        raise UsageError(f"no calls of a stage {unknown[0]!r} in {ledger}; {there}")
