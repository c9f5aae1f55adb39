"""What every answer carries, what the server never serves or fetches, and what its log does not know."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from fakes import scan_png, served
from places import ROOT

from mri_models.page import server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def neighbour() -> Iterator[tuple[str, list[str]]]:
    """A server inside the network that visitors must not reach through ours, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(scan_png("glioma"))

        def log_message(self, *_: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    http.shutdown()
    http.server_close()


def test_healthz(url: str):
    answer = httpx.get(f"{url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/", "/healthz", "/gradio_api/info", "/viewer/niivue.js", "/nowhere"])
def test_every_answer_carries_the_security_headers(url: str, path: str):
    answer = httpx.get(url + path)
    assert {name: answer.headers[name] for name in server.HEADERS} == server.HEADERS


def test_the_policy_lets_the_hub_frame_the_page_and_nobody_else_be_asked():
    policy = dict(rule.split(" ", 1) for rule in server.HEADERS["Content-Security-Policy"].split("; "))
    assert policy.pop("frame-ancestors") == "'self' https://huggingface.co https://*.hf.space"
    assert not [value for value in policy.values() if "*" in value or "http" in value]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        f"/gradio_api/file={ROOT}/app.py",
        f"/gradio_api/file={ROOT}/weights/gate/model.safetensors",
        f"/gradio_api/file={ROOT}/examples",
        "/gradio_api/file=examples/",
        "/static/",
        "/assets/",
        "/viewer/",
        "/examples/",
        "/gradio_api/file=http://127.0.0.1/",
    ],
)
def test_no_file_of_the_machine_and_no_listing_is_served(url: str, path: str):
    answer = httpx.get(url + path)
    assert answer.status_code >= 400
    assert "Index of" not in answer.text


@pytest.mark.parametrize("keys", [("path",), ("url", "path")])
def test_a_web_address_in_place_of_a_file_is_not_fetched(url: str, neighbour, keys: tuple[str, ...]):
    address, asked = neighbour
    file = dict.fromkeys(keys, f"{address}/scan.png") | {"meta": {"_type": "gradio.FileData"}}
    event = httpx.post(f"{url}/gradio_api/call/analyze", json={"data": [file, False]}).json().get("event_id")
    answer = httpx.get(f"{url}/gradio_api/call/analyze/{event}", timeout=60).text
    assert "event: error" in answer
    assert asked == []


def test_the_log_knows_the_service_and_no_visitor(url: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "mri_models.access"):
        httpx.post(f"{url}/gradio_api/upload?upload_id=secret", files={"files": ("Doe_Jane.png", scan_png("glioma"))})
        httpx.get(f"{url}/gradio_api/file=/tmp/gradio/Doe_Jane.png")
        with contextlib.suppress(httpx.RemoteProtocolError):  # Gradio breaks off the stream of a job it does not know
            httpx.get(f"{url}/gradio_api/call/analyze/5e55104")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "mri_models.access"]
    assert [line["path"] for line in lines] == ["/gradio_api/upload", "/gradio_api/file", "/gradio_api/call/analyze"]
    assert all(set(line) == {"method", "path", "status", "ms"} for line in lines)
    assert not [word for word in ("Doe", "secret", "5e55104", "127.0.0.1") if word in caplog.text.replace(url, "")]


@pytest.mark.parametrize("end", ["cancel", "reset"])
def test_a_job_ended_before_it_has_a_number_is_no_error(url: str, end: str):
    answer = httpx.post(f"{url}/gradio_api/{end}", json={"session_hash": "abc", "fn_index": 0})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert httpx.post(f"{url}/gradio_api/queue/join", json={"data": 3}).status_code == 422  # others are told as before
