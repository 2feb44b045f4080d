"""Turns under way: so many of a thread and of a client, and no more once they have ended."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from anyio import CapacityLimiter

from bundlewise.agents.assistant.conversation import DoneEvent, Event
from bundlewise.server.meters import Meters
from bundlewise.server.refusals import Refusal
from bundlewise.server.service import Caller
from bundlewise.server.turns import OPEN, WAITING, Turns


def test_a_client_that_hangs_up_holds_only_so_many_turns_whatever_the_threads_are_called() -> None:
    gate = threading.Event()

    def talk() -> Iterator[Event]:
        gate.wait(30)
        yield DoneEvent()

    async def run() -> None:
        turns = Turns(CapacityLimiter(OPEN + 8), Meters())
        under_way = [turns.start("anna", f"t{n}", talk, Caller("anna")) for n in range(OPEN)]
        with pytest.raises(Refusal, match=f"{OPEN} turns of this client are unfinished"):
            turns.start("anna", "another", talk, Caller("anna"))
        others = [turns.start("bert", "t0", talk, Caller("bert")) for _ in range(WAITING)]
        with pytest.raises(Refusal, match=f"{WAITING} turns of this thread are unfinished"):
            turns.start("bert", "t0", talk, Caller("bert"))
        gate.set()
        for turn in (*under_way, *others):
            assert [row async for row in turn.follow()]
        last = turns.start("anna", "another", talk, Caller("anna"))
        assert [row async for row in last.follow()] and not turns.of("anna", "t0")

    asyncio.run(run())
