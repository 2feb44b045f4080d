"""Asking for typed replies: nothing is paid twice, faults are fed back, caps hold, servers are seen through."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from teacher_server import Handler, TeacherServer

from bundlewise.agents.chat.client import ChatEndpoint
from bundlewise.agents.chat.completions import tokens_of
from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.teacher.ask import Asker
from bundlewise.agents.teacher.caps import CapError, Caps
from bundlewise.agents.teacher.contracts import Kinds
from bundlewise.agents.teacher.plan import Planner
from bundlewise.agents.teacher.tally import Tally
from bundlewise.errors import ModelError, StoppedError, UsageError
from bundlewise.models.prices import Price
from bundlewise.prompts.library import SHIPPED, shipped, using

TITLES = ["Glide Mouse", "Foam Pad"]
GOOD = '{"kinds": ["mouse", "pad"]}'
PRICE = Price(input=1000.0, output=1000.0)


class Bench:
    """An asker on a real server, whose replies a test puts down in advance."""

    def __init__(self, folder: Path) -> None:
        self.server = TeacherServer()
        self.ledger = CallLedger(folder / "calls.sqlite")
        self.tally = Tally()
        self.endpoint = ChatEndpoint("lab", self.server.spec.partition("@")[2], timeout=5, patience=5)

    def asker(self, **fields: Any) -> Asker:
        return Asker(self.endpoint, self.ledger, self.tally, **fields)

    def replies(self, *texts: str, finish: str = "stop") -> None:
        left = list(texts)

        def say(handler: Handler, body: dict[str, Any]) -> bool:
            handler.answer(left.pop(0), handler.headers["Idempotency-Key"], finish)
            return True

        self.server.fault = say

    def close(self) -> None:
        self.server.close()
        self.endpoint.close()
        self.ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


def kinds(asker: Any, titles: list[str] = TITLES, subject: str = "s") -> list[str] | None:
    found = asker.ask(
        "describe",
        subject,
        "teacher_kinds",
        Kinds,
        lambda reply: [] if len(reply.kinds) == len(titles) else [f"there must be {len(titles)} kinds"],
        lambda: Kinds(kinds=["usual"] * len(titles)),
        titles=titles,
    )
    return None if found is None else found.kinds


def test_a_question_is_paid_once_whoever_asks_it_again(bench: Bench) -> None:
    bench.replies(GOOD)
    assert kinds(bench.asker()) == kinds(bench.asker()) == ["mouse", "pad"]
    assert sum(bench.server.asked.values()) == 1
    assert (bench.tally.stages["describe"].calls, bench.tally.stages["describe"].cached) == (1, 1)


@pytest.mark.parametrize(
    "reply",
    [
        f"Sure! Here it is:\n```json\n{GOOD}\n```\nAnything else?",
        f'First {{"idea": 1}}, then: {GOOD}',
        GOOD.replace("}", ', "more": true}'),
    ],
)
def test_json_in_prose_is_read(bench: Bench, reply: str) -> None:
    bench.replies(reply)
    assert kinds(bench.asker()) == ["mouse", "pad"]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("I cannot do that.", "- there is no JSON object in it"),
        ('{"kinds": "mouse"}', "- kinds: input should be a valid array"),
        ('{"sorts": []}', "- kinds: field required"),
        ('{"kinds": ["mouse"]}', "- there must be 2 kinds"),
        ('{"kinds": ["mouse"', "- there is no JSON object in it"),
    ],
)
def test_a_reply_that_breaks_its_contract_is_fed_back_with_what_is_wrong(bench: Bench, bad: str, told: str) -> None:
    bench.replies(bad, GOOD)
    assert kinds(bench.asker()) == ["mouse", "pad"]
    again = bench.server.bodies[1]["messages"]
    assert [m["role"] for m in again] == ["system", "user", "assistant", "user"]
    assert again[2]["content"] == bad and told in again[3]["content"]
    assert bench.tally.stages["describe"].failed == 0


def test_after_the_last_repair_the_subject_has_failed_and_asking_again_costs_nothing(bench: Bench) -> None:
    bench.replies("no", "nope", "never")
    assert kinds(bench.asker(repairs=2)) is None
    assert kinds(bench.asker(repairs=2)) is None
    assert sum(bench.server.asked.values()) == 3
    assert bench.tally.stages["describe"].failed == 2


@pytest.mark.parametrize(
    "said", [["no", "no"], ["no", "nope", "no"], ["no", "nope", "nope"]], ids=["twice", "in turn", "at last"]
)
def test_a_model_that_repeats_a_wrong_answer_is_not_told_the_same_again(bench: Bench, said: list[str]) -> None:
    bench.replies(*said)
    heard: list[dict[str, Any]] = []
    bench.tally.listeners.append(heard.append)
    assert kinds(bench.asker(repairs=9)) is None
    assert [event["event"] for event in heard] == ["call"] * len(said) + ["failed"], "nothing comes from the ledger"
    assert heard[-1]["reason"] == "there is no JSON object in it (the same answer came again)"


def test_a_reply_cut_by_length_is_asked_for_again_shorter(bench: Bench) -> None:
    bench.replies('{"kinds": ["mo', GOOD, finish="length")
    assert kinds(bench.asker()) == ["mouse", "pad"]
    assert "cut off at its greatest length; be shorter" in bench.server.bodies[1]["messages"][3]["content"]


def test_a_call_that_the_server_refuses_fails_its_subject_alone(bench: Bench) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        handler.send(400, b'{"error": {"message": "content filter"}}')
        return True

    bench.server.fault = refuse
    heard: list[dict[str, Any]] = []
    bench.tally.listeners.append(heard.append)
    assert kinds(bench.asker()) is None
    assert "content filter" in heard[-1]["reason"]
    bench.replies(GOOD)
    assert kinds(bench.asker()) == ["mouse", "pad"], "a failure is never kept as an answer"


@pytest.mark.parametrize("change", [{"temperature": 1.0}, {"model": "other"}, {"max_output": 99}])
def test_other_parameters_are_another_call(bench: Bench, change: dict[str, Any]) -> None:
    bench.replies(GOOD, GOOD)
    kinds(bench.asker())
    for name, value in change.items():
        setattr(bench.endpoint, name, value)
    kinds(bench.asker())
    assert sum(bench.server.asked.values()) == 2


def test_the_server_and_how_the_schema_was_sent_are_not_part_of_a_call(bench: Bench) -> None:
    bench.replies(GOOD)
    kinds(bench.asker())
    elsewhere = ChatEndpoint("lab", "http://127.0.0.1:1/v1")
    assert kinds(Asker(elsewhere, bench.ledger, Tally(), mode="plain")) == ["mouse", "pad"]


@pytest.mark.parametrize(
    ("schema", "object_", "mode"),
    [(True, True, "json_schema"), (False, True, "json_object"), (False, False, "plain")],
)
def test_what_a_server_really_does_with_a_schema_is_found_out_once(
    bench: Bench, schema: bool, object_: bool, mode: str
) -> None:
    def probed(handler: Handler, body: dict[str, Any]) -> bool:
        kind = body["response_format"]["type"]
        keeps = schema if kind == "json_schema" else object_
        said = '{"greeting_word": "hello"}' if kind == "json_schema" else '{"text": "hello"}'
        handler.answer(said if keeps else "Hello!")
        return True

    bench.server.fault = probed
    assert bench.asker().probe() == mode
    asked = sum(bench.server.asked.values())
    assert bench.asker().probe() == mode
    assert sum(bench.server.asked.values()) == asked, "the answer is in the ledger"


def test_a_server_that_refuses_schemas_is_asked_in_plain_words(bench: Bench) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        if "response_format" in body:
            handler.send(400, b'{"error": {"message": "unknown field response_format"}}')
        else:
            handler.answer(GOOD)
        return True

    bench.server.fault = refuse
    asker = bench.asker()
    assert asker.probe() == "plain"
    assert kinds(asker) == ["mouse", "pad"]


def most(titles: list[str]) -> int:
    """Return what one call could take at most."""
    from bundlewise.agents.teacher.ask import messages_of
    from bundlewise.agents.teacher.contracts import schema_of

    return tokens_of(messages_of("teacher_kinds", schema_of(Kinds), titles=titles))[1]


@pytest.mark.parametrize("room", [0, 1])
def test_no_call_is_made_that_could_pass_a_cap(bench: Bench, room: int) -> None:
    bench.endpoint.max_output = 50
    needed = most(TITLES) + 50
    bench.replies(GOOD)
    asker = bench.asker(caps=Caps(tokens=needed - 1 + room))
    if room:
        assert kinds(asker) == ["mouse", "pad"]
        with pytest.raises(CapError, match=r"stopped before exceeding --max-tokens .*: 120 tokens spent"):
            kinds(asker, ["Other", "Things"])
    else:
        with pytest.raises(CapError, match="0 tokens spent; run the same command with a higher cap to continue"):
            kinds(asker)
    assert sum(bench.server.asked.values()) == room


def test_a_cap_on_money_holds_and_what_is_kept_costs_nothing(bench: Bench) -> None:
    bench.tally.price = PRICE
    bench.endpoint.max_output = 50
    cost = PRICE.cost(most(TITLES), 50)
    bench.replies(GOOD)
    assert kinds(bench.asker(caps=Caps(cost=cost))) == ["mouse", "pad"]
    assert kinds(bench.asker(caps=Caps(cost=0.0))) == ["mouse", "pad"]
    with pytest.raises(CapError, match=r"--max-cost \$0"):
        kinds(bench.asker(caps=Caps(cost=0.0)), ["Other", "Things"])
    assert bench.tally.cost() == PRICE.cost(100, 20)


def test_an_unknown_price_cannot_be_capped(bench: Bench) -> None:
    with pytest.raises(UsageError, match="the price of lab is unknown, so --max-cost cannot hold; add it to a table"):
        bench.asker(caps=Caps(cost=1.0))


def test_a_server_that_counts_no_tokens_is_counted_for(bench: Bench) -> None:
    def uncounted(handler: Handler, body: dict[str, Any]) -> bool:
        content = b'{"choices": [{"message": {"content": "{\\"kinds\\": [\\"a\\", \\"b\\"]}"}}]}'
        handler.send(200, content)
        return True

    bench.server.fault = uncounted
    assert kinds(bench.asker()) == ["a", "b"]
    assert bench.tally.stages["describe"].tokens_in == most(TITLES)
    assert bench.tally.stages["describe"].tokens_out > 0


def test_a_plan_asks_nobody_and_says_why_calls_are_to_be_made(bench: Bench) -> None:
    bench.replies(GOOD)
    kinds(bench.asker(), subject="kept")
    plan = Planner(bench.endpoint, bench.ledger)
    assert kinds(plan, subject="kept") == ["mouse", "pad"]
    assert kinds(plan, ["A Case", "A Lid", "A Box"], subject="never asked") == ["usual"] * 3
    assert kinds(plan, ["Glide Mouse", "Foam Pad, blue"], subject="kept") == ["usual"] * 2
    with using(SHIPPED.replacing(shipped("teacher_kinds").with_body("Another wording of {{ titles | length }}"))):
        assert kinds(plan, subject="kept") == ["usual"] * 2
    (row,) = plan.rows(PRICE)
    assert (row["cached"], row["calls"], row["most_calls"]) == (1, 3, 9)
    assert row["why"] == {"new": 1, "what it builds on changed": 1, "template changed": 1}
    assert 0 < row["tokens_in"][0] < row["tokens_in"][1] and 0 < row["cost"][0] < row["cost"][1]
    assert sum(bench.server.asked.values()) == 1
    assert plan.rows(None)[0]["cost"] == [None, None]


USELESS = {
    "empty": ({"content": ""}, "the answer was empty"),
    "refused": ({"content": None, "refusal": "I will not."}, "the model refused to answer: I will not."),
    "tools": ({"content": None, "tool_calls": [{"id": "1"}]}, "the model called a tool instead of answering"),
    "unreadable": ({"content": 5}, "the answer could not be read"),
}


def useless(bench: Bench, message: dict[str, Any], count: int) -> None:
    """Let the server give so many answers of no use, then good ones."""
    left = [count]

    def say(handler: Handler, body: dict[str, Any]) -> bool:
        left[0] -= 1
        if left[0] < 0:
            handler.answer(GOOD, handler.headers["Idempotency-Key"])
        else:
            usage = {"prompt_tokens": 100, "completion_tokens": 20}
            handler.send(200, json.dumps({"choices": [{"message": message}], "usage": usage}).encode())
        return True

    bench.server.fault = say


@pytest.mark.parametrize(("message", "why"), USELESS.values(), ids=USELESS)
def test_an_answer_of_no_use_is_counted_kept_and_asked_for_again_as_often_as_repairs_allow(
    bench: Bench, message: dict[str, Any], why: str, tmp_path: Path
) -> None:
    heard: list[dict[str, Any]] = []
    bench.tally.listeners.append(heard.append)
    useless(bench, message, 3)
    assert kinds(bench.asker(repairs=2)) is None
    assert heard[-1]["reason"].startswith(why)
    assert (bench.tally.calls, bench.tally.tokens) == (3, 360)
    assert sum(row["calls"] for row in bench.ledger.totals()) == 3
    assert kinds(bench.asker(repairs=2)) is None
    assert sum(bench.server.asked.values()) == 3, "nothing is paid again in the next run"
    assert kinds(bench.asker(repairs=3)) == ["mouse", "pad"], "one more attempt is a call of its own"
    assert sum(bench.server.asked.values()) == 4


def test_an_answer_that_breaks_its_contract_is_kept_as_faulty_and_may_be_asked_for_again(
    bench: Bench, tmp_path: Path
) -> None:
    bench.replies("The model is overloaded, try again later.", "no", "never")
    assert kinds(bench.asker()) is None
    bench.ledger.close()
    bench.ledger = CallLedger(tmp_path / "calls.sqlite")
    bench.replies(GOOD)
    assert kinds(bench.asker()) is None
    assert kinds(bench.asker(retry_failed=True)) == ["mouse", "pad"]


def test_one_question_that_never_gets_an_answer_fails_alone_even_where_nobody_else_asks(bench: Bench) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        is_bad = "Foam Pad" in str(body["messages"])
        if is_bad:
            handler.send(500, b'{"error": {"message": "on fire"}}')
        return is_bad

    bench.server.fault = refuse
    bench.endpoint.patience = 0.8
    heard: list[dict[str, Any]] = []
    bench.tally.listeners.append(heard.append)
    asker = bench.asker()
    assert kinds(asker) is None
    assert "gave no answer for 1 s (500: on fire), although it answers others" in heard[-1]["reason"]
    assert kinds(asker, ["A Case", "A Lid"], "other") == ["case", "lid"]
    assert sum(row["calls"] for row in bench.ledger.totals()) == bench.tally.calls == 2, "what found out was paid"


def test_where_the_server_answers_nobody_the_run_ends(bench: Bench) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> bool:
        handler.send(500, b'{"error": {"message": "on fire"}}')
        return True

    bench.server.fault = refuse
    bench.endpoint.patience = 0.8
    with pytest.raises(ModelError, match=r"gave no answer for 1 s \(500: on fire\); the same command goes on"):
        kinds(bench.asker())


def test_a_model_that_calls_its_own_probe_empty_is_probed_again(bench: Bench) -> None:
    useless(bench, {"content": ""}, 1)
    answer = bench.server.fault
    assert answer is not None

    def probed(handler: Handler, body: dict[str, Any]) -> bool:
        return sum(bench.server.asked.values()) == 1 and answer(handler, body)

    bench.server.fault = probed
    assert bench.asker().probe() == "json_schema"


def test_an_answer_nested_too_deeply_is_a_fault_of_the_answer(bench: Bench) -> None:
    bench.replies('{"kinds": ' + "[" * 50_000, GOOD)
    assert kinds(bench.asker()) == ["mouse", "pad"]
    assert len(bench.server.bodies[1]["messages"][2]["content"]) <= 20_000, "not all of it is paid for again"


def test_a_run_that_was_halted_begins_no_call(bench: Bench) -> None:
    asker = bench.asker()
    assert asker.halt() == 0
    with pytest.raises(StoppedError):
        kinds(asker)
    assert not bench.server.asked


def test_an_answer_is_kept_before_anybody_hears_of_it_and_who_fails_then_costs_nothing(bench: Bench) -> None:
    kept: list[int] = []

    def fail(event: dict[str, Any]) -> None:
        if event["event"] == "call":
            kept.append(sum(row["calls"] for row in bench.ledger.totals()))
            raise BrokenPipeError("nobody reads")

    bench.replies(GOOD, GOOD)
    bench.tally.listeners.append(fail)
    asker = bench.asker()
    assert kinds(asker) == kinds(asker, ["A Case", "A Lid"]) == ["mouse", "pad"]
    assert kept == [1] and bench.tally.calls == 2 and len(bench.tally.notes) == 1


def test_a_cap_is_passed_by_no_more_than_one_answer_that_thinks_beyond_its_limit(bench: Bench) -> None:
    def think(handler: Handler, body: dict[str, Any]) -> bool:
        usage = {"prompt_tokens": 100, "completion_tokens": 20_000, "total_tokens": 20_100}
        handler.send(200, json.dumps({"choices": [{"message": {"content": GOOD}}], "usage": usage}).encode())
        return True

    bench.server.fault = think
    asker = bench.asker(caps=Caps(tokens=50_000))
    assert kinds(asker) == ["mouse", "pad"]
    with pytest.raises(CapError, match=r"40,200 tokens spent|20,100 tokens spent"):
        for number in range(9):
            kinds(asker, ["Case", f"Lid {number}"])
    assert bench.tally.tokens <= 50_000
