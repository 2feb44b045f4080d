"""Meters: the server's counters and timers for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Meters:
    """Counters of one server, in a registry of its own, so that two servers in a process stay separate."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "bundlewise_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "bundlewise_request_seconds", "Time of requests.", ["route"], buckets=SECONDS, registry=registry
        )
        self.refusals = Counter("bundlewise_refusals", "Refused requests by code.", ["code"], registry=registry)
        self.active = Gauge("bundlewise_requests_active", "Requests that are worked on.", registry=registry)
        self.waiting = Gauge("bundlewise_queue_sessions", "Sessions that wait for the student.", registry=registry)
        self.queued = Histogram(
            "bundlewise_queue_seconds", "Time that a session waited.", buckets=SECONDS, registry=registry
        )
        self.batches = Histogram(
            "bundlewise_batch_sessions", "Sessions that were answered together.", buckets=SIZES, registry=registry
        )
        self.sessions = Counter("bundlewise_sessions", "Answered sessions by outcome.", ["outcome"], registry=registry)
        self.tokens = Counter(
            "bundlewise_tokens", "Tokens that the student read and wrote.", ["direction"], registry=registry
        )
        self.failures = Counter("bundlewise_failures", "Faults of the server itself.", ["kind"], registry=registry)

    def text(self) -> bytes:
        """Return all meters in Prometheus' text format."""
        return generate_latest(self.registry)
