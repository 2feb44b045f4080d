"""Files appear whole or not at all, and rows are read strictly."""

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlewise.errors import BundlewiseError, DataError, UsageError
from bundlewise.files import (
    atomic_writer,
    fingerprint,
    made_once,
    numbered_rows,
    read_rows,
    write_json,
    write_jsonl,
    write_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as stream:
        stream.write(b"new")
        stream.flush()
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_is_readable_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_writer(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_missing_folders_are_made_and_the_file_is_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "some" / "folder" / "a.txt"
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_a_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundlewiseError, match=r"cannot write .*; free space or choose another path"):
        write_text(tmp_path / "file" / "a.txt", "")


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=3), max_size=4))
def test_rows_are_read_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\nnot json\n', r":2: not JSON"),
        (b'{"a": 1}\n[1]\n', r":2: list instead of an object"),
        (b'{"a": 1}\n\n{"b": 2}\nx\n', r":4: not JSON"),
        (b'{"a": 1}\n{"b": {"c": 1, "d": 2, "c": 3}}\n', r":2: the key 'c' occurs twice in one object; keep one"),
        (b'{"a": "\xff"}\n', r"not UTF-8 at byte 7"),
        (b'{"a": ' + b"1" * 5000 + b"}", r":1: not JSON"),
        (b'{"a": ' + b"[" * 200_000, r":1: not JSON"),
    ],
    ids=["not JSON", "not an object", "after a blank line", "a key twice", "not UTF-8", "a huge number", "too deep"],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"a": 1}\n{"b": 2}\n',
        b'\n{"a": 1}\r\n \t\r\n{"b": 2}',
        b'{"a": 1}\n\xef\xbb\xbf{"b": 2}\n\n\n',
        '{"a": 1}\n{"b": 2}\n'.encode("utf-16"),
    ],
    ids=["a byte order mark", "blank lines and CRLF", "two files one after the other", "utf-16"],
)
def test_what_editors_do_to_rows_is_accepted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert read_rows(path) == [{"a": 1}, {"b": 2}]


def test_rows_keep_the_numbers_of_their_lines(tmp_path: Path) -> None:
    write_text(tmp_path / "rows.jsonl", '\n{"a": 1}\n\n{"b": 2}\n')
    assert numbered_rows(tmp_path / "rows.jsonl") == [(2, {"a": 1}), (4, {"b": 2})]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    write_text(tmp_path / "rows.jsonl", "")
    assert read_rows(tmp_path / "rows.jsonl") == []


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_a_path_without_a_file_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no file"):
        read_rows(tmp_path / name)


def test_json_is_written_in_one_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@given(JSON, JSON)
def test_fingerprints_differ_exactly_where_values_do(a: Any, b: Any) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same


def test_a_value_is_made_once_and_read_from_then_on(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        return made

    assert made_once(tmp_path / "deep" / "a.json", make) == made_once(tmp_path / "deep" / "a.json", make) == [0]
    with pytest.raises(ZeroDivisionError):
        made_once(tmp_path / "b.json", lambda: 1 // 0)
    assert made_once(tmp_path / "b.json", make) == [0, 1] and made == [0, 1]


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link, chain = tmp_path / "far" / "a.txt", tmp_path / "link", tmp_path / "chain"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("far/a.txt")
    chain.symlink_to(link)
    write_text(chain, "new")
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink() and chain.is_symlink()
    assert contents(tmp_path) == {"far", "link", "chain"} and contents(tmp_path / "far") == {"a.txt"}


def test_a_link_that_leads_nowhere_yet_is_filled(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "new" / "a.txt")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new" / "a.txt").read_text() == "new"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UsageError, match="its links lead in a circle"):
        write_text(tmp_path / "a", "x")


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo, found = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    write_jsonl(fifo, [{"a": 1}])
    reader.join(timeout=10)
    assert found == [b'{"a": 1}\n'] and stat.S_ISFIFO(fifo.stat().st_mode) and contents(tmp_path) == {"fifo"}


def test_a_device_is_written_to_and_nothing_is_put_beside_it() -> None:
    before = contents(Path("/dev"))
    write_text(Path("/dev/null"), "x")
    assert contents(Path("/dev")) == before and stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link", "/dev/../dev/stdout"])
@pytest.mark.parametrize("redirected", ["| cat", "> file && cat file"])
def test_stdout_gets_what_is_written_to_it_in_order(tmp_path: Path, name: str, redirected: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = "import sys; from pathlib import Path; from bundlewise.files import write_text; " + (
        "print('before'); write_text(Path(sys.argv[1]), 'content\\n'); print('after')"
    )
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {name} {redirected}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.stdout == b"before\ncontent\nafter\n", done.stderr
    assert (tmp_path / "link").is_symlink()


def test_what_holds_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder; give the path of a file"):
        write_text(tmp_path, "x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(UsageError, match="it is a socket"):
            write_text(tmp_path / "s", "x")
        assert stat.S_ISSOCK((tmp_path / "s").stat().st_mode)


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600
