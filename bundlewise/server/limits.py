"""Limits: how much, how often and how long a client may send, and how many sessions may wait."""

import time
from collections.abc import Callable

from pydantic import Field

from bundlewise.agents.student.compose import MAX_PRODUCTS
from bundlewise.domain import Record
from bundlewise.titles import MAX_TITLE

__all__ = ["MAX_ITEMS", "MAX_SESSIONS", "MAX_TITLE", "Buckets", "ServerLimits"]

MAX_ITEMS = MAX_PRODUCTS
MAX_SESSIONS = 64
REMEMBERED = 10_000
"""Most clients whose buckets are kept; a client that was dropped starts with a full bucket."""


class ServerLimits(Record):
    """The limits that protect a server; sizes in bytes, times in seconds."""

    body: int = Field(default=2**20, ge=1, description="bytes of a request's body")
    rate: float = Field(default=0, ge=0, description="sessions and messages a minute for each client; 0 is no limit")
    burst: int = Field(default=64, ge=1, description="sessions and messages a client may send at once")
    concurrent: int = Field(default=128, ge=1, description="requests that are worked on at once")
    waiting: int = Field(default=512, ge=1, description="sessions that wait for the student at once")
    connections: int = Field(default=1000, ge=1, description="open connections")
    read_seconds: float = Field(default=15, gt=0, description="seconds to send headers, and again for the body")
    drain_seconds: int = Field(default=30, ge=1, description="seconds for open requests when the server stops")


class Buckets:
    """One token bucket per client: it fills at the rate, up to the burst, and each request takes out its cost."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate / 60, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, client: str, cost: float = 1) -> float:
        """Take the cost out of a client's bucket; return 0, or the seconds until the bucket has enough.

        A bucket never has enough for a cost above the burst.
        """
        if not self._rate:
            return 0.0
        now = self._clock()
        held, since = self._buckets.get(client, (float(self._burst), now))
        held = min(self._burst, held + (now - since) * self._rate)
        taken = held - cost if held >= cost else held
        self._buckets.pop(client, None)  # so that the order is by last use
        self._buckets[client] = (taken, now)
        if len(self._buckets) > REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if held >= cost else (cost - held) / self._rate
