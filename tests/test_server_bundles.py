"""POST /v1/bundles: what goes in, what comes out, and what is refused how."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from server_samples import THOUGHT, TITLES, app_of


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(app_of()) as client:
        yield client


def ask(client: TestClient, body: object) -> Any:
    return client.post("/v1/bundles", json=body)


def test_a_session_of_titles_comes_back_as_bundles_with_intent_confidence_and_knowledge(client: TestClient) -> None:
    found = ask(client, {"items": TITLES})
    assert found.status_code == 200
    (session,) = found.json()["sessions"]
    (bundle,) = session["bundles"]
    assert [item["title"] for item in bundle["items"]] == TITLES[:2]
    assert [item["number"] for item in session["left_out"]] == [3]
    assert (bundle["intent"], bundle["confidence"], bundle["total"]) == ("words in common", 0.75, None)
    assert bundle["reasons"] == []
    assert [why["text"] for why in session["knowledge"]] == [THOUGHT.text]
    assert found.json()["usage"] == {"prompt_tokens": 30, "completion_tokens": 3, "total_tokens": 33}


def test_products_keep_the_shops_ids_and_their_prices_add_up(client: TestClient) -> None:
    items = [{"id": f"sku-{n}", "title": title, "price": 10.5} for n, title in enumerate(TITLES)]
    found = ask(client, {"items": items, "session_id": "mine", "domain": "electronics"}).json()["sessions"][0]
    assert found["session_id"] == "mine"
    assert [item["id"] for item in found["bundles"][0]["items"]] == ["sku-0", "sku-1"]
    assert found["bundles"][0]["total"] == 21


def test_reasons_come_with_their_effect_where_they_are_asked_for(client: TestClient) -> None:
    found = ask(client, {"items": TITLES, "explain": True}).json()["sessions"][0]["bundles"][0]["reasons"]
    assert [(why["id"], why["effect"]) for why in found] == [(THOUGHT.id, 0.25)]


def test_a_batch_is_answered_in_its_order_even_with_equal_sessions(client: TestClient) -> None:
    sessions = [{"items": TITLES, "session_id": "a"}, {"items": TITLES[::-1], "session_id": "b"}, {"items": TITLES}]
    found = ask(client, {"sessions": sessions}).json()["sessions"]
    assert [each["session_id"] for each in found] == ["a", "b", "3"]
    assert [len(each["bundles"]) for each in found] == [1, 0, 1]
    assert found[1]["outcome"] == "failed" and found[1]["reason"]


@pytest.mark.parametrize(
    ("items", "ids"),
    [
        ([{"title": "Desk Lamp", "id": "2"}, "Light Bulb"], ["2", "3"]),
        (["Desk Lamp", {"title": "Light Bulb", "id": "1"}], ["3", "1"]),
        (["a", {"title": "b", "id": "3"}, {"title": "c", "id": "1"}, "d"], ["5", "3", "1", "4"]),
        (["a", {"title": "b", "id": "4"}, {"title": "c", "id": "1"}, "d"], ["5", "4", "1", "6"]),
        (["a", {"title": "b", "id": "٢"}, "c"], ["1", "٢", "3"]),
        (["a", "b"], ["1", "2"]),
    ],
)
def test_an_id_that_is_made_is_nobody_elses(client: TestClient, items: Any, ids: list[str]) -> None:
    (found,) = ask(client, {"items": items}).json()["sessions"]
    all_items = [*found["left_out"], *(item for bundle in found["bundles"] for item in bundle["items"])]
    assert [item["id"] for item in sorted(all_items, key=lambda item: item["number"])] == ids


def test_a_session_id_that_is_made_is_nobody_elses(client: TestClient) -> None:
    found = ask(client, {"sessions": [{"items": TITLES}, {"items": TITLES, "session_id": "1"}]}).json()["sessions"]
    assert [each["session_id"] for each in found] == ["3", "1"]


def test_an_id_that_two_sessions_have_is_refused_with_both_places(client: TestClient) -> None:
    sessions = [{"items": TITLES, "session_id": key} for key in ("a", "b", "a")]
    found = ask(client, {"sessions": sessions})
    assert found.status_code == 400 and "the id 'a' is that of sessions 1 and 3" in found.json()["error"]["message"]


@pytest.mark.parametrize("many", [False, True])
def test_an_id_that_two_products_have_is_refused_with_both_places(client: TestClient, many: bool) -> None:
    session = {"items": ["a", {"title": "b", "id": "x"}, {"title": "c", "id": "x"}]}
    found = ask(client, {"sessions": [{"items": TITLES}, session]} if many else session)
    assert found.status_code == 400
    error = found.json()["error"]
    assert "the id 'x' is that of products 2 and 3" in error["message"]
    assert error["param"] == ("sessions.1.items" if many else "items")


def test_null_asks_for_the_default(client: TestClient) -> None:
    items = [{"title": title, "id": None, "price": None, "category": None} for title in TITLES]
    plain = ask(client, {"items": TITLES}).json()["sessions"]
    body = {"items": items, "session_id": None, "domain": None, "explain": None}
    assert ask(client, body).json()["sessions"] == plain
    assert ask(client, {"items": None}).status_code == 400
    assert ask(client, {"sessions": [{"items": items, "domain": None}], "explain": None}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "items", "required"),
        ({"items": TITLES[:1]}, "items", "at least 2 items"),
        ({"items": TITLES * 11}, "items", "at most 30 items"),
        ({"items": ["a", 7]}, "items.1", "valid dictionary"),
        ({"items": ["a", "  "]}, "items.1", "pattern"),
        ({"items": ["a", "b" * 1001]}, "items.1", "at most 1000 characters, got 1,001; shorten it"),
        ({"items": ["a", {"title": "b", "price": -1}]}, "items.1.price", "greater than or equal to 0"),
        ({"items": ["a", {"title": "b", "price": "1"}]}, "items.1.price", "valid number"),
        ({"items": ["a", {"id": "x"}]}, "items.1.title", "required"),
        ({"items": TITLES, "k": 3}, "k", "not permitted"),
        ({"items": TITLES, "explain": "yes"}, "explain", "valid boolean"),
        ({"sessions": []}, "sessions", "at least 1"),
        ({"sessions": [{"items": TITLES}] * 65}, "sessions", "at most 64"),
        ({"sessions": [{"items": TITLES}, {"items": []}]}, "sessions.1.items", "at least 2"),
        ([], None, "valid dictionary"),
    ],
)
def test_a_wrong_body_is_refused_by_the_field_with_the_value(
    client: TestClient, body: object, param: str | None, said: str
) -> None:
    found = ask(client, body)
    assert found.status_code == 400
    error = found.json()["error"]
    assert error["param"] == param and said in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"items": ["a", "b"], "items": ["c", "d"]}', "occurs twice"),
        (b'{"items": ["a", {"title": "b", "price": NaN}]}', "not a number in JSON"),
        (b'{"items": ["a", {"title": "b", "price": 1e999}]}', "too large"),
        (b'{"items": ["a", {"title": "b", "price": ' + b"9" * 5000 + b"}]}", "digits"),
        (b'{"items": ["a", "\\ud800"]}', "half a character"),
        (b'{"items": ["a", "\xff"]}', "UTF-8"),
        (b"[" * 200_000, "deep"),
        (b"[" * 40 + b"]" * 40, "deep"),
        (b"{", "Expecting"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_json_that_does_not_mean_one_thing_is_refused(client: TestClient, text: bytes, said: str) -> None:
    found = client.post("/v1/bundles", content=text, headers={"Content-Type": "application/json"})
    assert found.status_code == 400
    assert found.json()["error"]["code"] == "invalid_json" and said in found.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_only_json_is_taken_so_that_no_page_of_another_origin_can_send_it(client: TestClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    found = client.post("/v1/bundles", content=json.dumps({"items": TITLES}).encode(), headers=headers)
    assert found.status_code == 415


@pytest.mark.parametrize(("given", "same"), [("order-7.b:1", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_request_id_comes_back_or_is_made(client: TestClient, given: str, same: bool) -> None:
    found = client.post("/v1/bundles", json={"items": TITLES}, headers={"X-Request-ID": given})
    assert (found.headers["x-request-id"] == given) == same
    assert found.json()["id"] == found.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/bundles", 405), ("GET", "/v1/nothing", 404)])
def test_errors_of_the_framework_have_the_same_shape(client: TestClient, method: str, path: str, status: int) -> None:
    found = client.request(method, path)
    assert found.status_code == status
    assert set(found.json()["error"]) == {"message", "type", "param", "code"}
