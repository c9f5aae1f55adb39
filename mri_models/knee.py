"""Knee: the outline network's score → "ACL tear pattern", "no ACL tear pattern seen", or neither."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mri_models.calibration import FLOOR
from mri_models.errors import WeightsError
from mri_models.hub import CONFIG
from mri_models.types import Mask, Prediction

NAME = "segmentation/acl"
TEAR, NO_TEAR = LABELS = ("acl_tear", "no_acl_tear_seen")
LIMIT = 1e-6  # scores nearer to 0 and 1 than this say no more


@dataclass(frozen=True, slots=True)
class TearRule:
    """How likely a tear pattern is, given the outline's score; fitted on validation patients (Platt 1999).

    slope, offset: logit(probability of a tear) = slope * logit(score) + offset.
    thresholds: least accepted probability by label; above 1 where the label never passed its bar.
    """

    slope: float
    offset: float
    thresholds: Mapping[str, float]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From config.json's "mri" → "tear".

        Raises WeightsError where that is missing or can't be used.
        """
        try:
            return cls.from_config(json.loads((folder / CONFIG).read_text("utf-8"))["mri"]["tear"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise WeightsError(
                "bad_model", f"{folder} states no usable rule for ACL tears ({error}); fetch or export it again."
            ) from error

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """KeyError or ValueError when the values can't be used."""
        slope, offset = float(values["slope"]), float(values["offset"])
        if not (slope > 0 and math.isfinite(slope) and math.isfinite(offset)):
            raise ValueError(f"slope must be positive and both finite, got {slope} and {offset}")
        return cls(slope, offset, {label: max(FLOOR, float(values["thresholds"][label])) for label in LABELS})

    def probability(self, score: float) -> float:
        """Calibrated probability of a tear pattern, rising with the score."""
        inside = min(max(score, LIMIT), 1 - LIMIT)
        return 1 / (1 + math.exp(-self.slope * math.log(inside / (1 - inside)) - self.offset))

    def __call__(self, mask: Mask, part: Prediction) -> Prediction:
        """The knee's answer; unfamiliarity is what the body part's network says about this image."""
        tear = self.probability(mask.score)
        probabilities = {TEAR: tear, NO_TEAR: 1 - tear}
        label = TEAR if tear >= 0.5 else NO_TEAR
        confidence, threshold = probabilities[label], self.thresholds[label]
        return Prediction(
            label=label,
            confidence=confidence,
            threshold=threshold,
            probabilities=probabilities,
            ood_score=part.ood_score,
            ood_threshold=part.ood_threshold,
            accepted=confidence >= threshold and part.ood_score <= part.ood_threshold,
        )
