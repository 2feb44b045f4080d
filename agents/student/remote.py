"""The remote student: asks an OpenAI-compatible server (vLLM, llama.cpp) about pairs, as completions.

Each question about a pair is sent with all the text before it, as the local student reads it, so the log-odds are
the same.
A server with a prefix cache computes each text once. The server must return token probabilities in `/v1/completions`.
"""

from collections.abc import Sequence
from math import exp, log
from typing import Any

import numpy as np

from bundlewise.agents.student import intent_form
from bundlewise.agents.student.answers import gbnf, intent_tokens
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.engine import Judgement
from bundlewise.agents.student.remote_chat import RemoteWriter
from bundlewise.agents.student.server_requests import answered, unless_refused
from bundlewise.agents.student.tokens import MAX_NEW_TOKENS, NO, YES, Progress, Prompt, Written
from bundlewise.errors import ModelError
from bundlewise.models.endpoints import Endpoint
from bundlewise.progress import go_on

RETRIES = 3
TOP = 20
"""The number of alternatives to ask for at each place; servers allow no more."""
UNSEEN = -1.0
"""The log-probability of a word outside the alternatives, relative to the last alternative."""


class RemoteStudent:
    """A published student on a server, under the server's name for it."""

    def __init__(self, endpoint: Endpoint, *, opening: str = "") -> None:
        """Connect to a server.

        Args:
            endpoint: the server and the name of its model.
            opening: text that the student was trained to see first, if the server does not add it.

        Raises:
            UsageError: the server needs a key and none is set.
        """
        self.model, self.opening, self._takes_grammars = endpoint.model, opening, True
        self._client = endpoint.client(max_retries=RETRIES)
        self._chat = RemoteWriter(self._client, self.model)

    @classmethod
    def named(cls, name: str, opening: str = "") -> "RemoteStudent":
        """Return the student with the name `openai:MODEL` or `openai:MODEL@URL`."""
        return cls(Endpoint.named(name), opening=opening)

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Answer all questions of all prompts, with one request per prompt and one text per question."""
        found = []
        for prompt in prompts:
            go_on()
            texts, text = [], f"{self.opening}{prompt.head}\n"
            for question in prompt.questions:
                text += question
                texts.append(text)
                text += "\n"
            reply = self._complete(texts, max_tokens=1, logprobs=TOP)
            choices = sorted(reply.choices, key=lambda choice: choice.index)
            matrix = np.zeros((prompt.products, prompt.products))
            for (a, b), choice in zip(prompt.pairs, choices, strict=True):
                matrix[a, b] = matrix[b, a] = _log_odds(choice.logprobs)
            found.append(Judgement(matrix, reply.usage.prompt_tokens if reply.usage else 0))
            if progress:
                progress(1)
        return found

    def write(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], progress: Progress | None = None
    ) -> list[Written]:
        """Continue each text under its grammar, and answer each conversation; see `RemoteWriter`."""
        talks = [prompt for prompt in prompts if isinstance(prompt, ChatPrompt)]
        if talks:
            return self._chat.write(talks, grammars, progress)
        return self._continued([prompt for prompt in prompts if isinstance(prompt, str)], grammars, progress)

    def sample(
        self, prompts: Sequence[Prompt], grammars: Sequence[str], count: int, progress: Progress | None = None
    ) -> list[list[Written]]:
        """Return random answers to conversations."""
        return self._chat.sample([p for p in prompts if isinstance(p, ChatPrompt)], grammars, count, progress)

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> None:
        """Return None: the chat endpoint gives no likelihood of a text."""
        return None

    def _continued(self, prompts: Sequence[str], grammars: Sequence[str], progress: Progress | None) -> list[Written]:
        """Continue each prompt greedily under its grammar, given in the formats of vLLM and llama.cpp.

        A server that supports neither format writes freely. The part of an intent that the grammar does not admit
        is then removed, and the graph's check finds an intent that is too short.
        """
        found = []
        for prompt, grammar in zip(prompts, grammars, strict=True):
            go_on()
            tokens = intent_tokens(grammar)
            reply = self._constrained(
                gbnf(grammar),
                [self.opening + prompt],
                max_tokens=tokens or MAX_NEW_TOKENS,
                stop=["\n"] if tokens else None,
            )
            (choice,), usage = reply.choices, reply.usage
            is_cut = choice.finish_reason == "length"
            text = intent_form.admitted(choice.text, is_cut) if tokens else choice.text
            found.append(Written(text, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0))
            if progress:
                progress(1)
        return found

    def fits(self, prompt: JudgePrompt | Prompt) -> bool:
        """Return True: only the server knows its context length, and it refuses longer prompts."""
        return True

    def _constrained(self, grammar: str, prompts: list[str], **options: Any) -> Any:
        """Complete under a grammar, or without one after the server has refused a grammar."""
        if not self._takes_grammars:
            return self._complete(prompts, **options)
        body = {"grammar": grammar, "structured_outputs": {"grammar": grammar}}
        reply, self._takes_grammars = unless_refused(
            lambda: self._complete(prompts, extra_body=body, **options), lambda: self._complete(prompts, **options)
        )
        return reply

    def _complete(self, prompts: list[str], **options: Any) -> Any:
        asking = self._client.completions.create
        return answered(self.model, lambda: asking(model=self.model, prompt=prompts, temperature=0, **options))


def _log_odds(logprobs: Any) -> float:
    """Return the log-odds of yes against no from the likeliest words at a place."""
    known = _likeliest(logprobs)
    if not known:
        raise ModelError("the server gives no token probabilities; start it with logprobs (docs/serving.md)")
    floor = log(max(1e-12, 1 - sum(map(exp, known.values())))) if len(known) < 2 else min(known.values()) + UNSEEN
    return float(known.get(YES, floor) - known.get(NO, floor))


def _likeliest(logprobs: Any) -> dict[str, float]:
    """Return the likeliest words at the first place: a table (OpenAI's completions, vLLM) or a list (llama.cpp)."""
    if table := getattr(logprobs, "top_logprobs", None):
        return dict(table[0])
    places = getattr(logprobs, "content", None) or [{}]
    return {each["token"]: each["logprob"] for each in places[0].get("top_logprobs") or ()}
