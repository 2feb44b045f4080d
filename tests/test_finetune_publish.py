"""Publishing: adapter, merged weights and served endpoint answer alike, or nothing is published."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import torch
from llguidance.gbnf_to_lark import any_to_lark

from bundlewise import scratch
from bundlewise.agents.student.answers import intent_grammar
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.agents.student.grammar import GrammarProcessor
from bundlewise.agents.student.intent_form import INTENT
from bundlewise.agents.student.load import load_causal_lm
from bundlewise.agents.student.remote import RemoteStudent
from bundlewise.cli import main
from bundlewise.data.sessions import load
from bundlewise.errors import AdapterError, ModelError, UsageError
from bundlewise.finetune import publish as publishing
from bundlewise.finetune.adapters import read_manifest
from bundlewise.finetune.config import TrainingConfig
from bundlewise.finetune.parity import Probed, Weights, compare, probe
from bundlewise.finetune.publish import publish
from bundlewise.finetune.students import opening_of
from bundlewise.finetune.tuning import Tuning

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adapter(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    sessions = [s for s in load("electronics") if s.split != "test" and len(s.items) == 3][:6]
    Tuning(sessions, folder, TrainingConfig(learning_rate=0.1, epochs=3, layers=2), str(tiny_student)).run()
    return folder


@pytest.fixture(scope="module")
def published(adapter: Path, tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "student"
    parity = publish(adapter, tiny_student, folder)
    assert (parity.other_bundles, parity.other_intents) == ((), ())
    return folder


class Server(ThreadingHTTPServer):
    """Completions with token probabilities, by a real model: what vLLM and llama.cpp answer."""

    def __init__(self, engine: StudentEngine, logprobs: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine, self.logprobs, self.form = engine, logprobs, "table"
        self.grammars: str | None = "structured_outputs"  # or "grammar", as llama.cpp; None is a server that refuses

    @property
    def spec(self) -> str:
        return f"openai:student@http://127.0.0.1:{self.server_port}/v1"

    def complete(self, text: str, count: int, stop: list[str], grammar: str) -> dict[str, Any]:
        tokenizer, written, first = self.engine.tokenizer, "", {}
        ids = tokenizer.encode(text)  # What opens a document is the client's matter, unless the tokenizer adds it.
        begun = len(ids)
        admit = GrammarProcessor(self.engine.writer._tokens, [any_to_lark(grammar)]) if grammar else None
        for _ in range(count):
            with torch.inference_mode():
                odds = torch.log_softmax(self.engine.model(torch.tensor([ids])).logits[0, -1].float(), -1)
                odds = admit(torch.tensor([ids]), odds[None])[0] if admit else odds
            best = odds.topk(min(300, len(odds)))
            first = first or dict(zip(map(tokenizer.decode, best.indices.tolist()), best.values.tolist(), strict=True))
            ids.append(int(best.indices[0]))
            # A letter may be several tokens: they are decoded together.
            written = tokenizer.decode(ids[begun:])
            if any(end in written for end in stop):
                break
        reason = "stop" if stop and any(end in written for end in stop) else "length"
        text = written.split("\n")[0] if stop else written
        return {"text": text, "reason": reason, "top": first if self.logprobs else None}

    def grammar_in(self, asked: dict[str, Any]) -> str:
        if self.grammars == "grammar":
            return str(asked.get("grammar", ""))
        return str(asked.get("structured_outputs", {}).get("grammar", ""))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.grammars is None and "grammar" in asked:
            return self.answer(400, {"error": {"message": "Unrecognized request argument supplied: grammar"}})
        grammar, stop = self.server.grammar_in(asked), asked.get("stop") or []
        found = [self.server.complete(prompt, asked["max_tokens"], stop, grammar) for prompt in asked["prompt"]]
        choices = [
            {"index": n, "text": f["text"], "finish_reason": f["reason"]}
            | {"logprobs": f["top"] and self.told(f["top"])}
            for n, f in enumerate(found)
        ]
        usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
        body = {"id": "1", "object": "text_completion", "created": 0, "model": asked["model"]}
        self.answer(200, body | {"choices": choices[::-1], "usage": usage})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def told(self, top: dict[str, float]) -> dict[str, Any]:
        """Tell the likeliest words as vLLM does, or as llama.cpp does."""
        if self.server.form == "table":
            return {"top_logprobs": [top], "tokens": [], "token_logprobs": []}
        listed = [{"id": 1, "token": word, "bytes": [], "logprob": value} for word, value in top.items()]
        return {"content": [listed[0] | {"top_logprobs": listed}]}

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    with Server(StudentEngine(*load_causal_lm(published, exact=True))) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_the_published_folder_answers_what_base_and_adapter_answer(
    published: Path, adapter: Path, tiny_student: Path
) -> None:
    manifest = read_manifest(published)
    assert manifest == read_manifest(adapter)
    merged = probe(StudentEngine.load(published, exact=True), manifest)
    both = probe(StudentEngine.load(tiny_student, adapter, exact=True), manifest)
    plain = probe(StudentEngine.load(tiny_student, exact=True), manifest)
    assert compare(merged, both).fault("float32") == ""
    assert compare(merged, plain).fault("float32") != ""
    assert json.loads((published / "parity.json").read_text())["probes"] == 24


def remote(server: Server, published: Path) -> RemoteStudent:
    return RemoteStudent.named(server.spec, opening_of(published, read_manifest(published)))


@pytest.mark.parametrize(("form", "grammars"), [("table", "structured_outputs"), ("list", "grammar")])
def test_a_served_student_answers_as_the_folder_it_serves(
    published: Path, server: Server, form: str, grammars: str
) -> None:
    server.form, server.grammars = form, grammars
    manifest = read_manifest(published)
    local, served = (
        probe(StudentEngine.load(published, exact=True), manifest),
        probe(remote(server, published), manifest),
    )
    assert compare(local, served).fault("float32") == ""


def test_a_server_that_refuses_grammars_is_asked_without(published: Path, server: Server) -> None:
    server.grammars = None
    student = remote(server, published)
    texts = [text.text for text in student.write(["Shopping for tea. Intent:"] * 2, [intent_grammar()] * 2)]
    assert not student._takes_grammars
    assert all(text == "" or regex.fullmatch(INTENT, text, regex.V1) for text in texts)


def test_the_command_generates_with_a_served_student(
    published: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    def bundles(*student: str) -> Any:
        with pytest.raises(SystemExit) as left:
            main(["generate", *student, "--items", "USB Cable", "Phone Charger", "Green Tea", "--json"])
        assert left.value.code in (0, None)
        row = json.loads(capsys.readouterr().out)
        return [bundle["items"] for bundle in row["bundles"]]

    assert bundles("--student", server.spec, "--adapter", str(published)) == bundles("--student", str(published))


def test_a_server_without_token_probabilities_is_an_error_that_says_so(server: Server, published: Path) -> None:
    server.logprobs = False
    with pytest.raises(ModelError, match="gives no token probabilities; start it with logprobs"):
        probe(remote(server, published), read_manifest(published))


def test_a_server_that_is_not_there_is_an_error_that_names_the_model() -> None:
    student = RemoteStudent.named("openai:student@http://127.0.0.1:9/v1")
    patient = student._client  # Its connections are closed when it goes.
    student._client = patient.with_options(max_retries=0)
    with pytest.raises(ModelError, match=r"the server of student does not answer: .*; check its address"):
        student.write(["x"], ["start: /x/"])


def test_a_merge_that_answers_otherwise_is_not_published(
    adapter: Path, tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = publishing._merge

    def spoiled(adapter: Path, base: Path, folder: Path, weights: Weights) -> None:
        merge(adapter, base, folder, weights)
        model, _ = load_causal_lm(folder)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(-1)
        model.save_pretrained(folder)

    monkeypatch.setattr(publishing, "_merge", spoiled)
    with pytest.raises(ModelError, match=r"not published: merged in float32, .* differ.*; tune again"):
        publish(adapter, tiny_student, tmp_path / "p")
    assert not any(tmp_path.glob("p*")) and not any(path.is_dir() for path in tmp_path.iterdir())


def test_weights_in_bfloat16_may_shift_log_odds_a_little_but_no_bundle(published: Path) -> None:
    manifest = read_manifest(published)
    one = probe(StudentEngine.load(published, exact=True), manifest)
    shifted = Probed([m + 0.1 for m in one.log_odds], one.bundles, ["other" for _ in one.intents])
    assert compare(one, shifted).fault("bfloat16") == ""
    assert "log-odds differ by 0.1" in compare(one, shifted).fault("float32")
    moved = Probed(one.log_odds, [((0, 1),), *one.bundles[1:]], one.intents)
    moved.bundles[0] = () if one.bundles[0] == ((0, 1),) else ((0, 1),)
    assert compare(one, moved).fault("bfloat16") == "bundles of probes 1 differ"


def test_a_folder_that_exists_is_left_alone(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists; choose another folder or remove it"):
        publish(adapter, tiny_student, tmp_path)


def test_an_adapter_of_another_base_is_not_published(adapter: Path, published: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="belongs to base"):
        publish(adapter, published, tmp_path / "p")


def test_probes_ask_what_training_never_saw_and_hold_hints(published: Path) -> None:
    found = probe(StudentEngine.load(published), read_manifest(published))
    assert len(found.log_odds) == 24
    assert all(np.isfinite(m).all() for m in found.log_odds)


def test_the_command_publishes_and_names_the_next_step(
    adapter: Path, tiny_student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["models", "publish", str(adapter), "-o", str(tmp_path / "p"), "--student", str(tiny_student)])
    out = capsys.readouterr().out
    assert "24 probes answered alike" in out and "docs/serving.md" in out
    assert (tmp_path / "p" / "model.safetensors").is_file()


def probed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["models", "probe", *arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_command_compares_a_server_with_the_folder_it_serves(
    published: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = probed(capsys, str(published), "--student", server.spec)
    assert (code, json.loads(out)["other_bundles"]) == (0, [])
    with torch.no_grad():
        server.engine.model.get_output_embeddings().weight.mul_(-1)
    code, _, err = probed(capsys, str(published), "--student", server.spec)
    assert code == 1 and "the server gives other answers: " in err and "in float32, without quantisation" in err


@pytest.mark.parametrize(
    ("student", "said"), [("student", "is not on a server; give openai:MODEL@URL"), ("openai:x@http://127.0.0.1:9", "")]
)
def test_a_probe_needs_a_server_and_a_published_folder(
    adapter: Path, student: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = probed(capsys, str(adapter), "--student", student)
    assert code == 2 and (said or "is not a published student; make one: bundlewise models publish") in err


def test_what_opens_a_text_is_sent_where_the_tokenizer_does_not_put_it_there(
    published: Path, adapter: Path, tiny_student: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    manifest = read_manifest(published)
    tokenizer = AutoTokenizer.from_pretrained(published)
    opening = tokenizer.bos_token or ""
    assert opening and opening_of(published, manifest) == opening
    tokenizer.add_bos_token = True
    tokenizer.save_pretrained(tmp_path / "adds")
    assert opening_of(tmp_path / "adds", manifest) == ""
    away = manifest.model_copy(update={"base": "smollm2-9000"})
    assert opening_of(adapter, away) == opening, "an adapter holds the tokenizer of its base"
    before = tmp_path / "before"
    before.mkdir()
    tiny = manifest.model_copy(update={"base": str(tiny_student)})
    assert opening_of(before, tiny) == opening, "an adapter of before has that of its base"
    with pytest.raises(ModelError, match=r"the texts of .* begin: its base is not on this machine; give --adapter"):
        opening_of(before, away)


def publishing_child(adapter: Path, tiny_student: Path, folder: Path) -> subprocess.Popen[str]:
    """Start to publish in a process of its own, and return it while its files lie beside their place."""
    program = (
        "import time; from bundlewise.finetune import publish as publishing; merge = publishing._merge\n"
        "def slow(*arguments):\n    merge(*arguments); print('merged', flush=True); time.sleep(60)\n"
        "publishing._merge = slow; from bundlewise.cli import main; main()"
    )
    arguments = ["models", "publish", str(adapter), "-o", str(folder / "p"), "--student", str(tiny_student)]
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "merged\n"
    child.stdout.close()
    return child


def weighing(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_publishing_stopped_by_sigterm_leaves_nothing(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    child = publishing_child(adapter, tiny_student, tmp_path)
    assert weighing(tmp_path) > 10_000
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 143
    assert weighing(tmp_path) == 0


def test_what_a_killed_publishing_left_goes_with_the_next_one(
    adapter: Path, tiny_student: Path, tmp_path: Path
) -> None:
    child = publishing_child(adapter, tiny_student, tmp_path)
    child.kill()
    child.wait()
    assert weighing(tmp_path) > 10_000
    scratch._SWEPT.clear()
    publish(adapter, tiny_student, tmp_path / "p")
    assert {path.name for path in tmp_path.iterdir()} == {"p"}


def test_all_files_of_a_published_student_follow_the_umask(adapter: Path, tiny_student: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        publish(adapter, tiny_student, tmp_path / "p")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "p").iterdir()}
    assert set(modes.values()) == {0o644} and "model.safetensors" in modes
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o755
