"""Sessions are read strictly: what is wrong is said with file, line, value and remedy."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from bundlewise.data.sessions import (
    find_dataset,
    load,
    read_sessions,
    scan,
    starter_names,
    starter_pack_path,
    starter_path,
    write_sessions,
)
from bundlewise.domain import Session
from bundlewise.errors import DataError, UsageError

GOOD: dict[str, Any] = {
    "session_id": "s-1",
    "domain": "toys",
    "split": "train",
    "items": [{"id": "a", "title": "Kite"}, {"id": "b", "title": "String"}, {"id": "c", "title": "Ball"}],
    "bundles": [{"item_ids": ["a", "b"], "intent": "fly a kite"}],
}


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def with_item(**fields: Any) -> dict[str, Any]:
    return GOOD | {"items": [*GOOD["items"], {"id": "d", "title": "Kite tail"} | fields]}


def with_bundle(*item_ids: str) -> dict[str, Any]:
    return GOOD | {"bundles": [{"item_ids": item_ids, "intent": "play"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "toys.jsonl"


BAD_SESSIONS = {
    "no items": (GOOD | {"items": [], "bundles": []}, 'session "s-1" has no items; add its products'),
    "empty session id": (GOOD | {"session_id": " "}, "session_id is empty; give"),
    "session id of a wrong type": (
        GOOD | {"session_id": 5},
        "session_id must be a text in double quotes, got 5",
    ),
    "items of a wrong type": (GOOD | {"items": "kite"}, 'items must be a list in [ ], got "kite"'),
    "item of a wrong type": (GOOD | {"items": ["kite"]}, 'items[0] must be an object in { }, got "kite"'),
    "missing title": (GOOD | {"items": [{"id": "a"}]}, "items[0].title is missing; add it"),
    "misspelt field": (with_item(titel="Kite"), "items[3].titel is not a field of a session; remove or rename"),
    "numeric title": (with_item(title=7), "items[3].title must be a text in double quotes, got 7"),
    "empty title": (with_item(title="  "), "items[3].title is empty; write the product's title"),
    "long title": (
        with_item(title="x" * 1001),
        "items[3].title has 1,001 characters; shorten it to 1,000 or fewer",
    ),
    "empty item id": (with_item(id=""), "items[3].id is empty; give every product an id"),
    "duplicate item id": (with_item(id="a"), 'item id "a" occurs 2 times; list each product once'),
    "negative price": (with_item(price=-1), "items[3].price must be a number of at least 0, got -1.0"),
    "price that is not a number": (
        with_item(price=float("nan")),
        "items[3].price must be a number of at least",
    ),
    "infinite price": (
        with_item(price=float("inf")),
        "items[3].price must be a number of at least 0, got inf",
    ),
    "price in quotes": (
        with_item(price="9.99"),
        'items[3].price must be a number without quotes, got "9.99"',
    ),
    "unknown split": (GOOD | {"split": "dev"}, 'split must be train, validation or test, got "dev"'),
    "bundle with an unknown item": (with_bundle("a", "x"), 'bundles[0] names item "x", which is not in'),
    "bundle with an item twice": (with_bundle("a", "a"), 'bundles[0] names item "a" twice; name each'),
    "one-item bundle": (with_bundle("a"), "bundles[0] must have at least 2 items, got 1; add one or remove"),
}


@pytest.mark.parametrize(("row", "message"), BAD_SESSIONS.values(), ids=BAD_SESSIONS)
def test_a_bad_session_is_refused_with_file_line_and_remedy(file: Path, row: dict[str, Any], message: str) -> None:
    file.write_bytes(lines(GOOD | {"session_id": "s-0"}, row))
    with pytest.raises(DataError) as refused:
        read_sessions(file)
    assert str(refused.value).startswith(f"{file}, line 2: {message}")
    assert "\n" not in str(refused.value)


BAD_FILES = {
    "empty file": (b"", ": holds no sessions; write one JSON object per line"),
    "blank lines": (b"\n \n", ": holds no sessions; write one JSON object per line"),
    "broken JSON": (b'{"session_id": \n', ", line 1: not valid JSON (EOF while parsing"),
    "a JSON list": (b"[]\n", ", line 1: a line must be an object in { }, got []"),
    "deep nesting": (
        b'{"session_id":' + b"[" * 100_000,
        ", line 1: not valid JSON (recursion limit exceeded",
    ),
    "half a surrogate pair": (
        lines(with_item(title="\ud800")),
        ", line 1: not valid JSON (unexpected end of hex",
    ),
    "Latin-1": (
        '{"session_id": "caf\xe9"}'.encode("latin-1"),
        ", line 1: not UTF-8 at byte 20; save the file",
    ),
    "UTF-16": (
        lines(GOOD).decode().encode("utf-16"),
        ", line 1: not UTF-8 at byte 1; save the file as UTF-8",
    ),
    "a key twice": (
        lines(GOOD).replace(b'"split": "train"', b'"split": "validation", "split": "test"'),
        ", line 1: the key 'split' occurs twice in one object; keep one of them",
    ),
    "a key twice in an item": (
        lines(GOOD).replace(b'"title": "Ball"', b'"title": "Ball", "title": "Bat"'),
        ", line 1: the key 'title' occurs twice in one object; keep one of them",
    ),
    "an id twice": (lines(GOOD, GOOD), ', line 2: session_id "s-1" is already in line 1; make it unique'),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_with_the_remedy(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_sessions(file)
    assert str(refused.value).startswith(f"{file}{message}")


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8], ids=["plain", "byte order mark"])
def test_a_line_of_50_megabytes_is_refused_without_being_read(file: Path, start: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(start)
        stream.truncate(50_000_000)
    with pytest.raises(DataError, match="line 1: longer than 10,000,000 bytes; write one session per line"):
        read_sessions(file)


def test_a_missing_file_is_refused_with_its_path(file: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*toys.jsonl: No such file or directory; check"):
        read_sessions(file)


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + lines(GOOD),
        codecs.BOM_UTF8 + b"\r\n\n" + lines(GOOD),
        lines(GOOD).replace(b"\n", b"\r\n"),
        b"\n\n" + lines(GOOD) + b"\n",
        lines(GOOD).rstrip(),
    ],
    ids=["byte order mark", "byte order mark on a line of its own", "CRLF", "blank lines", "no newline at the end"],
)
def test_what_editors_do_to_files_is_accepted(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert read_sessions(file) == [Session.model_validate(GOOD)]


def test_scan_goes_on_after_a_bad_line(file: Path) -> None:
    file.write_bytes(lines(with_bundle("a"), GOOD | {"session_id": "s-2"}, with_item(id="")))
    assert [type(result) for result in scan(file)] == [DataError, Session, DataError]


def test_a_session_needs_no_more_than_an_id_and_titled_products(file: Path) -> None:
    file.write_bytes(lines({"session_id": "s", "items": [{"id": "a", "title": "Kite"}]}))
    [session] = read_sessions(file)
    assert (session.domain, session.split, session.bundles) == ("", "test", ())


def test_written_sessions_read_back_and_unknown_fields_stay_out(file: Path) -> None:
    priced = with_item(price=0.0, category=["Toys", "Kites"]) | {"session_id": "s-2"}
    sessions = [Session.model_validate(GOOD), Session.model_validate(priced)]
    write_sessions(file, sessions)
    assert read_sessions(file) == sessions
    assert [json.loads(line) for line in file.read_text().splitlines()] == [GOOD, priced]


@pytest.mark.parametrize("name", starter_names())
def test_a_starter_file_is_valid_and_in_the_written_format(name: str, file: Path) -> None:
    write_sessions(file, load(name))
    assert file.read_bytes() == starter_path(name).read_bytes()
    assert starter_pack_path(name).is_file()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("electronic", "did you mean electronics?"),
        ("{folder}/toy.jsonl", "did you mean {folder}/toys.jsonl?"),
        ("{folder}", "starter domains are electronics, clothing, grocery"),
        ("zebra", "starter domains are electronics, clothing, grocery"),
    ],
)
def test_an_unknown_dataset_is_refused_with_close_names(file: Path, name: str, hint: str) -> None:
    file.touch()
    folder = str(file.parent)
    with pytest.raises(UsageError) as refused:
        find_dataset(name.format(folder=folder))
    assert str(refused.value).endswith(hint.format(folder=folder))


def test_an_unknown_starter_domain_is_refused() -> None:
    with pytest.raises(UsageError, match="no starter domain 'toys'; choose from electronics, clothing, grocery"):
        starter_pack_path("toys")


def test_load_keeps_one_split() -> None:
    assert len(load("grocery")) == 200
    assert {session.split for session in load("grocery", "validation")} == {"validation"}


@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_split_without_sessions_is_refused_with_those_that_exist(file: Path, split: Any) -> None:
    file.write_bytes(lines(GOOD))
    with pytest.raises(UsageError, match=rf"no sessions in split '{split}'; it has train \(1\)"):
        load(str(file), split)
