"""The official files are fetched whole, compared, unpickled restrictedly and rewritten exactly."""

import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundlewise.data import official
from bundlewise.data.sessions import read_sessions
from bundlewise.errors import BundlewiseError, DataError, UsageError

DATASETS = Path(__file__).resolve().parents[2] / "shared" / "datasets"
needs_electronic = pytest.mark.skipif(
    not (DATASETS / "official" / "electronic").is_dir(), reason="the official files are not at hand"
)
TABLES: dict[str, Any] = {
    "training_set.npy": {1: "Kite &amp; string|Ball"},
    "test_set.npy": {3: "Ball|Bat"},
    "session_items.npy": {1: "k,b", 2: "b,t,k", 3: "b,t"},
    "session_bundles_deduplication.npy": {
        1: [("outdoor  play ", "k,b")],
        2: [("flying", "k"), ("batting &amp; flying", "k,b,t")],
        3: [("batting", "t,b")],
    },
    "item_titles.npy": {"k": "Kite &amp;  string ", "b": "Ball", "t": "Bat"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of small official files, which have no known checksum under the name clothing."""
    folder = tmp_path / "official"
    folder.mkdir()
    for name, table in TABLES.items():
        np.save(folder / name, np.array(table, dtype=object), allow_pickle=True)
    return folder


@needs_electronic
def test_the_official_electronic_files_become_the_known_sessions_byte_by_byte(tmp_path: Path) -> None:
    destination = tmp_path / "electronic.jsonl"
    official.fetch("electronic", destination, DATASETS / "official" / "electronic")
    assert destination.read_bytes() == (DATASETS / "electronic.jsonl").read_bytes()


def test_splits_titles_and_bundles_are_worked_out_from_the_tables(folder: Path) -> None:
    sessions = official.convert(folder, "clothing")
    assert [(s.session_id, s.split) for s in sessions] == [
        ("clothing-1", "train"),
        ("clothing-2", "validation"),
        ("clothing-3", "test"),
    ]
    assert sessions[0].titles == ["Kite & string", "Ball"]
    assert [(b.intent, b.item_ids) for b in sessions[1].bundles] == [("batting & flying", ("b", "t", "k"))]


def test_files_without_a_known_checksum_are_named_with_the_one_they_have(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official.fetch("clothing", folder / "clothing.jsonl", folder)
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == len(official.FILES)
    assert all(note.startswith("not verified, no checksum is known: clothing/") for note in notes)


def test_a_changed_file_is_refused_by_its_checksum(folder: Path) -> None:
    with pytest.raises(DataError, match=r"training_set.npy has SHA-256 .*, expected 9aae609bea"):
        official.fetch("electronic", folder / "electronic.jsonl", folder)
    assert not (folder / "electronic.jsonl").exists()


def test_a_folder_that_lacks_a_file_is_refused(folder: Path) -> None:
    (folder / "test_set.npy").unlink()
    with pytest.raises(DataError, match=r"test_set.npy is missing; the folder must hold training_set.npy, "):
        official.fetch("clothing", folder / "clothing.jsonl", folder)


def test_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no official domain 'toys'; choose from electronic, clothing, food"):
        official.fetch("toys", tmp_path / "toys.jsonl")


class Touch:
    """A pickle that would make a file when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("touch opened",)


BAD_TABLES = {
    "a call of os.system": ({1: Touch()}, r"it refers to (posix|nt)\.system, which no dataset needs"),
    "values of a wrong type": ({1: ["k", "b"]}, r"it must hold dict\[int, str\]"),
    "a list": (["k"], r"it must hold dict\[int, str\]"),
    "an item without a title": ({1: "k,x"}, "session 1 needs 'x', which is missing"),
    "a session without bundles": ({9: "k,b"}, "session 9 needs 9, which is missing"),
    "an item twice": ({1: "k,k,b"}, 'session 1: item id "k" occurs 2 times'),
}


@pytest.mark.parametrize(("table", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, table: Any, message: str) -> None:
    monkeypatch.chdir(folder)
    array = np.empty((), dtype=object)
    array[()] = table
    np.save("session_items.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        official.convert(folder, "clothing")
    assert not Path("opened").exists()


HEADER = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(127) + b"\n"
BAD_BYTES = {
    "nothing": b"",
    "a web page": b"<html>404</html>",
    "a header alone": HEADER,
    "broken off": HEADER + pickle.dumps({1: "k,b"})[:-5],
    "no array": HEADER + pickle.dumps({1: "k,b"}),
    "a numeric array": HEADER.replace(b"'|O'", b"'<i8'").replace(b" \n", b"\n") + bytes(8),
    "a call of the array type": HEADER + b"cnumpy\nndarray\n.",
    "another version": HEADER.replace(b"\x01\x00\x76", b"\x03\x00\x76"),
}


@pytest.mark.parametrize("content", BAD_BYTES.values(), ids=BAD_BYTES)
def test_bytes_that_are_no_table_are_refused(folder: Path, content: bytes) -> None:
    (folder / "test_set.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"test_set.npy is refused: .*; get it again from the official"):
        official.convert(folder, "clothing")


@dataclass
class Shop:
    """A web server on this machine that can break off in the middle of chosen files."""

    folder: Path
    url: str = ""
    breaking: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)


@pytest.fixture
def shop(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = Path(self.path).name
            content = (shop.folder / name).read_bytes()
            # Noted before it is sent: the client may go on before this thread does.
            shop.served.append(name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if name in shop.breaking else content)

        def log_message(self, *_: object) -> None:
            """Keep stderr for what the tests look at."""

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shop.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield shop
        server.shutdown()
        thread.join()


def test_a_fetch_that_breaks_off_keeps_complete_files_and_goes_on_when_run_again(shop: Shop, tmp_path: Path) -> None:
    destination = tmp_path / "clothing.jsonl"
    shop.breaking = {"session_items.npy"}
    with pytest.raises(DataError, match=r"session_items.npy broke off after \d+ of \d+ bytes; run the same"):
        official.fetch("clothing", destination, base_url=shop.url)
    cached = sorted(path.name for path in (tmp_path / "cache" / "official" / "clothing").iterdir())
    assert (cached, destination.exists()) == (["test_set.npy", "training_set.npy"], False)

    shop.breaking, shop.served = set(), []
    assert official.fetch("clothing", destination, base_url=shop.url) == read_sessions(destination)
    assert shop.served == ["session_items.npy", "session_bundles_deduplication.npy", "item_titles.npy"]


@needs_electronic
def test_a_cached_file_that_was_damaged_is_fetched_again(shop: Shop, tmp_path: Path) -> None:
    shop.folder = DATASETS / "official" / "electronic"
    destination = tmp_path / "electronic.jsonl"
    official.fetch("electronic", destination, base_url=shop.url)
    (tmp_path / "cache" / "official" / "electronic" / "test_set.npy").write_bytes(b"damaged")
    shop.served = []
    assert len(official.fetch("electronic", destination, base_url=shop.url)) == 893
    assert shop.served == ["test_set.npy"]


def test_a_download_with_another_checksum_is_not_kept(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training_set.npy has SHA-256 .*, expected 9aae609bea"):
        official.fetch("electronic", tmp_path / "electronic.jsonl", base_url=shop.url)
    assert not (tmp_path / "cache").exists()


def test_a_file_over_the_size_limit_is_refused(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "SIZE_LIMIT", 10)
    with pytest.raises(DataError, match=r"training_set.npy is larger than 10 bytes"):
        official.fetch("clothing", tmp_path / "clothing.jsonl", base_url=shop.url)


def test_a_server_that_does_not_answer_is_named_with_the_remedy(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot fetch http://127.0.0.1:1/clothing/.*; run the same command"):
        official.fetch("clothing", tmp_path / "clothing.jsonl", base_url="http://127.0.0.1:1")


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BUNDLEWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BundlewiseError, match=r"cannot write .*; free space or choose another path"):
        official.fetch("clothing", tmp_path / "clothing.jsonl", base_url=shop.url)
