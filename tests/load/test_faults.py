"""What a visitor sees when the server around the models fails: a process of its own, hurt in the ways that happen."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from apart import PATIENCE_S, running
from fakes import scan_png
from gradio_client import Client, handle_file
from places import ROOT

from mri_models.evaluation.visitors import free_port
from mri_models.page.traffic import MOST_WAITING

IMAGE = scan_png("glioma")


def upload(url: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{url}/gradio_api/upload", files={"files": ("scan.png", data)}, timeout=PATIENCE_S)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_termination_is_clean_and_no_upload_outlives_it(tmp_path: Path):
    with running(tmp_path) as (url, process):
        assert upload(url, IMAGE).status_code == 200
        assert any(path.read_bytes() == IMAGE for path in files_below(tmp_path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert files_below(tmp_path) == []


def test_a_full_disk_is_told_in_words_and_small_uploads_go_on(tmp_path: Path):
    def small_files() -> None:  # writes beyond 200 kB fail as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    with running(tmp_path, before=small_files) as (url, process):
        refused = upload(url, IMAGE * 20)
        assert (refused.status_code, "disk may be full" in refused.json()["detail"]) == (507, True)
        assert upload(url, IMAGE).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert files_below(tmp_path) == []


def test_a_killed_server_ends_the_call_and_the_next_one_is_answered(tmp_path: Path, scan: Path):
    port = free_port()
    with running(tmp_path, seconds=60, port=port) as (url, process):
        job = Client(url, verbose=False).submit(handle_file(scan), api_name="/analyze")
        threading.Timer(2, process.kill).start()
        with pytest.raises(CancelledError):  # what the client makes of a broken stream: an end, and no endless wait
            job.result(timeout=PATIENCE_S)
    with running(tmp_path, port=port) as (url, _):
        report = Client(url, verbose=False).predict(handle_file(scan), api_name="/analyze")
    assert report["status"] == "predicted"


def test_a_crowd_is_answered_or_told_that_the_page_is_busy(tmp_path: Path):
    """More calls at once than may wait: each ends as an answer or as 503, none is lost, and the server lives on."""
    with running(tmp_path, seconds=0.05) as (url, _):
        file = {"path": upload(url, IMAGE).json()[0], "meta": {"_type": "gradio.FileData"}}

        def call(_: int) -> str:
            asked = httpx.post(f"{url}/gradio_api/call/analyze", json={"data": [file, False]}, timeout=PATIENCE_S)
            if asked.status_code != 200:
                return str(asked.status_code)
            stream = f"{url}/gradio_api/call/analyze/{asked.json()['event_id']}"
            return "answered" if '"predicted"' in httpx.get(stream, timeout=PATIENCE_S).text else "lost"

        with ThreadPoolExecutor(2 * MOST_WAITING) as pool:
            ends = list(pool.map(call, range(3 * MOST_WAITING)))
        assert call(0) == "answered"
    assert set(ends) <= {"answered", "503"}
    assert ends.count("answered") >= MOST_WAITING


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("altered", "has SHA-256"),
        ("owner/name@main", "the Hub can't be reached"),
    ],
)
@pytest.mark.weights
def test_weights_that_cannot_be_used_end_the_start_with_one_line(tmp_path: Path, weights: str, words: str):
    if weights == "altered":
        weights = str(tmp_path / "weights")
        shutil.copytree(ROOT / "weights", weights)
        with (tmp_path / "weights/anomaly/model.safetensors").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path / "cache")}
    environment = os.environ | hub | {"MRI_WEIGHTS": weights}
    ended = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
