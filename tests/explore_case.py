"""A made-up stage and figures.json for the tests of the Explore tab."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import FakePipeline

from mri_models.calibration import Calibration
from mri_models.evaluation.explore import stage_figures
from mri_models.evaluation.metrics import Outcomes
from mri_models.figures import FIGURES, Count, Figures, GreyProfile, StageFigures, save_figures

CLASSES = ("brain", "knee", "spine", "other")
THRESHOLDS = {"brain": 0.6, "knee": 0.9, "spine": 0.7, "other": 0.7}


def outcomes(classes: tuple[str, ...] = CLASSES, served: dict[str, float] = THRESHOLDS, n: int = 400) -> Outcomes:
    """Answers of four images a patient, mostly right, surer where they are right; a tenth looks unfamiliar."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(classes), size=n)
    scores = rng.normal(0, 1, (n, len(classes)))
    scores[np.arange(n), labels] += 2.4
    probabilities = np.exp(1.6 * scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    ood = rng.uniform(0, 1, n) ** 0.5
    least = np.array([served[label] for label in classes])[probabilities.argmax(axis=1)]
    names = np.array([f"p{i // 4}" for i in range(n)])
    accepted = (probabilities.max(axis=1) >= least) & (ood <= 0.95)
    return Outcomes(probabilities, labels, classes, names, names, accepted, ood)


def stage(classes: tuple[str, ...] = CLASSES, served: dict[str, float] = THRESHOLDS) -> StageFigures:
    return stage_figures(outcomes(classes, served), Calibration(1.0, served, 0.95, True, {}))


def write(folder: Path, models: dict[str, str] | None = None) -> Path:
    """FOLDER/figures.json about two stages of the fake pipeline, whose gate was measured on other weights."""
    digests = models or {"body_part": FakePipeline.hashes["body_part"], "gate": "00" * 32}
    stages = {"body_part": stage(), "gate": stage(("mri", "not_mri"), {"mri": 0.9, "not_mri": 1.01})}
    counts = {"body_part": (Count("ixi", "brain", "train", 120, 60), Count("cemrr_acl", "knee", "test", 14, 14))}
    greys = (GreyProfile("brain", "ixi", 46, 40, 0.4, tuple([0.1] * 5 + [0.5 / 26] * 26)),)
    save_figures(Figures("test", "ab" * 32, digests, stages, counts, greys), folder / FIGURES)
    return folder
