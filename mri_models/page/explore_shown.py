"""A stage's counts as the visitor looks at them: which answers, which images, at which threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_models.figures import STEPS, StageFigures

FLOOR = 60  # index of the least threshold that is ever served, 0.60
GRID = np.arange(STEPS + 1) / STEPS
ANY = "any"


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A stage as it is looked at: for one answer or `ANY`, with or without the images that look unfamiliar."""

    stage: StageFigures
    answer: str
    familiar: bool

    @property
    def cells(self) -> np.ndarray:
        """(C, C, K) by truth, answer, threshold."""
        return self.stage.cells[int(self.familiar)]

    @property
    def columns(self) -> list[int]:
        """Indices of the classes that count as answers."""
        return [i for i, label in enumerate(self.stage.classes) if self.answer in (ANY, label)]

    @property
    def accepted(self) -> np.ndarray:
        """(K,) images that are answered so."""
        return self.cells[:, self.columns].sum(axis=(0, 1))

    @property
    def right(self) -> np.ndarray:
        """(K,) those of them that are right."""
        return sum(self.cells[i, i] for i in self.columns)

    @property
    def total(self) -> int:
        """Images that get such an answer at any score, familiar or not."""
        return int(self.stage.cells[0, :, self.columns, 0].sum())

    @property
    def correct(self) -> int:
        """Those of them that are right."""
        return int(sum(self.stage.cells[0, i, i, 0] for i in self.columns))

    @property
    def band(self) -> np.ndarray:
        """(2, K) interval of the accuracy."""
        row = 0 if self.answer == ANY else 1 + self.stage.classes.index(self.answer)
        return self.stage.bands[int(self.familiar), row]

    @property
    def coverage(self) -> np.ndarray:
        """(K,) share of `total`."""
        return self.accepted / max(self.total, 1)

    @property
    def accuracy(self) -> np.ndarray:
        """(K,) NaN where nothing is accepted."""
        accepted = self.accepted
        return np.divide(self.right, accepted, out=np.full(len(accepted), np.nan), where=accepted > 0)

    @property
    def thresholds(self) -> dict[str, float]:
        """The served thresholds of these answers that can be reached."""
        chosen = {self.stage.classes[i]: self.stage.served[self.stage.classes[i]] for i in self.columns}
        return {label: value for label, value in chosen.items() if value <= 1}

    @property
    def start(self) -> int:
        """Index where the slider stands at first: the lowest served threshold, or the least ever served."""
        return round(STEPS * min(self.thresholds.values(), default=FLOOR / STEPS))

    @property
    def served(self) -> tuple[float, float] | None:
        """(coverage, accuracy) of what serving accepts; None where it accepts nothing."""
        accepted = self.stage.accepted[:, self.columns].sum()
        right = sum(self.stage.accepted[i, i] for i in self.columns)
        return (float(accepted / self.total), float(right / accepted)) if accepted else None
