"""Requests and answers of /v1/chat/completions and /v1/models: OpenAI's formats, as far as this model supports them.

Sampling parameters are accepted without effect, since the same question always has the same answer. Parameters that
ask for something this model cannot do are refused by name.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from bundlewise.server.shapes import Shape, Usage, asked

MAX_MESSAGES = 200
MAX_TEXT = 20_000
LISTED = re.compile(r"\s*(?:[-*\u2022]|\d{1,3}[.)])\s")
"""The beginning of a line of a list."""
TOOLS = {"tools": "tool_choice", "functions": "function_call"}
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class Chat(Shape):
    """A part of a request from clients for many models: a field of any name is accepted if its value is empty."""

    @model_validator(mode="before")
    @classmethod
    def _given(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        needed = {name for name, field in fields.items() if field.is_required()}
        told = {name: value for name, value in given.items() if name in needed or not asks_for_nothing(value)}
        return asked(cls, {name: as_given(value) for name, value in told.items()})


def asks_for_nothing(value: Any) -> bool:
    """Say whether a value is null, false or empty, or contains only such values; in a mapping zeros count too."""
    if isinstance(value, dict):
        return all(part is None or part == 0 for part in value.values())
    if isinstance(value, list):
        return all(part is None or part == "" for part in value)
    return value is None or value is False or value == ""


def as_given(value: Any) -> Any:
    """Return a value without nulls, and with whole numbers such as 1.0 as integers, as some clients write them."""
    if isinstance(value, dict):
        return {name: part for name, part in value.items() if part is not None}
    return int(value) if isinstance(value, float) and value.is_integer() else value


class TextPart(Chat):
    """A text part of a message; images and sound are not accepted."""

    type: Literal["text"]
    text: Text
    cache_control: Any = Field(default=None, description="taken, does nothing")


def _form_of_content(value: Any) -> str:
    return "parts" if isinstance(value, list) else "a text"


Content = Annotated[
    Annotated[Text, Tag("a text")] | Annotated[list[TextPart], Field(max_length=50, fail_fast=True), Tag("parts")],
    Discriminator(_form_of_content),
]


class ChatMessage(BaseModel):
    """A message; the extra fields that OpenAI's clients send with an assistant's message are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None

    @property
    def text(self) -> str:
        """The text of the message."""
        if isinstance(self.content, list):
            return joined([part.text for part in self.content])
        return self.content or ""


def joined(texts: Sequence[str]) -> str:
    """Return the texts of parts as one message: a sentence continues its line, and a list item begins a new line."""
    found = ""
    for text in filter(None, texts):
        if found and not found[-1].isspace() and not text[0].isspace():
            found += " " if _goes_on(found, text) else "\n"
        found += text
    return found


def _goes_on(before: str, text: str) -> bool:
    """Say whether a part continues the sentence before it: `find a tablet`, `under 300`."""
    if "\n" in before or "\n" in text or LISTED.match(text):
        return False
    return before.endswith((".", "!", "?", ",", ";")) or (not text[0].isupper() and not before.endswith(":"))


class StreamOptions(Chat):
    """The options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="taken, does nothing")


class TextFormat(Chat):
    """The only format of answers: text."""

    type: Literal["text"]


DOES_NOTHING = "taken, does nothing: the same question has the same answer"
Idle: Any = Field(default=None, description=DOES_NOTHING)


def _refused(_: Any) -> None:
    raise PydanticCustomError("unsupported", "this model does not do that; leave it out")


Unsupported = Annotated[None, BeforeValidator(_refused)]


class ChatRequest(Chat):
    """A conversation to continue."""

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, description="words of the reply at most")
    max_completion_tokens: int | None = Field(default=None, ge=1, description="words of the reply at most")
    n: Literal[1] | None = 1
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    stop: Unsupported = Field(default=None, description="none: a reply ends where it ends")
    logit_bias: Unsupported = Field(default=None, description="none: the reply is not sampled")
    tools: Unsupported = Field(default=None, description="none: this model calls no tools")
    tool_choice: Literal["none", "auto"] | None = Field(default=None, description="this model calls no tools")
    functions: Unsupported = Field(default=None, description="none: this model calls no tools")
    function_call: Literal["none", "auto"] | None = Field(default=None, description="this model calls no tools")
    audio: Unsupported = Field(default=None, description="none: this model answers in text")
    prediction: Unsupported = Field(default=None, description="none: a reply is not predicted")
    temperature: float | None = Field(default=None, ge=0, le=2, description=DOES_NOTHING)
    top_p: float | None = Field(default=None, ge=0, le=1, description=DOES_NOTHING)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description=DOES_NOTHING)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, description=DOES_NOTHING)
    seed: int | None = Idle
    user: str | None = Idle
    metadata: Annotated[dict[str, str], Field(max_length=64)] | None = Idle
    store: bool | None = Idle
    parallel_tool_calls: bool | None = Idle
    reasoning_effort: str | None = Idle
    verbosity: str | None = Idle
    safety_identifier: str | None = Idle
    prompt_cache_key: str | None = Idle
    prompt_cache_retention: str | None = Idle
    service_tier: str | None = Idle

    @model_validator(mode="before")
    @classmethod
    def _no_tools(cls, given: Any) -> Any:
        """Drop the list of tools if the request forbids calling them."""
        if not isinstance(given, dict):
            return given
        idle = {tools for tools, choice in TOOLS.items() if given.get(choice) == "none"}
        return {name: value for name, value in given.items() if name not in idle}

    @property
    def most_words(self) -> int | None:
        """The largest number of words of the reply."""
        given = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        return min(given, default=None)


Finish = Literal["stop", "length"]


class AssistantMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The only answer."""

    index: int = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: Finish


class ChatResponse(BaseModel):
    """A complete answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    """A piece of the assistant's message."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """A piece of the only answer."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Finish | None = None


class Chunk(BaseModel):
    """A piece of a streamed answer; the last piece may have the usage, and no choice."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(BaseModel):
    """A model that can be asked; `bundlewise` has everything that its answers depend on."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "bundlewise"


class Models(BaseModel):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[Model]
