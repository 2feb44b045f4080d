"""bundlewise distil: from training sessions to a knowledge base."""

import json
from collections import Counter
from pathlib import Path

import click

from bundlewise.commands.options import data_option
from bundlewise.errors import UsageError


@click.command()
@data_option
@click.option("--kb", required=True, help="Knowledge base to write to: a folder or a Chroma server's URL.")
@click.option("--embedder", help="For a new one: minilm, a sentence-transformers model, or openai:MODEL[@URL].")
@click.option("--teacher", default="grounded", show_default=True, help="grounded, or recorded:FILE.")
@click.option("--pack", type=click.Path(path_type=Path, dir_okay=False), help="Also write the records to this file.")
@click.option("--ratio", default=1.0, show_default=True, help="Share of the training sessions to read.")
@click.option("--seed", default=0, show_default=True, help="Determines which sessions are read.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def command(
    data: str, kb: str, embedder: str | None, teacher: str, pack: Path | None, ratio: float, seed: int, as_json: bool
) -> None:
    """Let a teacher distil knowledge from the training sessions of DATA.

    The grounded teacher is built in and needs no key; it is not a language model. A recorded teacher
    reads rules and thoughts that a large language model wrote about these sessions.
    """
    if not 0 < ratio <= 1:
        raise UsageError(f"ratio must be above 0 and at most 1, got {ratio}")
    from bundlewise import chain, dataset
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    sessions = dataset.load(data)
    who = chain.teacher_named(teacher, sessions)
    found = chain.distil(
        sessions, who, kb, embedder=Embedder.named(embedder) if embedder else None, pack=pack, ratio=ratio, seed=seed
    )
    counts = Counter((record.kind, record.status) for record in found.records)
    if as_json:
        rows = [{"kind": kind, "status": status, "records": n} for (kind, status), n in sorted(counts.items())]
        click.echo(json.dumps({"teacher": who.name, "records": rows, "refused": len(found.refused)}))
        return
    for (kind, status), number in sorted(counts.items()):
        click.echo(f"{number:6,} {kind}s{'' if status == 'active' else f' ({status})'}")
    for reason, number in Counter(refusal.reason for refusal in found.refused).most_common(5):
        click.echo(f"{number:6,} refused: {reason}", err=True)
    click.echo(f"knowledge base in {kb}; next: bundlewise finetune --data {data} --kb {kb} -o adapter", err=True)
