"""A conversation as a student's base reads it: the tokens of a system text and a question in its chat template."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
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

    Only the template may hold added tokens, such as the marks of a turn. The name of one in a text is cut after its
    first letter, and the pieces are encoded by themselves, so that no other line changes. The opening is a piece too,
    since the model writes after it.
    """
    frame = _frame(tokenizer, str(getattr(tokenizer, "chat_template", None) or ""))
    opened: list[int] = [] if frame is not PLAIN or tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    pieces = [""]
    for text, own in ((frame.before, prompt.system), (frame.between, prompt.user), (frame.after, "")):
        first, *more = _cut_names(tokenizer, own)
        pieces[-1] += text + first
        pieces += more
    pieces += _cut_names(tokenizer, prompt.opening)
    for piece in pieces:
        opened += tokenizer.encode(piece, add_special_tokens=False)
    return opened


def _cut_names(tokenizer: Any, text: str) -> list[str]:
    """Return a text in pieces, none of which holds the name of an added token; blanks are no name."""
    names = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    found = [name for name in names if len(name) > 1 and name.strip() and name in text]
    starts = {match.start() for name in found for match in re.finditer(f"(?={re.escape(name)})", text)}
    cuts = [0, *sorted(start + 1 for start in starts), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


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
