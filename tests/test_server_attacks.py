"""Attacks as data: each stays inside the schema, runs nothing and learns nothing, wherever it comes in."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import regex
from fastapi.testclient import TestClient
from mcp import Client
from samples import BagOfWords, record
from server_samples import PRODUCTS

from bundlewise.agents.student import answers
from bundlewise.agents.student.engine import StudentEngine
from bundlewise.domain import Item
from bundlewise.finetune.students import StudentModel
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.assistant import Assistant
from bundlewise.pipeline.student import Student
from bundlewise.server.app import create_app
from bundlewise.server.chat_shapes import ChatResponse
from bundlewise.server.keys import Keys
from bundlewise.server.mcp_tools import mcp_server
from bundlewise.server.refusals import ErrorBody
from bundlewise.server.shapes import MAX_TITLE, BundlesResponse, FoundKnowledge
from bundlewise.titles import clean, title_fault

ATTACKS = [json.loads(row) for row in (Path(__file__).parent / "attacks.jsonl").read_text("utf-8").splitlines()]
MINE, THEIRS = "sk-canary-keys-0123456789", "sk-canary-other-987654321"
FOREIGN = "Canary Thermos of another shopper"
SECRETS = [MINE, THEIRS, FOREIGN, "sk-canary-openai", "root:x:", "Traceback", str(Path(__file__).parent)]
KINDS = {"text": 50, "body": 19, "path": 15}
HEADERS = {"Authorization": f"Bearer {MINE}"}


def payload(attack: dict[str, Any]) -> str:
    given = attack["payload"]
    if isinstance(given, dict):
        return str(given.get("before", "") + given["repeat"] * given["times"] + given.get("after", ""))
    return str(given)


TEXTS = {attack["name"]: payload(attack)[:MAX_TITLE] for attack in ATTACKS if attack["at"] == "text"}


@pytest.fixture(scope="module")
def student(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Return a student whose knowledge base holds every text of the corpus as a rule."""
    store = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    store.replace([record("rule", text, [f"s{n}"]) for n, text in enumerate(TEXTS.values())], [])
    retriever = Retriever(store, Policy(rules=2, search="hybrid", min_score=-1))
    return Student(StudentModel(StudentEngine.load(tiny_student), None, tiny_student, "tiny"), retriever)


