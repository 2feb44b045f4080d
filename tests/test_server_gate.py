"""The gate: keys, rates, bodies, places, and headers that every answer carries."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from server_samples import KEY, OTHER_KEY, TITLES, WordStudent, app_of

from bundlewise.errors import UsageError
from bundlewise.server.keys import Keys
from bundlewise.server.limits import Buckets, ServerLimits

BODY = {"items": TITLES}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer(KEY), 200),
        (bearer(OTHER_KEY), 401),
        (bearer(KEY + "x"), 401),
        (bearer(KEY[:-1]), 401),
        (bearer(""), 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": f"bearer  {KEY} "}, 200),
        ({"Authorization": b"Bearer \xff\xfe"}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/v1/bundles", "/v1/models", "/metrics"])
def test_a_key_opens_and_nothing_else_does(path: str, headers: dict[str, Any], status: int) -> None:
    with TestClient(app_of(keys=Keys([KEY]))) as client:
        post = path == "/v1/bundles"
        found = client.post(path, json=BODY, headers=headers) if post else client.get(path, headers=headers)
    assert found.status_code == status
    if status == 401:
        assert found.headers["www-authenticate"] == "Bearer" and found.json()["error"]["code"] == "invalid_api_key"
        assert KEY[:-1] not in found.text


def test_health_needs_no_key() -> None:
    with TestClient(app_of(keys=Keys([KEY]))) as client:
        assert client.get("/healthz").status_code == 200
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_student_that_fails_is_alive_but_not_ready() -> None:
    class Broken(WordStudent):
        def answer(self, sessions: Any, limits: Any = None) -> Any:
            raise RuntimeError("weights of nan")

    with TestClient(app_of(Broken())) as client:
        deadline = time.monotonic() + 20
        while (found := client.get("/readyz")).json()["status"] == "warming up":
            assert time.monotonic() < deadline
        assert found.status_code == 503 and "failed" in found.json()["status"]
        answer = client.post("/v1/bundles", json=BODY)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error" and "weights of nan" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["short", "with a space in it", "schlüssel-der-lang-ist"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError, match="at least 16") as caught:
        Keys([key])
    assert key not in str(caught.value)


def test_keys_come_from_the_environment_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("BUNDLEWISE_API_KEYS", f" {KEY}, ")
    file = tmp_path / "keys"
    file.write_text(f"# the shop's\n\n{OTHER_KEY}\n", "utf-8")
    keys = Keys.read(file)
    owners = {keys.owner(f"Bearer {key}") for key in (KEY, OTHER_KEY)}
    assert len(owners) == 2 and None not in owners
    assert not any(KEY in str(owner) for owner in owners)
    file.write_text("# nothing\n", "utf-8")
    with pytest.raises(UsageError, match="holds no key"):
        Keys.read(file)


def test_no_key_and_no_title_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), TestClient(app_of(keys=Keys([KEY]))) as client:
        client.post("/v1/bundles?token=secret-query", json=BODY, headers=bearer(KEY))
        client.post("/v1/bundles", json=BODY, headers=bearer(OTHER_KEY))
    said = "\n".join(row.getMessage() for row in caplog.records if row.name.startswith("bundlewise"))
    assert "POST /v1/bundles 200" in said and "401" in said
    assert not [secret for secret in (KEY, OTHER_KEY, "secret-query", TITLES[0]) if secret in said]


@pytest.mark.parametrize("length", [True, False])
def test_a_body_too_long_is_refused_whether_it_says_so_or_not(length: bool) -> None:
    with TestClient(app_of(limits=ServerLimits(body=1000))) as client:
        body = b"x" * 5000
        content: Any = body if length else iter([body[n : n + 100] for n in range(0, 5000, 100)])
        found = client.post("/v1/bundles", content=content, headers={"Content-Type": "application/json"})
    assert found.status_code == 413 and found.headers["connection"] == "close"
    assert "1000 bytes" in found.json()["error"]["message"]


def test_a_client_above_its_rate_is_told_when_to_come_again_and_others_are_not_touched() -> None:
    app = app_of(keys=Keys([KEY, OTHER_KEY]), limits=ServerLimits(rate=60, burst=3))
    with TestClient(app) as client:
        found = [client.post("/v1/bundles", json=BODY, headers=bearer(KEY)) for _ in range(4)]
        other = client.post("/v1/bundles", json=BODY, headers=bearer(OTHER_KEY))
    assert [each.status_code for each in found] == [200, 200, 200, 429] and other.status_code == 200
    assert 1 <= int(found[-1].headers["retry-after"]) <= 2
    assert found[-1].json()["error"]["type"] == "rate_limit_error"


def test_what_only_reads_counts_a_tenth() -> None:
    with TestClient(app_of(limits=ServerLimits(rate=1, burst=3))) as client:
        found = [client.get("/v1/models").status_code for _ in range(20)]
        assert found == [200] * 20
        assert client.post("/v1/bundles", json=BODY).status_code == 200
        assert client.post("/v1/bundles", json=BODY).status_code == 429


def test_every_session_of_a_batch_counts() -> None:
    with TestClient(app_of(limits=ServerLimits(rate=60, burst=3))) as client:
        found = client.post("/v1/bundles", json={"sessions": [BODY] * 4})
        assert found.status_code == 413 and "above the limit of 3" in found.json()["error"]["message"]
        assert client.post("/v1/bundles", json={"sessions": [BODY] * 2}).status_code == 200
        assert client.post("/v1/bundles", json={"sessions": [BODY] * 2}).status_code == 429


def test_a_bucket_fills_at_its_rate_and_no_higher_than_its_burst() -> None:
    now = [0.0]
    buckets = Buckets(rate=60, burst=2, clock=lambda: now[0])
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a")] == [0, 0, 1]
    now[0] = 0.5
    assert buckets.take("a") == pytest.approx(0.5)
    now[0] = 100
    assert [buckets.take("a"), buckets.take("a")] == [0, 0] and buckets.take("a") > 0


def test_more_requests_at_once_than_there_are_places_are_sent_away() -> None:
    app = app_of(WordStudent(delay=0.5), limits=ServerLimits(concurrent=2))
    with TestClient(app) as client, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: client.post("/v1/bundles", json=BODY), range(6)))
    counts = sorted(each.status_code for each in found)
    assert counts.count(200) >= 2 and set(counts) == {200, 503}
    refused = next(each for each in found if each.status_code == 503)
    assert refused.headers["retry-after"] and refused.json()["error"]["code"] == "busy"


@pytest.mark.parametrize(("host", "status"), [("localhost:8000", 200), ("127.0.0.1", 200), ("evil.example", 421)])
def test_a_server_without_keys_answers_to_its_own_names_alone(host: str, status: int) -> None:
    with TestClient(app_of(hosts={"localhost", "127.0.0.1"})) as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == status


def test_browsers_are_told_to_keep_out(tmp_path: Any) -> None:
    (tmp_path / "index.html").write_text("<h1>page</h1>", "utf-8")
    with TestClient(app_of(page=tmp_path)) as client:
        api, page = client.get("/v1/models"), client.get("/")
    assert page.text == "<h1>page</h1>" and "default-src 'self'" in page.headers["content-security-policy"]
    assert "default-src 'none'" in api.headers["content-security-policy"]
    for found in (api, page):
        assert found.headers["x-content-type-options"] == "nosniff" and found.headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in found.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api.js", 200),
        ("/v1.css", 200),
        ("/api", 401),
        ("/api/", 401),
        ("/api/no", 401),
        ("/v1", 401),
        ("/metrics/", 401),
    ],
)
def test_a_file_of_the_page_may_be_called_as_the_api_is(tmp_path: Any, path: str, status: int) -> None:
    for name in ("index.html", "api.js", "v1.css"):
        (tmp_path / name).write_text(name, "utf-8")
    with TestClient(app_of(keys=Keys([KEY]), page=tmp_path)) as client:
        assert client.get(path).status_code == status


@pytest.mark.parametrize("path", ["/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/web/../../app.py", "//etc/passwd"])
def test_no_path_leads_out_of_the_page(tmp_path: Any, path: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("page", "utf-8")
    (tmp_path / "app.py").write_text("secret", "utf-8")
    with TestClient(app_of(page=tmp_path / "web")) as client:
        assert client.get(path).status_code == 404


def test_the_meters_count_requests_sessions_tokens_and_refusals() -> None:
    with TestClient(app_of()) as client:
        client.post("/v1/bundles", json=BODY)
        client.post("/v1/bundles", json={})
        client.get("/v1/no/such/place")
        text = client.get("/metrics").text
    assert 'bundlewise_requests_total{method="POST",route="/v1/bundles",status="200"} 1.0' in text
    assert 'bundlewise_requests_total{method="POST",route="/v1/bundles",status="400"} 1.0' in text
    assert 'route="(none)"' in text and "/v1/no/such/place" not in text
    assert 'bundlewise_sessions_total{outcome="ok"} 1.0' in text
    assert 'bundlewise_tokens_total{direction="read"} 30.0' in text
    assert "bundlewise_batch_sessions_count" in text and "bundlewise_queue_seconds_bucket" in text
