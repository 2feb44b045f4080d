"""Work on a Ray cluster whose workers share files; if a worker dies, another one repeats its work."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlewise.domain import Prediction, Session
from bundlewise.errors import BundlewiseError
from bundlewise.extras import require
from bundlewise.settings import quiet_libraries

if TYPE_CHECKING:
    from bundlewise.agents.student.dials import AnswerDials, Form
    from bundlewise.agents.student.reading import Reading
    from bundlewise.knowledge_base.policy import Policy

RETRIES = 3
"""Most repetitions of a piece of work after its worker died."""


def connected() -> Any:
    """Return Ray, connected to the cluster at RAY_ADDRESS, or to a new one on this machine."""
    require("ray", "--engine ray")
    # Worker processes inherit these: Ray must not hide the device, and must not send usage reports.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    return ray


def spread(function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
    """Call a function on the cluster with each piece of work; yield each piece's place and result when it is ready.

    The result is a BundlewiseError if the worker failed, or died more than `RETRIES` times.
    """
    ray = connected()
    call = ray.remote(max_retries=RETRIES, num_cpus=1)(_in_folder)
    waiting = {call.remote(os.getcwd(), function, piece): place for place, piece in enumerate(pieces)}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        place = waiting.pop(ready)
        try:
            yield place, ray.get(ready)
        except ray.exceptions.RayError as error:
            yield place, _failure(error)


def _in_folder(folder: str, function: Callable[..., Any], piece: tuple[Any, ...]) -> Any:
    """Call a function in the caller's working folder, so that relative paths mean the same."""
    quiet_libraries()
    os.chdir(folder)
    return function(*piece)


def _failure(error: Exception) -> BundlewiseError:
    said = " ".join(str(error).split())
    remedy = "see its log, then run the same command again"
    return BundlewiseError(f"a worker failed or died {RETRIES + 1} times ({said[-200:]}); {remedy}")


class Students:
    """Students on the workers, each opened once, that answer batches of sessions."""

    def __init__(
        self, student: str, adapter: Path | None, kb: str | None, policy: "Policy | None", form: "Form" = "pairs"
    ) -> None:
        """Set what each worker opens for itself; relative paths start from the present working folder."""
        self.opened = (os.getcwd(), student, adapter, kb, policy, form)

    def answer(
        self, batches: Sequence[Sequence[Session]], reading: "Reading", dials: "AnswerDials"
    ) -> Iterator[list[Prediction]]:
        """Yield the predictions of each batch in order; if a worker dies, a new worker answers its batch.

        Raises:
            BundlewiseError: a worker failed, or died too often.
        """
        if not batches:
            return
        ray = connected()
        from ray.util import ActorPool

        count = min(len(batches), max(1, int(ray.cluster_resources().get("CPU", 1))))
        kind = ray.remote(max_restarts=-1, max_task_retries=RETRIES, num_cpus=1)(_Worker)
        workers = [kind.remote(*self.opened) for _ in range(count)]
        try:
            yield from ActorPool(workers).map(
                lambda worker, batch: worker.answer.remote(batch, reading, dials), batches
            )
        except ray.exceptions.RayError as error:
            raise _failure(error) from error
        finally:
            for worker in workers:
                ray.kill(worker)


class _Worker:
    """The student of one worker."""

    def __init__(
        self, folder: str, student: str, adapter: Path | None, kb: str | None, policy: "Policy | None", form: "Form"
    ):
        quiet_libraries()
        os.chdir(folder)
        from bundlewise.pipeline.student import Student

        self.student = Student.open(kb=kb, adapter=adapter, student=student, dials=policy, answering={"form": form})

    def answer(self, sessions: Sequence[Session], reading: "Reading", dials: "AnswerDials") -> list[Prediction]:
        self.student.reading, self.student.dials = reading, dials
        return self.student.answer(sessions)
