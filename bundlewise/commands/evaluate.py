"""Score predictions against the annotated bundles."""

import json
from pathlib import Path
from typing import Any

import click

from bundlewise.commands.options import data_option
from bundlewise.data.sessions import load
from bundlewise.domain import SPLITS, Session, Split
from bundlewise.errors import DataError
from bundlewise.evaluation.scores import Scores, evaluate, table

EXISTING = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@data_option
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Sessions to score.")
@click.option("--predictions", required=True, multiple=True, type=EXISTING, metavar="FILE...", help="JSON lines.")
@click.argument("more", nargs=-1, type=EXISTING, metavar="")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each file.")
def command(data: str, split: Split, predictions: tuple[Path, ...], more: tuple[Path, ...], as_json: bool) -> None:
    """Score predictions against the annotated bundles.

    Each line of a FILE is the prediction for one session: {"session_id": .., "bundles": [{"items":
    [1, 3]}]}. Products are given by number, from 1, or by id. A session without a prediction counts
    as zero. GJS is the grouping score: the mean Jaccard similarity of matched bundles, 1 is exact.
    With several files, each is compared with the first by the paired difference in GJS. All intervals
    are 95 % bootstrap intervals over the sessions.
    """
    sessions = annotated(load(data, split), f"{data} {split}")
    rows = [_scores(path, sessions) for path in (*predictions, *more)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(_as_dict(row, rows[0]), ensure_ascii=False))
    else:
        click.echo(table(rows, reference=rows[0] if len(rows) > 1 else None))


def annotated(sessions: list[Session], name: str) -> list[Session]:
    """Return the sessions that have annotated bundles; print how many have none.

    Raises:
        DataError: no session has any.
    """
    kept = [session for session in sessions if session.bundles]
    if not kept:
        raise DataError(
            f"{name}: none of {len(sessions)} sessions has annotated bundles; choose another dataset or split"
        )
    if len(kept) < len(sessions):
        left = len(sessions) - len(kept)
        click.echo(f"{name}: {left} of {len(sessions)} sessions have no annotated bundles and are not scored", err=True)
    return kept


def _scores(path: Path, sessions: list[Session]) -> Scores:
    found = evaluate(sessions, path, str(path))
    if found.missing:
        click.echo(f"{path}: {found.missing} of {len(sessions)} sessions are missing and count as zero", err=True)
    return found


def _as_dict(row: Scores, first: Scores) -> dict[str, Any]:
    published = {"file": row.name, **row.as_dict()}
    if row is not first:
        value, interval = row.difference(first)
        published["difference"] = {"to": first.name, "gjs": value, "ci95": interval}
    return published
