"""Writing and scoring: draws follow the model's probabilities under the grammar, batches and caches change nothing."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import session

from bundlewise.agents.student import load, writer
from bundlewise.agents.student.answer_text import answer_grammar, read_answer
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import write_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.tokens import Prompt, prompt_ids, token_ids
from bundlewise.domain import Retrieved
from bundlewise.errors import PromptError

TITLES = ["Wireless mouse, black", "Mechanical keyboard", "Foam roller", "Mouse pad, 11 in"]
PROMPTS: list[Prompt] = [
    write_prompt(session("a", TITLES[:2]), Retrieved()),
    write_prompt(session("b", TITLES), Retrieved()).opened("1 2\n"),
    "Which go together?",
]
GRAMMARS = [answer_grammar(2), 'start: LINE "\\n"\nLINE: /[a-z ]{2,20}/', "start: /[0-9]{12}/"]
ONE_TOKEN = 'start: "A" | "B" | "C" | "D"'
ANSWERS = ["1 2\n", "", "1 2; 3 4\nSet up a desk\nTrain at home\n", "1", "für ein iPhone 15 \U0001f600\n"]


@pytest.fixture(scope="module")
def student(tiny_student: Path) -> Iterator[StudentEngine]:
    """Return a student in float32 with weights so large that its probabilities are far from equal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "preferred_dtype", lambda: torch.float32)
        engine = StudentEngine.load(tiny_student)
    generator = torch.Generator().manual_seed(0)
    for weights in engine.model.parameters():
        weights.data.normal_(0, 0.3, generator=generator)
    return engine


