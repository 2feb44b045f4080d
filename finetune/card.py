"""What makes an adapter or a published student describe itself: its tokenizer, and a model card with its scores."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from bundlewise.agents.student.compose import judge_prompt, write_prompt
from bundlewise.domain import Retrieved, Session
from bundlewise.errors import AdapterError
from bundlewise.evaluation.scores import Scores
from bundlewise.files import write_json, write_text
from bundlewise.finetune.adapters import Manifest, write_manifest
from bundlewise.finetune.students import opening_of
from bundlewise.models.origin import origin_of
from bundlewise.scratch import follow_umask, scratch_folder

CARD = "README.md"
FACTS = "card.json"
"""What a card says beside the manifest: the student's own licence, and its scores on annotated sessions."""
EXAMPLE = Session.of(["Glide 11 Tablet", "Folio Case for Glide 11", "AA Batteries"])
PLACES = {False: "adapter", True: "student"}
"""The folder that a card's examples name, for an adapter and for a published student."""
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def finish(folder: Path, manifest: Manifest, base: Path, sessions: Sequence[Session]) -> Manifest:
    """Complete an adapter: write its tokenizer, its card, and at last its manifest, which is returned."""
    domains = tuple(sorted({session.domain for session in sessions if session.domain}))
    told = manifest.model_copy(update={"origin": origin_of(base), "domains": domains})
    _write_tokenizer(base, folder)
    write_card(folder, told)
    write_manifest(folder, told)
    return told


def _write_tokenizer(base: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    try:
        with scratch_folder(folder / "tokenizer") as work:
            AutoTokenizer.from_pretrained(base).save_pretrained(work)
            follow_umask(work)
            for path in sorted(work.iterdir()):
                path.replace(folder / path.name)
    except OSError as error:
        raise AdapterError(f"cannot write the tokenizer to {folder}: {error}; free space and run again") from error


def write_card(
    folder: Path, manifest: Manifest, *, published: bool = False, licence: str = "", place: str = ""
) -> None:
    """Write the model card of an adapter or a published student.

    Args:
        folder: the folder of the student; its licence and scores are kept there in `card.json`.
        manifest: its manifest.
        published: whether adapter and base are merged.
        licence: the student's licence; by default the one that was given before, else that of the base.
        place: the name by which the examples load it, a hub id for example.
    """
    from huggingface_hub import ModelCard, ModelCardData

    if licence:
        write_json(folder / FACTS, read_facts(folder) | {"licence": licence})
    origin, own = manifest.origin, read_facts(folder)["licence"]
    held = own or (origin.licence if origin else "")
    data = ModelCardData(
        license=held.lower() if _LICENCE.fullmatch(held.lower()) else None,
        base_model=(origin.hub or None) if origin else None,
        library_name="transformers" if published else "peft",
        pipeline_tag="text-generation",
        tags=["bundlewise", "product-bundling", *([] if published else ["lora"])],
    )
    template = files("bundlewise.finetune").joinpath("card.md.jinja").read_text("utf-8")
    card = ModelCard.from_template(
        data,
        template_str=f"---\n{{{{ card_data }}}}\n---\n\n{template}",
        **_facts(folder, manifest, published, place),
        licence=held,
        own_licence=bool(own),
    )
    write_text(folder / CARD, f"{str(card).rstrip()}\n")


def _facts(folder: Path, manifest: Manifest, published: bool, place: str) -> dict[str, Any]:
    """Return the variables of the template."""
    blind, origin = EXAMPLE.blind(), manifest.origin
    asked = judge_prompt(blind, Retrieved())
    written = write_prompt(blind, Retrieved(), reasoning=manifest.answering.thinks)
    knowledge = f"in the prompt, by the teacher {manifest.teacher}" if manifest.policy else "none in the prompt"
    return {
        "title": f"{origin.name if origin else Path(manifest.base).name} for product bundles",
        "published": published,
        "place": place or PLACES[published],
        "flag": "--student" if published else "--adapter",
        # On the hub an adapter names only a base that is there too.
        "self_loading": bool(origin and origin.hub) or not place,
        "manifest": manifest,
        "origin": origin,
        "base_name": Path(manifest.base).name,
        "gguf_folder": str(Path(origin.inside).parent) if origin and origin.inside else ".",
        "form": manifest.answering.form,
        "question": json.dumps(f"{_opening(folder, manifest)}{asked.head}\n{asked.questions[0]}", ensure_ascii=False),
        "messages": json.dumps(written.messages, ensure_ascii=False),
        "knowledge": knowledge + (", and taught as text" if manifest.lessons else ""),
        "scores": read_facts(folder)["scores"],
    }


def _opening(folder: Path, manifest: Manifest) -> str:
    """Return the text that must precede a prompt; empty without a tokenizer, as adapters of before have none."""
    return opening_of(folder, manifest) if (folder / "tokenizer_config.json").is_file() else ""


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what is kept for the card in a student's folder: its `licence`, and its `scores`, the earliest first."""
    path = folder / FACTS
    kept = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return {"licence": "", "scores": []} | kept


def add_scores(folder: Path, data: str, split: str, found: Scores) -> None:
    """Keep the scores on a split of data in a student's folder; earlier ones on the same data are replaced."""
    row = {"data": Path(data).name, "split": split, **found.as_dict()}
    facts = read_facts(folder)
    others = [each for each in facts["scores"] if (each["data"], each["split"]) != (row["data"], split)]
    write_json(folder / FACTS, facts | {"scores": [*others, row]})
