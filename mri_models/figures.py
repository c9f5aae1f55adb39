"""figures.json: the numbers behind the Explore tab, written by `evaluate` and read by the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.errors import WeightsError
from mri_models.hub import CONFIG, model_folders

FIGURES = "figures.json"
STEPS = 100  # the thresholds are 0/100, 1/100, ... 100/100
REMAKE = "python -m mri_models evaluate --only figures"


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """One class against the rest: (M,) false and true positive rates, rising; `auroc` is of the unthinned curve."""

    auroc: float
    false: np.ndarray
    true: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class StageFigures:
    """One classifier on the images of a split; C classes, K = STEPS + 1 thresholds.

    served: least accepted score by class, above 1 where no answer is ever accepted.
    cells: (2, C, C, K) images by truth and answer whose score reaches each threshold; [0] counts all images, [1] leaves
    out those that are refused as unfamiliar whatever their score.
    accepted: (C, C) images by truth and answer that serving accepts.
    bands: (2, 1 + C, 2, K) 95 % interval over patients of the accuracy among accepted: for any answer, then for each
    class as the answer; NaN where fewer than five patients are accepted.
    reliability: (B, 5) per bin of equal mass: mean score, accuracy, its interval over patients, images.
    aurc: mean risk over all coverages.
    """

    classes: tuple[str, ...]
    images: int
    patients: int
    served: Mapping[str, float]
    cells: np.ndarray
    accepted: np.ndarray
    bands: np.ndarray
    reliability: np.ndarray
    rocs: Mapping[str, Roc]
    ece: float
    aurc: float

    def __post_init__(self) -> None:
        c, k = len(self.classes), STEPS + 1
        wanted = {"cells": (2, c, c, k), "accepted": (c, c), "bands": (2, 1 + c, 2, k)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if set(self.served) != set(self.classes):
            raise ValueError(f"thresholds are served for {sorted(self.served)}, the classes are {self.classes}")


@dataclass(frozen=True, slots=True)
class Count:
    """Images and patients of one class from one source in one split."""

    source: str
    label: str
    split: str
    images: int
    patients: int


@dataclass(frozen=True, slots=True)
class GreyProfile:
    """Mean histogram of grey levels over a source's images, each stretched as the networks see it.

    dark: share of pixels in the lowest of the B + 1 bins, mostly background. shares: (B,) of the other pixels, sum 1.
    """

    group: str
    source: str
    images: int
    patients: int
    dark: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that figures.json holds; `models` are SHA-256 by name of the weights that gave the answers."""

    split: str
    split_hash: str
    models: Mapping[str, str]
    stages: Mapping[str, StageFigures]
    counts: Mapping[str, tuple[Count, ...]]
    greys: tuple[GreyProfile, ...]

    def stale(self, models: Mapping[str, str]) -> list[str]:
        """Stages that were measured on other weights than `models`."""
        return sorted(name for name in self.stages if models.get(name) != self.models.get(name))


def save_figures(found: Figures, path: Path) -> None:
    """One line of JSON, rounded to 4 decimals, null for NaN."""
    values = {
        "split": found.split,
        "split_hash": found.split_hash,
        "models": dict(found.models),
        "stages": {name: _pack(stage) for name, stage in found.stages.items()},
        "counts": {task: [list(asdict(count).values()) for count in rows] for task, rows in found.counts.items()},
        "greys": [asdict(profile) for profile in found.greys],
    }
    path.write_text(json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")


def load_figures(folder: Path) -> Figures:
    """FOLDER/figures.json. Raises WeightsError, code "no_figures" or "bad_figures", with what to do."""
    try:
        values = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
        return Figures(
            split=values["split"],
            split_hash=values["split_hash"],
            models=values["models"],
            stages={name: _unpack(stage) for name, stage in values["stages"].items()},
            counts={task: tuple(Count(*row) for row in rows) for task, rows in values["counts"].items()},
            greys=tuple(GreyProfile(**row | {"shares": tuple(row["shares"])}) for row in values["greys"]),
        )
    except FileNotFoundError as error:
        raise WeightsError(
            "no_figures", f"These weights come without {FIGURES}, the measured numbers. Make it with `{REMAKE}`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            "bad_figures", f"{FIGURES} can't be read ({error}). Make it again with `{REMAKE}`."
        ) from error


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """What a model's config.json keeps of its training: `values` by measure over `steps`, whose unit is `unit`."""

    model: str
    unit: str
    steps: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    kept: int | None = None  # index of the step whose weights are served, where the config says so


def learning_curves(folder: Path) -> list[LearningCurve]:
    """The curves of every model below `folder`, by model; none where none were kept or no model is there."""
    try:
        folders = model_folders(folder)
        configs = {name: json.loads((path / CONFIG).read_text("utf-8"))["mri"] for name, path in folders.items()}
    except (WeightsError, OSError, ValueError, KeyError):
        return []
    return [curve for name, mri in configs.items() for curve in _curves(name, mri)]


def _curves(name: str, mri: Mapping[str, Any]) -> list[LearningCurve]:
    """A list of points ("curve"), or by network arrays over epochs ("curves")."""
    found = []
    if points := mri.get("curve"):
        measures = [key for key in points[0] if key != "step"]
        values = {key: tuple(float(point[key]) for point in points) for key in measures}
        found.append(LearningCurve(name, "step", tuple(int(point["step"]) for point in points), values))
    for network, arrays in mri.get("curves", {}).items():
        values = {key: tuple(map(float, array)) for key, array in arrays.items() if isinstance(array, list)}
        steps = tuple(range(1, 1 + len(next(iter(values.values())))))
        found.append(LearningCurve(network, "epoch", steps, values, arrays.get("kept")))
    return found


def _pack(stage: StageFigures) -> dict[str, Any]:
    return {
        "classes": list(stage.classes),
        "images": stage.images,
        "patients": stage.patients,
        "served": dict(stage.served),
        "cells": stage.cells.tolist(),
        "accepted": stage.accepted.tolist(),
        "bands": _rounded(stage.bands),
        "reliability": _rounded(stage.reliability),
        "rocs": {
            label: {"auroc": round(roc.auroc, 4), "false": _rounded(roc.false), "true": _rounded(roc.true)}
            for label, roc in stage.rocs.items()
        },
        "ece": round(stage.ece, 4),
        "aurc": round(stage.aurc, 4),
    }


def _unpack(values: Mapping[str, Any]) -> StageFigures:
    rocs = {
        label: Roc(roc["auroc"], np.array(roc["false"], float), np.array(roc["true"], float))
        for label, roc in values["rocs"].items()
    }
    arrays = {name: np.array(values[name], dtype=int) for name in ("cells", "accepted")}
    arrays |= {name: np.array(values[name], dtype=float) for name in ("bands", "reliability")}  # null becomes NaN
    kept = {name: values[name] for name in ("images", "patients", "served", "ece", "aurc")}
    return StageFigures(classes=tuple(values["classes"]), rocs=rocs, **arrays, **kept)


def _rounded(values: np.ndarray) -> list[Any]:
    """Nested lists, 4 decimals, None for NaN."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
