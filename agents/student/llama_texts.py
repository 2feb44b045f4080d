"""Texts in llama.cpp: several are written side by side, and candidates are scored as one tree of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bundlewise.agents.student.draws import GrammarMask, chosen, seeded
from bundlewise.agents.student.llama_context import TEXTS, LlamaContext, Logits, Token
from bundlewise.agents.student.tokens import MAX_NEW_TOKENS

ROWS = 24
"""The number of texts written at once."""


@dataclass(frozen=True)
class Asked:
    """A text to write: the number and the tokens of its prompt, its grammar, and its number among random texts."""

    prompt: int
    ids: list[int]
    grammar: str
    copy: int | None

    @property
    def random(self) -> np.random.Generator | None:
        """The source of its random numbers; None for the likeliest text."""
        return None if self.copy is None else seeded((*self.ids, self.copy))


def batches(asked: Sequence[Asked], cells: int, rows: int) -> Iterator[list[Asked]]:
    """Yield texts to write side by side: so many that all fit, each as long as it may become.

    A prompt takes room once, with all its texts.
    """
    batch: list[Asked] = []
    room = cells
    for one in asked:
        needed = MAX_NEW_TOKENS + (0 if batch and batch[-1].prompt == one.prompt else len(one.ids))
        if batch and (needed > room or len(batch) == min(rows, ROWS)):
            yield batch
            batch, room, needed = [], cells, MAX_NEW_TOKENS + len(one.ids)
        batch.append(one)
        room -= needed
    if batch:
        yield batch


def write_batch(context: LlamaContext, tokens: Any, batch: Sequence[Asked]) -> list[list[int]]:
    """Write texts side by side under their grammars; return the new tokens of each, a whole text with the end token.

    The texts of one prompt stand together.
    """
    mask = GrammarMask(tokens, [one.grammar for one in batch])
    random = [one.random for one in batch]
    admitted = mask.admitted()
    new = [[chosen(row, admitted[n], random[n])] for n, row in enumerate(_begun(context, batch))]
    mask.take([row[-1] for row in new])
    while True:
        live = [n for n, row in enumerate(new) if len(row) < MAX_NEW_TOKENS and not mask.has_ended(n)]
        if not live:
            break
        admitted = mask.admitted()
        rows = [Token(new[n][-1], len(batch[n].ids) + len(new[n]) - 1, (n + 1,), True) for n in live]
        for place, logits in context.decode(rows):
            n = live[place]
            new[n].append(chosen(logits, admitted[n], random[n]))
        mask.take([row[-1] for row in new])
    context.drop(range(1, len(batch) + 1))
    return [[*row, mask.end] if len(row) < MAX_NEW_TOKENS and mask.has_ended(n) else row for n, row in enumerate(new)]


def _begun(context: LlamaContext, batch: Sequence[Asked]) -> Iterator[Logits]:
    """Read each prompt once and let its texts begin with it; yield the logits after it for each text."""
    for n, one in enumerate(batch):
        if n and batch[n - 1].prompt == one.prompt:
            continue
        owned = [m + 1 for m, other in enumerate(batch) if other.prompt == one.prompt]
        text = owned[0] if n else 0
        ((_, logits),) = list(context.read(one.ids, [len(one.ids) - 1], text))
        context.copy(text, [other for other in owned if other != text], len(one.ids))
        for _ in owned:
            yield logits


@dataclass
class _Node:
    """A token of candidates; `owners` are the candidates that begin with the tokens up to it."""

    token: int
    depth: int
    owners: list[int] = field(default_factory=list)
    following: dict[int, "_Node"] = field(default_factory=dict)


def likelihoods(context: LlamaContext, ids: Sequence[int], rows: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-likelihood of each row of tokens after a prompt; tokens that rows begin with are read once."""
    sums = np.zeros(len(rows))
    for start in range(0, len(rows), TEXTS - 1):
        part = range(start, min(len(rows), start + TEXTS - 1))
        _add_likelihoods(context, ids, {n - start: rows[n] for n in part}, sums[part.start : part.stop])
    return [float(value) for value in sums]


def _add_likelihoods(context: LlamaContext, ids: Sequence[int], rows: dict[int, Sequence[int]], sums: Any) -> None:
    levels = _tree(rows)
    last = len(ids) - 1
    for _, logits in context.read(ids, [last]):
        _add(levels[0][0], logits, sums)
    texts = [n + 1 for n in rows]
    context.copy(0, texts, len(ids))
    # What follows the last token of a candidate does not matter, so that token is not read.
    nodes = [node for level in levels[1:] for node in level if node.following]
    asked = [
        Token(node.token, last + node.depth, tuple(n + 1 for n in node.owners if len(rows[n]) > node.depth), True)
        for node in nodes
    ]
    for place, logits in context.decode(asked):
        _add(nodes[place], logits, sums)
    context.drop(texts)


def _tree(rows: dict[int, Sequence[int]]) -> list[list[_Node]]:
    """Return the nodes of the tree of tokens by their depth; the root stands for the prompt."""
    levels = [[_Node(-1, 0, list(rows))]]
    while True:
        depth = len(levels)
        below: list[_Node] = []
        for node in levels[-1]:
            for n in node.owners:
                if len(rows[n]) >= depth:
                    child = node.following.setdefault(rows[n][depth - 1], _Node(rows[n][depth - 1], depth))
                    child.owners.append(n)
            below += node.following.values()
        if not below:
            return levels
        levels.append(below)


def _add(node: _Node, logits: Logits, sums: Any) -> None:
    """Add the log-probabilities of the tokens that follow a node to the sums of their candidates."""
    if not node.following:
        return
    largest = logits.max()
    total = float(largest) + float(np.log(np.exp(logits - largest).sum(dtype=np.float64)))
    for token, child in node.following.items():
        sums[child.owners] += float(logits[token]) - total
