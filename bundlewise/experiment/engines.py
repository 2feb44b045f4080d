"""Where cells are made: in this process, or spread over a Ray cluster."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bundlewise.errors import UsageError
from bundlewise.experiment.file import Experiment, Planned
from bundlewise.experiment.running import Engine, Say, attempt, locally, told
from bundlewise.experiment.workshop import Made, Workshop

RETRIES = 3
"""Times a cell is begun again after its worker died; what it had finished is in the cache."""


def engine_named(name: str) -> Engine:
    """Return the engine of a name.

    Raises:
        UsageError: it is not installed.
    """
    if name == "local":
        return locally
    require_ray()
    return on_ray


def require_ray() -> None:
    """Raise a UsageError that names the remedy where Ray is missing."""
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UsageError("the ray engine is not installed; pip install 'bundlewise[ray]', or choose --engine local")


def on_ray(
    experiment: Experiment, cache: Path, planned: Sequence[Planned], say: Say
) -> Iterable[tuple[Planned, Made | str]]:
    """Make the cells on the workers of a Ray cluster that share the cache folder: RAY_ADDRESS, or one started here.

    A worker that dies gives its cell back; another one goes on with what is in the cache.
    """
    import ray
    from ray.exceptions import RayError

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    make = ray.remote(max_retries=RETRIES, num_cpus=1)(_made_remotely)
    waiting = {
        make.remote(experiment.model_dump_json(), str(cache.resolve()), one.model_dump_json()): one for one in planned
    }
    done = 0
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        one, done = waiting.pop(ready), done + 1
        try:
            outcome = _outcome(ray.get(ready))
        except RayError as error:
            outcome = f"its worker died {RETRIES + 1} times: {' '.join(str(error).split())[:200]}"
        say(f"[{done}/{len(planned)}] {told(one, outcome)}")
        yield one, outcome


def _made_remotely(experiment: str, cache: str, planned: str) -> tuple[str, str]:
    """Make one cell on a worker; return what it came to as JSON, or why it failed."""
    workshop = Workshop(Experiment.model_validate_json(experiment), Path(cache))
    outcome = attempt(workshop, Planned.model_validate_json(planned))
    return ("failed", outcome) if isinstance(outcome, str) else ("made", outcome.model_dump_json())


def _outcome(told: tuple[str, str]) -> Made | str:
    kind, content = told
    return content if kind == "failed" else Made.model_validate_json(content)
