"""Measure how well a large teacher uses a slow endpoint, and the memory of a hundred thousand sessions.

The endpoint is the tests' server in a process of its own, which answers every call after a fixed delay; the ideal is
that all calls run in full rounds. The memory of extraction is measured with the whole graph and a teacher that answers
at once, so that only the graph, the sessions and the records count.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from measuring import Numbers, alone, note_memory, show

from bundlewise.agents.ledger.calls import CallLedger
from bundlewise.agents.teacher.ask import Asker
from bundlewise.agents.teacher.contracts import Lesson
from bundlewise.agents.teacher.grounded import GroundedTeacher
from bundlewise.agents.teacher.large import LargeTeacher
from bundlewise.agents.teacher.protocol import Pattern, Reflection, Rule, Thought
from bundlewise.agents.teacher.tally import Tally
from bundlewise.data.sessions import load
from bundlewise.domain import Grouping, Session
from bundlewise.pipeline.distil import Payment, dials_of, endpoint_of

TESTS = Path(__file__).resolve().parents[1] / "tests"
LONG = "the products serve one purpose and their titles say so in a sentence or two of the usual length"


def serve(delay: float, told: Connection) -> None:
    """Answer every call after a delay, until killed."""
    sys.path.insert(0, str(TESTS))
    from teacher_server import TeacherServer

    told.send(TeacherServer(delay=delay).spec)
    time.sleep(3600)


def throughput(calls: int, concurrency: int, delay: float) -> Numbers:
    """Return calls per second of one stage at an endpoint with this delay, and their share of the ideal."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(delay, there), daemon=True)
    server.start()
    payment, tally = Payment(concurrency=concurrency), Tally()
    endpoint = endpoint_of(here.recv(), payment)
    with tempfile.TemporaryDirectory() as folder:
        asker = Asker(endpoint, CallLedger(Path(folder, "calls.sqlite")), tally)
        asker.probe()
        times: list[float] = []
        tally.listeners.append(lambda event: times.append(time.perf_counter()))
        extract(LargeTeacher(asker), copies(calls), tally, concurrency, "patterns")
    server.kill()
    seconds, ideal = times[-1] - times[0], ceil(calls / concurrency) * delay
    paid = tally.stages["describe"].calls
    return {
        "calls": paid,
        "seconds": round(seconds, 2),
        "calls/s": round(paid / seconds, 1),
        "ideal": round(ideal / seconds, 3),
    }


class Instant(GroundedTeacher):
    """A teacher that answers at once, with texts of the usual length."""

    name = "instant"

    def propose(self, session: Session, patterns: Sequence[Pattern]) -> Grouping | None:
        """Return the first two products."""
        return ((0, 1),)

    def reflect(self, reflection: Reflection) -> tuple[Lesson, ...]:
        """Return two lessons."""
        lessons = [Lesson(together=True, cause=LONG, lesson=f"{n} {LONG}") for n in (1, 2)]
        return tuple(lessons)

    def formalise(self, reflections: Sequence[Reflection], patterns: Sequence[Pattern]) -> list[Rule]:
        """Return no rules, since their number does not grow with the sessions."""
        return []

    def think(
        self, session: Session, kinds: tuple[str, ...], patterns: Sequence[Pattern], rules: Sequence[Rule]
    ) -> Thought | None:
        """Return sixty words."""
        return Thought(f"{session.session_id} {LONG} {LONG} {LONG}", kinds)


def state(sessions: int) -> Numbers:
    """Return the seconds and the memory of extracting from so many sessions."""
    numbers: Numbers = {"sessions": sessions}
    given = copies(sessions)
    note_memory(numbers, "sessions_mb")
    start = time.perf_counter()
    found = extract(Instant(), given, Tally(), 8, None)
    numbers |= {"seconds": round(time.perf_counter() - start, 1), "records": len(found["records"])}
    note_memory(numbers, "memory_mb")
    return numbers


def copies(count: int) -> list[Session]:
    """Return real training sessions, repeated under other names until there are enough."""
    known = [s for s in load("electronics", "train") if s.bundles]
    return [_renamed(known[n % len(known)], n) for n in range(count)]


def _renamed(session: Session, number: int) -> Session:
    """Return a copy with another first title, since two equal questions would be one call."""
    first, *others = session.items
    items = (first.model_copy(update={"title": f"{number} {first.title}"}), *others)
    return session.model_copy(update={"session_id": f"copy-{number}", "items": items})


def extract(who: Any, sessions: Sequence[Session], tally: Tally, concurrency: int, formats: str | None) -> Any:
    """Run the teacher graph without a knowledge base."""
    from bundlewise.graphs.teacher import build_teacher_graph
    from bundlewise.graphs.teacher_state import TeacherContext, TeacherState

    context = TeacherContext(who, dials=dials_of("random", 1.0, 0, formats), tally=tally)
    settings: Any = {"max_concurrency": concurrency, "recursion_limit": 10**7}
    return build_teacher_graph().invoke(TeacherState(list(sessions)), settings, context=context)


def main() -> None:
    """Measure both, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1600)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--sessions", type=int, default=100_000)
    given = parser.parse_args()
    found = {
        "a slow endpoint": {
            f"{given.concurrency} at once": alone(throughput, given.calls, given.concurrency, given.delay)
        },
        "state of extraction": {"the whole graph": alone(state, given.sessions)},
    }
    show(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
