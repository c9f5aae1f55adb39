"""Pipelines and folders for batches: files whose names say what they do to the process that opens them.

The pipeline is the fake one without torch, which a worker would load for seconds each time it is restarted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mri_models import report as rules
from mri_models.batch.run import Summary, run_batch
from mri_models.batch.worker import Job
from mri_models.errors import InputError, WeightsError
from mri_models.intake import fingerprint, read_scan
from mri_models.quality import check_quality
from mri_models.types import Prediction, Rejection, Report

SEEN = ".seen"  # every opening of a file leaves its name here; hidden, so no file of the batch itself


class GentlePipeline:
    """Real intake and quality checks; the gate's score follows from the mean grey level."""

    def __call__(self, source: Path, *, name: str, explain: bool) -> Report:
        digest = fingerprint(source)
        try:
            scan = read_scan(source)
            check_quality(scan)
        except InputError as error:
            rejection = Rejection(error.stage, error.code, error.message)
            return rules.complete(Report(name, rejection, input_sha256=digest))
        confidence = 0.5 + float(scan.pixels.mean()) / 2
        gate = Prediction("mri", confidence, 0.6, {"mri": confidence, "not_mri": 1 - confidence}, 0.1, 0.98, True)
        return rules.complete(Report(name, gate=gate, timing_ms={"file": time.perf_counter()}, input_sha256=digest))


class FragilePipeline(GentlePipeline):
    """Fails as a file's name asks: crash, raise or hang each time, stumble the first time only."""

    def __init__(self, seen: str):
        self.seen = Path(seen)

    def __call__(self, source: Path, *, name: str, explain: bool) -> Report:
        again = self.seen.is_file() and os.fsencode(name) in self.seen.read_bytes().splitlines()
        with self.seen.open("ab") as file:
            file.write(os.fsencode(name) + b"\n")
        if "crash" in name or ("stumble" in name and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        if "raise" in name:
            raise RuntimeError("a secret path")
        if "hang" in name:
            time.sleep(600)
        return super().__call__(source, name=name, explain=explain)


def no_pipeline() -> None:
    raise WeightsError("no_models", "nothing there")


def dying_pipeline() -> None:
    os._exit(7)


def job(folder: Path, time_limit_s: float = 60) -> Job:
    return Job(str(folder), partial(FragilePipeline, str(folder / SEEN)), None, time_limit_s)


def picture(level: int = 0) -> bytes:
    """A small brain-like PNG."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    grey = np.where(np.hypot(x / 0.8, y) < 0.8, 110 + level + 40 * np.sin(30 * x) * np.sin(25 * y), 8)
    stream = BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def fill(folder: Path, count: int) -> list[str]:
    """`count` small pictures in folders of a hundred, every fourth one blank; their names, in order."""
    pictures = [*(picture(10 * level) for level in range(3)), _blank()]
    names = [f"{number // 100:03d}/{number:06d}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pictures[number % len(pictures)])
    return names


def _blank() -> bytes:
    stream = BytesIO()
    Image.new("L", (96, 96)).save(stream, "PNG")
    return stream.getvalue()


def reports(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "reports.jsonl").read_text().splitlines()]


def untimed(out: Path) -> list[str]:
    """The lines without what a clock said."""
    return [json.dumps(report | {"timing_ms": None}) for report in reports(out)]


def main(folder: str, out: str, workers: str) -> Summary:
    """For tests that kill a whole batch: `python -c "import batch_cases; batch_cases.main(...)"`."""
    return run_batch(job(Path(folder)), Path(out), workers=int(workers))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
