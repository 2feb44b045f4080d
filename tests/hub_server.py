"""A stand-in for the model hub: repositories in memory, which huggingface_hub creates, writes and reads over HTTP."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"


class Hub(ThreadingHTTPServer):
    """The hub: the files of each repository by branch, and the large files that were uploaded, by their hash."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which huggingface_hub takes this for the hub."""
        return {"HF_ENDPOINT": self.address, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        if self.path == "/api/validate-yaml":
            fault = [] if "---\n" in json.loads(body)["content"] else [{"message": "no metadata"}]
            return self.answer(400 if fault else 200, {"errors": fault, "warnings": []})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            objects = list(map(self.action, json.loads(body)["objects"]))
            return self.answer(200, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/models/(.+)/(preupload|commit|branch)/([^/]+)", self.path)
        assert found, self.path
        name, what, branch = found.groups()
        if what == "branch":
            self.server.repositories[name].setdefault(branch, {})
            return self.answer(200, {})
        if what == "preupload":
            files = [self.mode(file["path"]) for file in json.loads(body)["files"]]
            return self.answer(200, {"files": files})
        self.commit(self.server.repositories[name][branch], body)
        return self.answer(
            200, {"commitUrl": f"{self.server.address}/{name}/commit/{branch}", "commitOid": oid_of(branch)}
        )

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name.startswith("others/"):
            return self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        told = {"url": f"{self.server.address}/{name}"}
        if name in self.server.repositories:
            return self.answer(409, {"error": "You already created this model repo", **told})
        self.server.repositories[name] = {"main": {}}
        self.server.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
        return self.answer(200, told)

    def mode(self, path: str) -> dict[str, Any]:
        return {
            "path": path,
            "uploadMode": "lfs" if path.endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }

    def action(self, file: dict[str, Any]) -> dict[str, Any]:
        return {**file, "actions": {"upload": {"href": f"{self.server.address}/large/{file['oid']}"}}}

    def commit(self, files: dict[str, bytes], body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large[oid] = content
        self.answer(200, {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            name, branch, path = found.groups()
            files = self.files(name, branch)
            if path not in files:
                return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            content = files[path]
            etag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": oid_of("main")}
            return self.send(200, content, etag | {"Content-Type": "application/octet-stream"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/?]+))?(?:/?\?.*)?", self.path):
            name, what, branch = found.groups()
            if name not in self.server.repositories:
                return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            files = self.files(name, branch or "main")
            if what == "tree":
                rows = [{"type": "file", "path": path, "size": len(files[path]), "oid": "0"} for path in files]
                return self.answer(200, rows)
            listed = [{"rfilename": path} for path in files]
            return self.answer(200, {"id": name, "modelId": name, "sha": oid_of("main"), "siblings": listed})
        return self.answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})

    def files(self, name: str, branch: str) -> dict[str, bytes]:
        branches = self.server.repositories.get(name, {})
        return branches.get(branch) or branches.get("main", {})

    def answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def oid_of(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run the stand-in while the block runs."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
