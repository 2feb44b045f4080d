"""bundlewise kb verify, reindex and recover: is it sound, and if not, make one half of it from the other."""

from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import folded, json_option, kb_argument, opened, place_of, print_json
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.knowledge_base.place import Place


@click.command()
@kb_argument
@json_option
@click.pass_context
def verify(ctx: click.Context, kb: str, as_json: bool) -> None:
    """Look whether KB is sound: its file, each record and each vector.

    Exits with 1 when it is not.
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
@click.option("--embedder", help="minilm, a sentence-transformers model, or openai:MODEL[@URL]; its own when left out.")
@click.option("--roll-back", is_flag=True, help="Use the vectors of before the last reindexing again.")
def reindex(kb: str, embedder: str | None, roll_back: bool) -> None:
    """Make the vectors of KB anew from its texts.

    With its own embedder, or another; no teacher is asked. Until all is done the old vectors answer.
    Repairs damaged vectors. Stopped, the same command goes on.
    """
    if roll_back and embedder:
        raise UsageError("--roll-back takes the embedder of before; leave out --embedder")
    place = _existing(kb)
    from bundlewise.knowledge_base import reindex
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.store import KnowledgeStore
    from bundlewise.progress import progress

    if roll_back:
        click.echo(f"{kb}: the vectors of {reindex.roll_back(place)} again")
        return
    store = KnowledgeStore(kb)
    chosen = Embedder.named(embedder or store.meta.get("embedder", "minilm"))
    with progress("embed", sum(store.records.counts().values())) as advance:
        number = reindex.reindex(place, chosen, advance)
    click.echo(f"{kb}: {number:,} records have vectors of {chosen.name}; take it back: --roll-back")


def _existing(kb: str) -> "Place":
    """Return where a knowledge base is, without a look at its vectors.

    Raises:
        UsageError: there is none.
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
    """Make the database of KB anew from its vectors.

    They hold the records too. For a database that is damaged or lost. What was done before can then
    no longer be taken back.
    """
    place = place_of(kb)
    _refuse_sound(place)
    from bundlewise.knowledge_base.mirror import recover

    number = recover(place, _newest(place))
    click.echo(f"{kb}: {number:,} records recovered; see whether it is sound: bundlewise kb verify {kb}")


def _refuse_sound(place: "Place") -> None:
    """Spare a database that is whole, for its journal would be lost."""
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
