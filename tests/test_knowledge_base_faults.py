"""Whatever kills a process that writes, the knowledge base opens, is sound, and the same command completes it.

The file is also the program that is killed: `python FILE JOB FOLDER [MOMENT]` dies before the call that
MOMENT counts (`put:3`), or meets a disk that is full (`full:BYTES`).
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import BagOfWords, record

from bundlewise.domain import Knowledge, KnownSession
from bundlewise.errors import BundlewiseError
from bundlewise.knowledge_base import reindex as reindexing
from bundlewise.knowledge_base import store as storing
from bundlewise.knowledge_base import upkeep
from bundlewise.knowledge_base.database import Database
from bundlewise.knowledge_base.embedding import Vectors
from bundlewise.knowledge_base.index import VectorIndex
from bundlewise.knowledge_base.mirror import Mirror
from bundlewise.knowledge_base.packs import Pack
from bundlewise.knowledge_base.store import KnowledgeStore

BATCH = 300
TOLD = 3
KNOWN = tuple(KnownSession(id=name, split="train", items="0" * 16) for name in ("s1", "s2"))
RULES = [record("rule", f"rule {number} of the first") for number in range(1100)]
PATTERNS = [
    record("pattern", f"case {n}, phone {n} in {s}", [s], kinds=(f"case {n}", f"phone {n}"), supporters=(s,), support=1)
    for n in range(200)
    for s in ("s1", "s2")
]
CHANGED = [rule.model_copy(update={"gain": 0.5}) for rule in RULES[:100]]
MORE = [record("rule", f"rule {number} of the second") for number in range(1100)]
Bodies = dict[str, str]


class Scattered(BagOfWords):
    """A direction of its own for every text."""

    fingerprint = "scattered"
    salt = 0

    def _forward(self, texts: list[str]) -> Vectors:
        seeds = [zlib.crc32(text.encode(), self.salt) for text in texts]
        vectors = np.stack([np.random.RandomState(seed).standard_normal(32) for seed in seeds]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Otherwise(Scattered):
    fingerprint = "otherwise"
    salt = 1


def embedder_of(folder: Path) -> Scattered:
    """Return the embedder that a knowledge base says it was made with."""
    ledger = Database(folder)
    found = {"scattered": Scattered, "otherwise": Otherwise}[ledger.meta()["fingerprint"]]()
    ledger.close()
    return found


def opened(folder: Path) -> KnowledgeStore:
    return KnowledgeStore.open(folder, embedder_of(folder))


def take_in(folder: Path) -> None:
    upkeep.take_in(opened(folder), Pack((*CHANGED, *MORE), KNOWN, {}), "pack")


def merge(folder: Path) -> None:
    store = opened(folder)
    upkeep.merge(store, upkeep.near_duplicates(store))


def reindex(folder: Path) -> None:
    reindexing.reindex(folder, Otherwise())


JOBS: dict[str, Callable[[Path], None]] = {"import": take_in, "merge": merge, "reindex": reindex}
MOMENTS: dict[str, tuple[object, str]] = {
    "change": (Database, "_revise"),
    "embed": (BagOfWords, "embed"),
    "put": (VectorIndex, "_upsert"),
    "put away": (VectorIndex, "_delete"),
    "settled": (Database, "settled"),
    "seal": (KnowledgeStore, "_seal"),
    "publish": (Mirror, "publish"),
    "note": (Database, "set_meta"),
    "forget": (reindexing, "_forget"),
    "step": (reindexing, "_step"),
}


def main(job: str, folder: str, moment: str = "") -> None:
    """Do a job as a process of its own."""
    storing.BATCH = reindexing.BATCH = BATCH
    what, _, number = moment.partition(":")
    if what == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), resource.RLIM_INFINITY))
    elif what:
        die_before(*MOMENTS[what], int(number))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        JOBS[job](Path(folder))
    except BundlewiseError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(TOLD)


def die_before(owner: object, name: str, number: int) -> None:
    """Let the process be killed before the n-th call of a function."""
    function = getattr(owner, name)
    calls = iter(range(1, number + 1))

    def wrapped(*values: object, **named: object) -> object:
        if next(calls, number) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*values, **named)

    setattr(owner, name, wrapped)


def start(job: str, folder: Path, moment: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, job, str(folder), moment]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    return worker


def end(worker: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process; return its exit code and what it said."""
    text = worker.communicate(timeout=120)[1]
    return worker.returncode, text


def bodies(store: KnowledgeStore) -> Bodies:
    """Return all records as an export writes them."""
    return {found.id: found.model_dump_json() for found in store.records.select(status=None)}


def dumped(records: list[Knowledge]) -> Bodies:
    return {found.id: found.model_dump_json() for found in records}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "kb"
    upkeep.take_in(KnowledgeStore.create(folder, Scattered()), Pack((*RULES, *PATTERNS), KNOWN, {}), "first")
    return folder


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "kb"))


BEFORE = dumped([*RULES, *PATTERNS])


