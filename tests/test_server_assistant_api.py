"""/api: threads over HTTP, each for its owner alone, kept over a kill, and their events as a stream."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from server_samples import KEY, OTHER_KEY, THOUGHT, TITLES, WordStudent, app_of, served

from bundlewise.server.keys import Keys

LIST = "Bundle these:\n" + "\n".join(f"- {title}" for title in TITLES)


def events_of(response: httpx.Response) -> list[tuple[str, Any]]:
    """Return the server-sent events of a response."""
    assert response.status_code == 200, response.text
    blocks = [block.split("\n", 1) for block in response.text.split("\n\n") if block]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]


def say(client: Any, thread: str, text: str, **settings: Any) -> list[tuple[str, Any]]:
    return events_of(client.post(f"/api/threads/{thread}/messages", json={"text": text}, **settings))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_shopper_bundles_asks_why_and_rates(tmp_path: Path) -> None:
    with TestClient(app_of(threads=tmp_path / "threads.sqlite")) as client:
        thread = client.post("/api/threads").json()["thread"]
        found = dict(say(client, thread, LIST))
        assert [item["title"] for item in found["bundles"]["bundles"][0]["items"]] == TITLES[:2]
        assert found["done"] == {"type": "done"}
        why = dict(say(client, thread, "why bundle 1?"))["why"]
        assert why["reasons"][0]["id"] == THOUGHT.id
        view = client.get(f"/api/threads/{thread}").json()
        assert [message["role"] for message in view["messages"]] == ["user", "assistant"] * 2
        assert not view["pending"] and len(view["cart"]["items"]) == 3
        assert client.post(f"/api/threads/{thread}/ratings", json={"what": 1, "up": True, "note": "<b>yes</b>"}).json()[
            "id"
        ]
        assert [row["thread"] for row in client.get("/api/threads").json()] == [thread]
    (rating,) = [json.loads(row) for row in (tmp_path / "ratings.jsonl").read_text("utf-8").splitlines()]
    assert (rating["up"], rating["note"], rating["thread"]) == (True, "<b>yes</b>", thread)


def test_why_is_answered_where_no_bundle_is_found_and_the_thread_goes_on() -> None:
    with TestClient(app_of()) as client:
        client.post("/api/threads/t/actions", json={"name": "add", "ids": ["p0", "p3"]})
        why = events_of(client.post("/api/threads/t/actions", json={"name": "explain"}))
        assert why[-1][0] == "done" and "found no bundle" in "".join(e["text"] for kind, e in why if kind == "text")
        assert say(client, "t", "why bundle 1?")[-1][0] == say(client, "t", "hello")[-1][0] == "done"


def test_a_click_does_what_it_says() -> None:
    with TestClient(app_of()) as client:
        found = client.post("/api/threads/t/actions", json={"name": "add", "ids": ["p0"]})
        assert dict(events_of(found))["cart"]["items"][0]["title"] == TITLES[0]
        for wrong in (
            {"name": "format_disk"},
            {"name": "add", "numbers": [2**80]},
            {"name": "limit", "limits": {"most": 2**80}},
        ):
            assert client.post("/api/threads/t/actions", json=wrong).status_code == 400


def test_a_thread_belongs_to_its_key() -> None:
    with TestClient(app_of(keys=Keys([KEY, OTHER_KEY]))) as client:
        say(client, "mine", "find a tablet", headers=bearer(KEY))
        for method, path, body in [
            ("GET", "/api/threads/mine", None),
            ("DELETE", "/api/threads/mine", None),
            ("POST", "/api/threads/mine/ratings", {"up": True}),
        ]:
            found = client.request(method, path, headers=bearer(OTHER_KEY), json=body)
            assert found.status_code == (404 if "ratings" not in path else 400) or "no such" in found.text
        assert client.get("/api/threads", headers=bearer(OTHER_KEY)).json() == []
        say(client, "mine", "hello", headers=bearer(OTHER_KEY))
        assert len(client.get("/api/threads/mine", headers=bearer(KEY)).json()["messages"]) == 2
        assert client.get("/api/threads").status_code == 401


def test_without_keys_a_cookie_tells_browsers_apart() -> None:
    app = app_of()
    with TestClient(app) as client:
        said = client.post("/api/threads/t/messages", json={"text": "hello"})
        cookie = said.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/api" in cookie
        assert len(client.get("/api/threads").json()) == 1
        client.cookies.clear()
        assert client.get("/api/threads").json() == []
        assert client.get("/api/threads/t").status_code == 404


@pytest.mark.parametrize("thread", ["..%2f..%2fetc", "a%00b", "x" * 101, "a b", "%ff", "thread;DROP TABLE"])
def test_a_name_that_is_none_is_refused(thread: str) -> None:
    with TestClient(app_of()) as client:
        for found in (
            client.get(f"/api/threads/{thread}"),
            client.post(f"/api/threads/{thread}/messages", json={"text": "x"}),
        ):
            assert found.status_code in (400, 404, 405) and set(found.json()) == {"error"}


def test_catalogue_and_knowledge_are_searched() -> None:
    with TestClient(app_of()) as client:
        found = client.get("/api/products", params={"q": "tablet"}).json()
        assert found[0]["title"] == TITLES[0]
        assert all(item["price"] <= 20 for item in client.get("/api/products", params={"max_price": 20}).json())
        assert client.get("/api/knowledge", params={"q": "case"}).json()["records"][0]["text"] == THOUGHT.text
        assert client.get("/api/products", params={"limit": 0}).status_code == 400


def test_an_answer_that_nobody_listens_to_any_more_is_finished_all_the_same() -> None:
    student = WordStudent(delay=0.5)
    with (
        served(app_of(student, keys=Keys([KEY]))) as address,
        httpx.Client(base_url=address, headers=bearer(KEY)) as client,
    ):
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/threads/t/messages", json={"text": LIST}, timeout=0.2)
        deadline = time.monotonic() + 20
        while (found := client.get("/api/threads/t")).status_code != 200 or found.json()["pending"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found.json()["bundles"] and len(found.json()["messages"]) == 2


def test_a_turn_that_fails_is_an_event_without_its_cause_and_is_counted() -> None:
    class Broken(WordStudent):
        def answer(self, sessions: Any, limits: Any = None) -> Any:
            raise RuntimeError("weights of nan")

    with TestClient(app_of(Broken())) as client:
        kind, told = say(client, "t", LIST + "\nand bundle them")[-1]
        assert (kind, told["error"]["code"]) == ("error", "broke_off") and "nan" not in json.dumps(told)
        assert 'bundlewise_failures_total{kind="turn"} 1.0' in client.get("/metrics").text


def test_two_tabs_of_one_thread_do_not_mix() -> None:
    with served(app_of(keys=Keys([KEY]))) as address:

        def tab(number: int) -> None:
            with httpx.Client(base_url=address, headers=bearer(KEY), timeout=30) as client:
                for _ in range(4):
                    say(client, "t", f"find mouse {number}")

        tabs = [threading.Thread(target=tab, args=(n,)) for n in range(2)]
        for each in tabs:
            each.start()
        for each in tabs:
            each.join()
        view = httpx.get(f"{address}/api/threads/t", headers=bearer(KEY)).json()
    assert [message["role"] for message in view["messages"]] == ["user", "assistant"] * 8
