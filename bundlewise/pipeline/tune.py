"""Tuning as a function: make a student's LoRA adapter from sessions, with knowledge in the prompts."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.agents.student.modes import require_utilisation
from bundlewise.data.session_list import require_sessions
from bundlewise.domain import Knowledge, Session
from bundlewise.errors import UsageError
from bundlewise.extras import require
from bundlewise.finetune.adapters import Adapter
from bundlewise.finetune.config import TrainingConfig, preset_named
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.folders import resolve
from bundlewise.models.gguf import LLAMA
from bundlewise.models.llama import is_llama
from bundlewise.pipeline.distil import formats_named
from bundlewise.pipeline.knowledge import lessons, open_retriever

if TYPE_CHECKING:
    from bundlewise.knowledge_base.retrieval import Retriever


def finetune(
    sessions: Sequence[Session],
    kb: str | os.PathLike[str] | None = None,
    path: str | os.PathLike[str] = "adapter",
    *,
    student: str | None = None,
    preset: str = "tiny",
    mode: str | None = None,
    dials: Mapping[str, Any] | None = None,
    answering: Mapping[str, Any] | None = None,
    teach: str | None = None,
    limit: int | None = None,
    max_minutes: float | None = None,
    retriever: "Retriever | None" = None,
    note: Callable[[str], None] | None = None,
    **training: Any,
) -> Adapter:
    """Tune a student by LoRA on the training sessions among these, and calibrate it on validation.

    With a knowledge base, every prompt contains the knowledge retrieved for its session, without the session's own
    record. After a stop the same call continues; after the end it returns at once.

    Args:
        sessions: annotated ones of the splits train and validation.
        kb: a knowledge base, or its place; None tunes on prompts without knowledge.
        path: the adapter's folder.
        student: the base by name, hub id, folder or GGUF file; by default the preset's.
        preset: tiny, small, base or large: a base with settings that suit its size.
        mode: the mode that `kb` must make: `icl+sft` with one, `sft` without.
        dials: dials of retrieval, as `Policy` names them.
        answering: dials of answering, as `AnswerDials` names them; the form is taught, and the adapter remembers them.
        teach: formats whose text is tuned on too, such as `rules,thoughts`.
        limit: train on this many sessions, chosen by seed.
        max_minutes: stop after this time, and keep the best weights so far.
        retriever: an open retriever, used instead of opening one by `kb` and `dials`.
        note: called with remarks for the user.
        **training: settings of `TrainingConfig` in place of the preset's, such as `epochs`.

    Raises:
        UsageError: there is nothing to train on, or the folder holds another adapter.
        AdapterError: the time ended before the first step.
    """
    require("train", "finetune")
    require_sessions(sessions)
    from bundlewise.finetune.students import answer_dials
    from bundlewise.finetune.tuning import Tuning
    from bundlewise.reports.loss import plot_loss

    chosen, folder = preset_named(preset), Path(path)
    student = student or chosen.student
    if is_llama(student):
        raise UsageError(f"{student} runs the weights in its file and cannot be tuned; leave out {LLAMA}")
    how = answer_dials(student, None, dict(answering or {}))
    policy = Policy.for_form(how.form, dict(dials or {}))
    given = {name: value for name, value in training.items() if value is not None}
    config = TrainingConfig.of(**chosen.config.model_dump() | given)
    place = None if kb is None else os.fspath(kb)
    reads = retriever is not None or (place is not None and not policy.is_plain)
    require_utilisation(mode, knowledge=reads, tuned=True)
    if place is not None and reads:
        retriever = retriever or open_retriever(place, policy, resolve(student))
    taught = _taught(place, teach, policy)
    tuning = Tuning(list(sessions), folder, config, student, retriever, limit, max_minutes, taught, how)
    if note and (left := tuning.left_out):
        note(f"note: not tuned on: {left[0]}" + (f" ({len(left):,} such sessions)" if left[1:] else ""))
    manifest = tuning.run()
    plot_loss(folder)
    return Adapter(folder, manifest)


def _taught(kb: str | None, teach: str | None, policy: Policy) -> list[Knowledge]:
    """Return the active records of the formats to teach, in the wording of the policy."""
    if teach is None:
        return []
    if kb is None:
        raise UsageError("--teach needs a knowledge base: add --kb, or leave it out")
    found = lessons(kb, formats_named(teach), wording=policy.wording)
    if not found:
        raise UsageError(f"{kb} holds no active {teach} to teach; distil with --formats {teach}, or leave out --teach")
    return found
