"""The crowd that measures: it counts answers, and what it did not get."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import httpx
import psutil
import pytest
from fakes import scan_png, served

from mri_models.evaluation import soak


def apart(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread: the browser tests leave Playwright's event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_a_crowd_counts_answers_and_refusals_as_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(soak, "SETTLE_S", 0.0)
    monkeypatch.setattr(soak, "PAUSE_S", (0.0, 0.01))
    files = [("scan.png", scan_png("glioma")), ("empty.png", b"")]
    with served() as url:
        row = apart(soak._crowd(url, psutil.Process(os.getpid()), 3, 3.0, files))
    assert set(row["ends"]) == {soak.ANSWERED}
    assert row["ends"][soak.ANSWERED] >= 6
    assert 0 < row["median_s"] <= row["p95_s"]


@pytest.mark.parametrize(
    ("upload", "call", "stream", "end"),
    [
        (200, 200, 'event: complete\ndata: [{"status": "rejected"}]\n', soak.ANSWERED),
        (200, 200, "event: error\ndata: null\n", soak.FAILED),
        (200, 200, "event: heartbeat\n", soak.LOST),
        (200, 503, "", soak.BUSY),
        (429, 200, "", soak.LIMITED),
        (507, 200, "", soak.FAILED),
    ],
)
def test_how_a_call_ended(upload: int, call: int, stream: str, end: str):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/upload"):
            return httpx.Response(upload, json=["/tmp/scan.png"])
        if request.method == "POST":
            return httpx.Response(call, json={"event_id": "1"})
        return httpx.Response(HTTPStatus.OK, text=stream)

    async def ask() -> str:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://app/gradio_api", transport=transport) as client:
            return await soak._ask(client, ("scan.png", b""), False)

    assert apart(ask()) == end


def test_a_server_that_goes_away_is_a_lost_call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(soak, "PAUSE_S", (0.05, 0.05))
    tally = soak.Tally()
    end = soak.perf_counter() + 0.3
    apart(soak._visitor("http://127.0.0.1:9", 0, end, [("a.png", b"")], tally))
    assert tally.ends == Counter({soak.LOST: tally.ends.total()})
    assert tally.ends.total() >= 1


def test_the_table_names_every_end():
    row = {
        "visitors": 100,
        "ends": {"answered": 7, "busy": 5, "failed": 1, "limited": 2},
        "first_p95_s": 1.0,
        "median_s": 0.5,
        "p95_s": 2.0,
        "memory_most_mb": 2000,
        "memory_after_mb": 1600,
    }
    text = soak.render(json.loads(json.dumps({"minutes": 10, "map_share": 0.1, "crowds": [row]})))
    assert "| 100 | 7 | 5 | 3 | 0 | 1.0 s | 0.5 s | 2.0 s | 2000 MB | 1600 MB |" in text
