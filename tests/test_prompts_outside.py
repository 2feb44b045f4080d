"""Templates of one's own are rendered by processes that end at two seconds or at their memory, with file and line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from samples import session
from test_prompts_render import VARIABLES
from worst_server import parent_of, running, wait_until

from bundlewise.agents.student.compose import judge_prompt
from bundlewise.domain import Retrieved
from bundlewise.errors import DataError
from bundlewise.prompts.allowance import CHARACTERS, SECONDS, allowance
from bundlewise.prompts.library import SHIPPED, TEMPLATES, Library, shipped, using
from bundlewise.prompts.outside import WORKERS, rendering_outside


def looped(times: int, body: str) -> str:
    return f"{{% set n = namespace(a=[1], b=[1]) %}}{{% for i in range({times}) %}}{body}{{% endfor %}}"


GROWN = looped(60, "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}")
ENDLESS = {
    "a power of ten": "{{ 5 | round(99999999, 'ceil') }}",
    "one more in a set": "{% set a = 5 | round(99999999, 'floor') %}",
    "comparing": GROWN + "{{ n.a == n.b }}",
    "printing": GROWN + "{{ n.a | string | length }}",
    "counting": looped(9999, "{% set x = ('a' * 500000).count('a') %}"),
    "grouping": "{% set x = range(9999) | list %}" + looped(9999, "{% set y = x | groupby('real') %}"),
}
FULL = {
    "doubled lists": looped(30, "{% set n.a = (n.a, n.a) | sum(start=[]) %}"),
    "kept texts": looped(9999, "{% set n.a = [n.a, ('ab' * 400000) | upper] %}"),
}
FAULTS = {
    "AssertionError": "{{ 'abc' | truncate(5, True, 'x' * 9) }}",
    "TypeError": "{{ 5() }}",
    "ZeroDivisionError": "{{ 1 / 0 }}",
    "OverflowError": "{{ (10 * 1.0e308 * 10) | int }}",
    "ValueError": "{{ ('f' * 90000) | int(0, 16) }}",
    "UnicodeEncodeError": "{{ '\\ud800' }}",
    "too many statically nested blocks": "{% for a in titles %}" * 25 + "x" + "{% endfor %}" * 25,
    "nested too deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "a row of operators": "{{ " + "+".join(["1"] * 20000) + " }}",
    "blocks, lists or": "{% for a in [1] %}" * 200 + "{% endfor %}" * 200,
    "endlessly": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
}


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[None]:
    with rendering_outside(warm=True):
        yield


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a busy machine time to reach a fault other than slowness."""
    monkeypatch.setattr("bundlewise.prompts.allowance.SECONDS", 30.0)


def edited(body: str) -> Library:
    return SHIPPED.replacing(shipped("name").with_body(body))


def fault_of(body: str) -> str:
    with pytest.raises(DataError) as caught, allowance():
        edited(body).render("name", {"titles": ["mouse", "pad"]})
    return str(caught.value)


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_work_ends_at_two_seconds_wherever_it_is(body: str) -> None:
    began = time.monotonic()
    line = shipped("name").before + 2
    assert f"name.jinja, line {line}: more than 2 s of work; do less in it" in fault_of(f"x\n{body}")
    # On a busy machine, processes take their time to start and to end.
    assert time.monotonic() - began < SECONDS + 20


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("body", FULL.values(), ids=FULL)
def test_memory_ends_at_its_limit(body: str) -> None:
    line = shipped("name").before + 2
    assert f"name.jinja, line {line}: it takes more memory than a template may have" in fault_of(f"x\n{body}")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("said", "body"), FAULTS.items(), ids=FAULTS)
@pytest.mark.parametrize("is_outside", [True, False])
def test_whatever_a_template_raises_is_a_fault_of_it(said: str, body: str, is_outside: bool, monkeypatch: Any) -> None:
    if not is_outside:
        monkeypatch.setattr(WORKERS, "_users", 0)
    found = fault_of(body)
    assert said in found and "name.jinja, line " in found


