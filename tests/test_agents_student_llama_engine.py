"""The student in llama.cpp: it answers as torch does on the same file, keeps to grammars, and says what is wrong."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_samples import write_gguf
from samples import session

from bundlewise.agents.student.answer_text import answer_grammar, grouping_text, read_answer
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import judge_prompt, write_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.llama_context import THREADS, threads
from bundlewise.agents.student.tokens import MAX_NEW_TOKENS, prompt_ids
from bundlewise.data.sessions import load
from bundlewise.domain import Retrieved
from bundlewise.errors import ModelError, PromptError
from bundlewise.models.known import SMOLLM2
from bundlewise.models.llama import fetched_weights
from bundlewise.progress import Unwanted, while_wanted

pytest.importorskip("llama_cpp", reason="the extra llama is not installed")
from bundlewise.agents.student.llama_engine import LlamaEngine

TITLES = ["Wireless mouse, black", "Mechanical keyboard", "Foam roller", "Mouse pad, 11 in", "Oat milk 32 oz"]
SHORT = 'start: "a" | "b" | "c" | "ab" | "ac"'
KNOWN = session("s", TITLES).blind()
PROMPTS = [write_prompt(session("s", TITLES[:count]).blind(), Retrieved()) for count in (3, 5, 2)]
LOG_ODDS = 0.02
"""The tolerance where the weights are in float32; llama.cpp keeps keys and values in 16 bits."""
PROBES = 24


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Path:
    return write_gguf(tmp_path_factory.mktemp("llama") / "tiny.gguf", tiny_student)


@pytest.fixture(scope="module")
def student(file: Path, tiny_student: Path) -> LlamaEngine:
    return LlamaEngine.load(file, tiny_student)


@pytest.fixture(scope="module")
def peer(tiny_student: Path) -> Iterator[StudentEngine]:
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield StudentEngine.load(tiny_student, exact=True)
    torch.set_num_threads(count)


def test_pairs_are_judged_as_by_torch_in_any_order(student: LlamaEngine, peer: StudentEngine) -> None:
    prompts = [judge_prompt(session("s", TITLES[:count]).blind(), Retrieved()) for count in (2, 5, 3)]
    for ours, theirs in zip(student.judge(prompts), peer.judge(prompts), strict=True):
        np.testing.assert_allclose(ours.log_odds, theirs.log_odds, atol=LOG_ODDS)
        assert ours.tokens_in == theirs.tokens_in
    again = student.judge(prompts[::-1])[::-1]
    for one, other in zip(student.judge(prompts), again, strict=True):
        np.testing.assert_allclose(one.log_odds, other.log_odds, atol=LOG_ODDS)


def test_texts_are_scored_as_by_torch_whatever_they_share(student: LlamaEngine, peer: StudentEngine) -> None:
    texts = ["1 2\n", "1 2; 3 4\n", "1 3\n", "1 2\n", "1", "", "5 4 3 2 1\n", *(f"{n} {n + 1}\n" for n in range(80))]
    for ours, theirs in zip(student.score(PROMPTS, [texts] * 3), peer.score(PROMPTS, [texts] * 3), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=10 * LOG_ODDS)
        assert ours[0] == ours[3]
        assert ours[5] == 0


def test_likeliest_texts_are_those_of_torch(student: LlamaEngine, peer: StudentEngine) -> None:
    assert student.write(PROMPTS, [SHORT] * 3) == peer.write(PROMPTS, [SHORT] * 3)


def test_random_texts_are_drawn_as_by_torch_and_are_the_same_in_any_batch(
    student: LlamaEngine, peer: StudentEngine
) -> None:
    ours, theirs = (engine.sample(PROMPTS, [SHORT] * 3, 16) for engine in (student, peer))
    pairs = [(one, other) for a, b in zip(ours, theirs, strict=True) for one, other in zip(a, b, strict=True)]
    assert sum(one == other for one, other in pairs) >= 46
    assert len({one.text for one, _ in pairs}) > 2
    assert student.sample(PROMPTS[1:2], [SHORT], 30)[0][:16] == ours[1]


def test_a_text_never_leaves_its_grammar_and_a_text_that_is_cut_has_whole_lines(student: LlamaEngine) -> None:
    for texts in student.sample(PROMPTS[:2], [answer_grammar(count) for count in (3, 5)], 6):
        for text in texts:
            assert text.tokens_out <= MAX_NEW_TOKENS
            assert text.text == "" or text.text.endswith("\n")
            if text.tokens_out < MAX_NEW_TOKENS:
                assert read_answer(text.text, 5).groups


def test_the_names_of_special_tokens_in_titles_are_text(student: LlamaEngine, peer: StudentEngine) -> None:
    prompt = ChatPrompt("be <|im_end|> brief", "<|im_start|>user", "a")
    assert student.write([prompt], [SHORT]) == peer.write([prompt], [SHORT])


def test_what_two_prompts_share_is_read_once(student: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = student._context.decode
    monkeypatch.setattr(student._context, "decode", lambda rows: read.append(len(rows)) or decode(rows))
    first, second = PROMPTS[0], PROMPTS[0].opened("1 2\n")
    student.write([first], ['start: "a"'])
    read.clear()
    student.write([second], ['start: "a"'])
    whole = len(prompt_ids(student._tokenizer, second))
    assert read[0] == whole - len(prompt_ids(student._tokenizer, first))
    student.score([second], [["1"]])
    assert read[-2:] == [1, 0]  # The last token is read again for its logits, and of the candidates nothing.


def test_a_prompt_that_is_too_long_is_refused(student: LlamaEngine) -> None:
    prompt = "word " * 3000
    assert not student.fits(prompt)
    with pytest.raises(PromptError, match=r"tokens, the student reads 2048; leave products out"):
        student.write([prompt], [SHORT])
    with pytest.raises(PromptError, match="reads 2048"):
        student.score([prompt], [["a"]])


def test_unwanted_work_ends_and_leaves_the_student_as_it_was(student: LlamaEngine) -> None:
    before = student.write(PROMPTS, [SHORT] * 3)
    looked: list[None] = []

    def is_wanted() -> bool:
        looked.append(None)
        return len(looked) < 5

    with while_wanted(is_wanted), pytest.raises(Unwanted):
        student.sample(PROMPTS, [answer_grammar(5)] * 3, 8)
    assert student.write(PROMPTS, [SHORT] * 3) == before


def test_progress_counts_every_prompt_once(student: LlamaEngine) -> None:
    told: list[int] = []
    student.write(PROMPTS, [SHORT] * 3, told.append)
    student.sample(PROMPTS, [SHORT] * 3, 30, told.append)
    student.score(PROMPTS, [["a"]] * 3, told.append)
    assert sum(told) == 9


def test_nothing_asked_is_nothing_answered(student: LlamaEngine) -> None:
    assert student.write([], []) == student.sample([], [], 2) == student.score([], []) == student.judge([]) == []
    assert student.score(PROMPTS[:1], [[]]) == [[]]


def test_what_llama_cpp_cannot_load_is_told_with_its_own_words(tmp_path: Path, tiny_student: Path) -> None:
    other = write_gguf(tmp_path / "other.gguf", tiny_student, facts={"llama.block_count": 3})
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load .*other\.gguf: .*; give another file of this model"):
        LlamaEngine.load(other, tiny_student)


def test_memory_that_is_missing_is_told_before_loading(
    file: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundlewise.models.memory.free_bytes", lambda *_: 1000.0)
    with pytest.raises(ModelError, match=r"takes 0\.0 GB to read 2,048 tokens, 0\.0 GB are free"):
        LlamaEngine.load(file, tiny_student)


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("2,1", 2), ("", None), ("0", None), ("many", None)])
def test_the_number_of_threads_is_said_or_that_of_the_cores(
    said: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(THREADS, said)
    assert threads() == (expected or len(os.sched_getaffinity(0)))


@pytest.fixture(scope="module")
def both(smollm2: Path) -> list[Any]:
    """Return the default student's own weights in llama.cpp, and converted in torch."""
    if not (weights := fetched_weights(SMOLLM2)).is_file():
        pytest.skip("run `bundlewise models fetch llama:smollm2-135m`")
    return [LlamaEngine.load(weights, smollm2), StudentEngine.load(smollm2, exact=True)]


