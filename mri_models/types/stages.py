"""What a stage answers, and why the way ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

STAGES = ("file", "quality", "gate", "body_part", "diagnosis")


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
class Orientation:
    """How an image lies.

    turn_deg: degrees clockwise that bring it upright: 0, 90, 180 or 270. confidence: calibrated probability of that;
    `threshold` is the least at which it is done.
    """

    turn_deg: int
    confidence: float
    threshold: float

    def __post_init__(self) -> None:
        if self.turn_deg not in (0, 90, 180, 270):
            raise ValueError(f"turn_deg must be 0, 90, 180 or 270, got {self.turn_deg}")

    @property
    def lies(self) -> bool:
        """Whether it surely does not stand upright."""
        return self.turn_deg > 0 and self.confidence >= self.threshold

    def to_dict(self) -> dict[str, Any]:
        return {
            "turn_deg": self.turn_deg,
            "confidence": round(self.confidence, 4),
            "threshold": round(self.threshold, 4),
        }


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
