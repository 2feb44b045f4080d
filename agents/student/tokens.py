"""The texts of a student as token ids: prompts, questions and answers, their lengths, and batches of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundlewise.agents.student.chat import ChatPrompt, chat_ids
from bundlewise.agents.student.compose import JudgePrompt, size_of
from bundlewise.errors import ModelError, PromptError

YES, NO = " yes", " no"
BATCH_TOKENS = 2048
MAX_NEW_TOKENS = 400
BYTES_OF_TOKEN = 12
"""The largest average number of bytes in a token; ordinary text has three to five."""

Progress = Callable[[int], None]
Prompt = ChatPrompt | str
"""A prompt that a student continues with a text."""


@dataclass(frozen=True)
class Written:
    """A text written under a grammar, with the tokens read and written."""

    text: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Encoded:
    """A prompt with questions as token ids; `places[k]` is the position that answers question k."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


def written(tokenizer: Any, read: int, new: list[int]) -> Written:
    """Return the text of written tokens, up to the end token; without one the last line is not whole, and left out."""
    end = tokenizer.eos_token_id
    whole, new = end in new, new[: new.index(end)] if end in new else new
    text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if not whole:  # The reader of the answer would take half a line for a whole one.
        text = text[: text.rfind("\n") + 1]
    text = text.replace("\ufffd", "")  # The tokens ended in the middle of a letter.
    return Written(text, read, len(new))


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of plain text; the name of a special token is encoded as text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def start_ids(tokenizer: Any) -> list[int]:
    """Return the token that opens a document, if the tokenizer has one."""
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def encode_judge(tokenizer: Any, prompt: JudgePrompt) -> Encoded:
    """Encode the head and the questions, one per line, without the answers.

    No question sees the answer to another one, so one forward pass answers all of them.
    """
    ids = start_ids(tokenizer) + token_ids(tokenizer, prompt.head + "\n")
    newline = token_ids(tokenizer, "\n")
    places = []
    for question in prompt.questions:
        ids += token_ids(tokenizer, question)
        places.append(len(ids) - 1)
        ids += newline
    return Encoded(tuple(ids), tuple(places))


def answer_ids(tokenizer: Any) -> tuple[int, int]:
    """Return the tokens that begin the answers yes and no."""
    yes, no = (token_ids(tokenizer, word)[0] for word in (YES, NO))
    if yes == no:
        raise ModelError("the tokenizer begins ' yes' and ' no' with the same token; choose another student")
    return yes, no


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the token ids of a prompt: plain text after the token that opens a document, or a conversation."""
    if isinstance(prompt, ChatPrompt):
        return chat_ids(tokenizer, prompt)
    return start_ids(tokenizer) + token_ids(tokenizer, prompt)


def fits(tokenizer: Any, config: Any, prompt: JudgePrompt | Prompt) -> bool:
    """Say whether a model of this configuration can read the whole prompt and answer it."""
    limit = getattr(config, "max_position_embeddings", None)
    if size_of(prompt) > most_bytes(config):
        return False
    if isinstance(prompt, JudgePrompt):
        length = len(encode_judge(tokenizer, prompt).ids)
    else:
        length = len(prompt_ids(tokenizer, prompt)) + MAX_NEW_TOKENS
    return limit is None or length <= limit


def refuse_too_long(config: Any, lengths: Iterable[int]) -> None:
    """Refuse prompts that a model of this configuration cannot read.

    Raises:
        PromptError: a prompt has too many tokens.
    """
    limit, longest = getattr(config, "max_position_embeddings", None), max(lengths, default=0)
    if limit and longest > limit:
        raise PromptError(f"a prompt has {longest} tokens, the student reads {limit}; leave products out")


def most_bytes(config: Any) -> float:
    """Return the most bytes that a model can read; a longer text is refused before it is split into tokens."""
    return BYTES_OF_TOKEN * (getattr(config, "max_position_embeddings", None) or float("inf"))


def by_length(lengths: Sequence[int], budget: int = BATCH_TOKENS, rows: int | None = None) -> Iterator[list[int]]:
    """Yield batches of indices with similar lengths, at most `rows` each, with a padded size within the budget."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and ((len(batch) + 1) * lengths[index] > budget or len(batch) == rows):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
