"""bundlewise baselines: predictions without a language model, to compare a student with."""

from pathlib import Path

import click

from bundlewise.commands import outputs
from bundlewise.commands.options import data_option, knowledge_option
from bundlewise.commands.outputs import force_option
from bundlewise.domain import SPLITS, Split


@click.command()
@data_option
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Sessions to answer.")
@knowledge_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)
@force_option
def command(data: str, split: Split, kb: str | None, output: Path, force: bool) -> None:
    """Write the predictions of simple methods that need no language model.

    The methods are whole sessions, word overlap, embedding clusters, and with --kb pair evidence alone.

    Each method gets one file for `bundlewise evaluate`. Its settings are chosen on the validation sessions of DATA.
    Pair evidence is what the knowledge says about two products going together.
    """
    from bundlewise.data.sessions import load
    from bundlewise.experiment.references import References
    from bundlewise.files import write_jsonl
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.languages import language_note
    from bundlewise.knowledge_base.policy import Policy
    from bundlewise.pipeline.knowledge import open_retriever
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    asked = load(data, split)
    rows = References([s for s in load(data, "validation") if s.bundles], asked)
    retriever = open_retriever(kb, Policy()) if kb else None
    embedder = retriever.store.embedder if retriever else Embedder.named("minilm")
    if said := language_note(embedder.name, [title for session in asked for title in session.titles]):
        click.echo(f"note: {said}", err=True)
    found = [rows.whole_session(), rows.lexical(), rows.embedding(embedder)]
    if retriever:
        found.append(rows.pair_classifier(retriever))
    paths = [output / f"{reference.name.replace(' ', '-')}.jsonl" for reference in found]
    for path in paths:
        outputs.guard_file(path, outputs.groups, force)
    for path, reference in zip(paths, found, strict=True):
        answers = zip(asked, reference.groups, strict=True)
        write_jsonl(
            path,
            (
                {"session_id": s.session_id, "bundles": [{"items": [place + 1 for place in group]} for group in groups]}
                for s, groups in answers
            ),
        )
        click.echo(f"{path}\t{reference.note}".rstrip())
