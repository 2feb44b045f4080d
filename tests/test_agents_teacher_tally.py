"""A tally counts what a run does, stage by stage, and tells its listeners; unknown money is never nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from bundlewise.agents.ledger.calls import Reply
from bundlewise.agents.teacher.tally import Stage, Tally
from bundlewise.models.prices import Price

PAID = Reply("x", "stop", 1000, 200, 1.23456)
PRICE = Price(input=2.0, output=10.0)
EACH = 0.004


def worked(price: Price | None = None) -> Tally:
    """Return the tally of a small run: paid calls and a failure in one stage, answers from the ledger in another."""
    tally = Tally(price)
    tally.expect("kinds", 3)
    tally.call("kinds", "a", PAID, cached=False)
    tally.done("kinds", "a")
    tally.call("kinds", "b", PAID, cached=False)
    tally.failed("kinds", "b", "it was no JSON")
    tally.done("kinds", "b")
    tally.call("rules", "all", PAID, cached=True)
    return tally


def test_work_calls_and_tokens_are_counted_by_stage_in_the_order_met() -> None:
    tally = worked()
    assert list(tally.stages) == ["kinds", "rules"]
    assert tally.stages["kinds"] == Stage(total=3, done=2, failed=1, calls=2, tokens_in=2000, tokens_out=400)
    assert tally.stages["rules"] == Stage(cached=1), "an answer from the ledger costs no tokens in this run"
    assert tally.tokens == 2400


def test_expecting_again_replaces_what_was_expected_and_keeps_what_was_done() -> None:
    tally = worked()
    tally.expect("kinds", 5)
    assert (tally.stages["kinds"].total, tally.stages["kinds"].done) == (5, 2)


@pytest.mark.parametrize(
    ("price", "names", "cost"),
    [
        (PRICE, (), 2 * EACH),
        (PRICE, ("kinds",), 2 * EACH),
        (PRICE, ("rules",), 0.0),
        (PRICE, ("kinds", "rules"), 2 * EACH),
        (Price(input=0.0, output=0.0), (), 0.0),
        (None, (), None),
        (None, ("kinds",), None),
        (None, ("rules", "kinds"), None),
        (None, ("rules",), 0.0),
    ],
)
def test_money_is_that_of_paid_calls_and_unknown_where_their_price_is(
    price: Price | None, names: tuple[str, ...], cost: float | None
) -> None:
    assert worked(price).cost(*names) == (None if cost is None else pytest.approx(cost))


def test_before_anything_is_paid_even_an_unknown_price_costs_nothing() -> None:
    tally = Tally()
    assert tally.cost() == 0.0
    tally.expect("kinds", 3)
    tally.call("kinds", "a", PAID, cached=True)
    tally.failed("kinds", "b", "refused")
    assert tally.cost() == 0.0
    tally.call("kinds", "c", Reply("x"), cached=False)
    assert tally.cost() is None


def test_rows_say_all_of_every_stage_with_its_money() -> None:
    kinds = {"stage": "kinds", "total": 3, "done": 2, "failed": 1, "calls": 2, "cached": 0, "estimated": 0}
    rules = {"stage": "rules", "total": 0, "done": 0, "failed": 0, "calls": 0, "cached": 1, "estimated": 0}
    assert worked(PRICE).rows() == [
        kinds | {"tokens_in": 2000, "tokens_out": 400, "cost": pytest.approx(2 * EACH)},
        rules | {"tokens_in": 0, "tokens_out": 0, "cost": 0.0},
    ]


def test_listeners_hear_of_every_event_what_it_was() -> None:
    tally, heard = Tally(), list[dict[str, Any]]()
    tally.listeners += [heard.append, heard.append]
    tally.expect("kinds", 3)
    tally.call("kinds", "a", PAID, cached=False)
    tally.call("kinds", "b", PAID, cached=True)
    tally.failed("kinds", "b", "it was no JSON")
    tally.done("kinds", "b")
    assert heard[::2] == heard[1::2]
    tokens = {"tokens_in": 1000, "tokens_out": 200}
    assert heard[::2] == [
        {"event": "stage", "stage": "kinds", "total": 3},
        {"event": "call", "stage": "kinds", "subject": "a", "seconds": 1.235, "calls": 1} | tokens,
        {"event": "cached", "stage": "kinds", "subject": "b", "cached": 1, "held": (1000, 200)},
        {"event": "failed", "stage": "kinds", "subject": "b", "reason": "it was no JSON", "failed": 1},
        {"event": "done", "stage": "kinds", "subject": "b", "done": 1},
    ]


def test_events_of_many_threads_are_all_counted_and_heard_one_at_a_time() -> None:
    tally, heard, inside, barrier = Tally(PRICE), list[str](), list[int](), Barrier(8)

    def listen(event: dict[str, Any]) -> None:
        inside.append(1)
        time.sleep(0.0005)
        assert len(inside) == 1, "two threads at once"
        inside.pop()
        heard.append(event["subject"])

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(20):
            tally.call(f"stage {turn % 3}", f"{number} {turn}", PAID, cached=False)

    tally.listeners.append(listen)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert sorted(heard) == sorted(f"{number} {turn}" for number in range(8) for turn in range(20))
    assert sum(stage.calls for stage in tally.stages.values()) == 160
    assert tally.tokens == 160 * 1200
    assert tally.cost() == pytest.approx(160 * EACH)


def test_a_tally_is_read_while_other_threads_add_stages() -> None:
    tally = Tally(PRICE)
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(lambda: [tally.call(str(n), "a", PAID, cached=False) for n in range(3000)])
        while not adding.done():
            tally.rows()
            tally.cost()
            assert tally.tokens % 200 == 0
        adding.result()
    assert len(tally.rows()) == 3000


def test_a_listener_that_fails_hears_no_more_and_the_others_hear_why() -> None:
    tally, heard = Tally(PRICE), list[dict[str, Any]]()

    def fail(event: dict[str, Any]) -> None:
        raise ZeroDivisionError("by 0")

    tally.listeners += [fail, heard.append]
    for subject in "ab":
        tally.call("kinds", subject, PAID, cached=False)
    assert tally.calls == 2
    assert [event["event"] for event in heard] == ["call", "note", "call"]
    assert tally.notes == [heard[1]["reason"]] and "ZeroDivisionError: by 0" in tally.notes[0]
