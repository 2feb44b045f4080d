"""bundlewise kb export, import, diff and report: write and read packs, show differences, write a report page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bundlewise.commands import outputs
from bundlewise.commands.kb_shared import (
    clipped,
    folded,
    headline,
    json_option,
    kb_argument,
    opened,
    place_of,
    print_json,
)
from bundlewise.commands.options import EMBEDDERS, FILE
from bundlewise.commands.outputs import force_option, guard_knowledge
from bundlewise.domain import Knowledge
from bundlewise.errors import DataError
from bundlewise.files import is_special
from bundlewise.inputs import is_input, is_plain

if TYPE_CHECKING:
    from bundlewise.knowledge_base.checks import ChangedRecord
    from bundlewise.knowledge_base.embedding import Embedder, Vectors
    from bundlewise.knowledge_base.packs import Pack, PackFault
    from bundlewise.knowledge_base.place import Place
    from bundlewise.knowledge_base.store import KnowledgeStore


@click.command()
@kb_argument
@click.option("-o", "--output", type=FILE, required=True, metavar="PACK", help="File to write.")
@force_option
def export(kb: str, output: Path, force: bool) -> None:
    """Write all records of KB, including retired ones, as a pack.

    A pack is a file of JSON lines with a manifest. The same knowledge always makes the same bytes.
    """
    outputs.guard_file(output, outputs.pack, force)
    store = opened(kb)
    from bundlewise.knowledge_base.packs import write_pack

    records, sessions = list(store.records.select(status=None)), store.records.sessions()
    write_pack(output, records, sessions)
    click.echo(f"{output}: {len(records):,} records, {len(sessions):,} known sessions", err=is_special(output))


@click.command("import")
@kb_argument
@click.argument("file", type=FILE)
@click.option("--salvage", is_flag=True, help="Import the good lines; write the others to FILE.refused.jsonl.")
@click.option("--embedder", help=f"Embedder of a new KB: {EMBEDDERS}.")
@force_option
def import_(kb: str, file: Path, salvage: bool, embedder: str | None, force: bool) -> None:
    """Add the records of FILE, a pack, to KB; a missing KB is created.

    No teacher is asked; only the embedder runs. Records that are retired in KB stay retired. A pack
    with faults is refused as a whole, unless --salvage is given. If the import is stopped, the same
    command continues it. To read the recorded answers of a language model, use bundlewise distil
    --teacher recorded:FILE.
    """
    place = place_of(kb)
    guard_knowledge(kb, force)
    if salvage:
        outputs.guard_file(_refused_of(file), outputs.refused_lines, force)
    content = _salvaged(file) if salvage else _read(file)
    from bundlewise.knowledge_base.store import KnowledgeStore
    from bundlewise.knowledge_base.upkeep import take_in
    from bundlewise.progress import progress

    store = KnowledgeStore.create(kb, _embedder(place, embedder))
    with progress("embed", len(content.records)) as advance:
        number = take_in(store, content, file.name, advance)
    new = store.database.history(1)[0].records if number is not None else 0
    click.echo(f"{kb}: {new:,} records taken in, {len(content.records) - new:,} left as they were")


def _read(path: Path) -> "Pack":
    from bundlewise.knowledge_base.packs import read_pack

    return read_pack(path)


def _salvaged(path: Path) -> "Pack":
    """Read the good lines of a pack, and write the others to a file beside it.

    Raises:
        DataError: no line is good.
    """
    from bundlewise.files import write_jsonl
    from bundlewise.knowledge_base.packs import salvage

    pack, faults = salvage(path)
    if faults:
        refused = _refused_of(path)
        write_jsonl(refused, map(vars, faults))
        click.echo(f"{_lines(faults)} in {refused}", err=True)
    if faults and not pack.records:
        raise DataError(f"no record of {path} can be taken in; fetch or export the pack again")
    return pack


def _refused_of(path: Path) -> Path:
    # A pipe has no folder, so the file goes into the working folder.
    return path.with_name(f"{path.name}.refused.jsonl") if is_plain(path) else Path("pack.refused.jsonl")


def _lines(faults: "Sequence[PackFault]") -> str:
    return "1 fault, refused:" if len(faults) == 1 else f"{len(faults):,} faults, refused:"


def _embedder(place: "Place", spec: str | None) -> "Embedder | None":
    """Return the embedder asked for, ready to use; an existing knowledge base names its own, so it may be None."""
    from bundlewise.knowledge_base.database import FILE as DATABASE
    from bundlewise.knowledge_base.embedding import Embedder

    if spec is None and (place.is_server or (place.folder / DATABASE).is_file()):
        return None
    found = Embedder.named(spec or "minilm")
    # This asks the model, so that a fault shows before anything is created.
    _ = found.fingerprint
    return found


@click.command()
@click.argument("a")
@click.argument("b")
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Show the differences from A to B; each is a knowledge base or a pack."""
    from bundlewise.knowledge_base.checks import diff

    found = diff(_records(a), _records(b))
    sides = (("added", "+", found.added), ("removed", "-", found.removed))
    for change, sign, records in sides:
        for record in records:
            if as_json:
                print_json({"change": change, "id": record.id, "record": record.model_dump(mode="json")})
            else:
                click.echo(clipped(f"{sign} {headline(record)} {record.text}"))
    for edit in found.changed:
        fields = _changes(edit)
        if as_json:
            print_json({"change": "changed", "id": edit.after.id, "fields": fields})
        else:
            told = "; ".join(f"{name}: {before} -> {after}" for name, (before, after) in fields.items())
            click.echo(folded(f"~ {headline(edit.after)} {told}"))
    counts = f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed"
    click.echo(counts, err=True)


def _records(name: str) -> Sequence[Knowledge]:
    """Return the records of a pack or of a knowledge base."""
    path = Path(name)
    if is_input(path):
        return _read(path).records
    return list(opened(name).records.select(status=None))


def _changes(edit: "ChangedRecord") -> dict[str, tuple[Any, Any]]:
    before, after = (record.model_dump(mode="json") for record in (edit.before, edit.after))
    return {name: (before[name], after[name]) for name in edit.fields}


@click.command()
@kb_argument
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE", help="HTML file to write.")
@force_option
def report(kb: str, output: Path, force: bool) -> None:
    """Write a report on KB as a page for a browser.

    The page is one file that loads nothing else. It shows counts, a map of the records, the strongest
    patterns, rules with their gain, and a search box.
    """
    outputs.guard_file(output, outputs.page, force)
    store = opened(kb)
    from bundlewise.reports.knowledge import write_report

    records, meta = list(store.records.select(status=None)), store.meta
    about = {"knowledge base": kb, "records": f"{len(records):,}", "revision": meta["revision"]}
    about |= {"vectors of": f"{meta['embedder']} ({meta['fingerprint']})"} if records else {}
    write_report(output, records, _vectors(store, records), about)
    click.echo(f"{output}: {len(records):,} records", err=is_special(output))


def _vectors(store: "KnowledgeStore", records: Sequence[Knowledge]) -> "Vectors":
    """Return a vector for each record; a record without a vector is embedded."""
    import numpy as np

    from bundlewise.knowledge_base.index import retrieval_key

    held = store.index.vectors(records)
    missing = [record for record in records if record.id not in held]
    if missing:
        found = store.embedder.embed([retrieval_key(record) for record in missing])
        held |= {record.id: vector for record, vector in zip(missing, found, strict=True)}
    return np.stack([held[record.id] for record in records]) if records else np.zeros((0, 1), np.float32)
