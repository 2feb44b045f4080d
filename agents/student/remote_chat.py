"""Whole answers from a server by its chat endpoint, `/v1/chat/completions`; token probabilities are not needed."""

import re
from collections.abc import Sequence
from typing import Any

from bundlewise.agents.student.answers import gbnf
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.server_requests import LOOK, answered, refuses_several, unless_refused
from bundlewise.agents.student.tokens import MAX_NEW_TOKENS, Progress, Written
from bundlewise.errors import ModelError
from bundlewise.progress import go_on

_MARKS = re.compile(r"<(?=[|\uff5c<])|(?<=[|\uff5c>])>|<(?=/?[A-Za-z_0-9]+>)|\[(?=/?[A-Za-z_0-9]+\])")
"""The beginnings and ends of special tokens in the chat templates of known families."""


def without_marks(text: str) -> str:
    """Return a text in which no special token of a chat template stands, since a server splits all text alike.

    A blank follows the sign that opens such a token, or precedes the sign that closes it.
    """
    return _MARKS.sub(lambda mark: " >" if mark[0] == ">" else f"{mark[0]} ", text)


class RemoteWriter:
    """Writes whole answers through a client, with a grammar as long as the server takes one."""

    def __init__(self, client: Any, model: str) -> None:
        self._client, self._model = client, model
        self._takes_grammars = self._gives_several = True

    def write(
        self, prompts: Sequence[ChatPrompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Return the server's likeliest answer to each prompt."""
        return [texts[0] for texts in self._answers(prompts, grammars, 1, progress, temperature=0)]

    def sample(
        self, prompts: Sequence[ChatPrompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return `count` random answers to each prompt; a server that gives one answer a request is asked again."""
        return self._answers(prompts, grammars, count, progress, temperature=1, seed=0)

    def _answers(
        self,
        prompts: Sequence[ChatPrompt],
        grammars: Sequence[str],
        count: int,
        progress: Progress | None,
        **options: Any,
    ) -> list[list[Written]]:
        found = []
        for prompt, grammar in zip(prompts, grammars, strict=True):
            texts: list[Written] = []
            while len(texts) < count:
                go_on()
                if "seed" in options:
                    options["seed"] = len(texts)
                texts += self._several(prompt, grammar, count - len(texts), **options)
            found.append(texts[:count])
            if progress:
                progress(1)
        return found

    def _several(self, prompt: ChatPrompt, grammar: str, wanted: int, **options: Any) -> list[Written]:
        """Ask for several answers in one request, or for one after the server has refused to give several."""
        if wanted > 1 and self._gives_several:
            try:
                return self._asked(prompt, grammar, n=wanted, **options)
            except ModelError as error:
                if not refuses_several(error):
                    raise
                found = self._asked(prompt, grammar, **options)
                self._gives_several = False
                return found
        return self._asked(prompt, grammar, **options)

    def _asked(self, prompt: ChatPrompt, grammar: str, **options: Any) -> list[Written]:
        # A base that thinks by default would read another prompt than it was tuned on.
        extra: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
        messages = [{**each, "content": without_marks(each["content"])} for each in prompt.messages]
        if prompt.opening:
            messages.append({"role": "assistant", "content": prompt.opening})
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        reply = self._constrained(grammar, messages, extra, max_tokens=MAX_NEW_TOKENS, **options)
        usage = reply.usage
        read, wrote = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        texts = [_whole_lines(choice).removeprefix(prompt.opening) for choice in reply.choices]
        if not texts:
            raise ModelError(f"the server of {self._model} gave no answer; {LOOK}")
        return [Written(text, read, wrote if number == 0 else 0) for number, text in enumerate(texts)]

    def _constrained(self, grammar: str, messages: list[dict[str, str]], extra: dict[str, Any], **options: Any) -> Any:
        """Ask under a grammar; a server that refuses fields that OpenAI does not know is asked without them."""
        if not self._takes_grammars:
            return self._chat(messages, **options)
        body = {"grammar": gbnf(grammar), "structured_outputs": {"grammar": gbnf(grammar)}, **extra}
        reply, self._takes_grammars = unless_refused(
            lambda: self._chat(messages, extra_body=body, **options), lambda: self._chat(messages, **options)
        )
        return reply

    def _chat(self, messages: list[dict[str, str]], **options: Any) -> Any:
        asking = self._client.chat.completions.create
        return answered(self._model, lambda: asking(model=self._model, messages=messages, **options))


def _whole_lines(choice: Any) -> str:
    """Return the text of an answer; if its tokens ran out, without its last line, which is not whole."""
    text = str(choice.message.content or "")
    return text[: text.rfind("\n") + 1] if choice.finish_reason == "length" else text
