"""The values that travel between the stages: small, frozen, numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from mri_models.advice import Context

SCHEMA = "1.0"
STAGES = ("file", "quality", "gate", "body_part", "diagnosis")
DISCLAIMER = (
    "For research and teaching only. Not a medical device: this software describes patterns in an image, "
    "it does not diagnose, and it can be wrong. Ask a radiologist."
)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One grey image, free of metadata.

    pixels: (H, W) float32 in [0, 1], 0 = black; contiguous and read-only.
    spacing_mm: (row, column) pixel spacing in millimetres where the file stated one.
    modality: DICOM modality code ("MR", "CT", ...) where the file stated one.
    colourfulness: mean of (max - min) over RGB in [0, 1]; 0 for grey images.
    format: what the file was, by content: "png", "jpeg", "dicom", "array", ...
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    modality: str | None = None
    colourfulness: float = 0.0
    format: str = "array"

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 2:
            raise ValueError(f"pixels must be (H, W), got {pixels.shape}")
        if pixels.dtype != np.float32:
            raise ValueError(f"pixels must be float32, got {pixels.dtype}")
        if pixels.size == 0 or not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
            raise ValueError("pixels must be finite, non-empty and within [0, 1]")
        pixels.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the way ended early: `stage` is one of STAGES, `code` a stable word, `message` says what to do."""

    stage: str
    code: str
    message: str

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage must be one of {STAGES}, got {self.stage!r}")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A classifier's calibrated answer.

    label: the class with the largest probability; probabilities sum to 1, in the model's label order.
    confidence: calibrated probability of `label`; `threshold` is the least that is accepted.
    ood_score: distance from the training features as a share of validation images that lie nearer, in [0, 1];
    above `ood_threshold` the image is unlike anything the model was trained on.
    embedding: its place along the main axes of the model's features, whitened; for drift monitoring, not public.
    """

    label: str
    confidence: float
    threshold: float
    probabilities: Mapping[str, float]
    ood_score: float
    ood_threshold: float
    accepted: bool
    embedding: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", MappingProxyType(dict(self.probabilities)))

    def __reduce__(self) -> tuple[Any, ...]:
        """A mapping proxy can't be pickled, and GPU Spaces send results between processes."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Prediction, tuple((values | {"probabilities": dict(self.probabilities)}).values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "threshold": round(self.threshold, 4),
            "probabilities": {name: round(p, 4) for name, p in self.probabilities.items()},
            "ood_score": round(self.ood_score, 4),
            "ood_threshold": round(self.ood_threshold, 4),
            "accepted": self.accepted,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Where a class score came from.

    values: (H, W) float32 on the scan's own pixel grid; positive speaks for `target`, negative against it.
    scale: the fixed |value| drawn at full colour, from validation images, the same for every image.
    completeness_gap: |sum(attributions) - (F(x) - F(baseline))| / |F(x) - F(baseline)|; None for methods without one.
    """

    values: np.ndarray
    method: str
    target: str
    scale: float
    completeness_gap: float | None = None
    steps: int | None = None
    baseline: str | None = None

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
        }


CATEGORIES = ("normal", "borderline", "anomalous")


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
class Report:
    """Everything that is said about one file; `to_dict` is the public JSON (schema 1.0).

    input_sha256: of the file's bytes; None for arrays and pictures in memory.
    scan: the image itself, for the PDF; never part of the JSON.
    """

    file: str
    rejection: Rejection | None = None
    gate: Prediction | None = None
    body_part: Prediction | None = None
    diagnosis: Prediction | None = None
    anomaly: Anomaly | None = None
    explanation: Attribution | None = None
    findings: tuple[str, ...] = ()
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    input_sha256: str | None = None
    scan: Scan | None = None

    @property
    def status(self) -> str:
        """ "predicted" when every stage accepted, else "rejected"."""
        return "rejected" if self.rejection else "predicted"

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract: plain str, float, bool, None, list and dict; `file` is a bare name."""

        def of(part: Prediction | Anomaly | Attribution | None) -> dict[str, Any] | None:
            return part.to_dict() if part else None

        rejection = self.rejection
        return {
            "file": self.file,
            "schema": SCHEMA,
            "status": self.status,
            "rejection": rejection and {"stage": rejection.stage, "code": rejection.code, "message": rejection.message},
            "gate": of(self.gate),
            "body_part": of(self.body_part),
            "diagnosis": of(self.diagnosis),
            "anomaly": of(self.anomaly),
            "localization": None,
            "explanation": of(self.explanation),
            "findings": list(self.findings),
            "timing_ms": {stage: round(ms, 1) for stage, ms in self.timing_ms.items()},
            "models": dict(self.models),
            "input_sha256": self.input_sha256,
            "disclaimer": DISCLAIMER,
        }

    def to_markdown(self) -> str:
        """The report for people, as Markdown."""
        from mri_models.report import markdown  # the rules live there; types stay free of wording

        return markdown(self)

    def to_pdf(self, path: Path | str | None = None, *, language: str = "en", context: Context | None = None) -> bytes:
        """The report as PDF in English or German, also written to `path` where one is given."""
        from mri_models.document import write_pdf

        return write_pdf(self, path, language, context)
