"""What is drawn over an image: where a score came from, how unusual each place is, and where a structure lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CATEGORIES = ("normal", "borderline", "anomalous")


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one map may be believed, in one respect; `value` is compared with `limit`, both rounded in the JSON.

    name: "completeness": the share of the score's change that the map misses, at most the limit.
    "deletion": area under the class score's curve while the strongest regions are veiled; below that of a random order.
    "random_head": |rank correlation| with the map of a network whose last layer was drawn by lot; at most the limit.
    """

    name: str
    value: float
    limit: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        return {"value": round(self.value, 4), "limit": round(self.limit, 4), "passed": self.passed}


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Where a class score came from.

    values: (H, W) float32 on the scan's own pixel grid; positive speaks for `target`, negative against it.
    scale: the fixed |value| drawn at full colour, from validation images, the same for every image.
    completeness_gap: |sum(attributions) - (F(x) - F(baseline))| / |F(x) - F(baseline)|; None for methods without one.
    steps: evaluations of the network along a path or of altered images, where the method counts them.
    took_ms: how long the method took. checks: what was checked on this very map.
    failed_study: the checks that this method fails on test patients; None where these weights were not studied.
    """

    values: np.ndarray
    method: str
    target: str
    scale: float
    completeness_gap: float | None = None
    steps: int | None = None
    baseline: str | None = None
    took_ms: float | None = None
    checks: tuple[Check, ...] = ()
    failed_study: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.float32:
            raise ValueError(f"values must be (H, W) float32, got {self.values.shape} {self.values.dtype}")
        self.values.setflags(write=False)

    def to_dict(self) -> dict[str, Any]:
        gap = None if self.completeness_gap is None else round(self.completeness_gap, 4)
        return {
            "method": self.method,
            "target": self.target,
            "completeness_gap": gap,
            "steps": self.steps,
            "baseline": self.baseline,
            "scale": self.scale,
            "took_ms": None if self.took_ms is None else round(self.took_ms, 1),
            "checks": {check.name: check.to_dict() for check in self.checks},
            "failed_study": None if self.failed_study is None else list(self.failed_study),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Anomaly:
    """How far a brain image lies from normal anatomy.

    score: calibrated probability in [0, 1] that the image is not a normal brain, from the combined components.
    percentile: share of held-out normal images with a lower score, in [0, 1].
    borderline, threshold: scores from which the category is "borderline" and "anomalous"; from validation patients.
    confidence: how sure the category is, in [0, 1]: measured share of validation images of that category that are so.
    components: raw value of each part by name; z_scores: the same in standard deviations of held-out normals.
    image, reconstruction, error_map: (S, S) float32; what the autoencoder saw, what it drew, and their difference.
    error_scale: the fixed error drawn at full colour, the same for every image.
    normals: held-out normal images counted in equal steps of the score from 0 to 1, for the page's histogram.
    """

    score: float
    percentile: float
    borderline: float
    threshold: float
    category: str
    confidence: float
    components: Mapping[str, float]
    z_scores: Mapping[str, float]
    image: np.ndarray
    reconstruction: np.ndarray
    error_map: np.ndarray
    error_scale: float
    normals: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"category must be one of {CATEGORIES}, got {self.category!r}")
        shapes = {array.shape for array in (self.image, self.reconstruction, self.error_map)}
        if len(shapes) != 1 or self.image.ndim != 2:
            raise ValueError(f"image, reconstruction and error_map must be (S, S) alike, got {shapes}")

    def to_dict(self) -> dict[str, Any]:
        return {
            "score": round(self.score, 4),
            "percentile": round(self.percentile, 4),
            "borderline": round(self.borderline, 4),
            "threshold": round(self.threshold, 4),
            "category": self.category,
            "confidence": round(self.confidence, 4),
            "components": {name: float(f"{value:.4g}") for name, value in self.components.items()},
            "z_scores": {name: round(value, 2) for name, value in self.z_scores.items()},
        }


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Where a structure lies, found by a segmentation network.

    values: (H, W) uint8 on the scan's own pixel grid: 0 background, k = labels[k - 1].
    probability: (H, W) float32 in [0, 1], of anything but background.
    score: how sure the network is that the structure is there at all, in [0, 1]; `threshold` is the least that counts.
    spacing_mm: (row, column) of the scan where its file stated one.
    expected_dice: Dice coefficient to expect with a reader's outline, should there be a structure; None where unknown.
    """

    values: np.ndarray
    probability: np.ndarray
    labels: tuple[str, ...]
    score: float
    threshold: float
    spacing_mm: tuple[float, float] | None = None
    expected_dice: float | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.uint8:
            raise ValueError(f"values must be (H, W) uint8, got {self.values.shape} {self.values.dtype}")
        if self.probability.shape != self.values.shape or self.probability.dtype != np.float32:
            raise ValueError(f"probability must be float32 of {self.values.shape}, got {self.probability.shape}")
        self.values.setflags(write=False)
        self.probability.setflags(write=False)

    @property
    def found(self) -> bool:
        """Whether the network is sure enough that there is something, and outlines it."""
        return self.score >= self.threshold and bool(self.values.any())

    def area_px(self, label: str) -> int:
        """Pixels of one label."""
        return int((self.values == 1 + self.labels.index(label)).sum())

    def area_mm2(self, label: str) -> float | None:
        """Square millimetres of one label; None where the spacing is unknown."""
        if self.spacing_mm is None:
            return None
        return self.area_px(label) * self.spacing_mm[0] * self.spacing_mm[1]

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) in pixels, the last two exclusive; None for an empty outline."""
        rows, columns = (np.flatnonzero(self.values.any(axis)) for axis in (1, 0))
        return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else None

    def to_dict(self) -> dict[str, Any]:
        areas = [(self.area_px(label), self.area_mm2(label)) for label in self.labels]
        parts = {
            label: {"area_px": px, "area_mm2": mm2 and round(mm2, 1)}
            for label, (px, mm2) in zip(self.labels, areas, strict=True)
        }
        return {
            "label": self.labels[0] if len(self.labels) == 1 else " + ".join(self.labels),
            "found": self.found,
            "score": round(self.score, 4),
            "threshold": round(self.threshold, 4),
            "expected_dice": None if self.expected_dice is None else round(self.expected_dice, 4),
            "area_px": sum(px for px, _ in areas),
            "area_mm2": None if self.spacing_mm is None else round(sum(mm2 for _, mm2 in areas), 1),
            "share_of_image": round(float((self.values > 0).mean()), 4),
            "box": self.box and list(self.box),
            "labels": parts,
        }
