"""Medians of the time from bytes to verdict and to overlay, and of each stage, on this machine."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from mri_models.evaluation.tables import update_readme
from mri_models.pipeline import DIAGNOSIS, Pipeline
from mri_models.types import Prediction, Report

RESULT = Path("weights/benchmark.json")
README = Path("README.md")


def write(result: Mapping[str, Any]) -> None:
    """Keep a result in weights/benchmark.json and show it in the README."""
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    update_readme(README, "speed", table(result))


def table(result: Mapping[str, Any]) -> str:
    """One row of medians."""
    medians = result["median_ms"] | {"verdict + explanation": result["verdict_with_explanation_ms"]}
    cells = (list(medians), ["---:"] * len(medians), [f"{ms:.0f} ms" for ms in medians.values()])
    rows = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"{rows}\n\nMedians of {result['rounds']} rounds on a 512×512 PNG; {result['machine']}."


def benchmark(pipeline: Pipeline, rounds: int = 15) -> dict[str, Any]:
    """Time a 512x512 PNG through every stage, whatever the models answer: the slowest way there is."""
    data = _picture()
    scan = pipeline.read(data)
    slowest = max(
        (name for name in pipeline.models if name.startswith(DIAGNOSIS)),
        key=lambda name: sum(p.numel() for p in pipeline.models[name].network.parameters()),
    )
    stages = ("gate", "body_part", slowest)
    report = _accepted(pipeline, slowest)
    timings: dict[str, list[float]] = {name: [] for name in ("read", *stages, "verdict", "explanation")}
    for _ in range(rounds + 1):  # the first round warms up and is dropped
        timings["read"].append(_milliseconds(lambda: pipeline.read(data)))
        for stage in stages:
            timings[stage].append(_milliseconds(lambda stage=stage: pipeline.models[stage](scan)))
        timings["verdict"].append(sum(timings[name][-1] for name in ("read", *stages)))
        timings["explanation"].append(_milliseconds(lambda: pipeline.explain(scan, report)))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {pipeline.device}",
        "rounds": rounds,
        "median_ms": {name: round(median(values[1:]), 1) for name, values in timings.items()},
        "verdict_with_explanation_ms": round(median(timings["verdict"][1:]) + median(timings["explanation"][1:]), 1),
    }


def _picture() -> bytes:
    """A soft random texture: neither blank nor noise."""
    texture = gaussian_filter(np.random.default_rng(0).random((512, 512)), 6)
    texture = (texture - texture.min()) / np.ptp(texture)
    stream = io.BytesIO()
    Image.fromarray((texture * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _accepted(pipeline: Pipeline, name: str) -> Report:
    """A report that asks for an explanation of `name`'s first class."""
    part = name.removeprefix(DIAGNOSIS)
    sure = Prediction(part, 1.0, 0.6, {part: 1.0}, 0.0, 1.0, accepted=True)
    label = pipeline.models[name].labels[0]
    return Report("benchmark", body_part=sure, diagnosis=dataclasses.replace(sure, label=label))


def _milliseconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return (perf_counter() - start) * 1000
