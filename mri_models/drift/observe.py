"""What is remembered of an analysed image: a few dozen scalars and three words; never pixels, names or metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mri_models.drift.statistics import STATISTICS, statistics
from mri_models.types import Prediction, Report, Scan

SCORES = (
    *("gate_confidence", "part_confidence", "pattern_confidence"),
    *("gate_unusual", "part_unusual", "pattern_unusual", "anomaly_score", "pixel_error"),
)
FLAGS = ("refused", "anomalous", "near_threshold")  # 1, 0, or NaN where the question does not arise
FEATURES = (*STATISTICS, *SCORES, *FLAGS)
WORDS = ("stage", "part", "pattern")
NEAR = 0.05  # a confidence this close to its threshold could have gone either way
PASSED = "passed"  # the word for "no stage refused it"
_NAN = math.nan


@dataclass(frozen=True, slots=True)
class Observation:
    """Scalars of one analysed image.

    values: one float for each of FEATURES, NaN where the way ended before there was one.
    words: one for each of WORDS, "" likewise; `stage` is where the image was refused, or PASSED.
    embedding: the gate's Prediction.embedding; () when the gate never saw the image.
    """

    values: tuple[float, ...]
    words: tuple[str, ...]
    embedding: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.values) != len(FEATURES) or len(self.words) != len(WORDS):
            raise ValueError(
                f"{len(FEATURES)} values and {len(WORDS)} words wanted, got {len(self.values)}, {len(self.words)}"
            )

    def __getitem__(self, feature: str) -> float:
        return self.values[FEATURES.index(feature)]

    def to_dict(self) -> dict[str, Any]:
        """JSON by name, without what is missing; in single precision, so that equal values stay equal."""
        named = zip(FEATURES, self.values, strict=True)
        return {
            **{name: float(f"{value:.9g}") for name, value in named if not math.isnan(value)},
            **{name: word for name, word in zip(WORDS, self.words, strict=True) if word},
            "embedding": [round(value, 4) for value in self.embedding],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Observation:
        """The inverse; unknown names are ignored. Raises TypeError or ValueError for what is no number."""
        return cls(
            tuple(float(values.get(name, _NAN)) for name in FEATURES),
            tuple(str(values.get(name, "")) for name in WORDS),
            tuple(float(value) for value in values.get("embedding", ())),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """N observations as arrays: values (N, F) float32, words (N, 3) str, embeddings (N, E) float32; NaN = missing."""

    values: np.ndarray
    words: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Window:
        width = max((len(o.embedding) for o in observations), default=0)
        places = [o.embedding if len(o.embedding) == width else (_NAN,) * width for o in observations]
        count = len(observations)
        return cls(
            np.array([o.values for o in observations], np.float32).reshape(count, len(FEATURES)),
            np.array([o.words for o in observations], object).astype(str).reshape(count, len(WORDS)),
            np.array(places, np.float32).reshape(count, width),
        )

    def observations(self) -> list[Observation]:
        """The inverse of `of`."""
        rows = zip(self.values.tolist(), self.words.tolist(), self.embeddings.tolist(), strict=True)
        return [Observation(tuple(values), tuple(words), tuple(places)) for values, words, places in rows]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Window:
        """The observations at these positions."""
        return Window(self.values[rows], self.words[rows], self.embeddings[rows])

    def feature(self, name: str) -> np.ndarray:
        """(n,) the values that there are of one of FEATURES."""
        column = self.values[:, FEATURES.index(name)]
        return column[~np.isnan(column)]

    def word(self, name: str) -> np.ndarray:
        """(n,) the words that there are of one of WORDS."""
        column = self.words[:, WORDS.index(name)]
        return column[column != ""]


def observe(scan: Scan | None, report: Report) -> Observation:
    """The scalars of one analysed image; `scan` is None for a file that was refused before it became one."""
    measured = statistics(scan.pixels) if scan else (_NAN,) * len(STATISTICS)
    stages = (report.gate, report.body_part, report.diagnosis)
    anomaly = report.anomaly
    scores = (
        *(stage.confidence if stage else _NAN for stage in stages),
        *(stage.ood_score if stage else _NAN for stage in stages),
        anomaly.score if anomaly else _NAN,
        anomaly.components.get("pixel", _NAN) if anomaly else _NAN,
    )
    flags = (
        float(report.rejection is not None),
        float(anomaly.category == "anomalous") if anomaly else _NAN,
        _near(next((stage for stage in reversed(stages) if stage), None)),
    )
    words = (
        report.rejection.stage if report.rejection else PASSED,
        report.body_part.label if report.body_part else "",
        report.diagnosis.label if report.diagnosis else "",
    )
    return Observation((*measured, *scores, *flags), words, report.gate.embedding if report.gate else ())


def _near(deepest: Prediction | None) -> float:
    """Whether the deepest stage's answer hung by a thread; NaN where its threshold can't be reached at all."""
    if deepest is None or deepest.threshold > 1:
        return _NAN
    return float(abs(deepest.confidence - deepest.threshold) <= NEAR)
