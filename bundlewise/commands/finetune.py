"""bundlewise finetune: LoRA-tune the student, plain or with retrieved knowledge in its prompts."""

from pathlib import Path
from typing import Any

import click

from bundlewise.commands.options import data_option, dials_of, knowledge_option, policy_options, student_option
from bundlewise.knowledge_base.policy import Policy


@click.command()
@data_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Adapter folder.")
@knowledge_option
@policy_options
@student_option
@click.option("--limit", type=click.IntRange(min=1), help="Train on this many sessions, chosen by seed.")
@click.option("--epochs", type=int, help="Passes over the sessions.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--rank", type=int, help="LoRA rank.")
@click.option("--layers", type=int, help="Layers to tune, from the top; 0 tunes all.")
@click.option("--batch-tokens", type=int, help="Padded tokens a batch.")
@click.option("--intents", type=float, help="Share of the bundles whose intent is trained, 0 to 1.")
@click.option("--seed", type=int, help="Determines examples, order and initial weights.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def command(
    data: str, output: Path, kb: str | None, student: str, limit: int | None, as_json: bool, **options: Any
) -> None:
    """Tune the student on the training sessions of DATA and calibrate it on validation.

    With --kb every prompt holds what the policy retrieves for it, never the session's own record
    (ICL+SFT); without, the prompts are plain (SFT). Stopped, the same command goes on.
    """
    from bundlewise import chain, dataset, models
    from bundlewise.finetune.plotting import plot_loss
    from bundlewise.finetune.training import TrainingConfig
    from bundlewise.finetune.tuning import Tuning
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    policy = Policy.of(**dials_of(options, kb))
    config = TrainingConfig.of(**options)
    sessions = dataset.load(data)
    retriever = chain.open_retriever(kb, policy, models.resolve(student)) if kb and not policy.is_plain else None
    manifest = Tuning(sessions, output, config, student, retriever, limit).run()
    plot_loss(output)
    if as_json:
        click.echo(manifest.model_dump_json())
        return
    score = "none" if manifest.validation_gjs is None else f"{manifest.validation_gjs:.3f}"
    click.echo(
        f"{manifest.sessions} sessions, {manifest.steps} steps, {manifest.tokens:,} tokens, "
        f"{manifest.seconds:.0f} s, loss {manifest.final_loss:.3f}, validation GJS {score}"
    )
    where = f" --kb {kb}" if retriever else ""
    click.echo(
        f"adapter in {output}; next: bundlewise generate --data {data} --adapter {output}{where} -o predictions.jsonl",
        err=True,
    )
