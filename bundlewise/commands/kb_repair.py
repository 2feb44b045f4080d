"""bundlewise kb verify, reindex and recover: check a knowledge base, rebuild its vectors or its database."""

from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import folded, json_option, kb_argument, opened, place_of, print_json
from bundlewise.commands.options import EMBEDDERS
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.knowledge_base.place import Place


@click.command()
@kb_argument
@json_option
@click.pass_context
def verify(ctx: click.Context, kb: str, as_json: bool) -> None:
    """Check KB for damage: its file, each record and each vector.

    The exit code is 1 when something is damaged.
    """
    store = opened(kb)
    from bundlewise.knowledge_base.upkeep import verify

    faults, number = verify(store), sum(store.records.counts().values())
    if as_json:
        print_json({"sound": not faults, "records": number, "faults": faults})
    else:
        for fault in faults or [f"sound: {number:,} records"]:
            click.echo(folded(fault))
    ctx.exit(1 if faults else 0)


@click.command()
@kb_argument
@click.option("--embedder", help=f"The new embedder: {EMBEDDERS}.  [default: KB's]")
@click.option("--roll-back", is_flag=True, help="Return to the vectors before the last reindexing.")
def reindex(kb: str, embedder: str | None, roll_back: bool) -> None:
    """Compute the vectors of KB again from its texts.

    This repairs damaged vectors, or changes to another embedder; no teacher is asked. The old vectors
    answer until all new ones are there. If it is stopped, the same command continues it.
    """
    if roll_back and embedder:
        raise UsageError("--roll-back takes the earlier embedder; leave out --embedder")
    place = _existing(kb)
    from bundlewise.knowledge_base import reindex
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.store import KnowledgeStore
    from bundlewise.progress import progress

    if roll_back:
        click.echo(f"{kb}: returned to the vectors of {reindex.roll_back(place)}")
        return
    store = KnowledgeStore(kb)
    chosen = Embedder.named(embedder or store.meta.get("embedder", "minilm"))
    was_tuned = any(store.vectors_folder.glob("kinds-*"))
    with progress("embed", sum(store.records.counts().values())) as advance:
        number = reindex.reindex(place, chosen, advance)
    click.echo(f"{kb}: {number:,} records have vectors of {chosen.name}; take it back: --roll-back")
    if was_tuned and not any(KnowledgeStore(kb).vectors_folder.glob("kinds-*")):
        gone = "the tuned readers of titles belong to the earlier vectors and are not used any more"
        click.echo(f"{kb}: {gone}; tune new ones: bundlewise kb tune {kb}")


def _existing(kb: str) -> "Place":
    """Return the place of a knowledge base, without opening its vectors.

    Raises:
        UsageError: there is no knowledge base.
    """
    place = place_of(kb)
    from bundlewise.knowledge_base.database import FILE
    from bundlewise.knowledge_base.mirror import follow

    if place.is_server:
        follow(place)
    elif not (place.folder / FILE).is_file():
        raise UsageError(f"no knowledge base in {kb}; make one: bundlewise distil --data D --kb {kb}")
    return place


@click.command()
@kb_argument
def recover(kb: str) -> None:
    """Rebuild a damaged or lost database of KB from its vectors.

    The vectors are stored with a copy of the records. Earlier changes can no longer be taken back.
    """
    place = place_of(kb)
    _refuse_sound(place)
    from bundlewise.knowledge_base.mirror import recover

    number = recover(place, _newest(place))
    click.echo(f"{kb}: {number:,} records recovered; see whether it is sound: bundlewise kb verify {kb}")


def _refuse_sound(place: "Place") -> None:
    """Refuse to rebuild a sound database, since its journal would be lost."""
    from bundlewise.errors import KnowledgeError
    from bundlewise.knowledge_base.database import FILE, Database
    from bundlewise.knowledge_base.records import Records

    if not (place.folder / FILE).is_file():
        return
    try:
        database = Database(place.folder)
        sound = bool(Records(database).counts()) and not database.faults()
        database.close()
    except KnowledgeError:
        return
    if sound:
        raise UsageError(f"nothing to recover: the database of {place} is sound")


def _newest(place: "Place") -> int:
    """Return the generation of vectors that knows the latest revision.

    Raises:
        UsageError: there are no vectors.
    """
    from bundlewise.knowledge_base.mirror import Mirror

    if place.is_server:
        return 1
    numbers = [int(path.name.removeprefix("index-")) for path in place.folder.glob("index-[0-9]*")]
    if not numbers:
        raise UsageError(f"no vectors in {place} to recover from; take a pack in: bundlewise kb import {place} PACK")
    return max(numbers, key=lambda number: (Mirror(place, place.client(number)).meta().get("revision", -1), number))
