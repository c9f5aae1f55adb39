"""Run one classifier over corpus images exactly as serving would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from mri_models.classify import Classifier
from mri_models.evaluation.metrics import Outcomes
from mri_models.intake import read_scan
from mri_models.pixels import stretch
from mri_models.preprocess import letterbox, normalise
from mri_models.report import MRI
from mri_models.training.corpus import IGNORE, TASKS, Sample
from mri_models.training.inspected import NOTHING
from mri_models.types import Scan

BATCH = 32
T = TypeVar("T")
Change = Callable[[np.ndarray, int], np.ndarray]  # (canvas (S, S), index) -> canvas
Read = Callable[[Sample], Scan]


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """logits (N, C), features (N, D), labels (N,) and the samples they belong to."""

    logits: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    samples: tuple[Sample, ...]


def labelled(samples: Sequence[Sample], task: str, split: str) -> list[Sample]:
    """The samples of a split that have a target for `task`."""
    return [s for s in samples if s.split == split and s.targets[task] != IGNORE]


def thin(samples: Sequence[T], limit: int | None) -> Sequence[T]:
    """All samples, or every k-th so that about `limit` remain, spread over sources."""
    return samples if limit is None or len(samples) <= limit else samples[:: len(samples) // limit + 1]


def as_stored(sample: Sample) -> Scan:
    """The image as the corpus holds it."""
    return read_scan(sample.path)


def collect(
    classifier: Classifier,
    samples: Sequence[Sample],
    task: str,
    change: Change | None = None,
    read: Read = as_stored,
) -> Outputs:
    """Raw outputs on corpus images; `change` alters each canvas (for robustness checks and perturbed calibration)."""
    logits, features = [], []
    size = classifier.spec.size
    for start in tqdm(range(0, len(samples), BATCH), desc=task, leave=False):
        canvases = [letterbox(stretch(read(s).pixels), size) for s in samples[start : start + BATCH]]
        if change:
            canvases = [change(canvas, start + i) for i, canvas in enumerate(canvases)]
        batch = torch.stack([normalise(canvas, classifier.spec) for canvas in canvases])
        scores, pooled = classifier.outputs(batch)
        logits.append(scores)
        features.append(pooled)
    labels = np.array([s.targets[task] for s in samples])
    return Outputs(np.concatenate(logits), np.concatenate(features), labels, tuple(samples))


def collect_all(
    models: Mapping[str, tuple[Classifier, str, Sequence[Sample]]], read: Read = as_stored
) -> dict[str, Outputs]:
    """Raw outputs by name of {name: (classifier, task, samples)}; networks that see the same look at an image once."""
    looks: dict[tuple[object, ...], Outputs] = {}
    found = {}
    for name in sorted(models, key=lambda name: -len(models[name][2])):  # the others' images are mostly among these
        classifier, task, samples = models[name]
        seen = looks.get(classifier.features_key)
        if seen and {s.path for s in samples} <= {s.path for s in seen.samples}:
            found[name] = look_up(classifier, seen, samples, task)
        else:
            found[name] = looks[classifier.features_key] = collect(classifier, samples, task, read=read)
    return {name: found[name] for name in models}


def look_up(classifier: Classifier, seen: Outputs, samples: Sequence[Sample], task: str) -> Outputs:
    """Raw outputs from features that another head of the same network was given for the same images."""
    row = {sample.path: i for i, sample in enumerate(seen.samples)}
    features = seen.features[[row[sample.path] for sample in samples]]
    labels = np.array([s.targets[task] for s in samples])
    return Outputs(classifier.logits(features), features, labels, tuple(samples))


def outcomes(classifier: Classifier, outputs: Outputs, task: str) -> Outcomes:
    """Calibrated answers with their truth, patients and sources."""
    answers = classifier.decide(outputs.logits, outputs.features)
    return Outcomes(
        probabilities=np.array([list(a.probabilities.values()) for a in answers]),
        labels=outputs.labels,
        classes=TASKS[task],
        patients=np.array([s.patient for s in outputs.samples]),
        sources=np.array([s.source for s in outputs.samples]),
        accepted=np.array([a.accepted for a in answers]),
        ood=np.array([a.ood_score for a in answers]),
    )


def put_right(stage: Outcomes, samples: Sequence[Sample]) -> tuple[Outcomes, int] | None:
    """The same answers without the manifest's wrong labels, and how many those are; None where there are none.

    The gate's are corrected; no other stage has anything to say about what is not an MRI.
    """
    seen = np.array([sample.mislabelled for sample in samples])
    wrong = seen != ""
    if not wrong.any():
        return None
    known = ~wrong
    labels = stage.labels.copy()
    if stage.classes == TASKS["gate"]:
        known = seen != NOTHING
        labels[wrong] = np.where(seen[wrong] == MRI, stage.classes.index(MRI), stage.classes.index("not_mri"))
    return replace(stage, labels=labels).select(known), int(wrong.sum())
