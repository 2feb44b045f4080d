"""Validate, show, convert, list and fetch sessions."""

import difflib
import json
from itertools import islice
from pathlib import Path

import click

from bundlewise.commands.options import FILE, columns_option
from bundlewise.commands.outputs import force_option
from bundlewise.data import official
from bundlewise.data.session_files import write_in_format
from bundlewise.data.sessions import find_dataset, load, load_all, scan, split_counts, starter_names, to_row
from bundlewise.domain import SPLITS, Session
from bundlewise.errors import DataError, UsageError
from bundlewise.files import is_special
from bundlewise.terminal import one_line

SHOWN = 20
"""Most problems printed for one file; a file in a wrong format has one on every line."""


@click.group()
def command() -> None:
    """Validate, show, convert, list and fetch sessions.

    A dataset is a starter domain (electronics, clothing, grocery) or a file: JSON lines, JSON or Parquet with a session
    in each row ({"session_id", "domain", "split", "items": [{"id", "title"}], "bundles": [{"item_ids", "intent"}]}),
    or these formats and CSV with a product in each row. A .gz file is unpacked, and - is standard input.
    """


@command.command()
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@columns_option
def validate(datasets: tuple[str, ...]) -> None:
    """Check every line or row of datasets and count their contents."""
    paths = [find_dataset(name) for name in datasets]
    good = [_validate(name, path) for name, path in zip(datasets, paths, strict=True)]
    if not all(good):
        raise DataError(f"{good.count(False)} of {len(good)} datasets cannot be used; see above")


def _validate(name: str, path: Path) -> bool:
    """Print the counts of a good file, or the problems of a bad one on stderr."""
    results = list(scan(path))
    errors = [result for result in results if isinstance(result, DataError)]
    for error in islice(errors, SHOWN):
        click.echo(one_line(str(error)), err=True)
    if len(errors) > SHOWN:
        click.echo(f"{path}: and {len(errors) - SHOWN} more problems", err=True)
    if not errors:
        click.echo(f"{name}: {_summary([result for result in results if isinstance(result, Session)])}")
    return not errors


@command.command()
@click.argument("name", metavar="DATASET")
@columns_option
@click.option("--session", "session_id", metavar="ID", help="Session to show.  [default: the first]")
@click.option("--json", "as_json", is_flag=True, help="Print the session as JSON.")
def show(name: str, session_id: str | None, as_json: bool) -> None:
    """Show a session: its numbered products and its bundles."""
    session = find(name, session_id)
    if as_json:
        click.echo(json.dumps(to_row(session), ensure_ascii=False))
        return
    click.echo(one_line(f"{session.session_id} ({session.domain or 'no domain'}, {session.split})"))
    for number, item in enumerate(session.items, start=1):
        price = "" if item.price is None else f"  {item.price:.2f}"
        category = f"  [{' > '.join(item.category)}]" if item.category else ""
        click.echo(one_line(f"{number:>3}  {item.title}{category}{price}"))
    for bundle, group in zip(session.bundles, session.groups, strict=True):
        numbers = ", ".join(str(position + 1) for position in group)
        click.echo(one_line(f"bundle {numbers}: {bundle.intent or 'no intent'}"))


def find(name: str, session_id: str | None) -> Session:
    """Return the session of a dataset with an id, or the first session."""
    sessions = {session.session_id: session for session in load(name)}
    if session_id is None:
        return next(iter(sessions.values()))
    if session_id not in sessions:
        known = difflib.get_close_matches(session_id, sessions) or list(sessions)[:3]
        raise UsageError(f"no session {session_id!r} in {name}; it has {', '.join(known)}")
    return sessions[session_id]


@command.command()
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@click.option("-o", "--output", type=FILE, required=True, help="File to write: .jsonl, .json, .csv, .tsv or .parquet.")
@columns_option
@force_option
def convert(datasets: tuple[str, ...], output: Path, force: bool) -> None:
    """Write datasets as one file in another format.

    A CSV has a product in each row; the other formats have a session in each row. With .gz behind its name, the file is
    packed.
    """
    if not is_special(output) and output.exists() and not force:
        raise UsageError(f"{output} exists; choose another with -o or overwrite it with --force")
    sessions = load_all(datasets)
    write_in_format(output, sessions)
    click.echo(f"{output}: {_summary(sessions)}", err=is_special(output))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_(as_json: bool) -> None:
    """List the starter domains."""
    loaded = {name: load(name) for name in starter_names()}
    if as_json:
        rows = [{"name": name, "path": str(find_dataset(name))} | _counts(loaded[name]) for name in loaded]
        click.echo(json.dumps(rows, indent=2))
        return
    for name, sessions in loaded.items():
        click.echo(f"{name:<12} {_summary(sessions)}")
    click.echo("A large language model wrote these sessions; they are not human annotations.", err=True)


@command.command()
@click.argument("domain", type=click.Choice(official.DOMAINS))
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Read the official .npy files from this folder, without a network.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File to write.  [default: ./DOMAIN.jsonl]",
)
@force_option
def fetch(domain: str, source: Path | None, output: Path | None, force: bool) -> None:
    """Fetch an official dataset with its three splits.

    DOMAIN is electronic, clothing or food of the public repository BundleRec/bundle_generation (Sun et
    al., SIGIR 2024, MIT licence). Complete files are kept, so a second try fetches only the rest.
    """
    destination = output or Path(f"{domain}.jsonl")
    if not is_special(destination) and destination.exists() and not force:
        raise UsageError(f"{destination} exists; choose another with -o or overwrite it with --force")
    sessions = official.fetch(domain, destination, source)
    click.echo(f"{destination}: {_summary(sessions)}", err=is_special(destination))


def _counts(sessions: list[Session]) -> dict[str, int]:
    """Count the sessions of each split, the distinct products, and the bundles."""
    products = {item.id for session in sessions for item in session.items}
    bundles = sum(len(session.bundles) for session in sessions)
    splits = {str(split): count for split, count in split_counts(sessions).items()}
    return {**splits, "products": len(products), "bundles": bundles}


def _summary(sessions: list[Session]) -> str:
    """Return the counts as one line."""
    counts = _counts(sessions)
    splits = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    contents = f"{counts['products']:,} products, {counts['bundles']:,} bundles"
    return f"{len(sessions):,} sessions ({splits}), {contents}"
