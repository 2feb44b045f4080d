"""A conversation as a student's base reads it: the tokens of a system text and a question in its chat template."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from bundlewise.errors import ModelError

SYSTEM, USER = "\u2063system text\u2063", "\u2063user text\u2063"
"""Stand-ins for the two texts while the template is read; no template holds them."""
SETTINGS = {"enable_thinking": False, "date_string": "01 Jan 2026"}
"""Variables of templates that would make a base think first, or would change the prompt every day."""


@dataclass(frozen=True)
class ChatPrompt:
    """A system text and a user's text; `opening` is the beginning of the answer, which the model continues."""

    system: str
    user: str
    opening: str = ""

    def opened(self, text: str) -> "ChatPrompt":
        """Return the prompt with more of its answer given."""
        return replace(self, opening=self.opening + text)

    @property
    def texts(self) -> tuple[str, str, str]:
        """All texts of the prompt, in order."""
        return self.system, self.user, self.opening

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages as OpenAI's chat API takes them."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class ChatFrame:
    """The text of a chat template before, between and after the system text and the user's text."""

    before: str
    between: str
    after: str


PLAIN = ChatFrame("", "\n\n", "\n")
"""The frame of a base without a chat template; the beginning of a document precedes it."""


def frame_of(tokenizer: Any) -> ChatFrame:
    """Return the frame of a base's chat template; a base without one has a plain frame.

    Where the template refuses or moves the system text, that text begins the user's turn.

    Raises:
        ModelError: the template shows neither.
    """
    if not getattr(tokenizer, "chat_template", None):
        return PLAIN
    separate = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
    merged = [{"role": "user", "content": f"{SYSTEM}\n\n{USER}"}]
    reason = ""
    for messages in (separate, merged):
        try:
            text = _rendered(tokenizer, messages)
        except _template_errors() as error:
            reason = str(error).partition("\n")[0]
            continue
        if text.count(SYSTEM) == text.count(USER) == 1 and text.index(SYSTEM) < text.index(USER):
            before, _, rest = text.partition(SYSTEM)
            between, _, after = rest.partition(USER)
            return ChatFrame(before, between, after)
        reason = "it does not show both texts once, in order"
    raise ModelError(f"the chat template of this student cannot ask a question: {reason}; give another student")


def chat_ids(tokenizer: Any, prompt: ChatPrompt) -> list[int]:
    """Return the token ids of a prompt in the base's chat template.

    Only the template may hold special tokens. If a text holds the name of one, each part is encoded by itself, and
    the name is encoded as text.
    """
    frame = _frame(tokenizer, str(getattr(tokenizer, "chat_template", None) or ""))
    opened = [] if frame is not PLAIN or tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    parts = (frame.before, prompt.system, frame.between, prompt.user, frame.after, prompt.opening)
    if not _names_special(tokenizer, prompt.texts):
        return opened + _ids(tokenizer, "".join(parts[:5]), special=True) + _ids(tokenizer, prompt.opening)
    ids = [_ids(tokenizer, part, special=number % 2 == 0 and number < 5) for number, part in enumerate(parts)]
    return opened + [token for part in ids for token in part]


def _ids(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special)
    return ids


def _names_special(tokenizer: Any, texts: Sequence[str]) -> bool:
    names = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    return any(name in text for text in texts for name in names)


@lru_cache(maxsize=8)
def _frame(tokenizer: Any, template: str) -> ChatFrame:
    """Return the frame of a tokenizer; the template is part of the key, because it can be replaced."""
    return frame_of(tokenizer)


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    found: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **SETTINGS)
    return found


def _template_errors() -> tuple[type[Exception], ...]:
    from jinja2 import TemplateError

    return TemplateError, TypeError, ValueError, KeyError, IndexError