@pytest.fixture(scope="module")
def after(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bodies]:
    """Return what there must be when a job is done."""
    folder = tmp_path_factory.mktemp("after") / "kb"
    shutil.copytree(base, folder)
    merge(folder)
    merged = bodies(opened(folder))
    assert len(merged) == len(BEFORE) + 200
    return {"import": BEFORE | dumped([*CHANGED, *MORE]), "merge": merged, "reindex": BEFORE}


def assert_whole(folder: Path, job: str, after: dict[str, Bodies]) -> None:
    """Check that all is sound, nothing is lost or doubled, and that the job can be completed and taken back."""
    store = opened(folder)
    assert bodies(store) in (BEFORE, after[job])
    assert upkeep.verify(store) == []
    JOBS[job](folder)
    store = opened(folder)
    assert bodies(store) == after[job]
    assert upkeep.verify(store) == []
    assert store.meta["fingerprint"] == ("otherwise" if job == "reindex" else "scattered")
    if job != "reindex":
        store.undo()
        assert bodies(store) == BEFORE
        assert upkeep.verify(store) == []


OFTEN = [
    ("import", "put:3"),
    ("import", "seal:1"),
    ("merge", "put away:2"),
    ("reindex", "put:4"),
    ("reindex", "step:1"),
]
RARELY = [
    ("import", "change:1"),
    ("import", "embed:3"),
    ("import", "settled:2"),
    ("import", "put:5"),
    ("import", "publish:1"),
    ("import", "note:1"),
    ("import", "note:2"),
    ("merge", "change:1"),
    ("merge", "put:1"),
    ("merge", "put:4"),
    ("merge", "settled:1"),
    ("merge", "publish:1"),
    ("reindex", "put:1"),
    ("reindex", "put:8"),
    ("reindex", "note:1"),
    ("reindex", "forget:1"),
    ("reindex", "seal:1"),
    ("reindex", "publish:1"),
    ("reindex", "note:4"),
]


@pytest.mark.parametrize(("job", "moment"), [*OFTEN, *(pytest.param(*case, marks=pytest.mark.slow) for case in RARELY)])
def test_a_process_killed_at_a_moment_loses_and_doubles_nothing(
    folder: Path, after: dict[str, Bodies], job: str, moment: str
) -> None:
    assert end(start(job, folder, moment))[0] == -signal.SIGKILL
    assert_whole(folder, job, after)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5])
def test_a_process_killed_after_some_time_loses_and_doubles_nothing(
    folder: Path, after: dict[str, Bodies], job: str, seconds: float
) -> None:
    worker = start(job, folder)
    time.sleep(seconds)
    worker.kill()
    assert end(worker)[0] in (-signal.SIGKILL, 0)
    assert_whole(folder, job, after)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_process_killed_again_and_again_loses_and_doubles_nothing(
    folder: Path, after: dict[str, Bodies], job: str
) -> None:
    for seconds in (0.3, 0.5, 0.7, 0.9):
        worker = start(job, folder)
        time.sleep(seconds)
        worker.kill()
        end(worker)
    assert_whole(folder, job, after)


def test_of_two_writers_at_once_one_waits_or_is_told(folder: Path, after: dict[str, Bodies]) -> None:
    workers = {job: start(job, folder) for job in ("import", "merge")}
    ends = {job: end(worker) for job, worker in workers.items()}
    assert 0 in [code for code, _ in ends.values()]
    for code, text in ends.values():
        assert code == 0 or (code == TOLD and "another process writes" in text)
    for job in JOBS.keys() & ends.keys():
        JOBS[job](folder)
    store = opened(folder)
    assert bodies(store) == after["merge"] | dumped([*CHANGED, *MORE])
    assert upkeep.verify(store) == []


@pytest.mark.parametrize(
    ("job", "room", "done"),
    [
        ("import", lambda _: 100_000, False),
        ("import", lambda folder: (folder / "index-1" / "chroma.sqlite3").stat().st_size + 100_000, True),
        pytest.param("merge", lambda _: 100_000, False, marks=pytest.mark.slow),
        pytest.param("reindex", lambda _: 300_000, False, marks=pytest.mark.slow),
        pytest.param("reindex", lambda _: 1_000_000, False, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_told_and_nothing_is_harmed(
    folder: Path, after: dict[str, Bodies], job: str, room: Callable[[Path], int], done: bool
) -> None:
    code, text = end(start(job, folder, f"full:{room(folder)}"))
    assert code == TOLD, text
    assert text.startswith("cannot write ")
    assert len(text.splitlines()) == 1
    store = opened(folder)
    assert bodies(store) == (after[job] if done else BEFORE)
    assert_whole(folder, job, after)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_nobody_may_write_to_is_told(folder: Path) -> None:
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        code, text = end(start("import", folder))
    finally:
        for path in paths:
            path.chmod(0o755)
    assert code == TOLD, text
    assert "writable" in text or "you can write to" in text
    assert upkeep.verify(opened(folder)) == []


if __name__ == "__main__":
    main(*sys.argv[1:])
