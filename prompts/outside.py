"""Render templates in other processes: a server renders users' own templates in processes with hard limits.

The counters of the sandbox cannot see all work of a template: one huge power in C code can block a whole process.
"""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from signal import SIGALRM
from socket import socketpair
from threading import Lock
from typing import Any

from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.prompts.allowance import SECONDS, TOO_SLOW, Allowance, allowance, held, refuse_spent
from bundlewise.prompts.template import Template

START = 30.0
"""The most seconds until a new process must be ready."""
GRACE = 1.0
"""The most seconds to wait for a process after its own time limit."""
IDLE = 3
"""The most processes that stay started: for the student, and for previews of edits at the same time."""
_TOLD = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR"}
OK, WRONG, UNKNOWN, FULL = b"o", b"d", b"u", b"m"
"""The first byte of a reply: a text, a fault of the template, an unknown template, a fault that used all memory."""
_BOOT = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
runpy.run_module("bundlewise.prompts.worker", run_name="__main__")
"""
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)


class Ended(Exception):
    """A rendering process has ended: its exit status, its stderr, and whether it was too late."""

    def __init__(self, status: int, said: str, late: bool) -> None:
        super().__init__(status)
        self.status, self.said, self.late = status, said, late or status == -SIGALRM


class Worker:
    """A rendering process; it ends by itself when this process ends."""

    def __init__(self) -> None:
        ours, theirs = socketpair()
        with theirs:
            command = [sys.executable, "-W", "ignore", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=_environment(),
            )
        self._line = Connection(ours.detach())
        self._is_ready = False

    def ready(self) -> None:
        """Wait until the process answers.

        Raises:
            BundlewiseError: the process does not start.
        """
        if self._is_ready:
            return
        try:
            self._hear(START)
        except (EOFError, OSError):
            said = self.end(late=True).said.strip().splitlines()[-1:] or ["it says nothing"]
            raise BundlewiseError(f"the process that renders templates does not start: {said[0]}") from None
        self._is_ready = True

    def ask(self, own: bytes, asked: bytes, seconds: float) -> bytes:
        """Return the reply to a question.

        Raises:
            Ended: the process ended without a reply.
        """
        began = time.monotonic()
        try:
            self._line.send_bytes(pickle.dumps((seconds, own, asked)))
            return self._hear(seconds + GRACE)
        except (EOFError, OSError):
            raise self.end(late=time.monotonic() - began > seconds) from None

    def _hear(self, seconds: float) -> bytes:
        if not self._line.poll(seconds):
            raise EOFError
        return self._line.recv_bytes()

    def end(self, late: bool = False) -> Ended:
        """End the process if it still runs, and return how it ended."""
        with suppress(OSError):
            self._line.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._process.kill()
        said = self._process.communicate()[1]
        return Ended(self._process.returncode, said.decode("utf-8", "replace"), late)


def _environment() -> dict[str, str]:
    """Return the environment for a process; keys and other secrets are left out, to hide them from templates."""
    told = {name: value for name, value in os.environ.items() if name in _TOLD or name.startswith(("PYTHON", "LC_"))}
    # The memory limit counts address space, and malloc reserves much of it for threads.
    return told | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Workers:
    """A pool of rendering processes; safe to use from any thread."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._users = 0
        self._lock = Lock()

    @property
    def in_use(self) -> bool:
        """Whether these processes render users' own templates."""
        return self._users > 0

    @contextmanager
    def used(self, warm: bool) -> Iterator[None]:
        """Use the pool while the block runs; with `warm`, start its processes now."""
        with self._lock:
            self._users += 1
            self._idle += [Worker() for _ in range(IDLE - len(self._idle)) if warm]
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                gone, self._idle = ([], self._idle) if self._users else (self._idle, [])
            for worker in gone:
                worker.end()

    def ask(self, own: bytes, question: tuple[str, str, Any], seconds: float) -> tuple[bytes, float]:
        """Return the reply to a question, and the seconds that it took.

        Raises:
            Ended: the question ended the process.
        """
        asked = pickle.dumps(question)
        while True:
            worker, is_new = self._take()
            worker.ready()
            began = time.monotonic()
            try:
                reply = worker.ask(own, asked, seconds)
            except Ended as ended:
                self._give_back(Worker())
                if is_new or ended.said or ended.late:
                    raise
                continue  # The process had died before the question.
            if reply[:1] == FULL:
                worker.end()
                worker = Worker()
            self._give_back(worker)
            return reply, time.monotonic() - began

    def _take(self) -> tuple[Worker, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return Worker(), True

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if self._users and len(self._idle) < IDLE:
                self._idle.append(worker)
                return
        worker.end()


WORKERS = Workers()


@contextmanager
def rendering_outside(warm: bool = False) -> Iterator[None]:
    """Render users' own templates in other processes while the block runs, for all threads.

    Args:
        warm: start the processes now, so that the first renderings are fast.
    """
    with WORKERS.used(warm):
        yield


@contextmanager
def charged(template: Template) -> Iterator[None]:
    """Count the work of the block, on a template's texts, against the allowance of a server's request.

    Raises:
        DataError: the request has used its allowance.
    """
    left = held()
    if left is None or not WORKERS.in_use:
        yield
        return
    refuse_spent(left, template)
    began = time.thread_time()
    yield
    left.seconds -= time.thread_time() - began
    refuse_spent(left, template)


Known = Callable[[], Sequence[Template]]


def check(template: Template, known: Known, own: bytes) -> None:
    """Check a template in another process.

    Args:
        template: the template to check.
        known: returns all templates of its library.
        own: the user's own templates in the library, from `packed`.

    Raises:
        DataError: it cannot be used, or exceeds a limit; the message names file and line.
        UsageError: there is no such template.
    """
    with allowance() as left:
        _ask(left, "check", template, known, own, None)


def rendered(template: Template, rows: Sequence[Mapping[str, Any]], known: Known, own: bytes) -> list[str]:
    """Render a template in another process for each set of variables; arguments and errors are those of `check`."""
    with allowance() as left:
        texts: list[str] = json.loads(_ask(left, "render", template, known, own, rows))
        left.characters -= sum(map(len, texts))
        refuse_spent(left, template)
    return texts


def _ask(left: Allowance, what: str, template: Template, known: Known, own: bytes, given: Any) -> str:
    refuse_spent(left, template)
    try:
        reply, spent = WORKERS.ask(own, (what, template.name, given), left.seconds)
    except Ended as ended:
        left.seconds = 0.0
        raise DataError(_explained(ended, template, known(), own)) from ended
    left.seconds -= spent
    text = reply[1:].decode()
    if reply[:1] != OK:
        raise (UsageError if reply[:1] == UNKNOWN else DataError)(text)
    return text


def packed(templates: Sequence[Template]) -> bytes:
    """Return templates as bytes for a rendering process."""
    return pickle.dumps([(each.name, each.path, each.head, each.body) for each in templates])


def _explained(ended: Ended, template: Template, known: Sequence[Template], own: bytes) -> str:
    """Return the message about a rendering that ended its process, with template and line."""
    by_path = {each.path: each for each in known}
    found = next(((by_path[path], int(n)) for path, n in _FRAME.findall(ended.said) if path in by_path), None)
    inside, line = (template, 1) if found is None else (found[0], _line(*found, own))
    why = TOO_SLOW if ended.late else f"it ended the process that renders it (status {ended.status}); do less in it"
    return f"{inside.at(line)}: {why}"


def _line(template: Template, place: int, own: bytes) -> int:
    """Return the line of a template's body for a line of its compiled code."""
    try:
        reply, _ = WORKERS.ask(own, ("line", template.name, place), SECONDS)
    except Ended:
        return 1
    return int(reply[1:]) if reply[:1] == OK else 1
