"""Compare the student in llama.cpp with the same base in torch: seconds and memory of a session of ten products.

A session is answered as the form `write` does it: once greedily, by several random texts, or by scores of candidates.
The prompt is plain, or holds knowledge of which a part is the same for all sessions. The grammar admits answers of one
length only, so that all engines write equally much whatever the base has learnt. Each engine runs in its own process.
CPU seconds are given beside seconds, because other programs may use the cores meanwhile.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from itertools import combinations
from time import perf_counter, process_time
from typing import Any

from measuring import Numbers, alone, note_memory, show

from bundlewise.agents.student.answer_text import grouping_text
from bundlewise.agents.student.chat import ChatPrompt
from bundlewise.agents.student.compose import write_prompt
from bundlewise.agents.student.engine import Engine, StudentEngine
from bundlewise.data.sessions import load
from bundlewise.domain import BlindSession, Knowledge, KnowledgeKind, Provenance, Retrieved, Session
from bundlewise.models.folders import resolve, token_counter
from bundlewise.models.llama import weights_of

PRODUCTS, SAMPLES, CANDIDATES = 10, 8, 40
RULES = 250
"""Tokens of knowledge that all sessions share; the rest of KNOWLEDGE is the session's own."""
KNOWLEDGE = 750
ANSWER = r"""start: LIST "\n" INTENT "\n" INTENT "\n"
LIST: /[1-9]( [1-9]){3}; [1-9]( [1-9]){2}/
INTENT: /[a-z]{2,8}( [a-z]{2,8}){3}/
"""
"""Two bundles of four and three products, with intents of four words: about 35 tokens."""
WORDS = "products that serve one purpose on one device go together, such as a case, a charger and a cable for it"
ABOUT = Provenance(teacher="benchmark", prompt="0" * 12, run="0" * 12)


def sessions_of_ten(count: int) -> list[BlindSession]:
    """Return sessions of ten products each, put together from the starter data's."""
    items = [item for session in load("electronics") for item in session.items]
    titles = list(dict.fromkeys(item.title for item in items))
    chosen = [titles[start : start + PRODUCTS] for start in range(0, count * PRODUCTS, PRODUCTS)]
    return [Session.of(each).blind() for each in chosen]


def knowledge(number: int, count: Callable[[str], int]) -> Retrieved:
    """Return rules for every session, and thoughts for this one, of so many tokens in all."""

    def records(kind: KnowledgeKind, first: int, tokens: int) -> list[Knowledge]:
        size = count(f"- 000: {WORDS}\n")
        return [
            Knowledge(id=f"{kind}-{n}", kind=kind, domain="any", text=f"{n}: {WORDS}", provenance=ABOUT)
            for n in range(first, first + max(1, tokens // size))
        ]

    known = [*records("rule", 0, RULES), *records("thought", 100 * (number + 1), KNOWLEDGE - RULES)]
    return Retrieved(records=tuple((record, 1.0) for record in known))


def candidates() -> list[str]:
    """Return groupings of ten products into two bundles, as a chooser ranks them: most begin alike."""
    firsts = list(combinations(range(7), 4))[: CANDIDATES // 2]
    return [grouping_text((first, tuple(range(7, end)))) for first in firsts for end in (9, 10)]


def measured(name: str, student: str, threads: int, count: int) -> Numbers:
    """Return the mean seconds and CPU seconds of an engine for each way of answering, and its memory in MiB."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    engine, sessions = opened(name, student, threads), sessions_of_ten(count + 1)
    counted = token_counter(resolve(student))
    numbers: Numbers = {}
    for case in ("plain", "knowledge"):
        found = [knowledge(n, counted) if case == "knowledge" else Retrieved() for n in range(len(sessions))]
        prompts = [write_prompt(session, known) for session, known in zip(sessions, found, strict=True)]
        read = engine.write(prompts[-1:], [ANSWER])[0]  # The first call of each sort builds what later ones reuse.
        numbers |= {f"{case} tokens read": read.tokens_in, f"{case} tokens written": read.tokens_out}
        for how, ask in asks(engine).items():
            start, spent = perf_counter(), process_time()
            for prompt in prompts[:-1]:
                ask(prompt)
            numbers[f"{case} {how} s"] = round((perf_counter() - start) / count, 2)
            numbers[f"{case} {how} cpu s"] = round((process_time() - spent) / count, 2)
    note_memory(numbers, "memory_mb")
    return numbers


def opened(name: str, student: str, threads: int) -> Engine:
    """Load the student in an engine, with so many threads."""
    if name == "llama":
        from bundlewise.agents.student.llama_engine import LlamaEngine

        return LlamaEngine.load(weights_of(student), resolve(student))
    import torch

    torch.set_num_threads(threads)
    return StudentEngine.load(resolve(student), exact=name == "float32")


def asks(engine: Engine) -> dict[str, Callable[[ChatPrompt], Any]]:
    """Return the ways of answering by their names."""
    texts = candidates()
    return {
        "greedy": lambda prompt: engine.write([prompt], [ANSWER]),
        "samples": lambda prompt: engine.sample([prompt], [ANSWER], SAMPLES),
        "scores": lambda prompt: engine.score([prompt], [texts]),
    }


def ratios(found: dict[str, Numbers]) -> dict[str, Numbers]:
    """Return the times of the other engines divided by llama.cpp's."""
    ours = found["llama"]
    return {
        name: {key: round(row[key] / ours[key], 2) for key in row if key.endswith(" s") and ours[key]}
        for name, row in found.items()
        if name != "llama"
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the engines one after the other, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="smollm2-135m", help="a GGUF file, or a known model that is one")
    parser.add_argument("--engines", nargs="+", default=["llama", "bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=4)
    given = parser.parse_args(arguments)
    before = os.getloadavg()[0]
    found = {name: alone(measured, name, given.student, given.threads, given.sessions) for name in given.engines}
    result = {
        "threads": given.threads,
        "cpus": os.cpu_count(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
    }
    result |= {"engines": found} | ({"ratios": ratios(found)} if "llama" in found else {})
    print(json.dumps(result), flush=True)
    show(result)


if __name__ == "__main__":
    main()
