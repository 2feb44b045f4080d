"""bundlewise ledger: the paid calls of large teachers, and how to take them elsewhere."""

import json
from pathlib import Path

import click

from bundlewise.commands import outputs
from bundlewise.commands.outputs import force_option
from bundlewise.errors import UsageError
from bundlewise.files import is_special

FILE = click.Path(path_type=Path, dir_okay=False)
ledger_option = click.option(
    "--ledger", type=FILE, default="bundlewise-calls.sqlite", show_default=True, help="The ledger of paid calls."
)


@click.group()
def command() -> None:
    """Look at the paid calls of large teachers, and take them to another machine.

    A recording that was exported here and imported there answers the same `bundlewise distil` without a network.
    """


@command.command()
@ledger_option
@click.option("--prices", type=FILE, help="Table of prices.  [default: BUNDLEWISE_PRICES, or the one that ships]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(ledger: Path, prices: Path | None, as_json: bool) -> None:
    """Print calls, tokens and money by stage and model."""
    from bundlewise.agents.calls import CallLedger
    from bundlewise.prices import in_dollars, price_of

    rows = CallLedger(_existing(ledger)).totals()
    for row in rows:
        price = price_of(row["model"], prices)
        row["cost"] = price.cost(row["tokens_in"], row["tokens_out"]) if price else None
    if as_json:
        click.echo(json.dumps({"ledger": str(ledger), "stages": rows}))
        return
    for row in rows:
        tokens = f"{row['tokens_in']:,} tokens in, {row['tokens_out']:,} out"
        told = f"{row['calls']:,} calls, {tokens}, {row['seconds']:,.0f} s, {in_dollars(row['cost'])}"
        click.echo(f"{row['stage']:<10} {row['model']}: {told}")
    if not rows:
        click.echo(f"no calls in {ledger}", err=True)


@command.command()
@click.argument("file", type=FILE)
@ledger_option
@force_option
def export(file: Path, ledger: Path, force: bool) -> None:
    """Write all calls to FILE, as JSON lines: it holds prompts and answers, and no key."""
    from bundlewise.agents.calls import CallLedger

    outputs.guard_file(file, outputs.calls, force)
    click.echo(f"{CallLedger(_existing(ledger)).export(file):,} calls in {file}", err=is_special(file))


@command.command(name="import")
@click.argument("file", type=FILE)
@ledger_option
def take_in(file: Path, ledger: Path) -> None:
    """Take the calls of an exported FILE in; those that are here already stay."""
    from bundlewise.agents.calls import CallLedger

    new, all_of_them = CallLedger(ledger).take_in(file)
    click.echo(f"{new:,} new calls of {all_of_them:,} in {ledger}")


def _existing(ledger: Path) -> Path:
    if not ledger.is_file():
        raise UsageError(f"no ledger {ledger}; name it with --ledger, or let `bundlewise distil` make it")
    return ledger
