"""What is said about the discs of one sagittal spine slice, level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mri_models.types.stages import Prediction

LEVELS = ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1", "T11/T12", "T10/T11", "T9/T10")
GRADES = (1, 2, 3, 4, 5)  # Pfirrmann 2001: from a bright, high disc to a dark, collapsed one


@dataclass(frozen=True, slots=True)
class Disc:
    """One intervertebral disc, counted from the sacrum upwards.

    level: one of LEVELS. centre: (row, column) in pixels of the scan. tilt: radians by which the spine leans to the
    right of straight up at this disc. spacing: pixels from one disc of this spine to the next.
    box: (top, left, bottom, right) in pixels, the last two exclusive.
    pfirrmann: calibrated probabilities of grades 1 to 5, summing to 1; grade: the answer, by the model's rule.
    span: (lowest, highest) grade of the range in which nine of ten readers' grades lay on validation discs.
    narrowing, bulging, herniation: scores in [0, 1]. accepted: whether the grade is sure enough to be stated.
    """

    level: str
    centre: tuple[float, float]
    tilt: float
    spacing: float
    box: tuple[int, int, int, int]
    pfirrmann: tuple[float, ...]
    grade: int
    span: tuple[int, int]
    narrowing: float
    bulging: float
    herniation: float
    accepted: bool

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {LEVELS}, got {self.level!r}")
        if len(self.pfirrmann) != len(GRADES) or abs(sum(self.pfirrmann) - 1) > 1e-3:
            raise ValueError(f"pfirrmann must be five probabilities that sum to 1, got {self.pfirrmann}")

    @property
    def confidence(self) -> float:
        """Calibrated probability of `grade`."""
        return self.pfirrmann[self.grade - 1]

    @property
    def stated(self) -> str:
        """The grade where it is sure enough, else the range: "4", "2 or 3", "1 to 3"."""
        low, high = (self.grade, self.grade) if self.accepted else self.span
        return str(low) if low == high else f"{low} or {high}" if high == low + 1 else f"{low} to {high}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "box": list(self.box),
            "grade": self.grade,
            "range": list(self.span),
            "confidence": round(self.confidence, 4),
            "accepted": self.accepted,
            "pfirrmann": {str(grade): round(p, 4) for grade, p in zip(GRADES, self.pfirrmann, strict=True)},
            "narrowing": round(self.narrowing, 4),
            "bulging": round(self.bulging, 4),
            "herniation": round(self.herniation, 4),
        }


@dataclass(frozen=True, slots=True)
class SpineGrading:
    """All discs of a slice, from L5/S1 upwards, and what they come to: degeneration of the worst one.

    overall: label low (Pfirrmann at most 3), moderate (4) or severe (5) of the worst disc.
    """

    discs: tuple[Disc, ...]
    overall: Prediction

    @property
    def worst(self) -> Disc:
        """The disc with the largest expected grade."""
        return max(self.discs, key=lambda disc: sum(g * p for g, p in zip(GRADES, disc.pfirrmann, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        return {"overall": self.overall.to_dict(), "discs": [disc.to_dict() for disc in self.discs]}
