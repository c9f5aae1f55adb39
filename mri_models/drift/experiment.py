"""`drift simulate`: how often which drift is found, by severity and window size, and how often there is a false alarm.

Reference and limits are from validation patients; everything here is drawn from test patients, who chose nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mri_models.drift.collect import Stream, Verdict, observations
from mri_models.drift.monitors import judge, overall
from mri_models.drift.observe import Observation, Window
from mri_models.drift.profile import Profile
from mri_models.drift.replay import COMPOSITION, SHARES, TITLES, UNDRIFTED, Simulated
from mri_models.drift.simulate import COVARIATE, DRIFTS, SEVERITIES
from mri_models.evaluation.tables import table

SIZES = (20, 50, 100)
AIM = {"severity": 3, "images": 50, "detection": 0.95, "false_alarms": 0.05}
CONTROL = "control"  # the images that are drifted, as they are: what drawing from few of them does by itself
Cell = tuple[str | None, int, int, int]  # drift, severity, images a window, windows


def simulated(verdict: Verdict, hashes: Mapping[str, str], stream: Stream, count: int, cache: Path) -> Simulated:
    """All undrifted observations of a stream, and `count` of its images after every drift at every severity."""
    found: list[Observation] = []
    cells: dict[str, tuple[int, int]] = {}
    rows = np.linspace(0, len(stream.samples) - 1, min(count, len(stream.samples))).round().astype(int)
    few = [stream.samples[row] for row in rows]  # every k-th: the stream is sorted by source, so its mixture stays
    for drift, severity in [(None, 0), *((drift, severity) for drift in DRIFTS for severity in SEVERITIES)]:
        seen = observations(verdict, hashes, few if drift else stream.samples, drift, severity, cache)
        cells[f"{drift}/{severity}" if drift else UNDRIFTED] = (len(found), len(found) + len(seen))
        found += seen
        print(f"{drift or UNDRIFTED} {severity}: {len(seen)} images", flush=True)
    return Simulated(Window.of(found), cells, stream.groups() | {CONTROL: rows})


def detection(source: Simulated, profile: Profile, windows: int, calm: int) -> dict[str, Any]:
    """Share of windows with an alert: false alarms by size, and by drift, severity and size."""
    cells: list[Cell] = [(None, 0, size, calm) for size in SIZES]
    cells += [(CONTROL, 5, size, windows) for size in SIZES]
    drifts = [drift for drift in TITLES if drift in DRIFTS or drift in source.groups]
    cells += [(drift, severity, size, windows) for drift in drifts for severity in SEVERITIES for size in SIZES]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = dict(zip(cells, pool.map(partial(_alerts, source, profile), cells, chunksize=8), strict=True))
    shares: dict[str, Any] = {drift: {str(severity): {} for severity in SEVERITIES} for drift in drifts}
    false, control = {}, {}
    for (drift, severity, size, drawn), count in found.items():
        if drift is None:
            false[str(size)] = _share(count, drawn)
        elif drift == CONTROL:
            control[str(size)] = round(count / drawn, 3)
        else:
            shares[drift][str(severity)][str(size)] = round(count / drawn, 3)
    return {"windows": windows, "aim": AIM, "false_alarms": false, "control": control, "detection": shares}


def write(result: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def render(result: Mapping[str, Any]) -> str:
    """detection.json as Markdown for the README."""
    size, severity = str(AIM["images"]), str(AIM["severity"])
    header = ["drift", *(f"severity {s}" for s in SEVERITIES), *(f"{n} images" for n in SIZES)]
    rows = [
        [TITLES[drift], *(f"{cells[str(s)][size]:.2f}" for s in SEVERITIES)]
        + [f"{cells[severity][str(n)]:.2f}" for n in SIZES]
        for drift, cells in result["detection"].items()
    ]
    images = result["images"]
    return "\n\n".join(
        [
            _verdict(result, size, severity),
            f"Share of {result['windows']} windows with an alert, by severity at {size} images a window, then by "
            f"images a window at severity {severity}:",
            table(header, rows),
            f"Measured on {images['undrifted']} images of {images['patients']} test patients. {images['drifted']} of "
            "them were drifted in each way, and windows drawn from these with replacement; doing so without any drift "
            f"gives {result['control'][size]:.2f} alerts at {size} images. {', '.join(COMPOSITION.values())}: severity "
            f"is the share of the window that comes from that group alone ({', '.join(f'{s:.0%}' for s in SHARES)}).",
        ]
    )


def _verdict(result: Mapping[str, Any], size: str, severity: str) -> str:
    """The aims, and whether they are met."""
    calm = result["false_alarms"][size]
    short = [TITLES[d] for d in COVARIATE if result["detection"][d][severity][size] < AIM["detection"]]
    met = "met by every covariate drift" if not short else f"missed by {', '.join(short)}"
    images, aim = result["images"], AIM["false_alarms"]
    return (
        f"False alarms: {calm['share']:.1%} of {calm['windows']:,} windows of {size} undrifted images, all drawn from "
        f"the same {images['undrifted']} of {images['patients']} patients (95 % interval of the drawing alone, not "
        f"over patients: {calm['low']:.1%} to {calm['high']:.1%}; aim: at most {aim:.0%}). Detection at severity "
        f"{severity} within {size} images, aim {AIM['detection']:.0%}: {met}."
    )


def _alerts(source: Simulated, profile: Profile, cell: Cell) -> int:
    """How many windows of a cell raise an alert."""
    drift, severity, size, windows = cell
    rng = np.random.default_rng([severity, size, *(drift or "").encode()])
    drawn = (source.window.take(source.draw(drift, severity, size, rng)) for _ in range(windows))
    return sum(overall(judge(window, profile)) == "alert" for window in drawn)


def _share(count: int, windows: int) -> dict[str, float | int]:
    interval = binomtest(count, windows).proportion_ci(method="wilson")
    low, high = (math.floor(interval.low * 1e4) / 1e4, math.ceil(interval.high * 1e4) / 1e4)
    return {"share": round(count / windows, 4), "windows": windows, "low": low, "high": high}


def counts(stream: Stream, drifted: int) -> dict[str, int]:
    """What the table's last line says about the images."""
    people: Sequence[str] = [sample.patient for sample in stream.samples]
    return {"undrifted": len(people), "patients": len(set(people)), "drifted": min(drifted, len(people))}
