"""The |value| of each explanation method that is drawn at full colour: from validation images, the same for all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.classify import Classifier
from mri_models.evaluation.collect import labelled
from mri_models.explain import METHODS, attribute
from mri_models.hub import CONFIG, model_folders
from mri_models.intake import read_scan
from mri_models.training.corpus import TASKS, Sample, read_corpus

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
    """`complete_scale` for every classifier below `weights`: (model, what was added)."""
    samples = read_corpus(data)
    for name, folder in model_folders(weights).items():
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


def write_config(folder: Path, **values: Any) -> None:
    """Set fields of config.json's "mri"; the layout is the one that transformers writes."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["mri"] |= values
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
