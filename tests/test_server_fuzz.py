"""Fuzzing: requests made from the OpenAPI, right and wrong ones, against the real server."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from server_samples import KEY, WordStudent, app_of, served
from test_server_serve import until

from bundlewise.server.keys import Keys

PATIENCE = timedelta(seconds=10)
"""For one request: hypothesis' own limit of 200 ms fails a server that shares its cores."""
# The server's threads draw random numbers in this process while a request is made up.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
HEADERS = {"Authorization": f"Bearer {KEY}"}
WANTED = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(app_of(WordStudent(), keys=Keys([KEY]))) as address:
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        yield address


def fuzz(address: str, examples: int, round_: int = 0) -> int:
    """Send so many requests to every operation, half of them wrong by intent; return how many there were.

    Another round sends others. Rounds are short: after some dozens hypothesis searches for what is new without end.
    """
    load_all_checks()
    checks = CHECKS.get_by_names(WANTED)
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in GenerationMode:

            @seed(round_)
            @settings(max_examples=examples, deadline=PATIENCE, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal sent
                sent += 1
                case.call_and_validate(base_url=address, headers=HEADERS, checks=checks)

            with suppress(Unsatisfiable):  # What takes nothing cannot be asked wrongly.
                ask()
    return sent


def test_a_few_hundred_requests_find_no_fault_of_the_server(address: str) -> None:
    assert fuzz(address, 8) > 150
    assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}


@pytest.mark.slow
def test_ten_thousand_requests_find_no_fault_of_the_server(address: str) -> None:
    sent = 0
    for round_ in count(1):
        sent += fuzz(address, 25, round_)
        if sent >= 10_000:
            break
    found = httpx.get(f"{address}/metrics", headers=HEADERS).text
    assert "bundlewise_failures_total{" not in found and 'status="500"' not in found