@pytest.fixture(scope="module")
def client(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client of a server that knows secrets: keys, and the thread of another shopper."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "web").mkdir()
    (folder / "web" / "index.html").write_text("page", "utf-8")
    hostile = [Item(id=f"h{n}", title=text, price=1.0) for n, text in enumerate(TEXTS.values())]
    settings: dict[str, Any] = {"threads": folder / "threads.sqlite", "feedback": folder / "ratings.jsonl"}
    assistant = partial(Assistant.open, catalogue=[*PRODUCTS, *hostile], embedder=BagOfWords(), **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-canary-openai")
        app = create_app(student, keys=Keys([MINE, THEIRS]), assistant=assistant, page=folder / "web")
        with TestClient(app, raise_server_exceptions=False) as client:
            body = {"text": f"add these:\n- {FOREIGN}\n- Canary cup"}
            said = client.post("/api/threads/t/messages", json=body, headers={"Authorization": f"Bearer {THEIRS}"})
            assert FOREIGN in said.text
            yield client


def refuse_leaks(text: str, sent: str = "") -> None:
    """Assert that an answer holds no secret that was not sent, and that no template was evaluated."""
    assert not [secret for secret in SECRETS if secret in text and secret not in sent]
    assert "__subclasses__" not in text or "__subclasses__" in sent
    assert not re.search(r"\b49\b", text) or "49" in sent


def test_the_corpus_is_as_large_as_it_says_and_names_each_attack_once() -> None:
    assert Counter(attack["at"] for attack in ATTACKS) == KINDS and sum(KINDS.values()) >= 60
    assert len({attack["name"] for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_title_stays_a_title(client: TestClient, text: str) -> None:
    titles = ["Padmoor Glide 11 Tablet", text, "Folio case for Glide 11"]
    found = client.post("/v1/bundles", json={"items": titles}, headers=HEADERS)
    if title_fault(text):
        assert found.status_code == 400 and "a letter, a digit or a symbol" in found.text
        return
    assert found.status_code == 200
    (session,) = BundlesResponse.model_validate_json(found.text).sessions
    items = sorted([*session.left_out, *(i for b in session.bundles for i in b.items)], key=lambda item: item.number)
    assert [item.title for item in items] == [clean(title) for title in titles]
    assert all(regex.fullmatch(answers.INTENT, bundle.intent, regex.V1) for bundle in session.bundles)
    refuse_leaks("".join(bundle.intent for bundle in session.bundles) + session.reason + session.cut)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_message_is_only_talk(client: TestClient, text: str) -> None:
    body = {"model": "bundlewise", "messages": [{"role": "user", "content": text}]}
    found = client.post("/v1/chat/completions", json=body, headers=HEADERS)
    assert found.status_code in (200, 400)
    if found.status_code == 200:
        (choice,) = ChatResponse.model_validate_json(found.text).choices
        known = text + "".join(TEXTS.values())  # what the catalogue holds may be found in it
        refuse_leaks(choice.message.content, known)
    else:
        refuse_leaks(ErrorBody.model_validate_json(found.text).error.message, text)
    before = client.get("/api/threads", headers=HEADERS).json()
    said = client.post("/api/threads/mine/messages", json={"text": text}, headers=HEADERS)
    assert said.status_code in (200, 400)
    refuse_leaks(said.text, json.dumps(text) + "".join(TEXTS.values()))
    after = client.get("/api/threads", headers=HEADERS).json()
    assert {row["thread"] for row in after} <= {row["thread"] for row in before} | {"mine"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_search_is_only_words(client: TestClient, text: str) -> None:
    for path in ("/api/products", "/api/knowledge"):
        found = client.get(path, params={"q": text}, headers=HEADERS)
        assert found.status_code in (200, 400), found.text
        refuse_leaks(found.text, json.dumps([*TEXTS.values()]) + "".join(TEXTS.values()))


def test_knowledge_that_is_hostile_comes_out_as_data(student: Student) -> None:
    async def ask() -> list[Any]:
        async with Client(mcp_server(student)) as client:
            return [
                await client.call_tool("search_knowledge", {"query": text}) for text in TEXTS.values() if text.strip()
            ]

    found = asyncio.run(asyncio.wait_for(ask(), 120))
    assert not any(each.is_error for each in found)
    texts = {why.text for each in found for why in FoundKnowledge.model_validate(each.structured_content).records}
    assert texts <= set(TEXTS.values()) and len(texts) > 30


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a["at"] == "body"], ids=lambda attack: attack["name"])
@pytest.mark.parametrize("path", ["/v1/bundles", "/v1/chat/completions", "/api/threads/t/messages"])
def test_a_body_that_is_none_is_the_clients_fault(client: TestClient, path: str, attack: dict[str, Any]) -> None:
    headers = HEADERS | {"Content-Type": "application/json"}
    found = client.post(path, content=payload(attack).encode(), headers=headers)
    assert found.status_code in (400, 413)
    assert ErrorBody.model_validate_json(found.text).error.type == "invalid_request_error"
    assert len(found.content) < 1000
    refuse_leaks(found.text)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a["at"] == "path"], ids=lambda attack: attack["name"])
@pytest.mark.parametrize("headers", [{}, HEADERS], ids=["no key", "key"])
def test_a_path_leads_nowhere(client: TestClient, headers: dict[str, str], attack: dict[str, Any]) -> None:
    found = client.get(payload(attack), headers=headers)
    assert found.status_code in (200, 400, 401, 404)
    assert headers or found.status_code != 200
    refuse_leaks(found.text, payload(attack) + json.dumps([*TEXTS.values()], ensure_ascii=False))
