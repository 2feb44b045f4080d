"""The reader of prompts: a student's tokenizer and configuration, which count tokens and say what fits."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bundlewise.agents.student.chat import ChatPrompt, chat_ids
from bundlewise.agents.student.compose import JudgePrompt
from bundlewise.agents.student.tokens import fits, most_bytes, start_ids, token_ids

AnyPrompt = JudgePrompt | ChatPrompt | str


@dataclass(frozen=True)
class Reader:
    """The tokenizer and the configuration of a student, without its weights."""

    folder: Path

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(token_ids(self._tokenizer, text))

    @property
    def opening(self) -> int:
        """The number of tokens that open a document."""
        return len(start_ids(self._tokenizer))

    def around(self, prompt: ChatPrompt) -> int:
        """Return the number of tokens that the chat template adds to the texts of a prompt."""
        return len(chat_ids(self._tokenizer, prompt)) - sum(map(self.count, prompt.texts))

    def fits(self, prompt: AnyPrompt) -> bool:
        """Say whether a prompt fits the student."""
        return fits(self._tokenizer, self._config, prompt)

    @property
    def most_bytes(self) -> float:
        """The bytes of a prompt above which its tokens are not counted, since it is far too long for the student."""
        return most_bytes(self._config)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder)
