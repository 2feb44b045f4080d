"""Compare the speed of writing with llama.cpp and OpenVINO: same weights, prompts and new tokens, greedy decoding.

The peers are not dependencies: run `pip install xllamacpp openvino-genai` (llama.cpp with its server inside), or give
the folder of an installation with --site. Both read the quantised file that the default student is made from;
bundlewise uses the same weights, dequantised once. All run in one process and take turns, so that the conditions are
equal. The table has processor seconds beside clock seconds, since other work on the machine makes the clock seconds
longer, most of all where threads wait for each other; in that case give --threads 1. The arithmetic differs, so the
texts differ after some tokens.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from measuring import Numbers, show

from bundlewise.agents.student.compose import name_prompt
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.tokens import start_ids, token_ids
from bundlewise.agents.student.writer import ROWS
from bundlewise.data.sessions import load
from bundlewise.domain import Session
from bundlewise.models.folders import resolve

SLOTS = 8
INTENT, JSON = 10, 60
"""New tokens of an intent, and of the beginning of a JSON answer."""

Writer = Callable[[Sequence[str], int], list[str]]


def ours(student: str, threads: int) -> tuple[Writer, str]:
    """Return the student as it is served, but without its grammar, like the peers, and the opening of a text."""
    import torch

    torch.set_num_threads(threads)
    engine = StudentEngine.load(resolve(student))
    end = engine.tokenizer.eos_token_id

    def batch(ids: list[list[int]], count: int) -> list[str]:
        longest = max(map(len, ids))
        asked = torch.tensor([[end] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        with torch.inference_mode():
            found = engine.model.generate(
                input_ids=asked,
                attention_mask=mask,
                min_new_tokens=count,
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=end,
            )
        return [engine.tokenizer.decode(row) for row in found[:, longest:]]

    def write(prompts: Sequence[str], count: int) -> list[str]:
        ids = [start_ids(engine.tokenizer) + token_ids(engine.tokenizer, prompt) for prompt in prompts]
        return [t for at in range(0, len(ids), ROWS) for t in batch(ids[at : at + ROWS], count)]

    return write, engine.tokenizer.bos_token


def openvino(file: Path, opening: str, threads: int) -> Writer:
    """Return OpenVINO's pipeline on the quantised file; it answers a list of prompts in one batch."""
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=threads)
    settings = openvino_genai.GenerationConfig()
    settings.do_sample, settings.ignore_eos, settings.apply_chat_template = False, True, False

    def write(prompts: Sequence[str], count: int) -> list[str]:
        settings.max_new_tokens = count
        asked = [opening + prompt for prompt in prompts]
        return [
            text
            for at in range(0, len(asked), ROWS)
            for text in pipeline.generate(asked[at : at + ROWS], settings).texts
        ]

    return write


def llama_cpp(file: Path, opening: str, threads: int) -> Writer:
    """Return llama.cpp's server in this process, with several slots for parallel answers."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_parallel, settings.n_ctx = SLOTS, 1024 * SLOTS
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)

    def write(prompts: Sequence[str], count: int) -> list[str]:
        asked = {"prompt": [opening + prompt for prompt in prompts], "max_tokens": count, "temperature": 0}
        # Otherwise a second round would find the prompts in its cache, which the student does not have.
        found = server.handle_completions(asked | {"ignore_eos": True, "cache_prompt": False})
        return [choice["text"] for choice in sorted(found["choices"], key=lambda choice: choice["index"])]

    return write


def json_prompt(session: Session) -> str:
    """Return the prompt of a plain loop."""
    listed = "\n".join(f"{n}. {title}" for n, title in enumerate(session.titles, 1))
    return f'Products:\n{listed}\nTheir bundles as JSON, {{"bundles": [{{"items": [1, 2], "intent": "..."}}]}}:\n'


def race(writers: dict[str, Writer], prompts: Sequence[str], count: int, rounds: int) -> dict[str, Numbers]:
    """Let all write in turn, for some rounds after a warm-up; return medians, and the number of equal texts."""
    clock: dict[str, list[float]] = {name: [] for name in writers}
    work: dict[str, list[float]] = {name: [] for name in writers}
    texts: dict[str, list[str]] = {}
    for turn in range(rounds + 1):
        for name, write in writers.items():
            start, spent = perf_counter(), process_time()
            texts[name] = write(prompts, count)
            if turn:
                clock[name].append(perf_counter() - start)
                work[name].append(process_time() - spent)
    first, rows = next(iter(writers)), {}
    for name in writers:
        seconds, spent = median(clock[name]), median(work[name])
        rows[name] = {
            "tokens/s": round(len(prompts) * count / seconds, 1),
            "prompts/s": round(len(prompts) / seconds, 2),
            "processor s": round(spent, 2),
            "times as fast": round(median(clock[first]) / seconds, 2),
            "of the processor": round(median(work[first]) / spent, 2),
            "same texts": sum(a.strip() == b.strip() for a, b in zip(texts[name], texts[first], strict=True)),
        }
    return rows


def main() -> None:
    """Run both kinds of prompts and print tables, and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, help="The student's own file, for the peers.")
    parser.add_argument("--site", type=Path, action="append", default=[], help="A folder that peers are installed in.")
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    sys.path += [str(folder) for folder in given.site]
    sessions = load(given.data, "validation")[: given.limit]
    write, opening = ours(given.student, given.threads)
    writers = {"bundlewise": write}
    for module, name, peer in (("openvino_genai", "OpenVINO", openvino), ("xllamacpp", "llama.cpp", llama_cpp)):
        if given.gguf and find_spec(module):
            writers[name] = peer(given.gguf, opening, given.threads)
    found: Numbers = {
        "intents": race(writers, [name_prompt(s.blind(), (0, 1)) for s in sessions], INTENT, given.rounds),
        "JSON answers": race(writers, [json_prompt(s) for s in sessions], JSON, given.rounds),
    }
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
