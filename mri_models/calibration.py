"""What validation patients said about a network's scores: the numbers that stand between logits and an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOOR = 0.60  # DESIGN.md: no stage ever accepts less
ORDINARY = 0.8  # share of validation images whose distance says nothing


@dataclass(frozen=True, slots=True)
class Strangeness:
    """Distance from the training features as evidence for one label: `slope` logits for each unit beyond `start`.

    label: the one of strangers, "not_mri" of the gate. start: `ORDINARY` of the others' validation images stay
    under it.
    """

    label: str
    start: float
    slope: float

    def logits(self, distances: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Distances (N,) of `MahalanobisScore.score` → (N, C) what they add to the logits."""
        speaks = np.array([label == self.label for label in labels], float)
        return self.slope * np.maximum(0, distances - self.start)[:, None] * speaks


@dataclass(frozen=True, slots=True)
class Calibration:
    """What validation patients said about a network's scores; lives in config.json under "mri".

    temperature: divides the logits (Guo 2017). thresholds: least accepted confidence by label.
    ood_threshold: an image whose `ood_score` exceeds it is refused. flip: average an image with its mirror image.
    attribution_scale: |attribution| drawn at full colour, by method.
    explanation_study: by method, the checks that it fails on test patients (chooses nothing); None until measured.
    strangeness: what an image far from the training features is, if that is known.
    """

    temperature: float
    thresholds: Mapping[str, float]
    ood_threshold: float
    flip: bool
    attribution_scale: Mapping[str, float]
    explanation_study: Mapping[str, tuple[str, ...]] | None = None
    strangeness: Strangeness | None = None

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Calibration:
        """Check and take the fields of config.json's "mri"; KeyError or ValueError when they can't be used."""
        thresholds = {label: max(FLOOR, float(t)) for label, t in values["thresholds"].items()}
        if not values["temperature"] > 0:
            raise ValueError(f"temperature must be positive, got {values['temperature']}")
        study, strange = values.get("explanation_study"), values.get("strangeness")
        return cls(
            temperature=float(values["temperature"]),
            thresholds=thresholds,
            ood_threshold=float(values["ood_threshold"]),
            flip=bool(values["flip"]),
            attribution_scale=dict(values["attribution_scale"]),
            explanation_study=study and {method: tuple(failed) for method, failed in study.items()},
            strangeness=strange and Strangeness(strange["label"], float(strange["start"]), float(strange["slope"])),
        )

    def informed(self, logits: np.ndarray, distances: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Logits (N, C) with what distances (N,) from the training features say, where they say something."""
        return logits + self.strangeness.logits(distances, labels) if self.strangeness else logits

    def failed_of(self, method: str) -> tuple[str, ...] | None:
        """The checks that an explanation method fails on test patients; None where it was not measured."""
        return self.explanation_study.get(method) if self.explanation_study else None
