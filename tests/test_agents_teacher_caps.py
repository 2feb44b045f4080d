"""The room under caps: no cap is passed, and none is left unused for calls that are on their way."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from bundlewise.agents.ledger.calls import Reply
from bundlewise.agents.teacher.caps import CapError, Caps, Room
from bundlewise.agents.teacher.tally import Tally
from bundlewise.errors import StoppedError
from bundlewise.models.prices import Price

PRICE = Price(input=1.0, output=10.0)
MOST = 2000


def room(wait: Callable[[float], None] = lambda seconds: None, **caps: float | int) -> Room:
    return Room(Caps(**caps), Tally(PRICE), MOST, wait)  # type: ignore[arg-type]


def pay(under: Room, estimate: int = 400, read: int = 300, written: int = 100, seconds: float = 0.0) -> int | None:
    """Make a call; return the greatest length that it was given."""
    with under.taken("describe", estimate) as limit:
        time.sleep(seconds)
        reply = Reply("x", "stop", read, min(written, limit or written))
        under.tally.call("describe", "s", reply, cached=False)
        under.learn("describe", estimate, reply)
    return limit


def spend(under: Room, threads: int, seconds: float = 0.001) -> list[int | None]:
    """Make calls until a cap is reached."""
    limits: list[int | None] = []

    def go_on(_: int) -> str:
        while True:
            try:
                limits.append(pay(under, seconds=seconds))
            except CapError as error:
                return str(error)

    with ThreadPoolExecutor(threads) as pool:
        said = set(pool.map(go_on, range(threads)))
    assert len(said) == 1, "every thread is told the same"
    return limits


@pytest.mark.parametrize("threads", [1, 8, 32])
@pytest.mark.parametrize("caps", [{"cost": PRICE.cost(300, 100) * 200}, {"tokens": 400 * 200}, {"calls": 200}])
def test_a_cap_is_used_but_for_a_call_and_never_passed(threads: int, caps: dict[str, float]) -> None:
    under = room(**caps)
    spend(under, threads)
    assert 198 <= under.tally.calls <= 200


def test_what_is_said_to_be_spent_is_what_was_spent() -> None:
    under = room(tokens=400 * 50)
    spend(under, 8)
    with pytest.raises(CapError, match=rf"before exceeding --max-tokens 20,000: {under.tally.tokens:,} tokens spent"):
        pay(under)


def test_far_from_a_cap_an_answer_may_have_its_greatest_length_and_near_it_what_answers_needed() -> None:
    under = room(tokens=400 * 50)
    limits = [limit or MOST for limit in spend(under, 1)]
    assert limits[:5] == [MOST] * 5
    assert limits == sorted(limits, reverse=True) and 120 <= limits[-1] <= 300


def test_before_anything_is_learnt_a_call_takes_what_it_could_at_most() -> None:
    with pytest.raises(CapError, match="0 tokens spent"):
        pay(room(tokens=400 + MOST - 1))
    assert pay(room(tokens=400 + MOST)) is None


def test_a_call_that_fails_gives_its_room_back() -> None:
    under = room(tokens=400 + MOST)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), under.taken("describe", 400):
            raise ZeroDivisionError
    assert pay(under) is None


def test_who_waits_for_room_stops_when_the_run_does() -> None:
    stopped: list[bool] = []

    def wait(seconds: float) -> None:
        if stopped:
            raise StoppedError("stopped")

    under = room(wait, calls=1)
    with under.taken("describe", 1), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pay, under)
        time.sleep(0.3)
        assert not waiting.done()
        stopped.append(True)
        with pytest.raises(StoppedError):
            waiting.result(timeout=5)
