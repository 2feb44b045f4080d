"""Owners without a key: only a cookie that this server signed says whose a thread is."""

import stat
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from server_samples import app_of

from bundlewise.errors import BundlewiseError
from bundlewise.server.cookies import Seal
from bundlewise.server.routes import COOKIE

SAID = {"text": "find a tablet"}
OLD = "A" * 43


def said(client: TestClient) -> list[str]:
    """Say something and return the threads of whoever did."""
    assert client.post("/api/threads/t/messages", json=SAID).status_code == 200
    return [row["thread"] for row in client.get("/api/threads").json()]


def with_cookie(client: TestClient, value: str) -> TestClient:
    client.cookies.clear()
    client.cookies.set(COOKIE, value, domain="testserver.local", path="/api")
    return client


def test_a_cookie_of_this_server_is_an_owner_and_others_are_new_ones() -> None:
    with TestClient(app_of()) as client:
        assert said(client) == ["t"]
        mine = str(client.cookies[COOKIE])
        mark, _, signature = mine.rpartition(".")
        flipped = signature[:-1] + ("A" if signature[-1] != "A" else "E")
        for other in (OLD, mark, f"{mark}.", f".{signature}", f"{mark}.{flipped}", f"{mark}x.{signature}", ""):
            found = with_cookie(client, other).get("/api/threads")
            assert found.status_code == 200 and found.json() == []
            assert found.cookies[COOKIE] not in (other, mine)
        client.cookies.clear()
        for raw in (b"\xff.\xfe", "é.é".encode(), b"\xed\xa0\x80.x"):
            assert client.get("/api/threads", headers={"Cookie": COOKIE.encode() + b"=" + raw}).json() == []  # type: ignore[dict-item]
        found = with_cookie(client, mine).get("/api/threads")
        assert [row["thread"] for row in found.json()] == ["t"] and COOKIE not in found.cookies


def test_a_cookie_of_another_server_is_none_of_this_one() -> None:
    with TestClient(app_of()) as other, TestClient(app_of()) as client:
        other.get("/api/threads")
        theirs = str(other.cookies[COOKIE])
        assert with_cookie(client, theirs).get("/api/threads").cookies[COOKIE] != theirs


def test_a_restart_keeps_owners_by_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    threads = tmp_path / "threads.sqlite"
    with TestClient(app_of(threads=threads)) as client:
        assert said(client) == ["t"]
        mine = str(client.cookies[COOKIE])
    key = tmp_path / "threads.sqlite.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_bytes()) == 32
    assert {path.name for path in tmp_path.iterdir()} >= {key.name} and not list(tmp_path.glob(".*.key.*"))
    with TestClient(app_of(threads=threads)) as client:
        assert [row["thread"] for row in with_cookie(client, mine).get("/api/threads").json()] == ["t"]


def test_two_servers_over_one_file_know_each_others_owners(tmp_path: Path) -> None:
    seals = [Seal.beside(tmp_path / "threads.sqlite") for _ in range(2)]
    assert seals[0].opened(seals[1].sign("mark")) == "mark"
    assert Seal.beside("postgresql://host/base").opened(seals[0].sign("mark")) is None


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    first = Seal.beside(tmp_path / "t")
    (tmp_path / "t.key").chmod(0o644)
    assert Seal.beside(tmp_path / "t").opened(first.sign("m")) == "m"
    assert stat.S_IMODE((tmp_path / "t.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_seal_is_told_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.key").write_bytes(content)
    with pytest.raises(BundlewiseError, match=r"t\.key is no seal of a server.*remove it"):
        Seal.beside(tmp_path / "t")
    assert (tmp_path / "t.key").read_bytes() == content


def test_a_place_that_cannot_hold_a_seal_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundlewiseError, match="cannot keep the seal of owners"):
        Seal.beside(tmp_path / "t")
    (tmp_path / "u.key").mkdir()
    with pytest.raises(BundlewiseError, match=r"u\.key"):
        Seal.beside(tmp_path / "u")


def test_an_origin_that_is_no_address_is_refused() -> None:
    with TestClient(app_of()) as client:
        assert client.post("/api/threads", headers={"Origin": "http://["}).status_code == 403
