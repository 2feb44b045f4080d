"""The MCP server, asked by the reference client: over stdio in a process of its own, as desktop programs start it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from samples import BagOfWords, record
from server_samples import TITLES

from bundlewise.agents.student.engine import StudentEngine
from bundlewise.finetune.students import StudentModel
from bundlewise.knowledge_base.policy import Policy
from bundlewise.knowledge_base.retrieval import Retriever
from bundlewise.knowledge_base.store import KnowledgeStore
from bundlewise.pipeline.student import Student
from bundlewise.server.mcp_tools import mcp_server

RULE = record("rule", "Put a tablet together with its folio case. <script>alert(1)</script>", ["s1"])


@pytest.fixture(scope="module")
def student(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    store = KnowledgeStore(tmp_path_factory.mktemp("kb"), BagOfWords())
    store.replace([RULE], [])
    retriever = Retriever(store, Policy(rules=1))
    return Student(StudentModel(StudentEngine.load(tiny_student), None, tiny_student, "tiny"), retriever)


def ask(server: Any, story: Callable[[Client], Awaitable[None]]) -> None:
    async def play() -> None:
        async with Client(server, read_timeout_seconds=120) as client:
            await story(client)

    asyncio.run(asyncio.wait_for(play(), 240))


def test_the_three_tools_say_what_they_take_and_give(student: Student) -> None:
    async def story(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"find_bundles", "explain_bundle", "search_knowledge"}
        for tool in tools.values():
            assert tool.description and tool.output_schema and tool.annotations and tool.annotations.read_only_hint
        taken = tools["find_bundles"].input_schema["properties"]["items"]
        assert (taken["minItems"], taken["maxItems"]) == (2, 30)

    ask(mcp_server(student), story)


def test_the_tools_answer_in_their_schemas(student: Student) -> None:
    async def story(client: Client) -> None:
        found: Any = (await client.call_tool("find_bundles", {"items": TITLES})).structured_content
        assert found["outcome"] in ("ok", "repaired", "failed") and [r["id"] for r in found["knowledge"]] == [RULE.id]
        why: Any = (await client.call_tool("explain_bundle", {"items": TITLES, "bundle": [2, 1]})).structured_content
        assert [item["number"] for item in why["items"]] == [1, 2] and 0 <= why["confidence"] <= 1
        assert why["reasons"][0]["text"] == RULE.text and why["reasons"][0]["effect"] is not None
        look: Any = (await client.call_tool("search_knowledge", {"query": "folio case"})).structured_content
        assert [each["id"] for each in look["records"]] == [RULE.id]

    ask(mcp_server(student), story)


def test_null_means_the_default(student: Student) -> None:
    async def story(client: Client) -> None:
        for tool, given, nulls in (
            ("find_bundles", {"items": TITLES}, ["domain"]),
            ("explain_bundle", {"items": TITLES, "bundle": [1, 2]}, ["domain"]),
            ("search_knowledge", {"query": "case"}, ["kind", "domain", "limit"]),
        ):
            plain = await client.call_tool(tool, given)
            found = await client.call_tool(tool, given | dict.fromkeys(nulls))
            assert not found.is_error and found.structured_content == plain.structured_content

    ask(mcp_server(student), story)


@pytest.mark.parametrize(
    ("tool", "given", "said"),
    [
        ("find_bundles", {"items": TITLES[:1]}, "at least 2"),
        ("find_bundles", {"items": ["a", " "]}, "pattern"),
        ("find_bundles", {"items": ["a", "b" * 1001]}, "at most 1000"),
        ("find_bundles", {}, "required"),
        ("explain_bundle", {"items": TITLES, "bundle": [1, 9]}, "of the 3 products"),
        ("explain_bundle", {"items": TITLES, "bundle": [1, 1]}, "of the 3 products"),
        ("search_knowledge", {"query": "x", "kind": "secret"}, "pattern"),
        ("search_knowledge", {"query": "x", "limit": 10**9}, "less than or equal to 50"),
        ("read_file", {"path": "/etc/passwd"}, "read_file"),
    ],
)
def test_a_wrong_call_is_told_to_the_model(student: Student, tool: str, given: Any, said: str) -> None:
    async def story(client: Client) -> None:
        found = await client.call_tool(tool, given)
        assert found.is_error and said in str(found.content)

    ask(mcp_server(student), story)


def test_without_knowledge_a_search_says_what_is_missing(tiny_student: Path) -> None:
    plain = Student(StudentModel(StudentEngine.load(tiny_student), None, tiny_student, "tiny"))

    async def story(client: Client) -> None:
        found = await client.call_tool("search_knowledge", {"query": "case"})
        assert found.is_error and "no knowledge base" in str(found.content)
        assert not (await client.call_tool("find_bundles", {"items": TITLES})).is_error

    ask(mcp_server(plain), story)


def test_the_reference_client_starts_the_command_and_talks_to_it(tiny_student: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "bundlewise", "mcp", "--student", str(tiny_student)]
    )

    async def story(client: Client) -> None:
        assert client.server_info.name == "bundlewise"
        found: Any = (await client.call_tool("find_bundles", {"items": TITLES})).structured_content
        assert {item["title"] for b in found["bundles"] for item in b["items"]} <= set(TITLES)

    ask(command, story)


def test_nothing_but_messages_stands_on_stdout_whatever_comes_in(tiny_student: Path) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    call = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "find_bundles", "arguments": {"items": TITLES}},
    }
    rows = [
        json.dumps(hello),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        "no json",
        "[" * 5000,
        json.dumps(call),
    ]
    done = subprocess.Popen(
        [sys.executable, "-m", "bundlewise", "mcp", "--student", str(tiny_student)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with done:
        assert done.stdin and done.stdout
        done.stdin.write("\n".join(rows) + "\n")
        done.stdin.flush()
        said = []
        while not any(each.get("id") == 2 for each in said):
            said.append(json.loads(done.stdout.readline()))
        done.stdin.close()
        said += [json.loads(row) for row in done.stdout]
        assert done.wait(60) == 0
    assert all(each["jsonrpc"] == "2.0" for each in said)
    assert not next(each for each in said if each.get("id") == 2)["result"].get("isError")
