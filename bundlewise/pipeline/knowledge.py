"""Knowledge bases as students use them: retrievers with a policy, and records to tune on."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Knowledge, KnowledgeKind
from bundlewise.errors import UsageError
from bundlewise.knowledge_base.policy import Policy
from bundlewise.models.endpoints import is_served
from bundlewise.models.folders import resolve
from bundlewise.prompts.field_wording import Wording, worded

if TYPE_CHECKING:
    from bundlewise.finetune.adapters import Manifest
    from bundlewise.knowledge_base.embedding import Embedder
    from bundlewise.knowledge_base.retrieval import Retriever


def open_retriever(
    kb: Path | str, policy: Policy, student: Path | None = None, embedder: "Embedder | None" = None
) -> "Retriever":
    """Open a knowledge base for retrieval by a policy; a token budget is counted in the student's tokens."""
    from bundlewise.knowledge_base.retrieval import Retriever
    from bundlewise.knowledge_base.store import KnowledgeStore
    from bundlewise.models.folders import token_counter

    counts = token_counter(student) if student and policy.budget is not None else None
    return Retriever(KnowledgeStore.open(kb, embedder), policy, counts)


def lessons(
    kb: Path | str, kinds: Sequence[KnowledgeKind], embedder: "Embedder | None" = None, wording: Wording = "told"
) -> list[Knowledge]:
    """Return the active records of some kinds in a wording, for a student that is tuned on their text."""
    from bundlewise.knowledge_base.store import KnowledgeStore

    records = KnowledgeStore.open(kb, embedder).records.select()
    return [worded(record, wording) for record in records if record.kind in kinds and record.status == "active"]


def own_retriever(
    where: str | os.PathLike[str] | None,
    given: "Mapping[str, Any] | Policy",
    manifest: "Manifest | None",
    student: str,
    adapter: Path | None,
    note: Callable[[str], None],
    form: str = "pairs",
) -> "Retriever | None":
    """Open the knowledge base with the student's own policy, if it has one, and check that the two fit."""
    kb = None if where is None else os.fspath(where)
    base = None if is_served(student) else resolve(student)
    whole = given if isinstance(given, Policy) else None
    policy = whole or Policy.for_form(form, dict(given), counts=base is not None)
    if manifest and manifest.policy and kb is None:
        raise UsageError(f"the student in {adapter or student} was tuned with knowledge in its prompts: add --kb")
    if manifest and given:
        note(f"the dials given replace the adapter's own ({manifest.policy or 'none'})")
    if manifest and kb is not None and not given:
        policy = Policy.of(**manifest.policy) if manifest.policy else Policy.none()
        if policy.is_plain:
            note(f"note: tuned without knowledge in its prompts, so {kb} is not read; --hints 30 reads it")
    if not kb or policy.is_plain:
        return None
    found = open_retriever(kb, policy, base)
    if policy.demonstrations and not found.has_demonstrations:
        note(f"note: no thought of {kb} has intents, so no demonstration is shown; distil again")
    if manifest and manifest.policy and (knowledge := found.about["teacher"]) != manifest.teacher:
        note(f"note: tuned with the knowledge of {manifest.teacher}, {kb} holds that of {knowledge}")
    return found
