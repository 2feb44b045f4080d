"""The short question that shows whether a server answers, and whether it follows a schema."""

import json

from bundlewise.agents.chat.dialect import Mode
from bundlewise.prompts.render import Messages

PROBED: tuple[Mode, ...] = ("json_schema", "json_object")
"""The forms that a server may accept but ignore."""
PROBE: Messages = [{"role": "user", "content": "Say hello in one word. (As JSON, if you are made to.)"}]
PROBE_SCHEMA = {
    "type": "object",
    "properties": {"greeting_word": {"type": "string"}},
    "required": ["greeting_word"],
    "additionalProperties": False,
}


def keeps(text: str, mode: Mode) -> bool:
    """Say whether an answer to the probe has the requested form."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (mode != "json_schema" or list(value) == ["greeting_word"])
