"""The real server: slow senders, leavers, signals, and the command line that starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner
from pilot_server import DONE, PilotServer, calls
from server_samples import KEY, TITLES, WordStudent, app_of, served

from bundlewise.cli import root
from bundlewise.errors import UsageError
from bundlewise.progress import go_on
from bundlewise.server.limits import ServerLimits
from bundlewise.server.serve import is_loopback, refuse_open, refuse_taken

BODY = {"items": TITLES}
SLOW = ServerLimits(read_seconds=0.5, body=10_000)


@pytest.fixture
def slow() -> Iterator[str]:
    """Return the address of a server of little patience."""
    with served(app_of(limits=SLOW), SLOW) as address:
        yield address


def dial(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10)


def dribble(line: socket.socket, text: bytes) -> float:
    """Send a byte every 50 ms until the server hangs up; return after how many seconds it did."""
    start = time.monotonic()
    line.settimeout(0.05)
    for byte in text:
        try:
            line.sendall(bytes([byte]))
            if line.recv(1000) == b"":
                return time.monotonic() - start
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - start
    return float("inf")


def test_a_client_that_sends_its_headers_byte_by_byte_is_hung_up_on(slow: str) -> None:
    with closing(dial(slow)) as line:
        assert dribble(line, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 200) < 3


def test_a_client_that_says_nothing_is_hung_up_on_too(slow: str) -> None:
    with closing(dial(slow)) as line:
        start = time.monotonic()
        assert line.recv(100) == b"" and time.monotonic() - start < 3


def test_a_second_request_on_a_connection_has_its_own_time(slow: str) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with closing(dial(slow)) as line:
        for _ in range(3):
            line.sendall(whole)
            time.sleep(0.3)
            assert b"200 OK" in line.recv(4000)
        assert dribble(line, b"GET /healthz HTTP/1.1\r\nX-Slow: " + b"a" * 200) < 3


def test_a_body_that_does_not_arrive_is_refused_and_takes_no_place_meanwhile(slow: str) -> None:
    head = b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    lines = [dial(slow) for _ in range(20)]
    for line in lines:
        line.sendall(head)
    assert httpx.post(f"{slow}/v1/bundles", json=BODY).status_code == 200
    for line in lines:
        with closing(line):
            assert b"408" in line.recv(4000).split(b"\r\n")[0]


def test_a_chunked_body_without_a_length_is_held_to_the_limit(slow: str) -> None:
    found = httpx.post(
        f"{slow}/v1/bundles", content=iter([b"x" * 1000] * 30), headers={"Content-Type": "application/json"}
    )
    assert found.status_code == 413


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_what_is_not_http_is_no_fault_of_the_server(slow: str, text: bytes) -> None:
    with closing(dial(slow)) as line:
        line.sendall(text)
        assert b" 5" not in line.recv(4000).split(b"\r\n")[0][:13]
    assert httpx.get(f"{slow}/healthz").status_code == 200


def test_nothing_is_answered_for_a_client_that_has_gone() -> None:
    student = WordStudent(delay=1.5)
    with served(app_of(student)) as address, ThreadPoolExecutor(1) as pool:
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        first = pool.submit(httpx.post, f"{address}/v1/bundles", json={"items": ["first a", "first b"]})
        time.sleep(0.1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/bundles", json={"items": ["gone a", "gone b"]}, timeout=0.1)
        stream = {"model": "bundlewise", "stream": True, "messages": [{"role": "user", "content": "left a\nleft b"}]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=stream, timeout=0.1)
        assert first.result().status_code == 200
        time.sleep(2)
        metrics = httpx.get(f"{address}/metrics").text
    assert [title.split()[0] for batch in student.batches for title in batch] == ["Wireless", "first"]
    assert 'status="499"' in metrics and "bundlewise_requests_active 0.0" in metrics


class Stepping(WordStudent):
    """Takes a tenth of a second for each session, step by step."""

    def answer(self, sessions: Any, limits: Any = None) -> Any:
        for _ in range(10 * len(sessions)):
            go_on()
            time.sleep(0.01)
        return super().answer(sessions, limits)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/bundles", {"sessions": [{"items": [f"a {n}", f"b {n}"]} for n in range(64)]}),
        ("/v1/bundles", {"sessions": [{"items": [f"a {n}", f"b {n}"]} for n in range(64)], "explain": True}),
    ],
)
def test_a_small_request_does_not_wait_for_a_large_one_whose_client_has_gone(path: str, body: Any) -> None:
    student = Stepping()
    with served(app_of(student)) as address:
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}{path}", json=body, timeout=0.5)
        began = time.monotonic()
        assert httpx.post(f"{address}/v1/bundles", json=BODY, timeout=30).status_code == 200
        assert time.monotonic() - began < 2
        until(lambda: "bundlewise_requests_active 0.0" in httpx.get(f"{address}/metrics").text)
        assert "bundlewise_queue_sessions 0.0" in httpx.get(f"{address}/metrics").text
    assert len(student.batches) == 2


def request_of(body: Any) -> bytes:
    sent = json.dumps(body).encode()
    head = (
        f"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    return head.encode() + sent


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("length", [1, 900])
def test_a_client_that_sends_a_second_request_before_its_answer_is_missed_when_it_has_gone(
    times: int, length: int
) -> None:
    student = Stepping()
    large = {"sessions": [{"items": [f"{'a' * length} {n}", f"b {n}"]} for n in range(64)]}
    with served(app_of(student)) as address:
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        with closing(dial(address)) as line:
            line.sendall(request_of(large) * times)
            time.sleep(0.5)
        began = time.monotonic()
        assert httpx.post(f"{address}/v1/bundles", json=BODY, timeout=30).status_code == 200
        assert time.monotonic() - began < 2
        until(lambda: "bundlewise_requests_active 0.0" in httpx.get(f"{address}/metrics").text)
    assert len(student.batches) == 2


@pytest.mark.parametrize("together", [True, False])
def test_the_first_of_two_requests_at_once_is_answered_and_then_the_connection_ends(together: bool) -> None:
    with served(app_of(WordStudent(delay=0.3))) as address, closing(dial(address)) as line:
        one = request_of(BODY)
        line.sendall(one * 2 if together else one)
        if not together:
            time.sleep(0.1)
            line.sendall(one)
        heard = b"".join(iter(lambda: line.recv(9999), b""))
    assert heard.count(b"HTTP/1.1 200") == 1 and heard.endswith(b"}")


def test_requests_one_after_the_other_share_a_connection(slow: str) -> None:
    parts = urlsplit(slow)
    with closing(HTTPConnection(str(parts.hostname), parts.port, timeout=10)) as connection:
        lines = set()
        for _ in range(3):
            connection.request("POST", "/v1/bundles", json.dumps(BODY), {"Content-Type": "application/json"})
            lines.add(connection.sock)
            assert connection.getresponse().read()
        assert len(lines) == 1


def test_who_floods_a_connection_instead_of_waiting_is_hung_up_on() -> None:
    with served(app_of(Stepping())) as address, closing(dial(address)) as line:
        line.sendall(request_of({"sessions": [{"items": [f"a {n}", "b"]} for n in range(64)]}))
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                line.sendall(b"x" * 100_000)


def until(true: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("shop.example", False),
    ],
)
def test_a_server_open_to_others_needs_keys(host: str, local: bool) -> None:
    assert is_loopback(host) == local
    refuse_open(host, has_keys=True, insecure=False)
    refuse_open(host, has_keys=False, insecure=True)
    if not local:
        with pytest.raises(UsageError, match="--insecure-no-keys"):
            refuse_open(host, has_keys=False, insecure=False)


def test_the_command_refuses_to_open_itself_before_it_loads_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUNDLEWISE_API_KEYS", raising=False)
    found = CliRunner().invoke(root, ["serve", "--host", "0.0.0.0", "--student", "no/such-model"])
    assert isinstance(found.exception, UsageError) and "no key protects it" in str(found.exception)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_is_taken_is_refused_before_anything_is_loaded(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = CliRunner().invoke(root, ["serve", "--host", host, "--port", str(port), "--student", "no/such-model"])
        said = f"cannot listen on {host}, port {port}: address already in use; give another --port"
        assert isinstance(found.exception, UsageError) and said in str(found.exception)
    refuse_taken(host, port)


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.7"])
def test_an_address_of_no_machine_or_of_another_one_is_refused_with_a_remedy(host: str) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on {host}, port 8000: .*; give another --port, or a --host"):
        refuse_taken(host, 8000)


@contextmanager
def serving(student: Path, *options: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `bundlewise serve` as a process on a free port; yield it with its address once it is ready."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bundlewise", "serve", "--port", str(port), "--student", str(student), *options]
    process = subprocess.Popen(command, text=True, stderr=subprocess.PIPE, env=os.environ | environment)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or is_ready(address), 120)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield process, address
    finally:
        process.kill()
        process.communicate()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_command_serves_and_finishes_what_is_open_when_it_is_told_to_stop(tiny_student: Path) -> None:
    with serving(tiny_student, BUNDLEWISE_API_KEYS=KEY) as (process, address):
        headers, sessions = (
            {"Authorization": f"Bearer {KEY}"},
            [{"items": [f"{n} {t}" for t in TITLES]} for n in range(40)],
        )
        assert httpx.post(f"{address}/v1/bundles", json=BODY).status_code == 401
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(
                httpx.post(f"{address}/v1/bundles", json={"sessions": sessions}, headers=headers, timeout=60)
            )

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: "bundlewise_requests_active 1.0" in httpx.get(f"{address}/metrics", headers=headers).text)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        process.wait(60)
        (answer,) = answers
        assert answer.status_code == 200 and len(answer.json()["sessions"]) == 40
        said = str(process.stderr and process.stderr.read())
    assert "POST /v1/bundles 200" in said and "Traceback" not in said and KEY not in said
    assert json.dumps(TITLES[0]) not in said


def test_the_command_lets_a_chat_model_of_the_user_s_understand(tiny_student: Path, tmp_path: Path) -> None:
    model = PilotServer(calls(("add", {"ids": ["el-0001", "el-0002"]}), ("bundle", {})), DONE)
    options = ["--chat-model", model.spec, "--threads", str(tmp_path / "threads.sqlite")]
    with (
        closing(model),
        serving(tiny_student, *options, OPENAI_API_KEY="sk-secret") as (process, address),
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        answer = http.post("/api/threads/t/messages", json={"text": "I'd love the tablet and its case"})
        view = http.get("/api/threads/t").json()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        said = str(process.stderr and process.stderr.read())
    assert "event: done" in answer.text and model.keys == ["Bearer sk-secret"] * 2
    assert [item["id"] for item in view["cart"]["items"]] == ["el-0001", "el-0002"] and len(view["messages"]) == 2
    assert "evil" not in answer.text and "sk-secret" not in said + answer.text
