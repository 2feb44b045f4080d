"""Claims on calls that are on their way: who holds one, and whether that thread of that process still runs."""

import os
from functools import cache
from uuid import uuid4

import psutil

CLOCK = 2.0
"""Seconds by which the start of a process may seem to move while the clock is set."""
HELD: set[str] = set()
"""Claims that threads of this process hold; another one of this process could not be given back, and is free."""


def new_claim() -> str:
    """Return a claim of this process, unlike any other."""
    return f"{_this_process(os.getpid())}:{uuid4().hex}"


def is_held(claim: str) -> bool:
    """Say whether a claim's thread still runs; on another machine none does, since no ledger is shared by two."""
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
    """Name this process so that no later one of the same number is taken for it."""
    return f"{os.uname().nodename}:{number}:{psutil.Process(number).create_time():.2f}"
