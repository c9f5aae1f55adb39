"""What becomes of an image that lies on its side or stands on its head: the stages' answers, nothing turned back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mri_models.evaluation.collect import thin
from mri_models.evaluation.segmentation import by_patient
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.intake import read_scan
from mri_models.pipeline import BODY_PART, BRAIN, GATE, Pipeline
from mri_models.pixels import stretch
from mri_models.preprocess import to_batch
from mri_models.report import HEALTHY, TUMOURS
from mri_models.training.corpus import IGNORE, TASKS, Sample

NAME = "turned"
NEITHER = "phantom"  # has no upright
PARTS = ("brain", "knee", "spine")
FOUR = (*TUMOURS, HEALTHY)
WAYS = {"upright": [0], "on its side": [1, 3], "on its head": [2]}  # quarters of a turn
NOTE = (
    "Test patients' MRI as it is, turned by 90 and 270 degrees, and by 180. Accepted: by the gate and, as that part, "
    "by the next stage. Patterns: glioma, meningioma, pituitary and no tumour, accepted after both, before outlines "
    "are asked. Brackets: 95 % interval over patients (bootstrap)."
)
Row = tuple[Sample, Mapping[str, np.ndarray]]  # by question, (4,) bool: how each way of the image is answered


def measure_turned(
    pipeline: Pipeline, samples: Sequence[Sample], split: str, limit: int | None
) -> list[dict[str, Any]]:
    """The part of metrics.json about turned images, a question each: {"question", "images", way: estimate}."""
    mri = [s for s in samples if s.split == split and s.modality == "mri" and s.body_part != NEITHER]
    rows = [(s, answers(pipeline, s)) for s in tqdm(thin(mri, limit), desc=NAME, leave=False)]
    asked = {f"{part} accepted as {part}": [row for row in rows if row[0].body_part == part] for part in PARTS}
    asked["other body parts let in"] = [row for row in rows if row[0].body_part not in PARTS]
    four = [row for row in rows if pattern_of(row[0]) in FOUR]
    asked |= {"brain patterns accepted and right": four, "brain patterns accepted and wrong": four}
    return [summary(question, chosen) for question, chosen in asked.items() if chosen]


def answers(pipeline: Pipeline, sample: Sample) -> dict[str, np.ndarray]:
    """{question: (4,) bool} of an image as it is and turned by 90, 180 and 270 degrees."""
    pixels = stretch(read_scan(sample.path).pixels)
    ways = [np.ascontiguousarray(np.rot90(pixels, quarters)) for quarters in range(4)]
    features: dict[object, np.ndarray] = {}
    named = []
    for model in (pipeline.models[name] for name in (GATE, BODY_PART, BRAIN)):
        if model.features_key not in features:
            features[model.features_key] = model.features(to_batch(ways, model.spec))
        seen = features[model.features_key]
        found = model.decide(model.logits(seen), seen)
        named.append(np.array([answer.label if answer.accepted else None for answer in found], dtype=object))
    gate, part, pattern = named
    accepted = {f"{name} accepted as {name}": (gate == "mri") & (part == name) for name in PARTS}
    answered = accepted["brain accepted as brain"] & np.array([name is not None for name in pattern])
    right = pattern == pattern_of(sample)
    return accepted | {
        "other body parts let in": np.any(list(accepted.values()), axis=0),
        "brain patterns accepted and right": answered & right,
        "brain patterns accepted and wrong": answered & ~right,
    }


def pattern_of(sample: Sample) -> str | None:
    """A brain's label, where it is known."""
    target = sample.targets["brain"]
    return None if target == IGNORE else TASKS["brain"][target]


def summary(question: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The share of images that are answered so, by the way in which they lie."""
    patients = [f"{sample.source}/{sample.patient}" for sample, _ in rows]
    shares = {
        way: by_patient([float(said[question][quarters].mean()) for _, said in rows], patients).to_dict()
        for way, quarters in WAYS.items()
    }
    return {"question": question, "images": len(rows)} | shares


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of `measure_turned`'s result."""
    rows = [[one["question"], one["images"], *(cell(one[way]) for way in WAYS)] for one in found]
    return f"{table(['question', 'images', *WAYS], rows)}\n\n{NOTE}"


def write_turned_table(found: Sequence[Mapping[str, Any]], readme: Path) -> None:
    """Into the README."""
    update_readme(readme, NAME, render(found))
