"""bundlewise kb stats, search, show and list: show the contents of a knowledge base."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args

import click

from bundlewise.commands.arguments import TakesTexts
from bundlewise.commands.kb_shared import (
    clipped,
    domain_option,
    folded,
    headline,
    json_option,
    kb_argument,
    kind_option,
    opened,
    print_json,
    sources,
    table,
)
from bundlewise.domain import SPLITS, Knowledge, KnowledgeKind, Status
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Search

if TYPE_CHECKING:
    from bundlewise.knowledge_base.store import KnowledgeStore


@click.command()
@kb_argument
@json_option
def stats(kb: str, as_json: bool) -> None:
    """Count the records of KB, and name the embedder of its vectors."""
    from bundlewise.knowledge_base.languages import is_english

    said = _stats(opened(kb))
    if as_json:
        print_json(said)
        return
    known = ", ".join(f"{said['sessions'][split]:,} {split}" for split in SPLITS)
    state = "settled" if said["settled"] else f"{said['pending']:,} records wait for their vectors"
    click.echo(
        folded(f"{kb}: {sum(row['records'] for row in said['records']):,} records, {said['bytes'] / 1e6:.1f} MB")
    )
    language = ", for English" if is_english(said["embedder"]) else ""
    vectors = f"vectors of {said['embedder']}{language} ({said['fingerprint']}), generation {said['generation']}"
    click.echo(folded(vectors))
    if note := said["language"]:
        click.echo(folded(note))
    click.echo(f"revision {said['revision']}, {state}; known sessions: {known}")
    if said["kinds"] != "untuned":
        remedy = "" if said["kinds"] == "tuned" else f"; tune them: bundlewise kb tune {kb}"
        click.echo(f"readers of titles: {said['kinds']}{remedy}")
    if said["records"]:
        click.echo("\n" + table(list(said["records"][0]), [list(row.values()) for row in said["records"]]))
    if said["untested"]:
        click.echo(folded(f"\nuntested: {said['untested']:,} active rules; retrieval takes them after tested ones"))


def _stats(store: "KnowledgeStore") -> dict[str, Any]:
    from bundlewise.knowledge_base.kind_reader import tuned_state
    from bundlewise.knowledge_base.languages import language_note
    from bundlewise.knowledge_base.search import counts_by_teacher
    from bundlewise.models.known import MULTILINGUAL

    thoughts = store.thoughts()
    titles = [title for thought in thoughts for title in thought.titles]
    remedy = f"change it: bundlewise kb reindex {store.place} --embedder {MULTILINGUAL}"
    meta, rows = store.meta, counts_by_teacher(store.database).items()
    splits = Counter(session.split for session in store.records.sessions())
    columns = ("kind", "domain", "teacher", "status")
    return {
        "place": str(store.place),
        "embedder": meta.get("embedder"),
        "fingerprint": meta.get("fingerprint"),
        "language": language_note(str(meta.get("embedder")), titles, remedy),
        "generation": store.generation,
        "revision": meta["revision"],
        "digest": meta["digest"],
        "settled": store.is_settled,
        "pending": store.database.pending_count(),
        "kinds": tuned_state(store.vectors_folder, thoughts, store.embedder),
        "bytes": sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()),
        "sessions": {split: splits[split] for split in SPLITS},
        "untested": sum(record.is_untested for record in store.records.select("rule")),
        "records": [dict(zip(columns, key, strict=True)) | {"records": number} for key, number in rows],
    }


@click.command(cls=TakesTexts)
@kb_argument
@click.argument("text", nargs=-1, required=True)
@kind_option
@domain_option
@click.option("--count", type=click.IntRange(min=1), default=10, show_default=True, help="Records to show.")
@click.option(
    "--search",
    type=click.Choice(get_args(Search)),
    default="dense",
    show_default=True,
    help="By vectors, words or both.",
)
@json_option
def search(
    kb: str,
    text: tuple[str, ...],
    kind: KnowledgeKind | None,
    domain: str | None,
    count: int,
    search: Search,
    as_json: bool,
) -> None:
    """Find the active records of KB that match a text best."""
    from bundlewise.knowledge_base.search import find

    asked = " ".join(text).strip()
    if not asked:
        raise UsageError("the text to search for is empty; give some words")
    store = opened(kb)
    found = find(store, asked, kind, domain, count, search)
    for verdict in found:
        if as_json:
            print_json(verdict)
            continue
        click.echo(f"{verdict.score:6.3f}  {headline(verdict.record)}")
        click.echo(folded(verdict.record.text, 8))
        click.echo(folded(sources(verdict.record), 8))
    if not found:
        _say_none(store, kind)


def _say_none(store: "KnowledgeStore", kind: str | None) -> None:
    """Say that nothing was found, and name the domains of the knowledge base."""
    there = ", ".join(sorted({name for _, name, _ in store.records.counts()})) or "none"
    click.echo(folded(f"no such {kind or 'record'} in {store.place}; its domains: {there}"), err=True)


@click.command()
@kb_argument
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@json_option
def show(kb: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Show records of KB with all fields; the first characters of an ID are enough."""
    from bundlewise.knowledge_base.search import keys_of

    store = opened(kb)
    keys = keys_of(store.database, ids)
    records = store.records.get(keys)
    for key in keys:
        if as_json:
            print_json(records[key])
        else:
            click.echo("\n".join(_whole(records[key])))


def _whole(record: Knowledge) -> Iterator[str]:
    """Yield every field that has a value, the short ones first."""
    yield headline(record)
    groups = [" + ".join(str(place + 1) for place in group) for group in record.groups]
    fields = {
        "text": record.text,
        "reason": record.reason,
        **{name: getattr(record, name) for name in ("support", "confidence", "lift", "gain", "harm")},
        **({"gain": "untested: no held-out session measures it"} if record.is_untested else {}),
        "kinds": ", ".join(record.kinds),
        "bundles": ", ".join(groups),
        "sources": ", ".join(record.source_session_ids),
        "supporters": ", ".join(record.supporters),
        **record.provenance.model_dump(),
    }
    yield from (folded(f"{name}: {value}", 2) for name, value in fields.items() if value not in (None, ""))
    yield from (folded(f"{number}. {title}", 4) for number, title in enumerate(record.titles, 1))


@click.command("list")
@kb_argument
@kind_option
@domain_option
@click.option("--status", type=click.Choice(get_args(Status)), help="Only this status.  [default: all]")
@click.option("--teacher", help="Only records of this teacher.")
@click.option("--source", metavar="SESSION", help="Only records from this session.")
@click.option("--limit", type=click.IntRange(min=1), help="Show at most this many.")
@json_option
def list_(
    kb: str,
    kind: KnowledgeKind | None,
    domain: str | None,
    status: Status | None,
    teacher: str | None,
    source: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the records of KB, one per line, in the order of their ids."""
    store = opened(kb)
    wanted = (
        record
        for record in store.records.select(kind, domain, status)
        if teacher in (None, record.provenance.teacher) and (source is None or source in record.source_session_ids)
    )
    found = False
    for record in islice(wanted, limit):
        found = True
        if as_json:
            print_json(record)
        else:
            click.echo(clipped(f"{headline(record)} {record.text}"))
    if not found:
        _say_none(store, kind)
