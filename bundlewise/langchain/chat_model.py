"""The student as a LangChain chat model: it reads a message that lists products, and returns text and data."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from bundlewise.agents.assistant.listed import products_in
from bundlewise.bundles import FoundBundle
from bundlewise.domain import Prediction, Session
from bundlewise.text import line

MODEL = "bundlewise"
NO_PRODUCTS = "List at least two products, one a line, and I return their bundles."
NO_BUNDLE = "None of these products belong together."


class ChatBundlewise(BaseChatModel):
    """Bundles the products that the last message lists; it ignores earlier messages.

    The reply has the bundles as text, and as data in `response_metadata["bundles"]`: products, intent and confidence
    of each. For a conversation with a cart, use `bundlewise.Assistant`.
    """

    student: Any = Field(description="a `bundlewise.Student`")

    @property
    def _llm_type(self) -> str:
        return MODEL

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": MODEL}

    def _get_ls_params(self, stop: list[str] | None = None, **given: Any) -> LangSmithParams:
        told = super()._get_ls_params(stop=stop, **given)
        told.setdefault("ls_model_name", MODEL)
        return told

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message(messages, stop))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the reply line by line; the last piece has the data."""
        whole = self._message(messages, stop)
        for row in str(whole.content).splitlines(keepends=True):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=row))
            if run_manager:
                run_manager.on_llm_new_token(row, chunk=chunk)
            yield chunk
        data, usage = whole.response_metadata, whole.usage_metadata
        last = AIMessageChunk(content="", chunk_position="last", response_metadata=data, usage_metadata=usage)
        yield ChatGenerationChunk(message=last)

    def _message(self, messages: Sequence[BaseMessage], stop: Sequence[str] | None) -> AIMessage:
        """Return the reply to the last message; `stop` ends its text, as in other chat models."""
        titles = products_in(str(messages[-1].text))
        text, bundles, usage = self._reply(titles) if len(titles) > 1 else (NO_PRODUCTS, [], _usage(None))
        for mark in stop or ():
            text = text.partition(mark)[0] if mark else text
        told = {"model_name": MODEL, "bundles": [bundle.model_dump(mode="json") for bundle in bundles]}
        return AIMessage(text, response_metadata=told, usage_metadata=usage)

    def _reply(self, titles: Sequence[str]) -> tuple[str, list[FoundBundle], UsageMetadata]:
        session = Session.of(titles)
        (found,) = self.student.answer([session])
        bundles = FoundBundle.all_of(found, session)
        rows = [f"{number}. {line(str(bundle))}" for number, bundle in enumerate(bundles, 1)]
        return "\n".join(rows) or found.reason or NO_BUNDLE, bundles, _usage(found)


def _usage(found: Prediction | None) -> UsageMetadata:
    read, written = (found.tokens_in, found.tokens_out) if found else (0, 0)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
