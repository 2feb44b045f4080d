"""The pace of calls: the user's limits per minute, the pauses that a server asks for, and the patience of a call."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from threading import Lock
from time import monotonic

MINUTE = 60.0


@dataclass
class Pace:
    """Limits on the requests and tokens per minute for all threads; None means no limit."""

    requests: int | None = None
    tokens: int | None = None
    _sent: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: Lock = field(default_factory=Lock)
    _pause_until: float = 0.0

    def delay(self, tokens: int) -> float:
        """Return 0 and count the call, or return the seconds until the next try."""
        with self._lock:
            now = monotonic()
            while self._sent and self._sent[0][0] <= now - MINUTE:
                self._sent.popleft()
            full = self.requests is not None and len(self._sent) >= self.requests
            spent = sum(count for _, count in self._sent) if self.tokens is not None else 0
            full |= self.tokens is not None and bool(self._sent) and spent + tokens > self.tokens
            if full:
                return self._sent[0][0] + MINUTE - now
            if self.requests is not None or self.tokens is not None:
                self._sent.append((now, tokens))
            return 0.0

    def pause(self, seconds: float) -> None:
        """Pause all threads for the seconds in a server's Retry-After header."""
        with self._lock:
            self._pause_until = max(self._pause_until, monotonic() + seconds)

    def paused(self) -> float:
        """Return the remaining seconds of the pause."""
        return max(0.0, self._pause_until - monotonic())


def asked_pause(header: str | None) -> float:
    """Return the seconds of a Retry-After header with seconds or a date; 0 for any other text."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        seconds = _until(header)
    return 0.0 if math.isnan(seconds) else max(0.0, seconds)


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0


@dataclass
class Attempts:
    """The attempts of one call and its remaining patience; waits for the user's limits use no patience."""

    patience: float
    start: float = field(default_factory=monotonic)
    failures: int = 0
    refusal: str = ""
    failed_at: float = 0.0
    _rested: float = 0.0

    def __post_init__(self) -> None:
        self.failed_at = self.start

    @property
    def left(self) -> float:
        """Return the remaining patience in seconds."""
        return self.patience - (monotonic() - self.start - self._rested)

    def fail(self) -> None:
        """Count a failure after which the call is tried again."""
        self.failures, self.failed_at = self.failures + 1, monotonic()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Exclude the time of the block from the patience."""
        began = monotonic()
        try:
            yield
        finally:
            self._rested += monotonic() - began
