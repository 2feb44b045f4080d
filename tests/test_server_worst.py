"""The worst that one request can hold: the others wait less than a second, and the server works little for it."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from server_samples import TITLES
from worst_server import Server, running, started, wait_until

from bundlewise.prompts.library import VARIABLE, shipped

MOST = 2**20 - 200
KEYS = ",".join(f'"k{n}":0' for n in range(90_000))
STRANGE = ",".join("{" + ",".join(f'"k{m}_{n}":0' for n in range(990)) + "}" for m in range(60))


def filled(before: str, unit: str, after: str) -> str:
    """Return as much of a unit between two texts as a body may hold."""
    return before + unit * ((MOST - len(before) - len(after)) // len(unit)) + after


def chat(more: str, said: str = '"x"') -> str:
    return '{"model":"bundlewise","messages":[{"role":"user","content":' + said + "}]," + more + "}"


OWN = "{% if session.items | length == 7 %}{{ 5 | round(99999999, 'ceil') }}{% endif %}" + shipped("judge").body
PART = '{"type":"x","q":1}'
PARTS = ",".join('{"role":"user","content":[' + ",".join([PART] * 50) + "]}" for _ in range(199))
BODIES = {
    "the last of 50,000 keys twice": "{" + ",".join(f'"key{n}":0' for n in range(50_000)) + ',"key49999":1}',
    "the first of 50,000 keys twice": '{"key0":1,' + ",".join(f'"key{n}":0' for n in range(50_000)) + "}",
    "90,000 keys": "{" + KEYS + "}",
    "60 products of 990 unknown fields": '{"items":[' + STRANGE + "]}",
    "60 sessions of 990 unknown fields": '{"sessions":[' + STRANGE + "]}",
    "many empty products": filled('{"items":[', "{},", "{}]}"),
    "numbers of 4,299 digits": filled('{"items":[', "9" * 4299 + ",", "1]}"),
    "one number of a million digits": filled('{"items":[1', "9", "]}"),
    "many short lists in lists": filled('{"items":[', "[" * 29 + "]" * 29 + ",", "1]}"),
    "one list in a list in a list": filled('{"items":', "[", "}"),
    "halves of characters": filled('{"items":["', "\\ud83d\\ude00", '\\ud800"]}'),
    "parts of no known kind": '{"model":"bundlewise","messages":[' + PARTS + "]}",
    "metadata": chat('"metadata":{' + KEYS + "}"),
    "logit_bias": chat('"logit_bias":{' + KEYS + "}"),
    "stop": chat(filled('"stop":[', '"a",', '"b"]')[: MOST - 100].rsplit(",", 1)[0] + "]"),
    "a long text": chat('"n":1', filled('"', "a", '"')[: MOST - 100] + '"'),
    "spaces": filled('{"items":["a","b"]', " ", "}"),
}


@pytest.fixture(scope="module")
def server(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server whose own template is endless for seven products."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "prompts").mkdir()
    (folder / "prompts" / "judge.jinja").write_text(OWN, encoding="utf-8")
    with started(tiny_student, folder, **{VARIABLE: str(folder / "prompts")}) as server:
        yield server


@pytest.mark.parametrize("path", ["/v1/bundles", "/v1/chat/completions", "/api/threads/t/actions"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_costs_little_more_than_reading_it_and_nobody_waits_for_it(server: Server, path: str, body: str) -> None:
    before = server.seconds
    with server.watched():
        found = server.post(path, content=body.encode(), headers={"Content-Type": "application/json"})
    assert found.status_code in (200, 400), found.text[:200]
    assert len(found.content) < 4000
    assert server.seconds - before < 1.0
    assert server.longest < 1.0


def test_a_key_that_stands_twice_among_50_000_is_named(server: Server) -> None:
    for body, key in (("the last of 50,000 keys twice", "key49999"), ("the first of 50,000 keys twice", "key0")):
        found = server.post(
            "/v1/bundles", content=BODIES[body].encode(), headers={"Content-Type": "application/json"}
        ).json()["error"]
        assert f"the key '{key}' occurs twice" in found["message"] and found["code"] == "invalid_json"


def test_a_body_of_chunks_of_a_byte_keeps_nobody_waiting(server: Server) -> None:
    place = urlsplit(server.url)
    head = b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    with server.watched(), socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=60) as line:
        line.sendall(head + b"\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")
    assert server.longest < 1.0


ENDLESS = {
    "a power of ten": ("x\n{{ 5 | round(99999999, 'ceil') }}", 2),
    "lists that grow and are compared": (
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}"
        "{% set n.b = [n.b, n.b] %}{% endfor %}\n\n{{ n.a == n.b }}",
        3,
    ),
    "texts that fill the memory": (
        "{% set n = namespace(l=[]) %}\n{% for i in range(9999) %}{% set n.l = [n.l, ('ab' * 400000) | upper] %}"
        "{% endfor %}",
        2,
    ),
}


@pytest.mark.parametrize("way", ["render", "try"])
@pytest.mark.parametrize(("text", "line"), ENDLESS.values(), ids=ENDLESS)
def test_a_template_ends_and_nothing_else_notices(server: Server, text: str, line: int, way: str) -> None:
    before, began, answers = server.seconds, time.monotonic(), []

    def bundle() -> None:
        asked = time.monotonic()
        answers.append((server.post("/v1/bundles", json={"items": TITLES}).status_code, time.monotonic() - asked))

    with server.watched():
        beside = threading.Timer(0.5, bundle)
        beside.start()
        found = server.post(f"/api/prompts/judge/{way}", json={"text": text, "session": "s0"}).json()
        took = time.monotonic() - began
        beside.join()
    assert found["fault"]["line"] == line, found
    assert "2 s of work" in found["fault"]["message"] or "more memory" in found["fault"]["message"]
    assert took < 6 and server.longest < 1.0 and server.seconds - before < 1.5
    ((status, waited),) = answers
    assert status == 200 and waited < 1.5


def test_an_edit_that_cannot_be_rendered_is_not_saved(server: Server) -> None:
    mark = httpx.get(f"{server.url}/api/prompts/name").json()["mark"]
    body = {"text": ENDLESS["a power of ten"][0], "mark": mark}
    saved = httpx.put(f"{server.url}/api/prompts/name", json=body, timeout=60)
    assert saved.status_code == 422 and "line 2: more than 2 s of work" in saved.json()["error"]["message"]
    assert httpx.get(f"{server.url}/api/prompts/name").json()["mark"] == mark


def test_a_template_in_force_that_is_ones_own_ends_too(server: Server) -> None:
    with server.watched():
        failed = server.post("/v1/bundles", json={"items": [f"title {n}" for n in range(7)]})
        found = server.post("/v1/bundles", json={"items": TITLES})
    assert failed.status_code == 500 and found.status_code == 200
    assert server.longest < 1.0


def test_a_signal_stops_a_server_whose_template_is_endless(server: Server) -> None:
    """Stands last, as the server is gone after it."""
    asked = _ask_in_background(server)
    children = server.children
    assert children
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) in (0, -signal.SIGTERM)
    asked.join(15)
    wait_until(lambda: not set(children) & set(running()), 5)


def _ask_in_background(server: Server) -> threading.Thread:
    """Ask for an endless rendering, and return once a process works at it."""

    def ask() -> None:
        body = json.dumps({"text": ENDLESS["a power of ten"][0], "session": "s0"})
        with suppress(httpx.TransportError):
            server.post("/api/prompts/judge/render", content=body, headers={"Content-Type": "application/json"})

    asked = threading.Thread(target=ask)
    asked.start()
    time.sleep(1.0)
    return asked
