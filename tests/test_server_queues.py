"""The batching queue: together, in turn, bounded, and nothing for those who have gone."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from samples import session
from server_samples import WordStudent

from bundlewise.domain import Prediction, Session
from bundlewise.progress import go_on
from bundlewise.server.meters import Meters
from bundlewise.server.queues import BatchQueue
from bundlewise.server.refusals import Refusal


def one(title: str) -> Session:
    return session(title, [f"{title} mouse", f"{title} pad", "Garden hose"])


class GatedStudent(WordStudent):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.begun = threading.Event()

    def answer(self, sessions: Sequence[Session], limits: Any = None) -> list[Prediction]:
        self.begun.set()
        assert self.let.wait(30)
        return super().answer(sessions)


def run(student: WordStudent, story: Callable[[BatchQueue], Awaitable[None]], **settings: Any) -> None:
    async def play() -> None:
        queue = BatchQueue(student.answer, Meters(), **settings)
        queue.start()
        try:
            await asyncio.wait_for(story(queue), 30)
        finally:
            await queue.stop()

    asyncio.run(play())


async def held(student: GatedStudent, queue: BatchQueue) -> "asyncio.Task[Any]":
    """Occupy the student with a first session, so that what comes now waits."""
    first = asyncio.create_task(queue.ask("first", [one("first")]))
    while not student.begun.is_set():
        await asyncio.sleep(0.001)
    return first


def firsts(student: WordStudent, batch: int) -> list[str]:
    return [title.split()[0] for title in student.batches[batch]]


def test_what_waits_together_is_answered_together() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        others = [asyncio.create_task(queue.ask(f"client-{n}", [one(f"s{n}")])) for n in range(5)]
        await asyncio.sleep(0.01)
        student.let.set()
        found = await asyncio.gather(first, *others)
        assert [each[0].session_id for each in found] == ["first", "s0", "s1", "s2", "s3", "s4"]

    run(student, story)
    assert [len(batch) for batch in student.batches] == [1, 5]


def test_a_client_with_one_session_does_not_wait_for_all_of_a_client_with_many() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        many = asyncio.create_task(queue.ask("greedy", [one(f"g{n}") for n in range(12)]))
        await asyncio.sleep(0.01)
        few = [asyncio.create_task(queue.ask(name, [one(name)])) for name in ("a", "b")]
        await asyncio.sleep(0.01)
        student.let.set()
        await asyncio.gather(first, many, *few)

    run(student, story, batch=4)
    assert firsts(student, 1) == ["g0", "a", "b", "g1"]
    assert [title for batch in student.batches[2:] for title in batch] == [f"g{n} mouse" for n in range(2, 12)]


def test_a_full_queue_refuses_with_a_time_to_come_again() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        waiting = asyncio.create_task(queue.ask("a", [one("a"), one("b")]))
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal) as caught:
            await queue.ask("c", [one("c"), one("d")])
        assert caught.value.status_code == 503 and caught.value.headers == {"Retry-After": "2"}
        student.let.set()
        await asyncio.gather(first, waiting)

    run(student, story, limit=3)


def test_sessions_of_a_client_that_has_gone_are_not_answered() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        gone = asyncio.create_task(queue.ask("gone", [one("x"), one("y")]))
        stays = asyncio.create_task(queue.ask("stays", [one("z")]))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        assert queue.waiting == 1
        student.let.set()
        await asyncio.gather(first, stays)

    run(student, story)
    assert firsts(student, 1) == ["z"]


def test_equal_sessions_are_answered_once_and_each_client_gets_its_own_ids() -> None:
    student = GatedStudent()
    same = one("same")
    other = same.model_copy(update={"items": tuple(i.model_copy(update={"id": i.id.upper()}) for i in same.items)})

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        tasks = [asyncio.create_task(queue.ask(str(n), [each])) for n, each in enumerate((same, other))]
        await asyncio.sleep(0.01)
        student.let.set()
        await first
        (mine,), (theirs,) = await asyncio.gather(*tasks)
        assert mine.bundles[0].item_ids == ("same-1", "same-2") and theirs.bundles[0].item_ids == ("SAME-1", "SAME-2")

    run(student, story)
    assert len(student.batches[1]) == 1


def test_a_session_that_the_student_fails_at_fails_alone() -> None:
    class Picky(GatedStudent):
        def answer(self, sessions: Sequence[Session], limits: Any = None) -> list[Prediction]:
            if any("poison" in each.titles[0] for each in sessions):
                raise ValueError("poison")
            return super().answer(sessions)

    student = Picky()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        tasks = [asyncio.create_task(queue.ask(name, [one(name)])) for name in ("a", "poison", "b")]
        await asyncio.sleep(0.01)
        student.let.set()
        await first
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, ValueError) for each in found] == [False, True, False]

    run(student, story)


def test_other_work_is_done_on_the_students_thread_in_the_clients_turn() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        work = asyncio.create_task(queue.do("a", lambda: threading.current_thread().name))
        student.let.set()
        await first
        assert (await work).startswith("student")

    run(student, story)


class SteppingStudent(WordStudent):
    """Takes steps over a batch, and knows how many it has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.begun = threading.Event()

    def answer(self, sessions: Sequence[Session], limits: Any = None) -> list[Prediction]:
        for _ in range(len(sessions) * 10):
            go_on()
            self.steps += 1
            self.begun.set()
            time.sleep(0.02)
        return super().answer(sessions)


