"""Medians of the time from bytes to verdict and to overlay on this machine, beside two things one would use instead."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from captum.attr import IntegratedGradients
from PIL import Image

from mri_models.clock import since
from mri_models.evaluation import series, soak
from mri_models.evaluation.tables import table as markdown_table
from mri_models.evaluation.tables import update_readme
from mri_models.explain import QUICK
from mri_models.pipeline import DIAGNOSIS, GATE, Pipeline
from mri_models.preprocess import to_tensor
from mri_models.types import Report, Scan

RESULT = Path("weights/benchmark.json")
README = Path("README.md")
EXAMPLE = Path("examples/01_brain_t1_axial.png")  # goes all the way: three stages, anomaly, explanation
BATCH = 8
BATCHED = f"trunk, an image of {BATCH} in a batch"
PLAIN_STEPS = 50  # captum's default for Integrated Gradients


def write(result: Mapping[str, Any]) -> None:
    """Merge a result into weights/benchmark.json and show everything that is there in the README."""
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known |= result
    RESULT.write_text(json.dumps(known, indent=1) + "\n")
    update_readme(README, "speed", render(known))


def render(result: Mapping[str, Any]) -> str:
    """The medians of one image, what one would use instead, and the server under visitors."""
    parts = [_medians(result), f"Medians of {result['rounds']} rounds on one 2D image; {result['machine']}."]
    if visitors := result.get("visitors"):
        parts += [_visitors(visitors), _server(visitors)]
    if volume := result.get("series"):
        parts.append(series.render(volume))
    if crowds := result.get("soak"):
        parts.append(soak.render(crowds))
    return "\n\n".join(parts)


def _medians(result: Mapping[str, Any]) -> str:
    rows = [(name, f"{ms:.0f} ms") for name, ms in result["median_ms"].items()]
    return markdown_table(["step", "median"], rows)


def _visitors(visitors: Mapping[str, Any]) -> str:
    header = ["visitors at once", "verdicts a second", "median", "95 %", "errors"]
    rows = [
        (
            row["visitors"],
            f"{row['per_second']:.1f}",
            f"{row['median_s']:.2f} s",
            f"{row['p95_s']:.2f} s",
            row["errors"],
        )
        for row in visitors["load"]
    ]
    return markdown_table(header, rows)


def _server(visitors: Mapping[str, Any]) -> str:
    return (
        f"Start to ready {visitors['start_s']:.1f} s, resident memory at the end {visitors['memory_mb']:.0f} MB. "
        f"Each visitor sends {visitors['requests']} images, one after the other, through `gradio_client` on the same "
        "machine."
    )


def benchmark(pipeline: Pipeline, rounds: int = 15, example: Path = EXAMPLE) -> dict[str, Any]:
    """Time one image through every stage, then the same networks' rivals, in the same run.

    Raises ValueError when the example does not reach a diagnosis: then there would be nothing to compare.
    """
    data = example.read_bytes()
    scan = pipeline.read(data)
    report = pipeline.verdict(scan)
    if not (report.diagnosis and report.diagnosis.accepted):
        raise ValueError(f"{example} is refused by these weights; time an image that is answered")
    quick = pipeline.explain(scan, report, QUICK)
    steps = {
        "read": lambda: pipeline.read(data),
        "verdict": lambda: pipeline.verdict(pipeline.read(data)),
        "explanation": lambda: pipeline.explain(scan, report),
        **{
            f"explanation: {method}": partial(pipeline.explain, scan, report, method)
            for method in pipeline.methods(report)[1:]
        },
        f"checks of {QUICK}": lambda: pipeline.check(scan, report, quick),
        **_passes(pipeline, scan),
        f"captum, plain Integrated Gradients, {PLAIN_STEPS} steps": _plain_gradients(pipeline, scan, report),
        "transformers pipeline, ViT-Base": _vision_transformer(data),
    }
    timings = {name: [_milliseconds(step) for _ in range(rounds + 1)][1:] for name, step in steps.items()}  # 1 warm-up
    medians = {name: round(median(values), 1) for name, values in timings.items()}
    medians[BATCHED] = round(medians[BATCHED] / BATCH, 1)
    stages = [pipeline.verdict(scan).timing_ms for _ in range(rounds)]
    ran = [name for name in stages[0] if all(name in taken for taken in stages)]  # a stage of 0.1 ms may not be noted
    by_stage = {name: round(median(taken[name] for taken in stages), 1) for name in ran}
    medians = {"read": medians.pop("read")} | by_stage | medians
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {pipeline.device}",
        "rounds": rounds,
        "median_ms": medians,
    }


def _passes(pipeline: Pipeline, scan: Scan) -> dict[str, Callable[[], object]]:
    """One pass of the shared trunk (an image and its mirror image), and two ways that might have been quicker."""
    model = pipeline.models[GATE]
    image = to_tensor(scan, model.spec)
    several = image.expand(BATCH, -1, -1, -1)

    def half() -> object:
        with torch.autocast(model.device.type, torch.bfloat16):
            return model.features(image)

    return {
        "trunk, one image": lambda: model.features(image),
        BATCHED: lambda: model.features(several),
        "trunk, one image in bfloat16": half,
    }


def _plain_gradients(pipeline: Pipeline, scan: Scan, report: Report) -> Callable[[], object]:
    """What captum's documentation would have one write, on the network as transformers loads it."""
    from transformers import AutoModelForImageClassification

    name = DIAGNOSIS + report.body_part.label
    model = pipeline.models[name]
    image = to_tensor(scan, model.spec).to(model.device)
    loaded = AutoModelForImageClassification.from_pretrained(pipeline.folder / name, dtype=torch.float32)
    method = IntegratedGradients(loaded.timm_model.to(model.device, memory_format=torch.channels_last).eval())
    target = model.labels.index(report.diagnosis.label)
    return lambda: method.attribute(image, target=target, n_steps=PLAIN_STEPS, internal_batch_size=8)


def _vision_transformer(data: bytes) -> Callable[[], object]:
    """The classifier that most Spaces start from; its weights are random, which costs the same time."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor, pipeline

    model = ViTForImageClassification(ViTConfig()).eval()
    classify = pipeline("image-classification", model=model, image_processor=ViTImageProcessor(), device="cpu")
    return lambda: classify(Image.open(io.BytesIO(data)).convert("RGB"))


def _milliseconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return since(start)
