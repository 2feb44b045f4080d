"""The wording of a thought from its fields alone: the lesson, the kinds, what was bundled, and what stayed out."""

from typing import Literal

from bundlewise.domain import Knowledge
from bundlewise.prompts.kind_lists import counted
from bundlewise.prompts.render import render

Wording = Literal["told", "fields"]


def worded(record: Knowledge, wording: Wording) -> Knowledge:
    """Return a record with its text in a wording; a rule, a pattern or a thought without kinds stays as it is."""
    if wording == "told" or record.kind != "thought" or not record.kinds:
        return record
    return record.model_copy(update={"text": fields_text(record)})


def fields_text(thought: Knowledge) -> str:
    """Return the text of a thought that is made from its fields."""
    kinds, inside = thought.kinds, {place for group in thought.groups for place in group}
    intents = thought.intents or ("",) * len(thought.groups)
    bundles = [
        {"intent": intent, "kinds": counted([kinds[place] for place in group])}
        for group, intent in zip(thought.groups, intents, strict=True)
    ]
    out = [kind for place, kind in enumerate(kinds) if place not in inside]
    return render("thought_fields", lesson=thought.lesson, kinds=counted(kinds), bundles=bundles, left_out=counted(out))
