"""A place is a folder, or an address of a server; what Chroma raises there says what to do."""

from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from chromadb.errors import InternalError
from filelock import FileLock

from bundlewise.errors import KnowledgeError, UsageError
from bundlewise.knowledge_base.place import Busy, Place, pen


@pytest.mark.parametrize(
    ("text", "served", "name"),
    [
        ("kb", False, "kb"),
        ("/tmp/https://x", False, "kb"),
        ("http://host", True, "bundlewise"),
        ("http://host:1/", True, "bundlewise"),
        ("http://host:1/team", True, "team"),
        ("https://host/team-2_b/", True, "team-2_b"),
    ],
)
def test_a_place_says_what_it_is_and_how_its_collections_begin(text: str, served: bool, name: str) -> None:
    place = Place(text)
    assert (place.is_server, place.name, str(place)) == (served, name, text)
    assert str(Place(place)) == text


def test_the_database_of_a_server_is_in_the_cache_one_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path))
    one, other = Place("http://host/one").folder, Place("http://host/other").folder
    assert one != other
    assert {one.parent, other.parent} == {tmp_path / "kb"}
    assert Place(tmp_path / "kb").folder == tmp_path / "kb"


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http://:8000",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://host/two/names",
        "http://host/my.kb",
        "http://host/Möbel",
        "http://host/a b",
        "http://host/-a",
        "http://host/a?b=c",
        "http://host/a#b",
        "http://host/" + "a" * 101,
    ],
)
def test_what_is_no_address_of_a_server_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a server address; give http://HOST:PORT or http://HOST:PORT/NAME"):
        Place(text).client(1)


@pytest.mark.parametrize(
    ("place", "error", "remedy"),
    [
        ("kb", InternalError("attempt to write a readonly database"), "copy the knowledge base to a folder you can"),
        ("kb", OSError(30, "Read-only file system"), "copy the knowledge base to a folder you can write to"),
        ("kb", InternalError("database or disk is full"), "free space and run again; nothing is lost"),
        ("kb", OSError(28, "No space left on device"), "free space and run again; nothing is lost"),
        ("kb", InternalError("Error loading hnsw index"), "rebuild them from the records: bundlewise kb reindex kb"),
        ("http://host", httpx.ConnectError("refused"), "see whether the server runs, and its log"),
        ("http://host", ValueError("no tenant"), "see whether the server runs, and its log"),
    ],
)
def test_what_chroma_raises_becomes_a_message_with_a_remedy(place: str, error: Exception, remedy: str) -> None:
    with pytest.raises(KnowledgeError, match=f"{place}: .*; {remedy}"), Place(place).plainly("write"):
        raise error


def test_a_full_disk_is_told_whatever_chroma_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    message = "Failed to apply logs; free space and run again; nothing is lost"
    with pytest.raises(KnowledgeError, match=message), Place(tmp_path).plainly("write"):
        raise InternalError("Failed to apply logs")


def test_a_client_that_failed_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.client(1)
    content = (tmp_path / "index-1" / "chroma.sqlite3").read_bytes()
    (tmp_path / "index-1" / "chroma.sqlite3").write_bytes(b"garbage" * 1000)
    for _ in range(2):
        with pytest.raises(KnowledgeError, match=r"cannot open the vectors of .*: bundlewise kb reindex"):
            place.client(1).list_collections()
    (tmp_path / "index-1" / "chroma.sqlite3").write_bytes(content)
    assert place.client(1).list_collections() == []


def test_there_is_one_pen(tmp_path: Path) -> None:
    place = Place(tmp_path)
    told = pytest.raises(Busy, match=r"another process writes to .*; wait for it and run again")
    with FileLock(tmp_path / ".writer.lock"), told, pen(place, 0.01):
        raise AssertionError
    with pytest.raises(OSError, match="from inside"), pen(place, 0):
        raise OSError("from inside")
    with pen(place, 0):
        assert (tmp_path / ".writer.lock").exists()


def test_without_the_right_to_write_there_is_no_pen(tmp_path: Path) -> None:
    (tmp_path / ".writer.lock").mkdir()
    told = pytest.raises(KnowledgeError, match=r"cannot write to .*; make the folder writable, or copy the knowledge")
    with told, pen(Place(tmp_path), 0):
        raise AssertionError
