"""What HubServer answers when somebody publishes: accounts, new repositories, large files, commits, variables.

Every answer is (status, headers, body), as the real Hub gives it to `huggingface_hub` 2 without Xet: preupload says
which files are large; those go by git-lfs's batch, PUT and verify; a commit is lines of JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_server import HubServer, Repo

Answer = tuple[int, dict[str, str], bytes]
LFS_SUFFIXES = (".safetensors", ".bin", ".pkl", ".pt", ".png", ".jpg", ".dcm")  # large files, whatever their size


def answer(hub: HubServer, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The answer to a POST or PUT."""
    match path.strip("/").split("/"):
        case ["uploads", oid] if method == "PUT":  # presigned, as on the real Hub: a token has no business there
            return _store(hub, oid, headers, body)
        case ["api", "validate-yaml"]:
            return _validate(json.loads(body))
        case ["api", "repos", "create"]:
            return _create(hub, headers, json.loads(body))
        case ["api", kind, owner, name, *rest] if kind in ("models", "spaces"):
            return _write(hub, _key(kind, f"{owner}/{name}"), headers, rest, body)
        case [*prefix, owner, name, "info", "lfs", "objects", "batch"]:
            key = "/".join([*prefix, owner, name.removesuffix(".git")])
            return _forbidden(hub, key, headers) or _batch(hub, json.loads(body))
        case ["uploads", "verify"]:
            sent = json.loads(body)
            return _json(200 if len(hub.objects.get(sent["oid"], b"")) == sent["size"] else 400, {})
    return _json(404, {})


def whoami(hub: HubServer, token: str | None) -> Answer:
    known = (token or "").removeprefix("Bearer ") in hub.writers
    return _json(200, {"name": "ada", "type": "user"}) if known else _error(401, "Invalid username or password.")


def variables(hub: HubServer, key: str) -> Answer:
    if key not in hub.repos:
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
    return _json(200, {name: {"key": name, "value": value} for name, value in hub.repos[key].variables.items()})


def _key(kind: str, repo_id: str) -> str:
    return repo_id if kind == "models" else f"{kind}/{repo_id}"


def _forbidden(hub: HubServer, key: str, headers: Mapping[str, str]) -> Answer | None:
    token = (headers.get("Authorization") or "").removeprefix("Bearer ")
    if token not in hub.writers:
        return _error(401, "Invalid username or password.")
    if key.split("/")[-2] not in hub.writers[token]:
        return _error(403, "You don't have the rights to write to this repository")
    return None


def _create(hub: HubServer, headers: Mapping[str, str], wanted: dict[str, Any]) -> Answer:
    from hub_server import Repo

    repo_id = f"{wanted['organization']}/{wanted['name']}"
    key = _key(f"{wanted.get('type', 'model')}s", repo_id)
    if refusal := _forbidden(hub, key, headers):
        return refusal
    if key in hub.repos:
        return _error(409, "You already created this repo")
    first = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
    hub.repos[key] = Repo({}, created=wanted)
    _commit_files(hub.repos[key], first)
    return _json(200, {"url": f"{hub.url}/{key}", "name": repo_id})


def _write(hub: HubServer, key: str, headers: Mapping[str, str], rest: list[str], body: bytes) -> Answer:
    if refusal := _forbidden(hub, key, headers):
        return refusal
    if key not in hub.repos:
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
    match rest:
        case ["preupload", "main"]:
            return _preupload(hub.repos[key], json.loads(body))
        case ["commit", "main"]:
            return _commit(hub, key, [json.loads(line) for line in body.splitlines()])
        case ["variables"]:
            sent = json.loads(body)
            hub.repos[key].variables[sent["key"]] = sent["value"]
            return variables(hub, key)
    return _json(404, {})


def _preupload(repo: Repo, asked: dict[str, Any]) -> Answer:
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
            "shouldIgnore": False,
        }
        for file in asked["files"]
    ]
    return _json(200, {"files": files, "commitOid": repo.tags["main"]})


def _batch(hub: HubServer, asked: dict[str, Any]) -> Answer:
    objects = []
    for wanted in asked["objects"]:
        upload = {"upload": {"href": f"{hub.storage_url}/uploads/{wanted['oid']}"}}
        actions = upload | {"verify": {"href": f"{hub.url}/uploads/verify"}}
        objects.append(wanted | ({} if wanted["oid"] in hub.objects else {"actions": actions}))
    return _json(200, {"transfer": "basic", "objects": objects})


def _store(hub: HubServer, oid: str, headers: Mapping[str, str], body: bytes) -> Answer:
    if headers.get("Authorization") or hashlib.sha256(body).hexdigest() != oid:
        return _error(400, "the storage takes presigned uploads of exactly the named content")
    hub.objects[oid] = body
    return 200, {}, b""


def _commit(hub: HubServer, key: str, lines: list[dict[str, Any]]) -> Answer:
    repo = hub.repos[key]
    header, *changes = lines
    if header["value"].get("parentCommit", repo.tags["main"]) != repo.tags["main"]:
        return _error(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.files[repo.tags["main"]])
    for change in changes:
        value = change["value"]
        match change["key"]:
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile" if value["oid"] in hub.objects:
                files[value["path"]] = hub.objects[value["oid"]]
            case "deletedFile" if value["path"] in files:
                del files[value["path"]]
            case _:
                return _error(400, f"can't commit {value['path']}")
    commit = _commit_files(repo, files)
    return _json(200, {"success": True, "commitOid": commit, "commitUrl": f"{hub.url}/{key}/commit/{commit}"})


def _commit_files(repo: Repo, files: dict[str, bytes]) -> str:
    commit = hashlib.sha1(repr((repo.tags.get("main"), sorted(files.items()))).encode()).hexdigest()
    repo.files[commit] = files
    repo.tags["main"] = commit
    return commit


def _validate(sent: dict[str, str]) -> Answer:
    if "license:" not in sent["content"].split("---")[1]:
        return _json(400, {"errors": [{"message": '"license" is required'}], "warnings": []})
    return _json(200, {"errors": [], "warnings": []})


def _error(status: int, message: str) -> Answer:
    return status, {"X-Error-Message": message}, json.dumps({"error": message}).encode()


def _json(status: int, value: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()
