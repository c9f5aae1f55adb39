"""The |value| of each explanation method that is drawn at full colour: from validation images, the same for all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.classify import Classifier
from mri_models.discs import NAME as DISCS
from mri_models.discs import DiscGrader
from mri_models.evaluation.collect import labelled
from mri_models.explain import METHODS, attribute, explain_disc
from mri_models.hub import CONFIG, model_folders
from mri_models.intake import read_scan
from mri_models.levels import LEAST, disc_boxes
from mri_models.localize import Segmenter
from mri_models.training.corpus import TASKS, Sample, read_corpus
from mri_models.training.spines import read_slices

SCALE_IMAGES = 10  # validation images that set the scale
PERCENTILE = 99.5


def attribution_scale(
    classifier: Classifier, samples: Sequence[Sample], methods: Sequence[str] = METHODS
) -> dict[str, float]:
    """Median over validation images of the 99.5th percentile of |attribution| for the predicted class."""
    picks = np.random.default_rng(0).choice(len(samples), min(SCALE_IMAGES, len(samples)), replace=False)
    found: dict[str, list[float]] = {method: [] for method in methods}
    for i in picks:
        scan = read_scan(samples[i].path)
        target = classifier(scan).label
        for method in methods:
            values = attribute(classifier, scan, target, method).values
            found[method].append(float(np.percentile(np.abs(values), PERCENTILE)))
    return {method: float(f"{max(float(np.median(values)), 1e-6):.4g}") for method, values in found.items()}


def complete_scales(weights: Path, data: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """What every classifier and the disc grader below `weights` lack: (model, what was added)."""
    samples = read_corpus(data)
    for name, folder in model_folders(weights).items():
        if name == DISCS:
            yield name, complete_disc_scale(folder, weights, data)
        if (task := name.removeprefix("diagnosis/")) in TASKS:
            yield name, complete_scale(folder, samples, task)


def complete_scale(folder: Path, samples: Sequence[Sample], task: str) -> dict[str, float]:
    """Add the methods that an exported folder has no scale for yet; gives what was added."""
    classifier = Classifier.load(folder)
    known = classifier.calibration.attribution_scale
    missing = [method for method in METHODS if method not in known]
    if not missing:
        return {}
    anything = dict(known) | dict.fromkeys(missing, 1.0)
    classifier.calibration = dataclasses.replace(classifier.calibration, attribution_scale=anything)
    added = attribution_scale(classifier, labelled(samples, task, "val"), missing)
    write_config(folder, attribution_scale=dict(known) | added)
    return added


def complete_disc_scale(folder: Path, weights: Path, data: Path) -> dict[str, float]:
    """Add the scale of a disc's map to an exported disc grader that has none; gives what was added."""
    grader = DiscGrader.load(folder)
    if grader.scale is not None:
        return {}
    finder = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["mri"]["finder"]
    outline, tops = Segmenter.load(weights / finder), []
    grader.scale = 1.0
    slices = [one for one in read_slices(data) if one.split == "val"]
    for i in np.random.default_rng(0).choice(len(slices), min(SCALE_IMAGES, len(slices)), replace=False):
        scan = read_scan(slices[i].path)
        boxes = disc_boxes(outline(scan))
        if len(boxes) >= LEAST:
            values = np.abs(explain_disc(grader, scan, grader(scan, boxes)).values)
            tops.append(float(np.percentile(values[values > 0], PERCENTILE)))
    scale = float(f"{max(float(np.median(tops)), 1e-6):.4g}")
    write_config(folder, attribution_scale=scale)
    return {METHODS[0]: scale}


def write_config(folder: Path, **values: Any) -> None:
    """Set fields of config.json's "mri"; the layout is the one that transformers writes."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["mri"] |= values
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
