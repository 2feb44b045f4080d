"""The local student: a causal language model that judges pairs and writes under a grammar, in batches.

It needs torch, transformers, peft and llguidance.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bundlewise.agents.student.compose import JudgePrompt, size_of
from bundlewise.agents.student.decoder import Matrix
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.errors import AdapterError, ModelError, PromptError
from bundlewise.models.memory import give_back_memory
from bundlewise.progress import go_on, stopping

YES, NO = " yes", " no"
BATCH_TOKENS = 2048
WRITE_BATCH_TOKENS = 6144
WRITE_ROWS = 24
"""The number of texts written at once; twice as many are as fast on two cores and need twice the memory."""
MAX_NEW_TOKENS = 400
SHORTEST_PREFIX = 32
"""The smallest number of shared tokens that is worth a separate forward pass."""
BYTES_OF_TOKEN = 12
"""The largest average number of bytes in a token; ordinary text has three to five."""

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Encoded:
    """A prompt with questions as token ids; `places[k]` is the position that answers question k."""

    ids: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Judgement:
    """Log-odds (yes against no) that two products belong together, n x n and symmetric."""

    log_odds: Matrix
    tokens_in: int


@dataclass(frozen=True)
class Written:
    """A text written under a grammar, with the tokens read and written."""

    text: str
    tokens_in: int
    tokens_out: int


class Engine(Protocol):
    """The interface of a local or remote student for the student graph."""

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Return the log-odds of all pairs of all prompts."""

    def write(self, prompts: Sequence[str], grammars: Sequence[str], progress: Progress | None = None) -> list[Written]:
        """Return a text for each prompt that follows its grammar."""

    def fits(self, prompt: JudgePrompt | str) -> bool:
        """Say whether the student can read the whole prompt and answer it."""


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


def fits(tokenizer: Any, config: Any, prompt: JudgePrompt | str) -> bool:
    """Say whether a model of this configuration can read the whole prompt and answer it."""
    limit = getattr(config, "max_position_embeddings", None)
    if size_of(prompt) > most_bytes(config):
        return False
    if isinstance(prompt, str):
        length = len(token_ids(tokenizer, prompt)) + 1 + MAX_NEW_TOKENS
    else:
        length = len(encode_judge(tokenizer, prompt).ids)
    return limit is None or length <= limit


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


