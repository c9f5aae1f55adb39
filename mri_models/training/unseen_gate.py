"""What does the gate make of collections that its network never saw, by what distance from MRI adds to its score?

Calibrated as the served gate is, on validation patients of the sources that taught; then asked about those left out.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import timm
from sklearn.metrics import roc_auc_score

from mri_models.calibration import ORDINARY
from mri_models.classify import Classifier
from mri_models.evaluation.collect import Outputs, collect, labelled, outcomes
from mri_models.evaluation.segmentation import by_patient
from mri_models.evaluation.tables import cell, table
from mri_models.training.corpus import IGNORE, TASKS, Sample, draw_weights
from mri_models.training.export import calibration, familiarity, fill, uncalibrated
from mri_models.training.network import MultiTask
from mri_models.training.recipe import Recipe, load_recipe

GATE = "gate"
MRI = TASKS[GATE].index("mri")
SLOPES = (0.0, 1.0, 2.0, 3.0, 5.0)
GROUPS = {"mri": "MRI", "others": "other images", "ct": "CT"}
NOTE = (
    "The gate with its calibration, thresholds and refusal of the unfamiliar, fitted anew on the validation patients "
    "that the run was taught with; asked about all training and validation patients of the collections it never saw. "
    f"Slope: logits that each unit of distance from MRI, beyond what {100 * ORDINARY:.0f} % of validation MRI stay "
    "under, adds to “not MRI”. AUROC: mean of the three runs, classes and sources balanced."
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Door:
    """A run's gate and what it saw in images of unseen sources."""

    gate: Classifier
    recipe: Recipe
    validation: Outputs
    strangers: Outputs


def door(network: MultiTask, run: Recipe, samples: Sequence[Sample]) -> Door:
    """The gate of a run that `run.leave_out` was kept from, and its view of those sources, test patients apart."""
    recipe = dataclasses.replace(load_recipe(GATE), leave_out=run.leave_out, serve_size=run.size)
    model = timm.create_model(run.network, num_classes=len(TASKS[GATE]), **run.network_args)
    fill(model, network, GATE)
    gate = uncalibrated(model, recipe)
    taught = [s for s in samples if s.source not in run.leave_out]
    validation = collect(gate, labelled(taught, GATE, "val"), GATE)
    gate.ood = familiarity(gate, recipe, taught, validation)
    own = [s for s in samples if s.source in run.leave_out and s.split != "test" and s.targets[GATE] != IGNORE]
    return Door(gate, recipe, validation, collect(gate, own, GATE))


def measure_doors(doors: Iterable[Door], slopes: Sequence[float] = SLOPES) -> dict[str, dict[str, Any]]:
    """{slope: {"auroc", and images, estimate of who was let in, by GROUPS}}; shares over the images of all doors."""
    doors = list(doors)
    return {f"{slope:g}": _measure(doors, slope) for slope in slopes}


def _measure(doors: Sequence[Door], slope: float) -> dict[str, Any]:
    aurocs, let_in, samples = [], [], []
    for one in doors:
        recipe = dataclasses.replace(one.recipe, strange_slope=slope)
        gate = copy.copy(one.gate)
        gate.calibration = calibration(one.gate, recipe, one.validation)
        found = outcomes(gate, one.strangers, GATE)
        aurocs.append(_auroc(one, found.probabilities[:, MRI]))
        let_in.append(found.accepted & (found.predicted == MRI))
        samples += one.strangers.samples
    inside, mri = np.concatenate(let_in), np.array([s.targets[GATE] == MRI for s in samples])
    ct, patients = np.array([s.modality == "ct" for s in samples]), np.array([s.patient for s in samples])

    return {"auroc": float(np.mean(aurocs))} | {
        group: share(inside, among, patients) for group, among in zip(GROUPS, (mri, ~mri, ct), strict=True)
    }


def share(hit: np.ndarray, among: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """Share of the images among which it is asked, with its interval over patients; without images only their count."""
    estimate = by_patient(hit[among].astype(float), list(patients[among]))
    return {"images": int(among.sum())} | (estimate.to_dict() if estimate else {})


def _auroc(one: Door, scores: np.ndarray) -> float:
    """Classes and sources balanced."""
    balance = draw_weights(one.strangers.samples, {GATE: 1.0})
    return float(roc_auc_score(one.strangers.labels == MRI, scores, sample_weight=balance))


def render_doors(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What `measure_doors` returns → Markdown."""
    images = {group: one["images"] for group, one in next(iter(found.values())).items() if group in GROUPS}
    header = ["slope", "AUROC", *(f"{name} let in, of {images[group]}" for group, name in GROUPS.items())]
    rows = [
        [slope, f"{one['auroc']:.3f}", *(cell(one[group] if images[group] else None) for group in GROUPS)]
        for slope, one in found.items()
    ]
    return f"{table(header, rows)}\n\n{NOTE}"
