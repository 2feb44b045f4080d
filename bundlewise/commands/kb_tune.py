"""bundlewise kb tune: teach the embedder of a knowledge base to read titles as the teacher does."""

import shutil
from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import folded, kb_argument, opened
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.knowledge_base.store import KnowledgeStore


@click.command()
@kb_argument
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True, help="Times each title is seen.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first weights and the order.")
@click.option("--forget", is_flag=True, help="Remove what was tuned; the embedder alone reads titles again.")
def tune(kb: str, epochs: int, seed: int, forget: bool) -> None:
    """Teach the embedder of KB the teacher's kinds.

    Titles of new products are then read more as the teacher would, and their pairs judged better. Takes some
    minutes on a CPU and asks no teacher. There are two halves, each tuned on the thoughts of the other, so that no
    training session meets what was learnt from itself. Stopped, the same command goes on with the half that is
    missing. Tune students after it, not before; and once thoughts were added or retired, tune KB again.
    """
    store = opened(kb)
    if forget:
        _forget(store, kb)
        return
    from bundlewise.finetune.kind_tuning import KindConfig
    from bundlewise.pipeline.kind_readers import read_rightly, tune_readers

    tuned = tune_readers(store, KindConfig(epochs=epochs, seed=seed))
    before, now = read_rightly(store)
    done = "tuned" if tuned else "was tuned before (--forget, to do it anew)"
    click.echo(folded(f"{kb}: {done}; {now:.0%} of unseen titles are read as the teacher's kind, {before:.0%} untuned"))


def _forget(store: "KnowledgeStore", kb: str) -> None:
    found = [path for path in store.vectors_folder.glob("kinds-*") if path.is_dir()]
    if not found:
        raise UsageError(f"nothing is tuned in {kb}; leave out --forget")
    for path in found:
        shutil.rmtree(path)
    click.echo(f"{kb}: the embedder alone reads titles")
