"""A small server that speaks the protocol of Hugging Face's hub, with the faults that networks
have.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every revision
REVISIONS = ("main", "v1", COMMIT)


class Hub(ThreadingHTTPServer):
    """The server; it answers while its ``with`` block runs.

    Attributes:
        files: repository to file name to content; uploads go there.
        cuts: how many answers still break off in the middle.
        wrong: whether weights have another byte than was announced.
        pause: seconds that the server waits in the middle of an answer.
        asked: for each answer of content, the byte that it began at.
        private: repositories that need a token.
        silent: whether it takes questions and never answers, as behind a firewall.
        gateway: whether a gateway answers that does not reach it.
        heads: questions whether something is there.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.cuts, self.wrong, self.pause = 0, False, 0.0
        self.asked: list[int] = []
        self.private: set[str] = set()
        self.silent = self.gateway = False
        self.heads = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        self.server.heads += 1
        if self.server.silent:
            threading.Event().wait(5)  # longer than the tests' patience
        if self.server.gateway:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._resolve(with_content=False)

    def do_GET(self) -> None:
        self._resolve(with_content=True)

    def _resolve(self, *, with_content: bool) -> None:
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.path.split("?")[0])
        if found is None:
            self._error("EntryNotFound")
            return
        repository, revision, name = found.groups()
        hidden = repository in self.server.private and "Authorization" not in self.headers
        if repository not in self.server.files or hidden:
            self._error("RepoNotFound")
        elif revision not in REVISIONS:
            self._error("RevisionNotFound")
        elif name not in self.server.files[repository]:
            self._error("EntryNotFound")
        else:
            self._content(self.server.files[repository][name], with_content=with_content)

    def _error(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _content(self, content: bytes, *, with_content: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        digest = hashlib.sha256(content).hexdigest()
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        # so that a hub that is closed does not answer any more
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(content) - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not with_content:
            return
        self.server.asked.append(first)
        if self.server.wrong and len(content) > 10_000:  # weights, not their description
            content = bytes([content[0] ^ 1]) + content[1:]
        middle = (first + len(content)) // 2
        self.wfile.write(content[first:middle])
        self.wfile.flush()
        time.sleep(self.server.pause)
        if self.server.cuts:
            self.server.cuts -= 1
            self.close_connection = True
            return
        self.wfile.write(content[middle:])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Authorization" not in self.headers:
            self._json({"error": "Invalid credentials"}, 401)
        elif self.path == "/api/repos/create":
            told = json.loads(body)
            repository = (
                f"{told['organization']}/{told['name']}"
                if told.get("organization")
                else told["name"]
            )
            self.server.files.setdefault(repository, {})
            self._json({"url": f"{self.server.address}/{repository}"})
        elif "/preupload/" in self.path:
            paths = [item["path"] for item in json.loads(body)["files"]]
            self._json(
                {
                    "files": [
                        {"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths
                    ]
                }
            )
        elif "/commit/" in self.path:
            repository = self.path.removeprefix("/api/models/").split("/commit/")[0]
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    content = base64.b64decode(item["value"]["content"])
                    self.server.files[repository][item["value"]["path"]] = content
            address = f"{self.server.address}/{repository}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": address})
        else:  # the check of a card's head
            self._json({"errors": [], "warnings": []})

    def _json(self, content: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