def test_a_process_of_a_template_is_as_good_as_new_after_a_fault() -> None:
    for body in (FULL["kept texts"], FAULTS["endlessly"], ENDLESS["a power of ten"]):
        assert fault_of(body)
        assert edited("{{ titles | length }}").render("name", {"titles": ["a"]}) == "1"


@pytest.mark.parametrize("name", TEMPLATES)
def test_all_templates_are_rendered_outside_as_they_are_inside(name: str) -> None:
    own = SHIPPED.replacing(shipped(name))
    assert own.render(name, VARIABLES[name]) == SHIPPED.render(name, VARIABLES[name])


def test_what_includes_ones_own_is_rendered_outside_and_what_ships_alone_is_not(monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(WORKERS, "ask", lambda own, question, seconds: asked.append(question[1]) or (b'o["x"]', 0.0))
    own = Library({"knowledge": shipped("knowledge")})
    own.render("judge", VARIABLES["judge"])
    own.render("pair", VARIABLES["pair"])
    SHIPPED.render("judge", VARIABLES["judge"])
    assert asked == ["judge"]


def test_the_renderings_of_a_session_share_their_time_and_their_characters() -> None:
    long = edited("{{ 'x' * 900000 }}")
    with allowance() as left:
        for _ in range(CHARACTERS // 900_000):
            long.render("name", {"titles": []})
        with pytest.raises(DataError, match="more than 4,000,000 characters for one session"):
            long.render("name", {"titles": []})
        assert left.seconds > 0
        left.seconds = 0
        with pytest.raises(DataError, match="more than 2 s of work"):
            edited("x").render("name", {"titles": []})


def test_a_process_that_was_ended_meanwhile_is_replaced() -> None:
    own = edited("{{ titles | length }}")
    assert own.render("name", {"titles": ["a"]}) == "1"
    for child in [pid for pid in running() if parent_of(pid) == os.getpid()]:
        os.kill(child, signal.SIGKILL)
    assert own.render("name", {"titles": ["a"]}) == "1"


def test_a_rendering_costs_less_than_five_milliseconds_more() -> None:
    asked = session("s", [f"Padmoor Glide {n} tablet with pen" for n in range(10)])
    library, took = SHIPPED.replacing(shipped("judge"), shipped("pair")), {}
    for is_outside in (False, True):
        times = []
        with rendering_outside() if is_outside else nullcontext(), using(library if is_outside else SHIPPED):
            for _ in range(20):
                began = time.perf_counter()
                with allowance():
                    judge_prompt(asked, Retrieved())
                times.append(time.perf_counter() - began)
        took[is_outside] = min(times)  # The machine may be busy with other things.
    assert took[True] - took[False] < 0.005


def test_what_a_killed_process_had_started_ends_too(tmp_path: Path) -> None:
    code = (
        "from bundlewise.prompts.library import SHIPPED, shipped\n"
        "from bundlewise.prompts.outside import rendering_outside\n"
        "with rendering_outside(warm=True):\n"
        f"    own = shipped('name').with_body({ENDLESS['a power of ten']!r})\n"
        "    SHIPPED.replacing(own).render('name', dict(titles=[]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    children: set[int] = set()
    wait_until(lambda: children.update(pid for pid in running() if parent_of(pid) == process.pid) or children, 30)
    time.sleep(1)
    process.kill()
    process.wait(10)
    wait_until(lambda: not children & set(running()), 10)


def test_a_process_is_told_no_key(monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-of-the-environment")
    with rendering_outside(warm=True):
        told = b""
        for child in [pid for pid in running() if parent_of(pid) == os.getpid()]:
            with suppress(OSError):  # One that another test has ended.
                told += Path(f"/proc/{child}/environ").read_bytes()
    assert b"PATH=" in told and b"sk-canary" not in told
