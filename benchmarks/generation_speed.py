"""Compare sessions per second and cost of the student with a plain `model.generate` loop over JSON answers.

The loop is the simple solution: the same base with its chat template, one session at a time, greedy, parsed by
`json.loads`. Both run on the same sessions in one process; the student retrieves, judges, chooses and names. The
benchmark also measures the cost of the grammar of intents, the saving by a prefix that all prompts share, and the
price of 1,000 sessions.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

from measuring import Numbers, alone, note_memory, show

from bundlewise.agents.student import engine as engine_module
from bundlewise.agents.student.compose import judge_prompt, name_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.data.sessions import load
from bundlewise.domain import Grouping, Knowledge, Provenance, Retrieved, Session
from bundlewise.evaluation.metrics import gjs
from bundlewise.models.folders import resolve, token_counter
from bundlewise.pipeline.student import Student

ANSWER_TOKENS = 120
NEW_TOKENS = 24
MACHINE_HOUR, GPU_HOUR = 0.0765, 2.50
"""US dollars an hour: a cloud machine of 2 cores and 4 GB (c6a.large, on demand), and one H100."""
TEACHERS = {"GPT-4.1": (2.00, 8.00), "70B open": (0.59, 0.79)}
"""US dollars a million tokens read and written: OpenAI's list price, and Llama 3.3 70B at a hosted endpoint (Groq)."""
RULES_TOKENS = 1600
"""Tokens of about fifty rules in a prompt; the informed teacher reads them for every session."""