def logits_of(student: StudentEngine, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return student.model(torch.tensor([ids])).logits[0].double()


def naive(student: StudentEngine, prompt: Prompt, text: str) -> float:
    """Return the log-likelihood of a text after a prompt, computed token by token in one pass without a cache."""
    before, after = prompt_ids(student.tokenizer, prompt), token_ids(student.tokenizer, text)
    rows = logits_of(student, before + after).log_softmax(-1)
    return sum(float(rows[len(before) - 1 + n, token]) for n, token in enumerate(after))


def greedy(student: StudentEngine, prompt: Prompt, words: list[str], length: int) -> str:
    """Return the likeliest text of one-token words, word by word, without a cache."""
    ids, tokens = prompt_ids(student.tokenizer, prompt), [token_ids(student.tokenizer, word)[0] for word in words]
    text = ""
    for _ in range(length):
        best = int(logits_of(student, ids)[-1, tokens].argmax())
        ids, text = [*ids, tokens[best]], text + words[best]
    return text


def test_the_likeliest_text_is_found_word_by_word(student: StudentEngine) -> None:
    found = student.write(PROMPTS, ["start: /[A-D]{5}/"] * 3)
    assert [text.text for text in found] == [greedy(student, prompt, list("ABCD"), 5) for prompt in PROMPTS]
    assert [text.tokens_in for text in found] == [len(prompt_ids(student.tokenizer, prompt)) for prompt in PROMPTS]


def test_texts_of_a_batch_are_those_written_one_by_one(student: StudentEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    together = student.write(PROMPTS, GRAMMARS)
    assert [student.write([p], [g])[0] for p, g in zip(PROMPTS, GRAMMARS, strict=True)] == together
    assert not read_answer(together[0].text, 2).faults
    monkeypatch.setattr(writer, "ROWS", 1)
    assert student.write(PROMPTS, GRAMMARS) == together


def test_the_same_prompt_gives_the_same_draws_in_any_batch(
    student: StudentEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = student.sample(PROMPTS, GRAMMARS, 4)
    assert [len(texts) for texts in together] == [4, 4, 4]
    assert [student.sample([p], [g], 4)[0] for p, g in zip(PROMPTS, GRAMMARS, strict=True)] == together
    assert [texts[:2] for texts in together] == student.sample(PROMPTS, GRAMMARS, 2)
    assert student.sample(PROMPTS[::-1], GRAMMARS[::-1], 4)[::-1] == together
    monkeypatch.setattr(writer, "ROWS", 4)
    assert student.sample(PROMPTS, GRAMMARS, 4) == together
    assert len({text.text for text in together[2]}) == 4


def test_drawn_answers_are_in_the_grammar(student: StudentEngine) -> None:
    (texts,) = student.sample(PROMPTS[:1], GRAMMARS[:1], 6)
    assert all(not read_answer(text.text, 2).faults for text in texts)


def exact(student: StudentEngine, prompt: Prompt, texts: list[str]) -> np.ndarray:
    """Return the probabilities of the texts of a grammar, from their likelihoods."""
    (scores,) = student.score([prompt], [texts])
    weights = np.exp(np.array(scores) - max(scores))
    return weights / weights.sum()


def surprise(counts: Counter[str], texts: list[str], likely: np.ndarray) -> float:
    """Return the chi-square of counts against probabilities; texts expected less than five times count as one."""
    total = counts.total()
    rare = likely * total < 5
    seen = np.array([counts[text] for text in texts], float)
    rows = [*zip(seen[~rare], likely[~rare] * total, strict=True), (seen[rare].sum(), likely[rare].sum() * total)]
    return float(sum((found - wanted) ** 2 / wanted for found, wanted in rows if wanted > 0))


@pytest.mark.parametrize("prompt", PROMPTS, ids=["chat", "opened", "text"])
def test_draws_follow_the_models_probabilities(student: StudentEngine, prompt: Prompt) -> None:
    texts = list("ABCD")
    likely = exact(student, prompt, texts)
    assert likely.max() - likely.min() > 0.02
    (drawn,) = student.sample([prompt], [ONE_TOKEN], 600)
    counts = Counter(text.text for text in drawn)
    assert set(counts) <= set(texts)
    assert surprise(counts, texts, likely) < 16.3  # The 99.9 % quantile with three degrees of freedom.


def test_each_word_is_drawn_after_the_words_before_it(student: StudentEngine) -> None:
    texts = ["".join(pair) for pair in product("AB", "AB")]
    first = exact(student, PROMPTS[2], ["A", "B"])
    second = [exact(student, f"{PROMPTS[2]}{word}", ["A", "B"]) for word in "AB"]
    likely = np.array([first["AB".index(a)] * second["AB".index(a)]["AB".index(b)] for a, b in texts])
    (drawn,) = student.sample(PROMPTS[2:], ["start: /[AB]{2}/"], 600)
    assert surprise(Counter(text.text for text in drawn), texts, likely) < 16.3


@pytest.mark.parametrize("tokens", [1, 20, 1536])
def test_a_score_is_the_sum_of_log_probabilities(
    student: StudentEngine, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SCORED_TOKENS", tokens)
    monkeypatch.setattr(writer, "LOGIT_ROWS", 1 + tokens % 7)
    found = student.score(PROMPTS, [ANSWERS, ANSWERS[:1], ANSWERS[::-1]])
    wanted = [
        [naive(student, p, t) for t in a] for p, a in zip(PROMPTS, [ANSWERS, ANSWERS[:1], ANSWERS[::-1]], strict=True)
    ]
    for scores, sums in zip(found, wanted, strict=True):
        np.testing.assert_allclose(scores, sums, atol=1e-3)
    assert found[0][1] == 0.0


def test_a_score_of_nothing_or_after_one_token_is_known(student: StudentEngine) -> None:
    assert student.score([], []) == []
    assert student.score(PROMPTS[:1], [[]]) == [[]]
    assert student.score([""], [["1 2\n"]])[0][0] == pytest.approx(naive(student, "", "1 2\n"), abs=1e-3)


def test_a_prompt_too_long_is_an_error_with_a_remedy(student: StudentEngine) -> None:
    long = ChatPrompt("system", "word " * 1200)
    for call in (
        lambda: student.write([long], GRAMMARS[:1]),
        lambda: student.sample([long], GRAMMARS[:1], 2),
        lambda: student.score([long], [["1 2\n"]]),
        lambda: student.score(["word " * 600], [["9" * 1500]]),
    ):
        with pytest.raises(PromptError, match=r"a prompt has \d+ tokens, the student reads 2048; leave products out"):
            call()


def test_every_prompt_counts_once_in_the_progress(student: StudentEngine) -> None:
    told: list[int] = []
    student.sample(PROMPTS, GRAMMARS, 2, told.append)
    student.score(PROMPTS, [["1 2\n"]] * 3, told.append)
    student.write(PROMPTS, GRAMMARS, told.append)
    assert sum(told) == 9
