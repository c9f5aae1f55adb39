"""The app in a process of its own, which can be hurt, killed without notice and started again at the same address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from places import ROOT

from mri_models.evaluation.visitors import free_port, healthy

PATIENCE_S = 90
SCRIPT = ROOT / "tests" / "served_apart.py"


@contextmanager
def running(
    temporary: Path, seconds: float = 0.0, port: int | None = None, before: Callable[[], None] | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """The app apart, ready; its temporary files go below `temporary`."""
    port = port or free_port()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "TMPDIR": str(temporary)}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, str(SCRIPT), str(seconds)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, preexec_fn=before)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: healthy(url))
        yield url, process
    finally:
        process.kill()
        process.wait()


def wait_for(state: Callable[[], bool]) -> None:
    end = perf_counter() + PATIENCE_S
    while not state():
        assert perf_counter() < end, "what was waited for did not come"
        sleep(0.05)