def json_loop(sessions: Sequence[Session], student: str) -> Numbers:
    """Ask an untuned student for JSON, session by session."""
    import torch

    model, tokenizer = load_causal_lm(resolve(student))
    answers: list[Grouping] = []
    start = perf_counter()
    for session in sessions:
        listed = "\n".join(f"{n}. {title}" for n, title in enumerate(session.titles, 1))
        text = (
            f"Group these products into bundles with an intent each.\n{listed}\n"
            'Answer with JSON only: {"bundles": [{"items": [1, 2], "intent": "..."}]}'
        )
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        asked = tokenizer(chat, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            found = model.generate(**asked, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=0)
        answers.append(parsed(tokenizer.decode(found[0, asked["input_ids"].shape[1] :]), len(session.items)))
    return _scored(sessions, answers, perf_counter() - start)


def parsed(text: str, products: int) -> Grouping:
    """Return the bundles of a JSON answer; an unreadable answer has none."""
    found = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        bundles = [b["items"] for b in json.loads(found[0])["bundles"]] if found else []
        kept = [tuple(sorted({int(n) - 1 for n in items if 1 <= int(n) <= products})) for items in bundles]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(group for group in kept if len(group) > 1)


def served(sessions: Sequence[Session], student: str, adapter: Path | None, kb: str | None) -> Numbers:
    """Answer with the student graph, as `bundlewise generate` does."""
    opened = Student.open(kb=kb, adapter=adapter, student=student)
    opened.answer(sessions[:2])
    start = perf_counter()
    found = opened.answer(sessions)
    numbers = _scored(sessions, [prediction.groups for prediction in found], perf_counter() - start)
    note_memory(numbers, "memory_mb")
    return numbers


def _scored(sessions: Sequence[Session], answers: Sequence[Grouping], seconds: float) -> Numbers:
    score = fmean(gjs(answer, session.groups) for answer, session in zip(answers, sessions, strict=True))
    return {"sessions/s": round(len(sessions) / seconds, 3), "seconds": round(seconds, 1), "GJS": round(score, 3)}


def parts(sessions: Sequence[Session], student: str) -> Numbers:
    """Time a grammar against free text of the same length, and a shared prefix against a prefix in every row."""
    engine = StudentEngine.load(resolve(student))
    numbers = _grammar_cost(engine, [name_prompt(session.blind(), (0, 1)) for session in sessions])
    about = Provenance(teacher="benchmark", prompt="import", run="0")
    records = [
        Knowledge(
            id=f"rule-{n}",
            kind="rule",
            domain="any",
            text=f"Rule {n}: products that serve one purpose on one device go together",
            provenance=about,
        )
        for n in range(12)
    ]
    rules = tuple((record, 1.0) for record in records)
    asked = [judge_prompt(session.blind(), Retrieved(records=rules)) for session in sessions]
    for name, shortest in (("prefix in every row", 10**9), ("prefix once", engine_module.SHORTEST_PREFIX)):
        engine_module.SHORTEST_PREFIX, usual = shortest, engine_module.SHORTEST_PREFIX
        start = perf_counter()
        engine.judge(asked)
        numbers[f"{name} s"] = round(perf_counter() - start, 2)
        engine_module.SHORTEST_PREFIX = usual
    return numbers


def _grammar_cost(engine: StudentEngine, prompts: list[str]) -> Numbers:
    """Generate the same number of tokens with a grammar of words only, and without a grammar, in one batch."""
    import torch
    from transformers import LogitsProcessorList

    from bundlewise.agents.student.grammar import GrammarProcessor

    ids = [engine.tokenizer.encode(prompt) for prompt in prompts]
    shortest = min(map(len, ids))
    asked = torch.tensor([row[-shortest:] for row in ids], device=engine.model.device)
    numbers: Numbers = {}
    for turn in range(2):  # The first round warms up.
        for name in ("free", "grammar"):
            grammars = ["start: /[a-z ,]*/"] * len(prompts)
            processors = [GrammarProcessor(engine.writer._tokens, grammars)] if name == "grammar" else []
            start = perf_counter()
            with torch.inference_mode():
                found = engine.model.generate(
                    input_ids=asked,
                    attention_mask=torch.ones_like(asked),
                    logits_processor=LogitsProcessorList(processors),
                    min_new_tokens=NEW_TOKENS,
                    max_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                )
            if turn:
                numbers[f"{name} tokens/s"] = round(found[:, shortest:].numel() / (perf_counter() - start), 1)
    numbers["grammar costs"] = round(numbers["free tokens/s"] / numbers["grammar tokens/s"] - 1, 3)
    return numbers


def prices(sessions: Sequence[Session], student: str, per_second: float) -> dict[str, Numbers]:
    """Return US dollars for 1,000 sessions: tokens times list prices, or machine hours.

    teacher = (read * price read + written * price written) / 10^6 * 1000; student = 1000 / (sessions a second) / 3600
    * price an hour. Written tokens are those of the annotated bundles as JSON.
    """
    count = token_counter(resolve(student))
    read = fmean(RULES_TOKENS + sum(count(title) + 4 for title in s.titles) + 60 for s in sessions)
    written = fmean(count(json.dumps([b.model_dump() for b in s.bundles])) for s in sessions)
    rows: dict[str, Numbers] = {"student, 2 cores": {"dollars": 1000 / per_second / 3600 * MACHINE_HOUR}}
    for name, (price_read, price_written) in TEACHERS.items():
        rows[name] = {"dollars": (read * price_read + written * price_written) / 1000}
        rows[name]["saved"] = 1 - rows["student, 2 cores"]["dollars"] / rows[name]["dollars"]
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()}


def main() -> None:
    """Run all and print tables, and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--kb")
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--limit", type=int, default=30)
    given = parser.parse_args()
    split: Any = given.split
    everything = load(given.data, split)
    # Evenly spread: files are often sorted by the length of sessions.
    sessions = everything[:: max(1, len(everything) // given.limit)][: given.limit]
    speed = {"bundlewise": alone(served, sessions, given.student, given.adapter, given.kb)}
    speed["JSON loop"] = alone(json_loop, sessions, given.student)
    ours, theirs = (numbers["sessions/s"] for numbers in speed.values())
    speed["bundlewise"]["times as fast"] = round(ours / theirs, 2)
    found: Numbers = {
        "speed": speed,
        "parts": {"student": alone(parts, sessions, given.student)},
        "price of 1,000 sessions": prices(sessions, given.student, ours),
    }
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
