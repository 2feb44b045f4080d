"""bundlewise finetune: LoRA-tune the student, plain or with retrieved knowledge in its prompts."""

from pathlib import Path
from typing import Any

import click

from bundlewise.commands.options import (
    answer_options,
    answers_of,
    data_option,
    dials_of,
    knowledge_option,
    policy_options,
)
from bundlewise.commands.outputs import force_option, guard_folder
from bundlewise.extras import require
from bundlewise.finetune.config import PRESETS
from bundlewise.terminal import note

PRESET_NAMES = list(PRESETS)


@click.command()
@data_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Adapter folder.")
@force_option
@knowledge_option
@policy_options
@answer_options
@click.option("--student", help="Base model: name, hub id, folder or GGUF file.  [default: the preset's]")
@click.option(
    "--preset", type=click.Choice(PRESET_NAMES), default="tiny", show_default=True, help="Base model and settings."
)
@click.option("--mode", type=click.Choice(["sft", "icl+sft"]), help="Check the mode: icl+sft with --kb, sft without.")
@click.option("--teach", help="Also tune on the text of records of --kb: any of patterns,rules,thoughts.")
@click.option("--limit", type=click.IntRange(min=1), help="Train on this many sessions, chosen by --seed.")
@click.option("--epochs", type=int, help="Passes over the sessions.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--rank", type=int, help="LoRA rank.")
@click.option("--alpha", type=int, help="LoRA alpha.  [default: twice the rank]")
@click.option("--dropout", type=float, help="Dropout of the LoRA weights.")
@click.option("--targets", metavar="NAMES", help="Projections to tune, such as q_proj,v_proj.  [default: all seven]")
@click.option("--layers", type=int, help="Number of layers to tune, from the top; 0 tunes all.")
@click.option("--batch-tokens", type=int, help="Padded tokens per batch.")
@click.option("--intents", type=float, help="Share of the bundles whose intent is trained, 0 to 1.")
@click.option("--without", type=float, help="Share of whole answers taught without knowledge, 0 to 1.")
@click.option("--evaluations", type=int, help="Validations, evenly spread; the best weights are kept.")
@click.option("--patience", type=int, help="Stop after this many validations without a better one.")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Use less memory and a third more time.")
@click.option("--four-bit", is_flag=True, default=None, help="Hold the base in four bits (GPU, bitsandbytes).")
@click.option(
    "--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time; keep the best weights."
)
@click.option("--seed", type=int, help="Seed of examples, their order and initial weights.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def command(
    data: str,
    output: Path,
    force: bool,
    kb: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune the student on the training sessions of DATA, and calibrate it on the validation sessions.

    With --kb, every prompt contains the knowledge retrieved for its session, without the session's
    own record (mode icl+sft). Without --kb, prompts contain no knowledge (mode sft). If tuning is
    stopped, the same command continues it. On several GPUs, run `accelerate launch -m bundlewise
    finetune ...`.
    """
    from bundlewise.data.sessions import load
    from bundlewise.finetune.adapters import MANIFEST
    from bundlewise.finetune.checkpoint import CHECKPOINT
    from bundlewise.pipeline.tune import finetune
    from bundlewise.settings import quiet_libraries

    require("train", "finetune")
    quiet_libraries()
    guard_folder(output, (MANIFEST, CHECKPOINT), force)
    dials, answering = dials_of(options, kb), answers_of(options)
    manifest = finetune(load(data), kb, output, dials=dials, answering=answering, note=note, **options).manifest
    if manifest.stopped:
        click.echo(f"stopped early: {manifest.stopped}; kept the weights of step {manifest.best_step}", err=True)
    if as_json:
        click.echo(manifest.model_dump_json())
        return
    score = "none" if manifest.validation_gjs is None else f"{manifest.validation_gjs:.3f}"
    click.echo(
        f"{manifest.sessions} sessions, {manifest.steps} steps, {manifest.tokens:,} tokens, "
        f"{manifest.seconds:.0f} s, loss {manifest.final_loss:.3f}, validation GJS {score}"
    )
    where = f" --kb {kb}" if manifest.policy else ""
    click.echo(
        f"adapter in {output}; next: bundlewise generate --data {data} --adapter {output}{where} -o predictions.jsonl",
        err=True,
    )
