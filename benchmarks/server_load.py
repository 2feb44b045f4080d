"""Measure the sessions per second of the server with many clients, in comparison with one client at a time.

The server is `bundlewise serve` in a process of its own, with the given student and knowledge base. Every client has
its own key and asks for one session after the other, none twice. In the middle of a last run the server is killed and
started again; all threads and ratings that it confirmed must still exist.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from measuring import Numbers, quantiles, show

from bundlewise.data import sessions as dataset

PATIENCE = 300.0


class Load:
    """The answers that the clients of one run received."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors = 0
        self.by_client: dict[str, int] = {}

    async def client(self, address: str, key: str, sessions: Iterator[list[str]], until: float) -> None:
        """Ask for session after session until the time is over."""
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=PATIENCE) as http:
            while time.perf_counter() < until:
                start = time.perf_counter()
                try:
                    found = await http.post("/v1/bundles", json={"items": next(sessions)})
                    good = found.status_code == 200 and len(found.json()["sessions"]) == 1
                except httpx.HTTPError:
                    good = False
                if good:
                    self.seconds.append(time.perf_counter() - start)
                    self.by_client[key] = self.by_client.get(key, 0) + 1
                else:
                    self.errors += 1


def run(address: str, keys: list[str], sessions: Iterator[list[str]], seconds: float) -> Numbers:
    """Let clients ask for some seconds; return their numbers and the server's counts."""
    load, before = Load(), counted(address, keys[0])

    async def ask() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(load.client(address, key, sessions, until) for key in keys))

    start = time.perf_counter()
    asyncio.run(ask())
    wall = time.perf_counter() - start
    after = counted(address, keys[0])
    batches, answered = (after[name] - before[name] for name in ("batches", "sessions"))
    each = list(load.by_client.values()) or [0]
    times = quantiles(load.seconds or [0.0])
    return {
        "clients": len(keys),
        "errors": load.errors,
        "sessions": len(load.seconds),
        "sessions/s": round(len(load.seconds) / wall, 3),
        "p50_ms": times["p50_ms"],
        "p95_ms": times["p95_ms"],
        "batch": round(answered / max(1, batches), 2),
        "least": min(each) if len(load.by_client) == len(keys) else 0,
        "most": max(each),
    }


def counted(address: str, key: str) -> dict[str, float]:
    """Return the number of batches that the server has answered, and of sessions in them."""
    text = httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE).text
    rows = dict(row.rsplit(" ", 1) for row in text.splitlines() if row.startswith("bundlewise_batch_sessions_"))
    return {
        "batches": float(rows["bundlewise_batch_sessions_count"]),
        "sessions": float(rows["bundlewise_batch_sessions_sum"]),
    }


def sessions_of(data: str) -> Iterator[list[str]]:
    """Yield the titles of real sessions, and then again with numbers, so that no two sessions are equal."""
    known = [session.titles for session in dataset.load(data)]
    for round_ in itertools.count():
        for titles in known:
            yield [f"{titles[0]} No. {round_}", *titles[1:]] if round_ else titles


@contextmanager
def serving(options: list[str], keys: list[str], folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run the server as a process; yield it with its address once it is ready."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    files = ["--threads", str(folder / "threads.sqlite"), "--feedback", str(folder / "ratings.jsonl")]
    command = [sys.executable, "-m", "bundlewise", "serve", "--port", address.rpartition(":")[2], *options, *files]
    with (folder / "server.log").open("ab") as log:
        environment = os.environ | {"BUNDLEWISE_API_KEYS": ",".join(keys)}
        process = subprocess.Popen(command, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{(folder / 'server.log').read_text('utf-8')}")
            time.sleep(0.2)
        yield process, address
    finally:
        process.kill()
        process.wait()


def is_ready(address: str) -> bool:
    """Say whether a server answers and is warm."""
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def killed(options: list[str], keys: list[str], folder: Path, seconds: float) -> Numbers:
    """Talk and rate in threads until the server is killed, start it again, and check everything it confirmed."""
    said: dict[str, list[str]] = {key: [] for key in keys}
    rated: list[str] = []

    async def shopper(address: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=PATIENCE) as http:
            for number in itertools.count():
                text = f"find case {number}"
                try:
                    found = await http.post("/api/threads/t/messages", json={"text": text})
                    if found.status_code == 200 and "event: done" in found.text:
                        said[key].append(text)
                    rating = await http.post("/api/threads/t/ratings", json={"up": True, "note": f"{number}"})
                    rated.extend([rating.json()["id"]] if rating.status_code == 200 else [])
                except httpx.HTTPError:
                    return

    async def until_killed(process: "subprocess.Popen[bytes]", address: str) -> None:
        shoppers = [asyncio.create_task(shopper(address, key)) for key in keys]
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        await asyncio.gather(*shoppers)

    with serving(options, keys, folder) as (process, address):
        asyncio.run(until_killed(process, address))
    with serving(options, keys, folder) as (_, address):
        lost = sum(len(set(texts) - heard(address, key)) for key, texts in said.items())
    kept = {json.loads(row)["id"] for row in (folder / "ratings.jsonl").read_text("utf-8").splitlines()}
    return {
        "messages": sum(map(len, said.values())),
        "messages lost": lost,
        "ratings": len(rated),
        "ratings lost": len(set(rated) - kept),
    }


def heard(address: str, key: str) -> set[str]:
    """Return the messages that the server has in a key's thread."""
    found = httpx.get(f"{address}/api/threads/t", headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE)
    messages = found.json().get("messages", [])
    return {message["text"] for message in messages if message["role"] == "user"}


def main() -> None:
    """Measure all, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kb")
    parser.add_argument("--adapter")
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--data", default="electronics")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    options = ["--student", given.student]
    options += [
        part for name in ("kb", "adapter") if getattr(given, name) for part in (f"--{name}", getattr(given, name))
    ]
    keys = [f"load-client-key-{number:04}" for number in range(given.clients)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, sessions = Path(name), sessions_of(given.data)
        with serving(options, keys, folder) as (_, address):
            runs = {
                "one by one": run(address, keys[:1], sessions, given.seconds / 2),
                "at once": run(address, keys, sessions, given.seconds),
            }
        found["load"] = runs
        found["throughput ratio"] = round(runs["at once"]["sessions/s"] / (runs["one by one"]["sessions/s"] or 1e-9), 2)
        found["killed"] = {"and restarted": killed(options, keys[:8], folder, min(20, given.seconds / 4))}
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
