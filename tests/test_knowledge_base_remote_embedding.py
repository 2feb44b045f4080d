"""An OpenAI-compatible endpoint: any server that keeps the form serves, every other answer is an error that helps."""

import json
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest

from bundlewise.errors import ModelError, UsageError
from bundlewise.knowledge_base import remote_embedding
from bundlewise.knowledge_base.embedding import PROBES, Embedder, RemoteEmbedder
from bundlewise.knowledge_base.remote_embedding import EmbeddingEndpoint
from bundlewise.models.endpoints import Endpoint

KEY = "sk-secret-0123456789"
Answer = tuple[int, Any]


class Server(ThreadingHTTPServer):
    """A server of vectors on this machine; `answer` makes status and body of the n-th request, from 0."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[int, list[str]], Answer] = lambda _, texts: (200, reply(texts))

    @property
    def spec(self) -> str:
        return f"openai:tiny@http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked | {"path": self.path})
        self.server.keys.append(self.headers["Authorization"])
        status, body = self.server.answer(len(self.server.asked) - 1, asked["input"])
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server() as running:
        thread = Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def vector(text: str, seed: int = 0, size: int = 8) -> list[float]:
    """Return a vector, not of length 1, that depends on the text."""
    found: list[float] = np.random.RandomState(zlib.crc32(text.encode()) ^ seed).standard_normal(size).tolist()
    return found


def reply(texts: list[str], seed: int = 0, size: int = 8) -> dict[str, Any]:
    """Return the body of an answer, the last text first."""
    rows = [{"object": "embedding", "index": n, "embedding": vector(text, seed, size)} for n, text in enumerate(texts)]
    return {"object": "list", "model": "tiny", "data": rows[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def refusal(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def test_vectors_come_in_the_order_of_the_texts_at_length_1(server: Server) -> None:
    texts = ["mouse", "a longer title", "milk", "mouse"]
    found = Embedder.named(server.spec).embed(texts)
    expected = np.array([vector(text) for text in texts])
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert found.dtype == np.float32
    assert server.asked == [
        {
            "path": "/v1/embeddings",
            "model": "tiny",
            "input": ["milk", "mouse", "a longer title"],
            "encoding_format": "float",
        }
    ]
    assert server.keys == [f"Bearer {KEY}"]


def test_a_server_without_accounts_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert Embedder.named(server.spec).embed(["x"]).shape == (1, 8)


def test_without_an_address_it_is_the_one_in_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/elsewhere")
    assert Embedder.named("openai:tiny").embed(["x"]).shape == (1, 8)
    assert server.asked[0]["path"] == "/elsewhere/embeddings"


def test_many_texts_go_in_batches_and_progress_hears_of_each(server: Server) -> None:
    heard: list[int] = []
    texts = [f"title {n:04d}" for n in range(600)]
    found = Embedder.named(server.spec).embed(texts, heard.append)
    assert found.shape == (600, 8) and heard == [256, 256, 88]
    assert [len(asked["input"]) for asked in server.asked] == heard


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_server_that_takes_fewer_texts_at_once_gets_fewer(server: Server, status: int) -> None:
    server.answer = lambda _, texts: (200, reply(texts)) if len(texts) <= 32 else (status, refusal("at most 32"))
    texts = [f"title {n:03d}" for n in range(300)]
    np.testing.assert_allclose(
        EmbeddingEndpoint(Endpoint.named(server.spec)).vectors(texts), [vector(t) for t in texts]
    )
    assert [len(asked["input"]) for asked in server.asked] == [256, 128, 64, *[32] * 9, 12]


def test_an_empty_text_is_sent_as_a_space(server: Server) -> None:
    assert Embedder.named(server.spec).embed([""]).shape == (1, 8)
    assert server.asked[0]["input"] == [" "]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(server: Server, status: int) -> None:
    server.answer = lambda n, texts: (200, reply(texts)) if n == 2 else (status, refusal("busy"))
    assert Embedder.named(server.spec).embed(["x"]).shape == (1, 8)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "said", "reason", "requests"),
    [
        (
            401,
            f"Incorrect API key provided: {KEY}",
            r"refused \(401\): Incorrect API key provided: \*\*\*; set OPENAI_API_KEY to",
            1,
        ),
        (403, "no access", r"refused \(403\): .*no access.*; set OPENAI_API_KEY to", 1),
        (404, "model tiny not found", r"refused \(404\): .*not found.*; check the model's name, and that the addr", 1),
        (400, "x is too long", r"refused \(400\): .*x is too long.*; look into the server's log", 1),
        (429, "no credit left", r"refused \(429\): .*no credit left.*; wait, or check your plan", 4),
        (404, {"detail": "Not Found"}, r"refused \(404\): .*Not Found.*; check the model's name", 1),
        (404, "", r"refused \(404\): no reason given; check the model's name", 1),
        (500, "out of memory", r"refused \(500\): .*out of memory.*; look into the server's log, and run again", 4),
    ],
)
def test_a_refusal_is_an_error_with_what_the_server_said_and_a_remedy(
    server: Server, status: int, said: str | dict[str, str], reason: str, requests: int
) -> None:
    server.answer = lambda *_: (status, refusal(said) if said and isinstance(said, str) else said)
    with pytest.raises(ModelError, match=rf"^tiny at http://127\.0\.0\.1:\d+/v1/ {reason}") as caught:
        Embedder.named(server.spec).embed(["x"])
    assert KEY not in str(caught.value)
    assert len(server.asked) == requests


def with_rows(*rows: Any) -> dict[str, Any]:
    return {"object": "list", "model": "tiny", "data": [{"index": n, "embedding": row} for n, row in enumerate(rows)]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (with_rows([1.0]), "answered 1 vectors for 2 texts; this server cannot be used"),
        (with_rows([1.0], [1.0], [1.0]), "answered 3 vectors for 2 texts"),
        ({"data": [{"index": 0, "embedding": [1.0]}] * 2}, "answered 2 vectors for 2 texts"),
        (with_rows([1.0], [1.0, 2.0]), "answered vectors of 1 and of 2 dimensions"),
        (with_rows([1.0], [0.0]), "answered a vector of zeros or not-a-number"),
        (with_rows([1.0], [float("nan")]), "answered a vector of zeros or not-a-number"),
        (with_rows([1.0], []), "answered vectors of .* dimensions|answered a vector of zeros"),
        (with_rows([], []), "answered a vector of zeros"),
        (with_rows([1.0], ["a"]), "answered no embeddings; check the address"),
        (with_rows([1.0], None), "answered no embeddings"),
        ({"data": None}, "answered no embeddings"),
        ({"data": []}, "answered (no embeddings|0 vectors for 2 texts)"),
        ({}, "answered no embeddings"),
        ([], "answered no embeddings"),
        ("<html>Welcome</html>", "answered no embeddings"),
        ("", "answered no embeddings"),
    ],
)
def test_an_answer_that_is_no_set_of_vectors_is_an_error(server: Server, body: Any, reason: str) -> None:
    server.answer = lambda *_: (200, body)
    with pytest.raises(ModelError, match=reason):
        Embedder.named(server.spec).embed(["x", "y"])


def test_vectors_that_change_their_dimension_from_call_to_call_are_an_error(server: Server) -> None:
    server.answer = lambda n, texts: (200, reply(texts, size=8 + n))
    embedder = Embedder.named(server.spec)
    embedder.embed(["x"])
    with pytest.raises(ModelError, match="answered vectors of 8 and of 9 dimensions; this server cannot be used"):
        embedder.embed(["y"])


def test_a_server_that_is_not_there_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_embedding, "RETRIES", 0)
    with pytest.raises(ModelError, match=r"cannot reach tiny at http://127\.0\.0\.1:1/v1/: .*refused; check the addr"):
        Embedder.named("openai:tiny@http://127.0.0.1:1/v1").embed(["x"])


@pytest.mark.parametrize("key", [f"{KEY}é", f"{KEY}\n{KEY}"])
def test_a_key_that_cannot_be_sent_is_an_error_that_does_not_show_it(
    server: Server, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds characters that no key has; set it again") as caught:
        Embedder.named(server.spec).embed(["x"])
    assert KEY not in str(caught.value) and server.asked == []


def test_the_fingerprint_is_that_of_the_vectors_wherever_they_come_from(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    here, there = Embedder.named(server.spec), Embedder.named("openai:tiny")
    assert here.fingerprint == there.fingerprint == here.fingerprint
    assert len(here.fingerprint) == 12 and here.fits(there.fingerprint)
    assert [sorted(asked["input"]) for asked in server.asked] == [sorted(PROBES)] * 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 16}])
def test_a_silently_changed_model_is_noticed(server: Server, change: dict[str, int]) -> None:
    before = Embedder.named(server.spec)
    found = before.fingerprint
    server.answer = lambda _, texts: (200, reply(texts, **change))
    after = Embedder.named(server.spec)
    assert after.fingerprint != found
    assert not after.fits(found) and not before.fits(after.fingerprint)
    assert not after.fits("bag-of-words")


class Noisy(RemoteEmbedder):
    """Answer random vectors of a size, with noise that differs from call to call."""

    def __init__(self, size: int, noise: float, call: int) -> None:
        super().__init__("openai:noisy", EmbeddingEndpoint(Endpoint("noisy")))
        self._size, self._noise, self._random = size, noise, np.random.RandomState(call)

    def _forward(self, texts: list[str]) -> Any:
        clean = np.array([vector(text, size=self._size) for text in texts])
        return clean + self._noise * self._random.standard_normal(clean.shape)


@pytest.mark.parametrize("size", [384, 3072])
def test_the_noise_of_a_server_is_not_taken_for_another_model(size: int) -> None:
    first = Noisy(size, noise=0.01, call=0)
    assert all(first.fits(Noisy(size, noise=0.01, call=call).fingerprint) for call in range(1, 20))
