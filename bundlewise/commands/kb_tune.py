"""bundlewise kb tune: tune the embedder of a knowledge base to read titles as the teacher does."""

import shutil
from typing import TYPE_CHECKING

import click

from bundlewise.commands.kb_shared import folded, kb_argument, opened
from bundlewise.errors import UsageError

if TYPE_CHECKING:
    from bundlewise.knowledge_base.store import KnowledgeStore


@click.command()
@kb_argument
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True, help="Passes over the titles.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of initial weights and order.")
@click.option("--forget", is_flag=True, help="Remove the tuned readers; the embedder alone reads titles.")
def tune(kb: str, epochs: int, seed: int, forget: bool) -> None:
    """Tune the embedder of KB to read the kind of a product from its title as the teacher does.

    The kinds of new products, and so the evidence about their pairs, then become better. It takes some minutes on a
    CPU and asks no teacher. Two readers are tuned, each on one half of the thoughts; each reads the training sessions
    of the other half, so that no session is read by a reader that learnt from it. If tuning is stopped, the same
    command continues with the missing reader. Run it before you tune students, and again after thoughts were added
    or retired.
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