def grouping_grammar(products: int) -> str:
    """Return the grammar of an answer's first line; the untuned student's intents are chance."""
    rules = [line for line in answer_grammar(products).splitlines() if line.startswith(("bundle", "after"))]
    return "\n".join(['start: list "\\n"', 'list: bundle | bundle "; " list', *rules]) + "\n"


@pytest.mark.slow
def test_the_default_student_answers_mostly_alike_in_both_engines(both: list[Any]) -> None:
    known = [each for name in ("electronics", "clothing", "grocery") for each in load(name, "validation")]
    sessions = [each.blind() for each in known if len(each.items) <= 6][:PROBES]
    assert len(sessions) == PROBES
    prompts = [write_prompt(each, Retrieved()) for each in sessions]
    ours, theirs = (engine.write(prompts, [grouping_grammar(len(s.items)) for s in sessions]) for engine in both)
    assert sum(one == other for one, other in zip(ours, theirs, strict=True)) > PROBES // 2
    texts = [[grouping_text(((0, 1),)), grouping_text(((0, 2),)), grouping_text(((0, 1, 2),))]] * len(prompts)
    differences = np.abs(np.array(both[0].score(prompts, texts)) - np.array(both[1].score(prompts, texts)))
    assert differences.mean() < 0.3
    assert differences.max() < 1.0
    judged = [[j.log_odds for j in e.judge([judge_prompt(s, Retrieved()) for s in sessions[:6]])] for e in both]
    apart = [np.abs(one - other).max() for one, other in zip(*judged, strict=True)]
    assert max(apart) < 0.5
