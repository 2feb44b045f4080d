"""Stopping: the first signal waits for what is under way, the second does not, and no lock is taken by a handler."""

import os
import signal
import threading
import time

import pytest

from bundlewise.errors import StoppedError
from bundlewise.stopping import stoppable


class Work:
    """Work of which so much is under way; it notes what is asked of it."""

    def __init__(self, under_way: int = 0) -> None:
        self.under_way, self.asked = under_way, list[str]()
        self.released = threading.Event()

    def halt(self) -> int:
        return self.under_way

    def release(self) -> None:
        self.asked.append("release")
        self.released.set()

    def hang_up(self) -> None:
        self.asked.append("hang up")

    def stopping(self, is_first: bool) -> None:
        self.asked.append("first" if is_first else "again")


def strike(how: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), how)
    time.sleep(0.1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_where_nothing_is_under_way_a_signal_ends_the_work_at_once(how: signal.Signals) -> None:
    work = Work()
    with pytest.raises(KeyboardInterrupt), stoppable(work):
        strike(how)
        pytest.fail("it went on")
    assert work.asked == ["first", "release"]


def test_what_is_under_way_is_waited_for_and_the_end_is_an_interrupt() -> None:
    work = Work(2)
    with pytest.raises(KeyboardInterrupt), stoppable(work):
        strike()
        assert work.released.wait(5)
        raise StoppedError("stopped")


def test_the_second_signal_hangs_up_and_the_third_interrupts_whatever_is_left() -> None:
    work = Work(2)
    with pytest.raises(KeyboardInterrupt), stoppable(work):
        strike()
        strike()
        assert work.asked == ["first", "release", "again", "release", "hang up"]
        strike()
        pytest.fail("it went on")


def test_work_that_ends_well_all_the_same_has_ended_well() -> None:
    with stoppable(Work(1)):
        strike()


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), stoppable(Work(1)):
        strike()
        raise ZeroDivisionError


def test_afterwards_signals_mean_what_they_meant_and_no_thread_is_left() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stoppable(Work()):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "stopping" not in [thread.name for thread in threading.enumerate()]


def test_in_another_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def look() -> None:
        with stoppable(Work()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
