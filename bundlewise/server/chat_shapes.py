"""What goes in and out of /v1/chat/completions and /v1/models: OpenAI's shapes, as far as this model means them.

Parameters that would change nothing here (sampling: the same question has the same answer) are taken and
do nothing; those that would ask for something this model does not do are refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from bundlewise.server.shapes import Shape, Usage

MAX_MESSAGES = 200
MAX_TEXT = 20_000
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class TextPart(Shape):
    """A text among the parts of a message; images and sound are not read."""

    type: Literal["text"]
    text: Text


def _form_of_content(value: Any) -> str:
    return "parts" if isinstance(value, list) else "a text"


Content = Annotated[
    Annotated[Text, Tag("a text")] | Annotated[list[TextPart], Field(max_length=50), Tag("parts")],
    Discriminator(_form_of_content),
]


class ChatMessage(BaseModel):
    """A message; what OpenAI's clients carry along with an assistant's own message is taken and not read."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None

    @property
    def text(self) -> str:
        """The text of the message."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(Shape):
    """What a stream carries beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="taken, does nothing")


class TextFormat(Shape):
    """The one form of answers."""

    type: Literal["text"]


DOES_NOTHING = "taken, does nothing: the same question has the same answer"
Idle: Any = Field(default=None, description=DOES_NOTHING)


class ChatRequest(Shape):
    """A conversation to go on with."""

    model: str = Field(max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, description="words of the reply at most")
    max_completion_tokens: int | None = Field(default=None, ge=1, description="words of the reply at most")
    n: Literal[1] | None = 1
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    modalities: list[Literal["text"]] | None = None
    stop: None = None
    tools: list[Any] | None = Field(default=None, max_length=0, description="this model calls no tools")
    temperature: float | None = Field(default=None, ge=0, le=2, description=DOES_NOTHING)
    top_p: float | None = Field(default=None, ge=0, le=1, description=DOES_NOTHING)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description=DOES_NOTHING)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, description=DOES_NOTHING)
    seed: int | None = Idle
    user: str | None = Idle
    metadata: dict[str, str] | None = Idle
    store: bool | None = Idle
    parallel_tool_calls: bool | None = Idle
    reasoning_effort: str | None = Idle
    verbosity: str | None = Idle
    safety_identifier: str | None = Idle
    prompt_cache_key: str | None = Idle
    service_tier: str | None = Idle

    @property
    def most_words(self) -> int | None:
        """How long the reply may be."""
        given = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        return min(given, default=None)


Finish = Literal["stop", "length"]


class Reply(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: Reply
    logprobs: None = None
    finish_reason: Finish


class ChatResponse(BaseModel):
    """A whole answer."""

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
    """A piece of the one answer."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: Finish | None = None


class Chunk(BaseModel):
    """A piece of an answer that streams; the last may carry the usage, and no choice."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Model(BaseModel):
    """A model that can be asked; `bundlewise` says what its answers depend on."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "bundlewise"


class Models(BaseModel):
    """All models that can be asked."""

    object: Literal["list"] = "list"
    data: list[Model]
