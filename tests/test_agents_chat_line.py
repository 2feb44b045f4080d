"""The line to a server: whatever comes, an exchange ends within its time with a whole answer or a reason."""

import gzip
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread, Timer

import httpcore2
import httpx2
import pytest
from lab_server import LabHandler, LabServer

from bundlewise.agents.chat import line as module
from bundlewise.agents.chat.line import Heard, Line, Silence
from bundlewise.errors import ModelError, UsageError
from bundlewise.models.certificates import certificates
from bundlewise.models.endpoints import Endpoint

KEY = "sk-planted-0123456789"
LIMIT = 0.6


class Handler(LabHandler):
    server: "Server"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.server.act(self)
        except OSError:
            self.close_connection = True

    def drip(self, head: bytes, drop: bytes) -> None:
        """Send something now and then, for as long as somebody listens."""
        self.wfile.write(head)
        while True:
            self.wfile.write(drop)
            self.wfile.flush()
            time.sleep(0.02)


class Server(LabServer):
    def __init__(self) -> None:
        super().__init__(Handler)
        self.act: Callable[[Handler], None] = lambda handler: handler.send(200, b"whole")
        self.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = Server()
    yield running
    running.close()


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    opened = Line(Endpoint.named(server.spec), LIMIT, 4)
    yield opened
    opened.close()


def raw(content: bytes) -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    return act