async def begun(student: SteppingStudent) -> None:
    while not student.begun.is_set():
        await asyncio.sleep(0.001)


def test_a_batch_that_runs_ends_at_its_next_step_once_all_have_gone() -> None:
    student = SteppingStudent()

    async def story(queue: BatchQueue) -> None:
        gone = asyncio.create_task(queue.ask("gone", [one(f"g{n}") for n in range(30)]))
        await begun(student)
        gone.cancel()
        began = time.monotonic()
        await queue.ask("stays", [one("z")])
        assert time.monotonic() - began < 2

    run(student, story)
    assert student.steps < 30 and [firsts(student, 0)] == [["z"]]


def test_a_batch_that_most_have_left_is_begun_anew_for_the_others() -> None:
    student = SteppingStudent()

    async def story(queue: BatchQueue) -> None:
        stays = asyncio.create_task(queue.ask("stays", [one("z")]))
        gone = asyncio.create_task(queue.ask("gone", [one(f"g{n}") for n in range(30)]))
        await begun(student)
        gone.cancel()
        began = time.monotonic()
        (found,) = await stays
        assert found.session_id == "z" and time.monotonic() - began < 2

    run(student, story)
    assert firsts(student, 0) == ["z"]


def test_other_work_that_runs_ends_too_and_so_does_all_when_the_queue_stops() -> None:
    student, steps = WordStudent(), []

    def endless() -> None:
        while True:
            go_on()
            steps.append(1)
            time.sleep(0.01)

    async def story(queue: BatchQueue) -> None:
        gone = asyncio.create_task(queue.do("gone", endless))
        await asyncio.sleep(0.2)
        gone.cancel()
        assert (await queue.ask("stays", [one("z")]))[0].session_id == "z"
        asyncio.get_running_loop().create_task(queue.do("open", endless))
        await asyncio.sleep(0.2)

    run(student, story)
    assert len(steps) < 200


def test_nothing_is_kept_of_those_who_come_and_go_while_the_student_is_busy() -> None:
    student = GatedStudent()

    async def story(queue: BatchQueue) -> None:
        first = await held(student, queue)
        for turn in range(20):
            gone = asyncio.create_task(queue.ask(f"client-{turn % 2}", [one(f"g{n}") for n in range(50)]))
            await asyncio.sleep(0.001)
            gone.cancel()
        await asyncio.sleep(0.01)
        assert queue.waiting == 0 and not queue._clients
        student.let.set()
        await first

    run(student, story)
    assert len(student.batches) == 1
