"""The claims on calls that wait for an answer: the thread that holds a claim, and whether it still runs."""

import os
from functools import cache
from uuid import uuid4

import psutil

CLOCK = 2.0
"""The tolerance in seconds for the start of a process, which seems to move when the clock is set."""
HELD: set[str] = set()
"""The claims that threads of this process hold; any other claim of this process is a leftover, and is free."""


def new_claim() -> str:
    """Return a new unique claim of this process."""
    return f"{_this_process(os.getpid())}:{uuid4().hex}"


def is_held(claim: str) -> bool:
    """Say whether a claim's thread still runs; a claim of another machine is free, as machines share no ledger."""
    node, number, started, _ = claim.rsplit(":", 3)
    if (node, int(number)) == (os.uname().nodename, os.getpid()):
        return claim in HELD
    try:
        process = psutil.Process(int(number))
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(started)) < CLOCK
    except psutil.NoSuchProcess:
        return False
    return node == os.uname().nodename and alive


@cache
def _this_process(number: int) -> str:
    """Return a name of this process that differs from later processes with the same number."""
    return f"{os.uname().nodename}:{number}:{psutil.Process(number).create_time():.2f}"
