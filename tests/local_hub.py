"""A Hugging Face hub on 127.0.0.1 for one repository: metadata, ranges, gates, redirects to a CDN, broken lines."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

BLOCK_BYTES = 2**18


def git_blob(data: bytes) -> str:
    """Git's id of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass
class LocalHub:
    """Serves `files` of `repo` at `revision`; files of more than `lfs_from` bytes have an LFS record, as at the hub.

    The tests change the fields while it runs.
    """

    repo: str
    revision: str
    files: dict[str, bytes]
    gated: bool = False
    token: str | None = None
    """The one that has accepted the licence."""
    lfs_from: int = 1000
    sent_instead: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Content that goes over the line in place of what the metadata promises."""
    claimed_bytes: dict[str, int] = field(default_factory=dict[str, int])
    """Sizes that the metadata claims."""
    cut_after: dict[str, list[int]] = field(default_factory=dict[str, "list[int]"])
    """By file: after so many bytes of an answer the line breaks, once for each number."""
    stall_after: dict[str, int] = field(default_factory=dict[str, int])
    """By file: after so many bytes nothing more comes, until `released` is set."""
    released: threading.Event = field(default_factory=threading.Event)
    stalled: threading.Event = field(default_factory=threading.Event)
    status: int | None = None
    """Answered to everything, if set."""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list[tuple[str, str, "dict[str, str]"]])
    """Every request: method, path and headers in lower case."""

    def __enter__(self) -> Self:
        self._hub, self._cdn = (_Server(("127.0.0.1", 0), _Handler, self) for _ in range(2))
        self._threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in (self._hub, self._cdn)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT must name."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def cdn_url(self) -> str:
        """Where large files really are: another origin, which must never see a token."""
        return f"http://127.0.0.1:{self._cdn.server_port}"

    def downloads(self, name: str | None = None) -> list[dict[str, str]]:
        """Headers of the requests that carried content, for one file or all."""
        return [
            headers
            for method, path, headers in self.asked
            if method == "GET" and path.startswith("/cdn/") and (name is None or path == f"/cdn/{name}")
        ]

    def metadata(self) -> dict[str, Any]:
        """`/api/models/…/revision/…?blobs=true`."""
        return {
            "id": self.repo,
            "modelId": self.repo,
            "sha": self.revision,
            "gated": "auto" if self.gated else False,
            "siblings": [self._sibling(name, data) for name, data in self.files.items()],
        }

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        size = self.claimed_bytes.get(name, len(data))
        if len(data) < self.lfs_from:
            return {"rfilename": name, "size": size, "blobId": git_blob(data)}
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 134}
        return {"rfilename": name, "size": size, "blobId": git_blob(json.dumps(lfs).encode()), "lfs": lfs}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], hub: LocalHub) -> None:
        super().__init__(address, handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """One of the three kinds of address that a pull uses."""
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
        resolve = f"/{hub.repo}/resolve/{hub.revision}/"
        if hub.status:
            self._answer(hub.status)
        elif path == f"/api/models/{hub.repo}/revision/{hub.revision}":
            self._answer(200, json.dumps(hub.metadata()).encode())
        elif path.startswith(resolve) and path.removeprefix(resolve) in hub.files:
            self._resolve(path.removeprefix(resolve))
        elif path.startswith("/cdn/") and path.removeprefix("/cdn/") in hub.files:
            self._content(path.removeprefix("/cdn/"))
        elif hub.repo in path:
            self._answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        else:
            self._answer(404, headers={"X-Error-Code": "RepoNotFound"})

    def _resolve(self, name: str) -> None:
        hub = self.server.hub
        if hub.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
            status = 403 if "Authorization" in self.headers else 401
            self._answer(status, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
            return
        data = hub.files[name]
        known = {
            "X-Repo-Commit": hub.revision,
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Location": f"{hub.cdn_url}/cdn/{name}",
        }
        self._answer(302, headers=known)

    def _content(self, name: str) -> None:
        hub = self.server.hub
        data = hub.sent_instead.get(name, hub.files[name])
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        head = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
        self._answer(206 if wanted else 200, data[start:], head, name)

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, name: str = "") -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self._send(body, name)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, body: bytes, name: str) -> None:
        hub = self.server.hub
        cuts = hub.cut_after.get(name)
        cut = cuts.pop(0) if cuts else len(body)
        for start in range(0, min(cut, len(body)), BLOCK_BYTES):
            if start >= hub.stall_after.get(name, len(body)) and not hub.released.is_set():
                hub.stalled.set()
                hub.released.wait()
            self.wfile.write(body[start : min(start + BLOCK_BYTES, cut)])
        if cut < len(body):
            self.close_connection = True