def place_logits(model: Any, batch: Sequence[Encoded], reuse: bool = False) -> Any:
    """Return next-token logits at the questions' places only, float32, shape (questions, vocabulary).

    Sequences are padded on the right, where causal attention ignores the padding. With `reuse`, a long prefix
    that all sequences share is computed once; training cannot use this, because gradients do not pass a cache.
    """
    import torch

    longest, shared = max(len(encoded.ids) for encoded in batch), shared_prefix(batch) if reuse else 0
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, encoded in enumerate(batch):
        ids[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
    ids, decoder = ids.to(model.device), model.get_decoder()
    # The model writes nothing after these texts, so it needs no cache of keys and values.
    known: dict[str, Any] = {"use_cache": False}
    if shared:
        cache = decoder(input_ids=ids[:1, :shared], use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(batch))
        known = {"past_key_values": cache}
    states = decoder(input_ids=ids[:, shared:], **known).last_hidden_state
    rows = torch.tensor([row for row, encoded in enumerate(batch) for _ in encoded.places])
    places = torch.tensor([place - shared for encoded in batch for place in encoded.places])
    return model.get_output_embeddings()(states[rows, places]).float()


def shared_prefix(batch: Sequence[Encoded]) -> int:
    """Return the length of the prefix that all texts share; 0 when it is too short to compute once.

    Every prompt starts with the knowledge that all sessions get, mostly rules.
    """
    if len(batch) < 2:
        return 0
    limit = min(encoded.places[0] for encoded in batch)
    first = batch[0].ids
    length = next((n for n in range(limit) if any(e.ids[n] != first[n] for e in batch[1:])), limit)
    return length if length >= SHORTEST_PREFIX else 0


class StudentEngine:
    """A loaded student: a base model with or without an adapter."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._yes, self._no = answer_ids(tokenizer)
        self._grammar_tokenizer: Any = None

    @classmethod
    def load(cls, folder: Path, adapter: Path | None = None, *, exact: bool = False) -> "StudentEngine":
        """Load a base model, in float32 if `exact`; an adapter is merged into its weights."""
        model, tokenizer = load_causal_lm(folder, exact=exact)
        if adapter is not None:
            from peft import PeftModel
            from safetensors import SafetensorError

            try:
                model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True).merge_and_unload()
            except (SafetensorError, OSError, ValueError) as error:
                raise AdapterError(f"cannot load the adapter in {adapter}; tune it again") from error
        give_back_memory()
        return cls(model, tokenizer)

    def judge(self, prompts: Sequence[JudgePrompt], progress: Progress | None = None) -> list[Judgement]:
        """Answer all questions of all prompts, with one forward pass per batch."""
        import torch

        encoded = []
        for prompt in prompts:
            go_on()
            encoded.append(encode_judge(self.tokenizer, prompt))
        self._refuse_too_long([len(e.ids) for e in encoded])
        results: dict[int, Judgement] = {}
        give_back_memory()
        for batch in by_length([len(e.ids) for e in encoded]):
            go_on()
            with torch.inference_mode(), stopping(self.model):
                logits = place_logits(self.model, [encoded[i] for i in batch], reuse=True)
            odds = (logits[:, self._yes] - logits[:, self._no]).double().cpu().numpy()
            start = 0
            for index in batch:
                count = len(encoded[index].places)
                results[index] = _judgement(prompts[index], odds[start : start + count], len(encoded[index].ids))
                start += count
            if progress:
                progress(len(batch))
        return [results[index] for index in range(len(prompts))]

    def fits(self, prompt: JudgePrompt | str) -> bool:
        """Say whether the student can read the whole prompt and answer it."""
        return fits(self.tokenizer, self.model.config, prompt)

    def _refuse_too_long(self, lengths: Sequence[int]) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit and lengths and max(lengths) > limit:
            raise PromptError(f"a prompt has {max(lengths)} tokens, the student reads {limit}; leave products out")

    def write(self, prompts: Sequence[str], grammars: Sequence[str], progress: Progress | None = None) -> list[Written]:
        """Continue each prompt greedily with a text that its Lark grammar admits."""
        ids = [start_ids(self.tokenizer) + token_ids(self.tokenizer, prompt) for prompt in prompts]
        self._refuse_too_long([len(row) + MAX_NEW_TOKENS for row in ids])
        results: dict[int, Written] = {}
        give_back_memory()
        for batch in by_length([len(row) for row in ids], WRITE_BATCH_TOKENS, WRITE_ROWS):
            texts = self._write_batch([ids[i] for i in batch], [grammars[i] for i in batch])
            results.update(zip(batch, texts, strict=True))
            if progress:
                progress(len(batch))
        return [results[index] for index in range(len(prompts))]

    def _write_batch(self, ids: list[list[int]], grammars: list[str]) -> list[Written]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        from bundlewise.agents.student.grammar import GrammarProcessor

        processor = GrammarProcessor(self._tokens(), grammars)
        longest, end = max(map(len, ids)), self.tokenizer.eos_token_id
        padded = torch.tensor([[end] * (longest - len(row)) + row for row in ids]).to(self.model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids]).to(self.model.device)
        settings = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=end, pad_token_id=end)
        with torch.inference_mode(), stopping(self.model):
            found = self.model.generate(
                input_ids=padded,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=LogitsProcessorList([processor]),
            )
        written = []
        for row, new in zip(ids, found[:, longest:].tolist(), strict=True):
            whole, new = end in new, new[: new.index(end)] if end in new else new
            text = self.tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            if not whole:  # The reader of the answer would take half a line for a whole one.
                text = text[: text.rfind("\n") + 1]
            text = text.replace("\ufffd", "")  # The tokens ended in the middle of a letter.
            written.append(Written(text, len(row), len(new)))
        return written

    def _tokens(self) -> Any:
        if self._grammar_tokenizer is None:
            from llguidance.hf import from_tokenizer

            self._grammar_tokenizer = from_tokenizer(self.tokenizer, n_vocab=self.model.config.vocab_size)
        return self._grammar_tokenizer


def _judgement(prompt: JudgePrompt, odds: Any, tokens: int) -> Judgement:
    matrix = np.zeros((prompt.products, prompt.products))
    for (a, b), value in zip(prompt.pairs, odds, strict=True):
        matrix[a, b] = matrix[b, a] = value
    return Judgement(matrix, tokens)
