"""Inputs are files, packed files, pipes and standard input; each is read once, and may be asked for often."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundlewise.data.catalogue import read_products
from bundlewise.data.feedback import read_feedback
from bundlewise.data.sessions import find_dataset, load, scan, starter_path
from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.evaluation.scores import read_predictions
from bundlewise.files import read_rows, sha256_file
from bundlewise.inputs import is_input, local, text_of

ROW = {"session_id": "s", "items": [{"id": "a", "title": "Kite"}, {"id": "b", "title": "String"}]}


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Yield the descriptors to close."""
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def piped(opened: list[int], content: bytes) -> Path:
    """Return the name of a pipe that holds some bytes, as a shell's `<(...)` gives it."""
    read, write = os.pipe()
    opened.append(read)
    with os.fdopen(write, "wb") as stream:
        stream.write(content)
    return Path(f"/dev/fd/{read}")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_pipe_is_read_once_and_may_be_asked_for_often(pipe: list[int], pack: type[bytes]) -> None:
    path = piped(pipe, pack(b"a\nb\n"))
    assert is_input(path) and local(path) == local(path)
    assert text_of(path) == text_of(path) == "a\nb\n"
    assert sha256_file(path) == sha256_file(path)


def test_standard_input_has_several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("-", "/dev/stdin"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{name}\n".encode())))
        assert is_input(Path(name)) and text_of(Path(name)) == text_of(Path(name)) == f"{name}\n"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input is closed; give the name of a file"):
        text_of(Path("-"))


def test_a_named_pipe_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "sessions.jsonl"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text(json.dumps(ROW)))
    writer.start()
    assert [s.session_id for s in load(str(path))] == ["s"]
    writer.join()
    assert [s.session_id for s in load(str(path))] == ["s"]


def test_every_reader_takes_a_pipe(pipe: list[int]) -> None:
    row = json.dumps(ROW).encode()
    (session,) = load(str(piped(pipe, row)))
    assert read_rows(piped(pipe, row)) == [ROW]
    answer = b'{"session_id": "s", "bundles": [{"items": [1, 2]}]}'
    assert read_predictions(piped(pipe, b"\n" + answer), [session]) == {"s": ((0, 1),)}
    assert read_feedback(piped(pipe, b"\n")) == []
    assert list(scan(piped(pipe, row))) == [session]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_catalogue_from_a_pipe_is_known_by_its_beginning(tmp_path: Path, pipe: list[int], kind: str) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"id": ["a"], "title": ["Kite"]}), tmp_path / "c.parquet")
    content = {
        "csv": b'\xef\xbb\xbf"id";"title"\na;Kite\n',
        "jsonl": b'\xef\xbb\xbf\n{"id": "a", "title": "Kite"}\n',
        "parquet": (tmp_path / "c.parquet").read_bytes(),
    }[kind]
    assert [item.title for item in read_products(str(piped(pipe, content)))] == ["Kite"]
    (tmp_path / f"packed.{kind}.gz").write_bytes(gzip.compress(content))
    assert [item.title for item in read_products(str(tmp_path / f"packed.{kind}.gz"))] == ["Kite"]


def test_a_packed_file_is_read_by_its_name_and_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.GZ"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert read_rows(path) == [{"a": 1}]
    path.write_bytes(gzip.compress(b'{"a": 1}\n\n{"b": 2}\n'))
    assert read_rows(path) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    "content", [gzip.compress(b"x" * 10_000)[:-9], b"\x1f\x8b" + b"nonsense" * 9], ids=["cut off", "nonsense"]
)
def test_a_damaged_packed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows.jsonl.gz: damaged gzip \(.*\); pack it again"):
        read_rows(path)


def test_what_has_no_end_is_refused(tmp_path: Path, pipe: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundlewise.inputs.LARGEST", 1000)
    for path in (piped(pipe, b"x" * 1001), tmp_path / "bomb.gz"):
        (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"x" * 100_000))
        with pytest.raises(DataError, match="more than 1,000 bytes; split it"):
            text_of(path)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/urandom", ".", "absent", "a\0b", "/dev/fd/999"])
def test_devices_folders_and_absent_files_are_no_inputs(name: str) -> None:
    assert not is_input(Path(name))
    with pytest.raises(UsageError):
        find_dataset(name)


def test_an_empty_device_is_an_empty_file() -> None:
    with pytest.raises(BundlewiseError, match="holds no sessions"):
        load("/dev/null")


@pytest.mark.parametrize("given", ["-", "/dev/stdin", "<(gzip -dc sessions.jsonl.gz)", "<(cat sessions.jsonl.gz)"])
def test_commands_read_what_a_shell_gives_them_and_leave_nothing(tmp_path: Path, given: str) -> None:
    (tmp_path / "sessions.jsonl.gz").write_bytes(gzip.compress(starter_path("grocery").read_bytes()))
    (tmp_path / "tmp").mkdir()
    command = f"gzip -dc sessions.jsonl.gz | {sys.executable} -m bundlewise data validate {given}"
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and ": 200 sessions (140 train" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
