"""bundlewise kb retire, merge, conflicts, history and undo: maintain the records, and take changes back."""

from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import clipped, folded, headline, json_option, kb_argument, opened, print_json, table
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.knowledge_base.duplicates import Cluster


def cosine(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Return a threshold, and refuse one that is no cosine.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{param.name} must be between 0 and 1, got {value}")
    return value


@click.command()
@kb_argument
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--reason", required=True, metavar="TEXT", help="Reason; it is stored with the record.")
def retire(kb: str, ids: tuple[str, ...], reason: str) -> None:
    """Keep records of KB out of retrieval without deleting them.

    The first characters of an ID are enough. `bundlewise kb undo` brings the records back.
    """
    if not reason.strip():
        raise UsageError("the reason is empty; say why the records are retired")
    store = opened(kb)
    from bundlewise.knowledge_base.search import keys_of
    from bundlewise.knowledge_base.upkeep import retire

    keys = keys_of(store.database, ids)
    done = retire(store, keys, reason)
    for record in done:
        click.echo(clipped(f"retired {headline(record)} {record.text}"))
    if before := len(keys) - len(done):
        click.echo(f"{before:,} retired already", err=True)


@click.command()
@kb_argument
@click.option(
    "--threshold", type=float, callback=cosine, show_default="0.86", help="Smallest cosine of near-duplicates."
)
@click.option("--apply", "do_apply", is_flag=True, help="Merge them; without --apply they are only listed.")
@json_option
def merge(kb: str, threshold: float | None, do_apply: bool, as_json: bool) -> None:
    """List the near-duplicates in KB, or merge them.

    Only active records are compared. The first record of a group stays, with the sources of all; the
    others are retired. `bundlewise kb undo` takes the merge back.
    """
    store = opened(kb)
    from bundlewise.knowledge_base.duplicates import THRESHOLD
    from bundlewise.knowledge_base.upkeep import merge, near_duplicates

    level = THRESHOLD if threshold is None else threshold
    groups = near_duplicates(store, level)
    if do_apply and not groups:
        raise UsageError(f"nothing to merge: {kb} has no near-duplicates of cosine {level:g}; lower --threshold")
    for group in groups:
        _print_group(group, as_json)
    told = f"{_counted(len(groups), 'group')} of near-duplicates"
    if do_apply:
        merge(store, groups)
        click.echo(f"merged {told}; take it back: bundlewise kb undo {kb}", err=True)
    else:
        click.echo(f"{told}{'; merge with --apply' if groups else ''}", err=True)


def _print_group(group: "Cluster", as_json: bool) -> None:
    if as_json:
        print_json({"leader": group.leader.id, "members": [record.model_dump(mode="json") for record in group.members]})
        return
    for record in group.members:
        click.echo(folded(f"{headline(record)} {record.text}", 0 if record is group.leader else 2))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@click.command()
@kb_argument
@click.option(
    "--threshold", type=float, callback=cosine, show_default="0.6", help="Smallest cosine of rules about one subject."
)
@json_option
def conflicts(kb: str, threshold: float | None, as_json: bool) -> None:
    """List the rules of KB that contradict each other or their own numbers, for a person to check."""
    store = opened(kb)
    from bundlewise.knowledge_base.conflicts import THRESHOLD
    from bundlewise.knowledge_base.upkeep import contradictions

    found = contradictions(store, THRESHOLD if threshold is None else threshold)
    for conflict in found:
        if as_json:
            records = [record.model_dump(mode="json") for record in conflict.records]
            print_json({"similarity": conflict.similarity, "reason": conflict.reason, "records": records})
            continue
        click.echo(folded(f"{conflict.similarity:.3f}  {conflict.reason}"))
        for record in conflict.records:
            click.echo(folded(f"{headline(record)} {record.text}", 7))
    click.echo(f"{_counted(len(found), 'conflict')}{f'; bundlewise kb retire {kb} ID' if found else ''}", err=True)


@click.command()
@kb_argument
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show at most this many.")
@json_option
def history(kb: str, limit: int, as_json: bool) -> None:
    """List the changes to KB that can be taken back, the latest first."""
    done = opened(kb).database.history(limit)
    if as_json:
        for operation in done:
            print_json(vars(operation))
    elif done:
        rows = [(each.number, each.at, each.records, each.what) for each in done]
        click.echo(table(("number", "at (UTC)", "records", "what"), rows))
    else:
        click.echo(f"{kb} has no change that can be taken back", err=True)


@click.command()
@kb_argument
def undo(kb: str) -> None:
    """Take the last change to KB back; KB is then the same byte for byte."""
    store = opened(kb)
    from bundlewise.progress import progress

    last = store.database.history(1)
    with progress("embed", last[0].records if last else 0) as advance:
        operation = store.undo(advance)
    click.echo(folded(f"taken back: {operation.what} ({_counted(operation.records, 'record')}, {operation.at})"))