def redirect(handler: Handler) -> None:
    handler.send(307, b"", location=f"http://127.0.0.1:{handler.server.server_port}/v1/chat/completions")


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Callable[[Handler], None]] = {
    "nothing": lambda handler: time.sleep(3),
    "its status": lambda handler: handler.drip(b"HTTP/1.1 2", b"0"),
    "headers": lambda handler: handler.drip(OK, b"X-More: yes\r\n"),
    "one header": lambda handler: handler.drip(OK + b"X-More: ", b"y"),
    "a body": lambda handler: handler.drip(OK + b"Content-Length: 99999\r\n\r\n", b" "),
    "chunks": lambda handler: handler.drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "promises": lambda handler: handler.drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
BROKEN: dict[str, Callable[[Handler], None]] = {
    "bad gzip": lambda handler: handler.send(200, b"no gzip", content_encoding="gzip"),
    "half a gzip": lambda handler: handler.send(
        200, gzip.compress(b"x" * 9999)[:-9] + b"y" * 9, content_encoding="gzip"
    ),
    "bad deflate": lambda handler: handler.send(200, b"\xff\xff\xff", content_encoding="deflate"),
    "cut": lambda handler: handler.cut(b"half of it"),
    "a length in words": raw(OK + b"Content-Length: long\r\n\r\nx"),
    "a negative length": raw(OK + b"Content-Length: -1\r\n\r\nx"),
    "two lengths": raw(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a bad header": raw(OK + b"\x00bad\r\n\r\n"),
    "nothing at all": raw(b""),
    "bad chunks": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "in circles": redirect,
    "to nowhere": lambda handler: handler.send(307, b"", location="http://[::1"),
}


@pytest.mark.parametrize("act", ENDLESS.values(), ids=ENDLESS)
def test_an_exchange_ends_in_its_time_whatever_drips(server: Server, line: Line, act: Callable[..., None]) -> None:
    server.act = act
    assert line.address.startswith("http://127.0.0.1"), "the library is loaded before the clock runs"
    start = time.monotonic()
    found = line.exchange(b"{}", {})
    assert time.monotonic() - start < LIMIT + 1.5
    assert isinstance(found, Silence) and not found.away


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_broken_is_none(server: Server, line: Line, act: Callable[..., None]) -> None:
    server.act = act
    found = line.exchange(b"{}", {}, limit=5.0)
    assert isinstance(found, Silence) and found.reason
    server.act = lambda handler: handler.send(200, b"whole")
    assert line.exchange(b"{}", {}, limit=5.0) == Heard(200, b"whole"), "the next one is heard"


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_an_answer_without_measure_is_not_read_to_its_end(server: Server, line: Line, encoding: str) -> None:
    large = b" " * (module.LARGEST + 1)
    headers = {"content_encoding": encoding} if encoding else {}
    server.act = lambda handler: handler.send(200, gzip.compress(large, 1) if encoding else large, **headers)
    found = line.exchange(b"{}", {}, limit=20.0)
    assert found == Heard(200, large[:-1], is_whole=False)


def test_a_question_is_sent_on_a_few_times_and_then_its_address_is_wrong(server: Server, line: Line) -> None:
    server.act = redirect
    found = line.exchange(b"{}", {}, limit=5.0)
    assert found == Silence("it redirects more than 3 times", lost=True)


def test_where_nobody_listens_there_was_no_connection(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    nobody = Line(Endpoint("lab", f"http://127.0.0.1:{port}/v1"), LIMIT, 1)
    assert nobody.exchange(b"{}", {}) == Silence("Connection refused", away=True)
    nobody.close()


def test_hanging_up_ends_what_is_on_its_way_and_keeps_what_has_arrived(server: Server, line: Line) -> None:
    heard: list[Heard | Silence] = []
    heard.append(line.exchange(b"{}", {}))
    server.act = lambda handler: time.sleep(2)
    asking = [Thread(target=lambda: heard.append(line.exchange(b"{}", {}, limit=30.0))) for _ in range(3)]
    for each in asking:
        each.start()
    while line.busy < 3:
        time.sleep(0.01)
    start = time.monotonic()
    line.hang_up()
    for each in asking:
        each.join()
    assert time.monotonic() - start < 1
    assert heard == [Heard(200, b"whole"), *[Silence("the exchange was cancelled")] * 3]


def test_a_line_that_is_closed_lets_nobody_wait_and_opens_again(server: Server, line: Line) -> None:
    server.act = lambda handler: time.sleep(2)
    Timer(0.2, line.close).start()
    start = time.monotonic()
    assert isinstance(line.exchange(b"{}", {}, limit=30.0), Silence)
    assert time.monotonic() - start < 1.5
    server.act = lambda handler: handler.send(200, b"whole")
    assert line.exchange(b"{}", {}) == Heard(200, b"whole")


def test_the_certificates_of_the_machine_are_read_once_for_all_lines(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.cache_clear()
    read = list[ssl.SSLContext]()
    made = httpx2.create_ssl_context

    def reading(verify: ssl.SSLContext | bool = True, **options: bool) -> ssl.SSLContext:
        context = made(verify, **options)
        return context if context is verify else read.append(context) or context

    monkeypatch.setattr(httpx2, "create_ssl_context", reading)
    monkeypatch.setattr("httpx2._transports.default.create_ssl_context", reading)
    for _ in range(3):
        opened = Line(Endpoint.named(server.spec), LIMIT, 4)
        assert opened.exchange(b"{}", {}) == Heard(200, b"whole")
        opened.close()
    assert len(read) == 1


@pytest.mark.parametrize("other", ["http://localhost:{port}/v1/chat/completions", "ftp://127.0.0.1:{port}/"])
def test_a_server_that_redirects_to_another_one_is_an_error_that_names_both(
    server: Server, line: Line, other: str
) -> None:
    there = other.format(port=server.server_port)
    server.act = lambda handler: handler.send(307, b"", location=there)
    with pytest.raises(ModelError, match=rf"lab at {line.address} redirects to {there}, which is another server"):
        line.exchange(b"{}", {}, limit=5.0)


def test_a_key_in_a_broken_header_is_masked(server: Server, line: Line) -> None:
    server.act = raw(OK + f"\x00{KEY}\r\n\r\n".encode())
    found = line.exchange(b"{}", {})
    assert isinstance(found, Silence) and KEY not in found.reason


def test_an_address_in_the_environment_must_hold_no_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@127.0.0.1/v1")
    with pytest.raises(UsageError, match="put the key into OPENAI_API_KEY"):
        Line(Endpoint("lab"), 1.0, 1).exchange(b"{}", {})


def test_an_exchange_that_is_still_connecting_ends_at_once_when_it_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = Event()

    def connect(*_: object, **__: object) -> object:
        let_go.wait(8)
        raise httpcore2.ConnectTimeout("slow")

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)
    line = Line(Endpoint("m", "http://127.0.0.1:9/v1"), timeout=9.0, connections=1)
    said: list[object] = []
    asking = Thread(target=lambda: said.append(line.exchange(b"{}", {})))
    asking.start()
    while not line.busy:
        time.sleep(0.01)
    time.sleep(0.2)
    start = time.monotonic()
    line.hang_up()
    asking.join(5)
    took = time.monotonic() - start
    let_go.set()
    assert [type(each) for each in said] == [Silence]
    assert took < 1
