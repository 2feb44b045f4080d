"""What the page asks /api beside threads: who it is for, turns to listen to again, knowledge, and the playground."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from page_samples import app_with, knowing
from server_samples import KEY, TITLES, WordStudent, app_of, served

from bundlewise.pipeline.student import Student
from bundlewise.prompts.library import VARIABLE, forget, shipped
from bundlewise.server.keys import Keys

LIST = "Bundle these:\n" + "\n".join(f"- {title}" for title in TITLES)


@pytest.fixture(scope="module")
def live(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    return knowing(tiny_student, tmp_path_factory.mktemp("kb"))


@pytest.fixture(scope="module")
def client(live: Student, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(app_with(live, tmp_path_factory.mktemp("data"))) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_origin_changes_nothing(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/api/threads", headers=headers).status_code == status
    assert client.get("/api/threads", headers=headers).status_code == 200


def test_an_answer_on_its_way_is_heard_from_its_start_by_whoever_comes_later(tmp_path: Path) -> None:
    with served(app_of(WordStudent(delay=1.0), threads=tmp_path / "threads.sqlite")) as url, httpx.Client() as browser:
        browser.get(f"{url}/api/about")
        cookies = dict(browser.cookies)
        with httpx.stream("POST", f"{url}/api/threads/t/messages", json={"text": LIST}, cookies=cookies) as first:
            next(first.iter_lines())
        view = browser.get(f"{url}/api/threads/t").json()
        assert view["pending"]
        rows = browser.get(f"{url}/api/threads/t/events", timeout=30).text
        kinds = [row.removeprefix("event: ") for row in rows.splitlines() if row.startswith("event: ")]
        assert kinds[0] == "text" and "bundles" in kinds and kinds[-1] == "done"
        after = browser.get(f"{url}/api/threads/t").json()
        assert not after["pending"] and after["bundles"]
        assert browser.get(f"{url}/api/threads/t/events").text == ""
        assert browser.get(f"{url}/api/threads/other/events").status_code == 404


def test_no_more_than_a_few_turns_of_a_thread_wait() -> None:
    with served(app_of(WordStudent(delay=1.5))) as url:
        cookies = dict(httpx.get(f"{url}/api/about").cookies)
        found: list[int] = []

        def say() -> None:
            body = {"text": LIST}
            found.append(
                httpx.post(f"{url}/api/threads/t/messages", json=body, cookies=cookies, timeout=60).status_code
            )

        said = [threading.Thread(target=say) for _ in range(7)]
        for each in said:
            each.start()
        for each in said:
            each.join()
        assert set(found) == {200, 409} and found.count(200) >= 4


def test_knowledge_is_browsed_in_pages_by_kind_and_searched_by_words(client: TestClient) -> None:
    first = client.get("/api/knowledge", params={"limit": 4}).json()
    assert first["total"] == 7 and first["more"] and first["kinds"] == {"rule": 1, "thought": 6}
    rest = client.get("/api/knowledge", params={"limit": 4, "offset": 4}).json()
    assert not rest["more"] and len({r["id"] for r in first["records"] + rest["records"]}) == 7
    rules = client.get("/api/knowledge", params={"kind": "rule"}).json()
    assert [r["text"] for r in rules["records"]] == ["put together a mouse and a pad"] and rules["total"] == 1
    found = client.get("/api/knowledge", params={"q": "put together mouse pad"}).json()
    assert found["records"][0]["kind"] == "rule" and found["scores"] == sorted(found["scores"], reverse=True)
    assert client.get("/api/knowledge", params={"status": "retired"}).json()["total"] == 0
    key = rules["records"][0]["id"]
    assert client.get(f"/api/knowledge/{key}").json()["provenance"]["teacher"] == "grounded"
    assert client.get("/api/knowledge/rule-nothing").status_code == 404


def test_about_says_what_is_open_and_what_can_be_said(client: TestClient) -> None:
    about = client.get("/api/about").json()
    assert about["knowledge"] == 7 and about["products"] == 12 and about["playground"] and not about["saves"]
    assert len(about["examples"]) == 3 and all(about["examples"])


def test_a_template_is_rendered_part_by_part_with_tokens_and_knowledge(client: TestClient) -> None:
    source = client.get("/api/prompts/judge").json()
    edited = source["text"].replace("Which go together?", "Which of them?")
    shown = client.post("/api/prompts/judge/render", json={"text": edited, "session": "s0"}).json()
    (prompt,) = shown["prompts"]
    assert shown["fault"] is None and shown["fingerprint"] != source["fingerprint"]
    assert "Which of them?" in prompt["parts"][0]["text"] and all(part["tokens"] > 0 for part in prompt["parts"])
    assert any(part["knowledge"] for part in prompt["parts"])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a\n{{ nothing }}\n", 2, "nothing is no variable of judge"),
        ("a\nb\n{% if %}\n", 3, "line 3"),
        ("{{ ''.__class__ }}", 1, "line 1"),
        ("{{ session.items | shout }}", 1, "no filter 'shout'"),
    ],
)
@pytest.mark.parametrize("way", ["render", "try"])
def test_a_fault_of_a_template_names_its_line(client: TestClient, text: str, line: int, said: str, way: str) -> None:
    found = client.post(f"/api/prompts/judge/{way}", json={"text": text, "session": "s0"}).json()["fault"]
    assert found["line"] == line and said in found["message"]


@pytest.mark.parametrize("way", ["render", "try"])
def test_a_template_that_is_none_is_the_clients_mistake(client: TestClient, way: str) -> None:
    found = client.post(f"/api/prompts/jugde/{way}", json={"text": "x", "session": "s0"})
    assert found.status_code == 400 and "did you mean judge?" in found.json()["error"]["message"]


def test_an_edit_is_tried_with_scores_before_and_after(client: TestClient) -> None:
    text = shipped("judge").text.replace("Which go together?", "Which?")
    tried = client.post("/api/prompts/judge/try", json={"text": text, "session": "s0"}).json()
    assert tried["changes"] and tried["truth"] == [[1, 2]]
    for answer in (tried["before"], tried["after"]):
        assert answer["prediction"]["bundles"] and 0 <= answer["scores"]["gjs"] <= 1
    same = client.post("/api/prompts/rule/try", json={"text": shipped("rule").text, "session": "s0"}).json()
    assert not same["changes"] and same["after"] is None
    pasted = client.post("/api/prompts/judge/try", json={"text": text, "titles": ["red mouse", "blue pad"]}).json()
    assert pasted["before"]["scores"] is None and pasted["truth"] == []
    assert client.post("/api/prompts/judge/try", json={"text": text, "session": "nobody"}).status_code == 400


def test_a_template_is_saved_to_the_overlay_and_nowhere_else(
    live: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "rule.jinja").write_text(shipped("rule").text, "utf-8")
    monkeypatch.setenv(VARIABLE, str(folder))
    forget()
    try:
        with TestClient(app_with(live, tmp_path, prompts=folder)) as client:
            source = client.get("/api/prompts/pair").json()
            text = source["text"].rstrip("\n") + " \n{# mine #}\n"
            assert client.put("/api/prompts/pair", json={"text": "{{ x", "mark": source["mark"]}).status_code == 422
            kept = client.put("/api/prompts/pair", json={"text": text, "mark": source["mark"]}).json()
            assert kept["own"] and "{# mine #}" in (folder / "pair.jinja").read_text("utf-8")
            again = client.put("/api/prompts/pair", json={"text": text, "mark": source["mark"]})
            assert again.status_code == 400 and "meanwhile" in again.text
            for name in ("..%2fevil", "%2ftmp%2fevil", "nobody"):
                assert client.put(f"/api/prompts/{name}", json={"text": "x", "mark": ""}).status_code in (400, 404, 405)
            assert sorted(path.name for path in folder.iterdir()) == ["pair.jinja", "rule.jinja"]
            assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jinja") == []
    finally:
        forget()


def test_without_a_folder_nothing_is_saved_and_a_closed_playground_says_so(client: TestClient) -> None:
    source = client.get("/api/prompts/pair").json()
    found = client.put("/api/prompts/pair", json={"text": source["text"], "mark": source["mark"]})
    assert found.status_code == 400 and "--prompts" in found.json()["error"]["message"]
    with TestClient(app_of()) as closed:
        for method, path in [("GET", ""), ("GET", "/judge"), ("POST", "/judge/render"), ("PUT", "/judge")]:
            found = closed.request(
                method, f"/api/prompts{path}", json={"text": "", "mark": ""} if method == "PUT" else {"text": ""}
            )
            assert found.status_code == 403 and found.json()["error"]["code"] == "playground_closed"


def test_the_playground_asks_for_the_key_as_all_of_it_does(live: Student, tmp_path: Path) -> None:
    with TestClient(app_with(live, tmp_path, keys=Keys([KEY]))) as client:
        assert client.get("/api/prompts").status_code == 401
        assert client.get("/api/prompts", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_the_page_comes_under_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/app.js", "/base.css", "/icons.svg"):
        found = client.get(path)
        assert found.status_code == 200 and "unsafe" not in found.headers["content-security-policy"]
        assert found.headers["content-security-policy"].startswith("default-src 'self'")
    assert "style=" not in client.get("/").text and "<script>" not in client.get("/").text
    assert client.get("/..%2fapp.py").status_code == 404


def test_no_script_of_the_page_makes_markup_of_text() -> None:
    from bundlewise.server.app import PAGE

    for path in sorted(PAGE.glob("*.js")):
        text = path.read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"):
            assert word not in text.replace("http://www.w3.org/2000/svg", ""), (path.name, word)


HUGE = [
    "{{ 'a b ' * 240000 }}",
    "{{ '\U0001f600' * 900000 }}",
    "{{ 'ab ' * 60000 }}",
    "{{ '\\n' * 240000 }}",
]


@pytest.mark.parametrize("way", ["render", "try"])
@pytest.mark.parametrize("name", ["pair", "judge", "name"])
@pytest.mark.parametrize("body", HUGE)
def test_a_text_that_nobody_could_read_is_a_fault_of_its_template_and_costs_little(
    client: TestClient, body: str, name: str, way: str
) -> None:
    began = time.process_time()
    found = client.post(f"/api/prompts/{name}/{way}", json={"text": body, "titles": ["red mouse", "blue pad"]}).json()
    assert time.process_time() - began < 2
    assert found["fault"]["line"] == 1 and found["fault"]["message"].startswith(f"{name}.jinja, line 1: ")
