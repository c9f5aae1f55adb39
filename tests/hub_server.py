"""A model Hub on localhost: as much of the real one's protocol as `huggingface_hub` 2 needs to pull a revision.

What it needs to publish is in hub_uploads.py. A Space's key among the repositories is "spaces/owner/name".
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import hub_uploads


@dataclass
class Repo:
    """files: {commit hash: {path: bytes}}; tags: {name: commit hash}; gated: listed, but its files are refused.

    variables and created are a Space's variables and what the client asked for when it created the repository.
    """

    files: dict[str, dict[str, bytes]]
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    created: dict[str, Any] = field(default_factory=dict)


@dataclass
class HubServer:
    """Serves `repos` between `with`; the other fields change how it behaves while it runs.

    tampered: path -> bytes that are sent in place of the stated ones.
    status: answer everything with this. delay_s: wait before each answer. log: the paths of all requests so far.
    writers: {token: the owners that it may write to}. objects: uploaded large files by SHA-256.
    refuse: path -> the status that a POST or PUT to it gets.
    """

    repos: dict[str, Repo]
    tampered: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    delay_s: float = 0
    log: list[str] = field(default_factory=list)
    writers: dict[str, set[str]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> HubServer:
        self._stopping = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.socket.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def storage_url(self) -> str:
        """Large files lie on another host: the client must follow there, and not take its token along."""
        return f"http://localhost:{self._http.server_port}"

    def wait(self) -> None:
        """Let `delay_s` pass, or less when the server stops."""
        self._stopping.wait(self.delay_s)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """One file as the tree endpoint lists it."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": _git_id(content)}
    if path.endswith(hub_uploads.LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    """One file as the revision endpoint lists it with blobs=true: the same facts under other names."""
    entry = _entry(path, content)
    sibling = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
    if "lfs" in entry:
        sibling["lfs"] = {"sha256": entry["lfs"]["oid"], "size": len(content), "pointerSize": 130}
    return sibling


def _git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.log.append(unquote(path))
            hub.wait()
            token = self.headers.get("Authorization")
            match [unquote(part) for part in path.strip("/").split("/")]:
                case _ if hub.status is not None:
                    self._send(hub.status)
                case _ if token == "Bearer invalid":
                    self._send(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
                case ["api", "models", owner, name, ("revision" | "tree") as view, revision]:
                    self._listing(f"{owner}/{name}", view, revision)
                case ["api", "spaces", owner, name, "revision", revision]:
                    self._listing(f"spaces/{owner}/{name}", "revision", revision)
                case ["api", "spaces", owner, name, "variables"]:
                    self._send(*hub_uploads.variables(hub, f"spaces/{owner}/{name}"))
                case ["api", "whoami-v2"]:
                    self._send(*hub_uploads.whoami(hub, token))
                case [owner, name, "resolve", revision, *file]:
                    self._file(f"{owner}/{name}", revision, "/".join(file))
                case ["storage", owner, name, commit, *file]:
                    content = hub.repos[f"{owner}/{name}"].files[commit]["/".join(file)]
                    self._send(200, body=hub.tampered.get("/".join(file), content))
                case _:
                    self._send(404)

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            hub.log.append(f"{self.command} {unquote(path)}")
            hub.wait()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if path in hub.refuse:
                self._send(hub.refuse[path], {"X-Error-Message": "refused by the test"})
            else:
                self._send(*hub_uploads.answer(hub, self.command, unquote(path), self.headers, body))

        do_PUT = do_POST  # noqa: N815

        def _listing(self, repo_id: str, view: str, revision: str) -> None:
            if commit := self._commit(repo_id, revision):
                files = hub.repos[repo_id].files[commit].items()
                tree = [_entry(*file) for file in files]
                info = {
                    "id": repo_id.removeprefix("spaces/"),
                    "sha": commit,
                    "siblings": [_sibling(*file) for file in files],
                }
                self._send(200, body=json.dumps(tree if view == "tree" else info).encode())

        def _file(self, repo_id: str, revision: str, path: str) -> None:
            if not (commit := self._commit(repo_id, revision)):
                return
            content = hub.repos[repo_id].files[commit].get(path)
            if hub.repos[repo_id].gated:
                self._send(403, {"X-Error-Code": "GatedRepo"})
            elif content is None:
                self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            elif lfs := _entry(path, content).get("lfs"):
                self._send(
                    302,
                    {
                        "Location": f"{hub.storage_url}/storage/{repo_id}/{commit}/{path}",
                        "X-Repo-Commit": commit,
                        "X-Linked-Etag": f'"{lfs["oid"]}"',
                        "X-Linked-Size": str(lfs["size"]),
                    },
                )
            else:
                headers = {"X-Repo-Commit": commit, "ETag": f'"{_git_id(content)}"'}
                self._send(200, headers, hub.tampered.get(path, content))

        def _commit(self, repo_id: str, revision: str) -> str | None:
            """The commit that `revision` names, or None once a 404 is sent."""
            repo = hub.repos.get(repo_id)
            commit = repo and repo.tags.get(revision, revision)
            if repo and commit in repo.files:
                return commit
            self._send(404, {"X-Error-Code": "RevisionNotFound" if repo else "RepoNotFound"})
            return None

        def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # the client may have lost patience
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests read `hub.log`; stderr stays quiet."""

    return Handler
