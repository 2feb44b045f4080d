"""A server in a process of its own, with a playground, for tests of what one request can cost all others."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
READY = 400.0


@dataclass
class Server:
    """A running server: its address and process."""

    url: str
    process: "subprocess.Popen[bytes]"
    longest: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds(self) -> float:
        """Processor seconds that the process has taken; what it has started is not among them."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def children(self) -> list[int]:
        """The processes that it has started and that are there."""
        return [pid for pid in running() if parent_of(pid) == self.process.pid]

    def post(self, path: str, **given: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", timeout=60, **given)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Ask for its health while the block runs; the longest answer is noted."""
        self.longest = 0.0
        self._over.clear()
        watching = threading.Thread(target=self._watch)
        watching.start()
        try:
            yield
        finally:
            self._over.set()
            watching.join()

    def _watch(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._over.is_set():
                began = time.monotonic()
                assert client.get(f"{self.url}/healthz").status_code == 200
                self.longest = max(self.longest, time.monotonic() - began)
                time.sleep(0.02)


def running() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


@contextmanager
def started(student: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Start a server over the random student, and stop it if that has not been done."""
    from socket import socket

    with socket() as line:
        line.bind(("127.0.0.1", 0))
        port = line.getsockname()[1]
    command = [sys.executable, __file__, str(port), str(student), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | settings)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        wait_until(lambda: _is_ready(server), READY)
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def wait_until(true: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None
    try:
        return httpx.get(f"{server.url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def main(port: int, student: Path, folder: Path) -> None:
    from page_samples import app_with, knowing

    from bundlewise.prompts.library import current
    from bundlewise.server.limits import ServerLimits
    from bundlewise.server.serve import serve

    live = knowing(student, folder / "kb")
    serve(app_with(live, folder, prompts=current().folder), "127.0.0.1", port, ServerLimits())


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
