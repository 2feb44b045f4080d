"""The results of an experiment: its rows, and everything needed to check them and to run it again."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from bundlewise.domain import Record
from bundlewise.errors import DataError, UsageError
from bundlewise.experiment.contrasts import Contrast
from bundlewise.experiment.file import PLAIN, Experiment
from bundlewise.experiment.rows import Row

RESULTS = "results.json"
LIBRARIES = ("bundlewise", "torch", "transformers", "peft", "chromadb", "langgraph", "sentence-transformers", "numpy")


class Failure(Record):
    """A cell or row that could not be made, and the reason; the other rows are valid."""

    name: str
    seed: int | None
    reason: str


class Results(Record):
    """The results of an experiment, with everything needed to check them and to run it again."""

    experiment: Experiment
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    reference: str = PLAIN
    teacher: str | None = None
    telling: tuple[Contrast, ...] = ()
    hashes: dict[str, str]
    machine: str
    versions: dict[str, str]
    command: str = ""

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """Read the results in an experiment's folder.

        Raises:
            UsageError: the folder has no results.
            DataError: the results are damaged, or of another version.
        """
        path = folder / RESULTS
        if not path.is_file():
            raise UsageError(f"no results in {folder}; run the experiment: bundlewise experiment run FILE -o {folder}")
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged, or of another version; run the experiment again") from error


def machine() -> str:
    """Return a description of this machine."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Return the versions of the software that the results depend on."""
    return {name: version(name) for name in LIBRARIES}
