"""`bundlewise models`: list, fetch, publish and push models, describe them, and print their folders."""

import json
from pathlib import Path
from typing import Literal

import click

from bundlewise.commands.options import FILE, reads_data, student_option
from bundlewise.domain import SPLITS, Split
from bundlewise.errors import ModelError, UsageError
from bundlewise.models.cache import folder_bytes, read_manifest
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import is_cached, resolve
from bundlewise.models.gguf import conversions
from bundlewise.models.known import KNOWN, KnownModel
from bundlewise.models.llama import is_llama, weights_of


@click.group()
def command() -> None:
    """List, fetch, publish and push models, describe them, and print their folders.

    A model is given by a known name, a hub id (org/name), a folder or a GGUF file.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """List the known models, which need no model hub, and the GGUF files that were converted."""
    files = conversions()
    if as_json:
        click.echo(json.dumps([*map(row, KNOWN.values()), *map(converted_row, files)], indent=2))
        return
    for model in KNOWN.values():
        state = "fetched" if is_cached(model.name) else "not fetched"
        more = f" and {len(model.pieces)} more packages" if model.pieces else ""
        origin = f"{model.licence:<12}{model.package} {model.version}{more}"
        click.echo(f"{model.name:<14}{model.role:<10}{state:<13}{model.size / 1e6:>4.0f} MB  {origin}")
    for folder in files:
        told = converted_row(folder)
        click.echo(f"{told['name']}  {told['role']}  converted  {folder_bytes(folder) / 1e6:.0f} MB  {told['path']}")


def row(model: KnownModel) -> dict[str, str | int | bool | None]:
    """Return the facts about a model; its path is None until it is fetched."""
    fetched = is_cached(model.name)
    return {
        "name": model.name,
        "role": model.role,
        "package": model.package,
        "version": model.version,
        "licence": model.licence,
        "bytes": model.size,
        "fetched": fetched,
        "path": str(model.folder) if fetched else None,
    }


def converted_row(folder: Path) -> dict[str, str | int | bool | None]:
    """Return the facts about a converted GGUF file, under the names that known models have."""
    told = read_manifest(folder)
    return {
        "name": told["name"],
        "role": "student",
        "package": None,
        "version": None,
        "licence": told["licence"] or None,
        "bytes": folder_bytes(folder),
        "fetched": True,
        "path": str(folder),
    }


@command.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def fetch_models(names: tuple[str, ...]) -> None:
    """Fetch models or convert GGUF files once, and print each with its folder.

    For llama:smollm2-135m, its GGUF file is fetched too.
    """
    for name in names:
        if is_llama(name):
            weights_of(name)
        click.echo(f"{name}\t{resolve(name)}")


@command.command("path")
@click.argument("name")
def print_path(name: str) -> None:
    """Print the folder of a fetched model."""
    click.echo(resolve(name, offline=True))


@command.command("publish")
@click.argument("adapter", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="New folder.")
@student_option
@click.option(
    "--weights", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Number format."
)
def publish_student(adapter: Path, output: Path, student: str, weights: Literal["float32", "bfloat16"]) -> None:
    """Merge ADAPTER into its base as one safetensors model.

    Any server can load the model. The student with its adapter and the merged model answer the same fixed probes. If
    their tokens (float32) or bundles (bfloat16) differ, nothing is published.
    """
    from bundlewise.finetune.publish import publish
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    parity = publish(adapter, resolve(student), output, weights)
    click.echo(
        f"{output}: {parity.probes} probes answered alike, log-odds at most {parity.largest_difference:.2g} apart; "
        f"next: bundlewise generate --student {output}, or a server (docs/serving.md)"
    )


STUDENT = click.Path(path_type=Path, file_okay=False, exists=True)


@command.command("card")
@click.argument("folder", type=STUDENT)
@reads_data(help="Annotated sessions, to add scores to the card: a file, or electronics, clothing, grocery.")
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Sessions to score.")
@click.option("--predictions", type=FILE, help="The student's answers to these sessions.")
@click.option("--licence", default="", help="The student's licence on the card; kept.  [default: that of the base]")
def write_model_card(folder: Path, data: str | None, split: Split, predictions: Path | None, licence: str) -> None:
    """Write the model card of an adapter or a published student, FOLDER/README.md, again.

    With --data and --predictions, the scores of these answers with their intervals are kept and shown on the card.
    """
    from bundlewise.data.sessions import load
    from bundlewise.evaluation.scores import evaluate
    from bundlewise.finetune.adapters import read_manifest
    from bundlewise.finetune.card import CARD, add_scores, write_card
    from bundlewise.finetune.push import is_published

    if (data is None) != (predictions is None):
        raise UsageError("scores need both --data and --predictions; add the other one")
    manifest = read_manifest(folder)
    if data is not None and predictions is not None:
        add_scores(folder, data, split, evaluate(load(data, split), predictions))
    write_card(folder, manifest, published=is_published(folder), licence=licence)
    click.echo(f"{folder / CARD}")


@command.command("push")
@click.argument("folder", type=STUDENT)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository that only its owner can see.")
@click.option("--licence", default="", help="The student's licence on the card; kept.  [default: that of the base]")
@click.option("--revision", default="main", show_default=True, help="Branch to write to.")
def push_student(folder: Path, repository: str, private: bool, licence: str, revision: str) -> None:
    """Push an adapter or a published student to the model hub.

    The token is that of `hf auth login` or HF_TOKEN; HF_ENDPOINT names another hub. Paths of this machine are left out.
    An adapter whose base is not on the hub is pushed with a card that says how to get the base.
    """
    from bundlewise.finetune.push import push

    click.echo(push(folder, repository, private=private, licence=licence, revision=revision))


@command.command("probe")
@click.argument("published", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--student", required=True, help="The served student: openai:MODEL@URL.")
@click.option(
    "--weights",
    type=click.Choice(["float32", "bfloat16"]),
    default="bfloat16",
    show_default=True,
    help="Number format of the server: float32 must give the same tokens, bfloat16 the same bundles.",
)
def probe_served(published: Path, student: str, weights: Literal["float32", "bfloat16"]) -> None:
    """Compare a served student with its PUBLISHED folder.

    Both answer the same fixed probes. The server must have loaded the model from PUBLISHED.
    """
    from bundlewise.agents.student.engine import StudentEngine
    from bundlewise.agents.student.load import load_causal_lm
    from bundlewise.agents.student.remote import RemoteStudent
    from bundlewise.finetune.adapters import read_manifest
    from bundlewise.finetune.parity import compare, probe
    from bundlewise.finetune.publish import PARITY
    from bundlewise.finetune.students import opening_of
    from bundlewise.settings import quiet_libraries

    quiet_libraries()
    if not is_served(student):
        raise UsageError(f"{student!r} is not on a server; give openai:MODEL@URL")
    if not (published / PARITY).is_file():
        raise UsageError(
            f"{published} is not a published student; make one: bundlewise models publish ADAPTER -o FOLDER"
        )
    manifest = read_manifest(published)
    local = probe(StudentEngine(*load_causal_lm(published, exact=True)), manifest)
    parity = compare(local, probe(RemoteStudent.named(student, opening_of(published, manifest)), manifest))
    click.echo(parity.model_dump_json(indent=2))
    if fault := parity.fault(weights):
        raise ModelError(f"the server gives other answers: {fault}; serve {published} in float32, without quantisation")
