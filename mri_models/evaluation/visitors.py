"""The app as a server under many visitors: start, latencies, errors and memory of a real process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any

import httpx
import psutil
from gradio_client import Client, handle_file

COUNTS = (1, 4, 10, 30)
REQUESTS = 4  # images each visitor sends
PATIENCE_S = 120  # for the server to become ready
# Answers and refusals as a public page gets them; the truncated file must cost no one else a second
IMAGES = ("01_brain_t1_axial.png", "09_simulated_knee.png", "04_brain_pd_axial.dcm", "15_photo.jpg", "19_truncated.jpg")


def visit(counts: Sequence[int] = COUNTS, examples: Path = Path("examples")) -> dict[str, Any]:
    """Start app.py in a process of its own and send `counts` visitors at it, one crowd after the other."""
    files = [examples / name for name in IMAGES]
    with server() as (url, process, start_s):
        load = [crowd(url, n, files) for n in counts]
        memory = psutil.Process(process.pid).memory_info().rss / 2**20
    return {"start_s": round(start_s, 1), "memory_mb": round(memory), "requests": REQUESTS, "load": load}


@contextmanager
def server(
    python: Sequence[str] = (sys.executable,), environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """app.py on a free port: its address, its process, and the seconds until /healthz answered.

    Raises RuntimeError when it ends or stays silent for PATIENCE_S.
    """
    start, port = perf_counter(), free_port()
    environment = {**environment, "GRADIO_SERVER_PORT": str(port)}
    process = subprocess.Popen([*python, "app.py"], env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not healthy(url):
            if process.poll() is not None or perf_counter() - start > PATIENCE_S:
                raise RuntimeError(f"app.py was not ready after {perf_counter() - start:.0f} s")
            sleep(0.05)
        yield url, process, perf_counter() - start
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def healthy(url: str) -> bool:
    """Whether the server at `url` answers that it is ready; a busy one may take its time."""
    try:
        return httpx.get(f"{url}/healthz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def crowd(url: str, visitors: int, files: Sequence[Path]) -> dict[str, Any]:
    """`visitors` clients at once, each sending REQUESTS files in turn to /analyze: seconds from sending to verdict."""
    clients = [Client(url, verbose=False) for _ in range(visitors)]

    def one(number: int) -> list[float | None]:
        return [_seconds(clients[number], files[(number + i) % len(files)]) for i in range(REQUESTS)]

    start = perf_counter()
    with ThreadPoolExecutor(visitors) as pool:
        answers = [answer for visitor in pool.map(one, range(visitors)) for answer in visitor]
    elapsed = perf_counter() - start
    times = [seconds for seconds in answers if seconds is not None]
    return {
        "visitors": visitors,
        "per_second": round(len(times) / elapsed, 2),
        "median_s": round(median(times), 3),
        "p95_s": round(p95(times), 3),
        "errors": len(answers) - len(times),
    }


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; needs two values."""
    return quantiles(values, n=20, method="inclusive")[-1]


def _seconds(client: Client, file: Path) -> float | None:
    """Seconds until the report came; None for an error (a refusal is an answer)."""
    start = perf_counter()
    try:
        report = client.predict(handle_file(file), False, api_name="/analyze")
    except Exception:  # whatever the client raises, the visitor got no answer: that is what is counted
        return None
    return perf_counter() - start if "status" in report else None
