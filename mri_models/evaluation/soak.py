"""The app under crowds for minutes: good and broken files, maps in between, what was answered, refused or lost."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx
import psutil

from mri_models.evaluation.tables import table as markdown_table
from mri_models.evaluation.visitors import p95, server

CROWDS = (10, 30, 100)
SETTLE_S = 20.0  # after a crowd has gone, before memory is read again
MAP_SHARE = 0.1  # of the calls ask for Integrated Gradients as well
PAUSE_S = (1.0, 3.0)  # between an answer and the next file
PATIENCE_S = 120.0
FILES = (
    "01_brain_t1_axial.png",
    "02_brain_t1_sagittal.png",
    "04_brain_pd_axial.dcm",
    "07_simulated_meningioma.png",
    "08_simulated_spine.png",
    "09_simulated_knee.png",
    "15_photo.jpg",
    "19_truncated.jpg",
)
BROKEN = {"empty.png": b"", "notes.png": b"no picture at all", "zeros.dcm": bytes(5000)}
ANSWERED, BUSY, LIMITED, FAILED, LOST = "answered", "busy", "limited", "failed", "lost"
_COMPLETE = re.compile(r"event: complete\ndata: (.*)")
File = tuple[str, bytes]


@dataclass(slots=True)
class Tally:
    """How the calls of one crowd ended, and the seconds from sending a file to its verdict."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)  # each visitor's first verdict
    memory: list[int] = field(default_factory=list)  # bytes, once a second


def soak(minutes: float, crowds: Sequence[int] = CROWDS, examples: Path = Path("examples")) -> dict[str, Any]:
    """Start app.py in a process of its own and send each crowd at it for `minutes`, one after the other."""
    files = [(name, (examples / name).read_bytes()) for name in FILES] + list(BROKEN.items())
    with server() as (url, process, _):
        watched = psutil.Process(process.pid)
        rows = [asyncio.run(_crowd(url, watched, count, minutes * 60, files)) for count in crowds]
        return {"minutes": minutes, "map_share": MAP_SHARE, "crowds": rows}


def render(result: Mapping[str, Any]) -> str:
    """The table and what it means."""
    header = [
        "visitors",
        "answers",
        "told “busy”",
        "errors",
        "lost",
        "first verdict, 95 %",
        "median",
        "95 %",
        "RSS most",
        "RSS after",
    ]
    rows = [
        (
            row["visitors"],
            row["ends"].get(ANSWERED, 0),
            row["ends"].get(BUSY, 0),
            row["ends"].get(FAILED, 0) + row["ends"].get(LIMITED, 0),
            row["ends"].get(LOST, 0),
            f"{row['first_p95_s']:.1f} s",
            f"{row['median_s']:.1f} s",
            f"{row['p95_s']:.1f} s",
            f"{row['memory_most_mb']} MB",
            f"{row['memory_after_mb']} MB",
        )
        for row in result["crowds"]
    ]
    low, high = PAUSE_S
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"Each crowd for {result['minutes']:g} minutes on the same two cores as the app: {len(FILES)} examples and "
        f"{len(BROKEN)} broken files in turn, {result['map_share']:.0%} of the calls with a map, {low:g} to {high:g} s "
        "between an answer and the next file. Who is told “busy” (HTTP 503) tries again. Times are those of verdicts "
        "without a map."
    )


async def _crowd(
    url: str, process: psutil.Process, count: int, seconds: float, files: Sequence[File]
) -> dict[str, Any]:
    tally, end = Tally(), perf_counter() + seconds
    watch = asyncio.create_task(_watch(process, tally))
    await asyncio.gather(*(_visitor(url, number, end, files, tally) for number in range(count)))
    await asyncio.sleep(SETTLE_S)
    watch.cancel()
    return {
        "visitors": count,
        "ends": dict(tally.ends),
        "first_p95_s": round(p95(tally.first), 3),
        "median_s": round(median(tally.seconds), 3),
        "p95_s": round(p95(tally.seconds), 3),
        "memory_most_mb": round(max(tally.memory) / 2**20),
        "memory_after_mb": round(tally.memory[-1] / 2**20),
    }


async def _watch(process: psutil.Process, tally: Tally) -> None:
    while True:
        tally.memory.append(process.memory_info().rss)
        await asyncio.sleep(1)


async def _visitor(url: str, number: int, end: float, files: Sequence[File], tally: Tally) -> None:
    """One visitor with an address of its own, until the time is over; its files are drawn from its own seed."""
    lot, first = random.Random(number), True
    headers = {"X-Forwarded-For": f"9.9.{number // 250}.{number % 250}"}
    async with httpx.AsyncClient(base_url=f"{url}/gradio_api", headers=headers, timeout=PATIENCE_S) as client:
        while perf_counter() < end:
            wanted, mapped = lot.choice(files), not first and lot.random() < MAP_SHARE
            start = perf_counter()
            try:
                outcome = await _ask(client, wanted, mapped)
            except httpx.HTTPError:
                outcome = LOST
            tally.ends[outcome] += 1
            if outcome == ANSWERED and not mapped:
                took = perf_counter() - start
                tally.seconds.append(took)
                tally.first += [took] if first else []
                first = False
            await asyncio.sleep(lot.uniform(*PAUSE_S))


async def _ask(client: httpx.AsyncClient, file: File, mapped: bool) -> str:
    """Upload, call and read the answer, as the README's curl sample does."""
    sent = await client.post("/upload", files={"files": file})
    if sent.status_code != 200:
        return _refused(sent)
    data = {"path": sent.json()[0], "orig_name": file[0], "meta": {"_type": "gradio.FileData"}}
    asked = await client.post("/call/analyze", json={"data": [data, mapped]})
    if asked.status_code != 200:
        return _refused(asked)
    stream = (await client.get(f"/call/analyze/{asked.json()['event_id']}")).text
    if found := _COMPLETE.search(stream):
        return ANSWERED if "status" in json.loads(found[1])[0] else FAILED
    return FAILED if "event: error" in stream else LOST


def _refused(answer: httpx.Response) -> str:
    return {503: BUSY, 429: LIMITED}.get(answer.status_code, FAILED)
